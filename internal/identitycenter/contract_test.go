package identitycenter_test

import (
	"net/http"
	"os"
	"testing"

	"entra-aws-exporter/internal/identitycenter"
	"entra-aws-exporter/internal/simulator/clouds"
	"entra-aws-exporter/test/contract"
)

// TestContract holds every request to an undocumented API, and the simulator's
// answers that these tests rest on, to the console's own client models.
func TestContract(t *testing.T) {
	directory := os.Getenv("CONTRACTS_DIR")
	if directory == "" {
		t.Skip("CONTRACTS_DIR does not name the directory of the published shapes")
	}
	shapes, err := contract.Load(directory)
	if err != nil {
		t.Fatal(err)
	}
	newCloud(t) // for the environment
	var recorder *contract.Recorder
	s := simulate(t, clouds.Healthy("corp"), nil, func(o *identitycenter.Options) {
		recorder = contract.NewRecorder(shapes, o.Transport)
		o.Transport = recorder
	})
	ctx := t.Context()
	if _, err := s.ListTokens(ctx); err != nil {
		t.Error(err)
	}
	if _, err := s.CreateToken(ctx); err != nil {
		t.Error(err)
	}
	if err := s.DeleteToken(ctx, s.Connection.TokenIDs[0]); err != nil {
		t.Error(err)
	}
	if _, err := s.TrustedCertificates(ctx); err != nil {
		t.Error(err)
	}
	id, err := s.ImportCertificate(ctx, s.addCertificate(t), clouds.CertificateUse)
	if err != nil {
		t.Error(err)
	}
	if err := s.DeleteCertificate(ctx, id); err != nil {
		t.Error(err)
	}
	if probe, err := s.Probe(ctx); err != nil || probe.StatusCode != http.StatusUnauthorized {
		t.Errorf("the deleted token: %+v, %v", probe, err)
	}
	checked, err := recorder.Result()
	if err != nil {
		t.Error(err)
	}
	// tenants, list, create, delete; providers, certificates; providers, import; providers, certificates, delete
	if checked != 11 {
		t.Errorf("%d exchanges were checked, want 11", checked)
	}
}
