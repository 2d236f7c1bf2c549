package simulator_test

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"

	"entra-aws-exporter/internal/model"
	"entra-aws-exporter/internal/simulator/clouds"
)

// amz calls an operation of one of AWS's JSON services, signed by the SDK's own signer.
func (l *harness) amz(endpoint, service, target, version, body string) reply {
	l.t.Helper()
	request := l.request(http.MethodPost, endpoint, body)
	request.Header.Set("X-Amz-Target", target)
	request.Header.Set("Content-Type", "application/x-amz-json-"+version)
	keys, hash := l.Credentials.Accounts[0].Keys, sha256.Sum256([]byte(body))
	err := v4.NewSigner().SignHTTP(l.t.Context(), aws.Credentials{AccessKeyID: keys.AccessKeyID, SecretAccessKey: keys.SecretAccessKey},
		request, hex.EncodeToString(hash[:]), service, l.Connection.Region, time.Now())
	if err != nil {
		l.t.Fatal(err)
	}
	return l.do(request)
}

// tokens calls the token service with the store and the tenant of the connection.
func (l *harness) tokens(operation string, more ...string) reply {
	l.t.Helper()
	members := map[string]string{"IdentityStoreId": l.Connection.IdentityStoreID}
	if operation != "ListProvisioningTenants" {
		members["TenantId"] = l.Connection.ProvisioningTenantID
	}
	for i := 0; i < len(more); i += 2 {
		members[more[i]] = more[i+1]
	}
	body, _ := json.Marshal(members)
	return l.amz("https://up.sso.eu-central-1.amazonaws.com/identitystore/", "identitystore", "AWSIdentityStoreService."+operation, "1.1", string(body))
}

func (l *harness) quirk(name, value string) {
	l.t.Helper()
	if err := l.SetQuirk(name, value); err != nil {
		l.t.Fatal(err)
	}
}

func TestTokenService(t *testing.T) {
	l := newHarness(t).checkingContract()
	answer := l.tokens("ListProvisioningTenants")
	if answer.at("ProvisioningTenants", 0, "TenantId") != l.Connection.ProvisioningTenantID || answer.at("ProvisioningTenants", 0, "ScimEndpoint") != l.Connection.SCIMEndpoint+"/" {
		t.Errorf("tenants: %s", answer.body)
	}
	answer = l.tokens("CreateBearerToken")
	id, _ := answer.at("BearerToken", "TokenId").(string)
	value, _ := answer.at("BearerToken", "Token").(string)
	if id == "" || value == "" {
		t.Fatalf("create: %s", answer.body)
	}
	if _, isNumber := answer.at("BearerToken", "ExpirationTime").(float64); !isNumber {
		t.Errorf("timestamps are numbers: %s", answer.body)
	}
	if third := l.tokens("CreateBearerToken"); third.status != http.StatusPaymentRequired || third.header.Get("X-Amzn-Errortype") == "" ||
		third.at("__type") != "com.amazonaws.identitystore#ServiceQuotaExceededException" {
		t.Errorf("a third: %d %s", third.status, third.body)
	}
	list := l.tokens("ListBearerTokens")
	if list.at("BearerTokens", 1) == nil || strings.Contains(list.body, value) {
		t.Errorf("list: %s", list.body)
	}
	if probe := l.scimWith(value, "/ServiceProviderConfig"); probe.status != http.StatusOK {
		t.Errorf("the new token: %d %s", probe.status, probe.body)
	}
	l.quirk("token_times", clouds.TimesStrings)
	l.quirk("list_values", clouds.ValuesCarried)
	list = l.tokens("ListBearerTokens")
	if _, err := time.Parse(time.RFC3339, list.at("BearerTokens", 0, "CreationTime").(string)); err != nil || !strings.Contains(list.body, value) {
		t.Errorf("quirks: %v in %s", err, list.body)
	}
	if gone := l.tokens("DeleteBearerToken", "TokenId", id); gone.status != http.StatusOK || gone.body != "{}" {
		t.Errorf("delete: %d %s", gone.status, gone.body)
	}
	if again := l.tokens("DeleteBearerToken", "TokenId", id); again.at("__type") != "com.amazonaws.identitystore#ResourceNotFoundException" {
		t.Errorf("delete again: %d %s", again.status, again.body)
	}
	if probe := l.scimWith(value, "/ServiceProviderConfig"); probe.status != http.StatusUnauthorized {
		t.Errorf("the deleted token: %d %s", probe.status, probe.body)
	}
}

func TestTokenServiceRefusals(t *testing.T) {
	l := newHarness(t)
	const endpoint = "https://up.sso.eu-central-1.amazonaws.com/identitystore/"
	good := `{"IdentityStoreId":"` + l.Connection.IdentityStoreID + `"}`
	list := "AWSIdentityStoreService.ListProvisioningTenants"
	for _, test := range []struct {
		name                           string
		service, target, version, body string
		prepare                        func()
		status                         int
		kind, message                  string
	}{
		{name: "another signing name", service: "sso", message: "Credential should be scoped to correct service: 'identitystore'.", kind: "InvalidSignatureException"},
		{name: "the public SDK's prefix", target: "AWSIdentityStore.ListProvisioningTenants", status: 404, kind: "UnknownOperationException"},
		{name: "the other JSON version", version: "1.0", status: 404, kind: "UnknownOperationException", message: "application/x-amz-json-1.1, not"},
		{name: "an unknown identity store", body: `{"IdentityStoreId":"d-0000000000"}`, kind: "ResourceNotFoundException"},
		{name: "no JSON", body: "IdentityStoreId", kind: "SerializationException"},
		{
			name: "a service control policy", kind: "AccessDeniedException", message: "sso-directory:ListProvisioningTenants with an explicit deny in a service control policy",
			prepare: func() {
				l.With(func(w *clouds.Model) {
					w.Deny(clouds.ActorExporter, clouds.ListProvisioningTenantsAction, clouds.DenySCP)
				})
			},
		},
		{
			name: "a customer managed key", kind: "AccessDeniedException", message: "not authorized to perform: kms:Decrypt",
			prepare: func() {
				l.With(func(w *clouds.Model) {
					w.Deny(clouds.ActorExporter, clouds.ListProvisioningTenantsAction, clouds.DenyKMS)
				})
			},
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			for field, value := range map[*string]string{&test.service: "identitystore", &test.target: list, &test.version: "1.1", &test.body: good} {
				if *field == "" {
					*field = value
				}
			}
			if test.status == 0 {
				test.status = http.StatusBadRequest
			}
			if test.prepare != nil {
				test.prepare()
			}
			answer := l.amz(endpoint, test.service, test.target, test.version, test.body)
			kind, _ := answer.at("__type").(string)
			message, _ := answer.at("Message").(string)
			if answer.status != test.status || !strings.HasSuffix(kind, "#"+test.kind) || !strings.Contains(message, test.message) {
				t.Errorf("%d %s", answer.status, answer.body)
			}
		})
	}
	l.quirk("json_version", clouds.JSON10)
	l.With(func(w *clouds.Model) { w.Allow(clouds.ActorExporter, clouds.ListProvisioningTenantsAction) })
	if answer := l.amz(endpoint, "identitystore", list, "1.0", good); answer.status != http.StatusOK || answer.header.Get("Content-Type") != "application/x-amz-json-1.0" {
		t.Errorf("JSON 1.0: %d %s", answer.status, answer.body)
	}
}

func TestIdentityProviderCertificates(t *testing.T) {
	l := newHarness(t, clouds.Quarantined("corp")).checkingContract()
	call := func(operation, body string) reply {
		return l.amz("https://auth-control.eu-central-1.prod.apps-auth.aws.a2z.com/", "appsauth", "AppsAuthControlPlaneService."+operation, "1.0", body)
	}
	store := l.Connection.IdentityStoreID
	answer := call("ListExternalIdPConfigurationsForDirectory", `{"directoryId":"`+store+`"}`)
	idp, _ := answer.at("associations", 0, "idpId").(string)
	if answer.at("associations", 0, "isEnabled") != true {
		t.Fatalf("configurations: %s", answer.body)
	}
	both := `"idpId":"` + idp + `","directoryId":"` + store + `"`
	answer = call("ListExternalIdPCertificates", "{"+both+"}")
	text, _ := answer.at("idPCertificates", 0, "x509CertificateInPEM").(string)
	if !strings.HasPrefix(text, "-----BEGIN CERTIFICATE-----") || !strings.Contains(answer.body, `"serialNumber":`+answer.at("idPCertificates", 0, "serialNumberString").(string)) {
		t.Errorf("certificates: %s", answer.body)
	}
	if answer = l.amz("https://auth-control.eu-central-1.prod.apps-auth.aws.a2z.com/", "appsauth", "AppsAuthControlPlaneService.ListExternalIdPCertificates", "1.1", "{"+both+"}"); answer.status != http.StatusNotFound {
		t.Errorf("JSON 1.1: %d %s", answer.status, answer.body)
	}
}

func TestDescribeIdentityStore(t *testing.T) {
	l := newHarness(t)
	l.must("POST", "actions", `{"do":"allow_sources","sources":["203.0.113.0/24"]}`)
	answer := l.amz("https://identitystore.eu-central-1.amazonaws.com/", "identitystore", "AWSIdentityStore.DescribeIdentityStore", "1.1", `{"IdentityStoreId":"`+l.Connection.IdentityStoreID+`"}`)
	if answer.at("IdentityStoreId") != l.Connection.IdentityStoreID || answer.at("NetworkConfiguration", "ScimAllowSourceIps", 0) != "203.0.113.0/24" {
		t.Errorf("%d %s", answer.status, answer.body)
	}
}

// TestPublicAddresses holds that a simulator with an address of its own shows SCIM
// endpoints below it, and understands them.
func TestPublicAddresses(t *testing.T) {
	l := newHarnessAt(t, "https://127.0.0.1:10198", clouds.Healthy("corp"))
	endpoint := "https://127.0.0.1:10198/scim/" + l.Connection.ProvisioningTenantID + "/scim/v2"
	if answer := l.tokens("ListProvisioningTenants"); answer.at("ProvisioningTenants", 0, "ScimEndpoint") != endpoint+"/" {
		t.Errorf("tenants: %s", answer.body)
	}
	answer := l.graph(http.MethodGet, l.synchronization()+"/secrets", "")
	if !strings.Contains(answer.body, `"value":"`+endpoint+`"`) {
		t.Errorf("secrets: %s", answer.body)
	}
	for address, good := range map[string]bool{endpoint: true, endpoint + "?aadOptscim062020": true, "https://127.0.0.1:10198/scim/nobody/scim/v2": false} {
		body, _ := json.Marshal(map[string]any{"credentials": []map[string]string{
			{"key": model.CredentialKeyBaseAddress, "value": address}, {"key": model.CredentialKeySecretToken, "value": l.Credentials.Values["corp"]},
		}})
		if answer := l.graph(http.MethodPost, l.job()+"/validateCredentials", string(body)); (answer.status == http.StatusNoContent) != good {
			t.Errorf("%s: %d %s", address, answer.status, answer.body)
		}
	}
	probe := l.request(http.MethodGet, endpoint+"/ServiceProviderConfig", "")
	probe.Header.Set("Authorization", "Bearer "+l.Credentials.Values["corp"])
	if answer := l.do(probe); answer.status != http.StatusOK {
		t.Errorf("SCIM: %d %s", answer.status, answer.body)
	}
}
