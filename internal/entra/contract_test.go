package entra

import (
	"os"
	"testing"
	"time"

	"entra-aws-exporter/internal/model"
	"entra-aws-exporter/internal/simulator/clouds"
	"entra-aws-exporter/test/contract"
)

// TestContract holds every exchange with Graph to its published shapes.
func TestContract(t *testing.T) {
	directory := os.Getenv("CONTRACTS_DIR")
	if directory == "" {
		t.Skip("CONTRACTS_DIR does not name the directory of the published shapes")
	}
	shapes, err := contract.Load(directory)
	if err != nil {
		t.Fatal(err)
	}
	inBubble(t, func(t *testing.T) {
		var recorder *contract.Recorder
		s := simulate(t, clouds.Quarantined("corp"), nil, func(o *TenantOptions) {
			recorder = contract.NewRecorder(shapes, o.Transport)
			o.Transport = recorder
		})
		ctx := t.Context()
		for operation, read := range operations {
			if err := read(ctx, s); err != nil {
				t.Errorf("%s: %v", operation, err)
			}
		}
		credentials, err := s.Credentials(ctx)
		if err != nil {
			t.Fatal(err)
		}
		for i := range credentials {
			if credentials[i].Masked() {
				credentials[i].Value = model.NewSecret("wrong")
			}
		}
		if result, _ := s.TestConnection(ctx, credentials); result != model.TestFailed {
			t.Errorf("result %s", result)
		}
		if result, _ := s.TestConnection(ctx, nil); result != model.TestFailed {
			t.Errorf("result %s", result)
		}
		if err := s.SaveCredentials(ctx, credentials); err != nil {
			t.Error(err)
		}
		if err := s.StartJob(ctx); err != nil {
			t.Error(err)
		}
		if _, err := s.Application.Application(ctx); err != nil {
			t.Error(err)
		}
		issued, err := s.CreateCertificate(ctx, "CN=new", time.Now().AddDate(1, 0, 0))
		if err != nil {
			t.Error(err)
		}
		if err := s.ActivateCertificate(ctx, issued.Thumbprint); err != nil {
			t.Error(err)
		}
		if _, err := s.ProvisionUser(ctx, principal); model.ReasonOf(err) != model.ReasonNotFound {
			t.Error(err)
		}
		checked, err := recorder.Result()
		if err != nil {
			t.Error(err)
		}
		if t.Logf("%d exchanges", checked); checked < 15 {
			t.Errorf("only %d exchanges were checked", checked)
		}
	})
}
