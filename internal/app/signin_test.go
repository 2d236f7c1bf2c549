package app

import (
	"os"
	"testing"
	"testing/synctest"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azidentity"

	"entra-aws-exporter/internal/simulator"
	"entra-aws-exporter/internal/simulator/clouds"
)

// Every way to sign in to Entra, from the key in the configuration to a response of Graph.
// Managed identity is tested in internal/entra, since the simulator has no endpoint for it.
func TestSignInMethods(t *testing.T) {
	for name, prepare := range map[string]func(*testing.T, *harness, *clouds.AppRegistration) (config string){
		"client secret": func(_ *testing.T, h *harness, r *clouds.AppRegistration) string {
			return "client_secret_file: client-secret-tenant-1"
		},
		"client certificate with a password": withCertificate,
		"workload identity": func(t *testing.T, h *harness, r *clouds.AppRegistration) string {
			trusted := clouds.FederatedCredential{Issuer: "https://cluster.example", Subject: "system:serviceaccount:monitoring:exporter"}
			token, err := h.WebIdentityToken(trusted.Issuer, trusted.Subject, "api://AzureADTokenExchange", time.Hour)
			if err != nil {
				t.Fatal(err)
			}
			h.write("projected", token)
			r.Secrets, r.Federated = nil, []clouds.FederatedCredential{trusted}
			return "workload_identity: {token_file: projected}"
		},
		"AWS web identity": func(_ *testing.T, h *harness, r *clouds.AppRegistration) string {
			aws := h.Credentials.Accounts[0]
			r.Secrets = nil
			r.Federated = []clouds.FederatedCredential{{Issuer: simulator.WebIdentityIssuer(aws.Account), Subject: aws.Keys.ARN}}
			return "aws_web_identity: {region: eu-central-1, profile: account-" + aws.Account + "}"
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				h := newHarness(t, []clouds.ConnectionSpec{clouds.Healthy("corp")})
				tenant := h.Credentials.Tenants[0]
				registration := tenant.Registration
				h.edit("client_secret_file: client-secret-tenant-1", prepare(t, h, &registration))
				h.With(func(w *clouds.Model) {
					if err := w.ChangeRegistration(tenant.TenantID, registration.ClientID, func(r *clouds.AppRegistration) { *r = registration }); err != nil {
						t.Fatal(err)
					}
				})
				h.start()
				time.Sleep(firstPoll)
				h.series().expect(t, `entra_aws_source_up{connection="corp",source="job"} 1`, `entra_aws_source_up{connection="corp",source="app_credentials"} 1`)
			})
		})
	}
}

func withCertificate(t *testing.T, h *harness, r *clouds.AppRegistration) string {
	bundle, err := os.ReadFile("../entra/testdata/client.pfx")
	if err != nil {
		t.Fatal(err)
	}
	certificates, _, err := azidentity.ParseCertificates(bundle, []byte("simulated"))
	if err != nil {
		t.Fatal(err)
	}
	h.write("client.pfx", string(bundle))
	h.write("password", "simulated\n")
	r.Secrets = nil
	r.Certificates = []clouds.AppCertificate{{KeyID: "c", DER: certificates[0].Raw, Expires: time.Now().AddDate(1, 0, 0)}}
	return "client_certificate_file: client.pfx\n    client_certificate_password_file: password"
}

// A new client secret is used without a reload, at the next sign-in.
func TestClientSecretReplacedWhileRunning(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHarness(t, []clouds.ConnectionSpec{clouds.Healthy("corp")})
		tenant := h.Credentials.Tenants[0]
		h.start()
		time.Sleep(firstPoll)
		h.With(func(w *clouds.Model) {
			err := w.ChangeRegistration(tenant.TenantID, tenant.Registration.ClientID, func(r *clouds.AppRegistration) { r.Secrets[0].Value = "another-secret" })
			if err != nil {
				t.Fatal(err)
			}
		})
		h.write("client-secret-tenant-1", "another-secret")
		time.Sleep(2 * time.Hour) // until the access token has expired
		if failed := h.series().matching("entra_aws_source_errors_total"); len(failed) > 0 {
			t.Errorf("the replacement was noticed: %v", failed)
		}
		h.series().expect(t, `entra_aws_source_up{connection="corp",source="job"} 1`)
	})
}
