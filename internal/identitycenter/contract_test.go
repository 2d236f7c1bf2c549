package identitycenter_test

import (
	"os"
	"testing"

	"entra-aws-exporter/internal/identitycenter"
	"entra-aws-exporter/internal/simulator/contract"
)

// TestContract holds every request to an undocumented API, and the answers that these
// tests rest on, to the console's own client models.
func TestContract(t *testing.T) {
	directory := os.Getenv("CONTRACTS_DIR")
	if directory == "" {
		t.Skip("CONTRACTS_DIR does not name the directory of the published shapes")
	}
	shapes, err := contract.Load(directory)
	if err != nil {
		t.Fatal(err)
	}
	cloud := newCloud(t)
	cloud.json("ListExternalIdPConfigurationsForDirectory",
		`{"associations":[{"idpId":"idp-1","isEnabled":true,"idpSAMLAssociationValue":{"idpSAMLConfig":{"entityId":"e","loginURL":"l"},"idpCertificateIds":[]}}]}`)
	cloud.json("ListExternalIdPCertificates", idpAnswer(asPEM(certificate(t, date("2027-01-01T00:00:00Z")))))
	recorder := contract.NewRecorder(shapes, cloud)
	instance := cloud.instance(func(o *identitycenter.Options) {
		o.Transport, o.Certificates = recorder, identitycenter.CertificatesConsoleAPI
	})
	if _, err := instance.ListTokens(t.Context()); err != nil {
		t.Error(err)
	}
	if _, err := instance.CreateToken(t.Context()); err != nil {
		t.Error(err)
	}
	if err := instance.DeleteToken(t.Context(), "old"); err != nil {
		t.Error(err)
	}
	if _, err := instance.TrustedCertificates(t.Context()); err != nil {
		t.Error(err)
	}
	checked, err := recorder.Result()
	if err != nil {
		t.Error(err)
	}
	if checked != 6 { // tenants, list, create, delete, providers, certificates
		t.Errorf("%d exchanges were checked, want 6", checked)
	}
}
