package app

import (
	"context"
	"encoding/json"
	"io/fs"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"entra-aws-exporter/collector"
	"entra-aws-exporter/internal/model"
	"entra-aws-exporter/internal/simulator/clouds"
)

func discardLogger() *slog.Logger { return slog.New(slog.DiscardHandler) }

func newRequestCounter() *collector.Requests { return collector.NewRequests() }

const dueAlert = `{"version":"4","status":"firing","receiver":"rotation","alerts":[{"status":"firing",
	"labels":{"alertname":"EntraAwsScimTokenRotationDue","rotate":"scim-token","connection":"expiring"}}]}`

// alert posts the payload of Alertmanager.
func (h *harness) alert() (int, string) {
	h.t.Helper()
	return h.request(http.MethodPost, "/webhook/alertmanager", dueAlert,
		"Content-Type", "application/json", "Authorization", "Bearer "+strings.TrimSpace(h.read("webhook-token")))
}

// rotate waits until the only rotation has ended.
func (h *harness) rotate() model.RotationRecord {
	h.t.Helper()
	for range 7 * 24 {
		time.Sleep(time.Hour)
		var answer struct{ Rotations []model.RotationRecord }
		if err := json.Unmarshal([]byte(h.get("/api/v1/rotations")), &answer); err != nil {
			h.t.Fatal(err)
		}
		if len(answer.Rotations) == 1 && answer.Rotations[0].Outcome != "" {
			return answer.Rotations[0]
		}
	}
	h.t.Fatalf("after a week the rotation has not ended:\n%s", h.get("/api/v1/rotations"))
	return model.RotationRecord{}
}

// A whole rotation through the real clients. Then every output is searched for every
// secret that the program has held.
func TestRotationShowsNoSecret(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHarness(t, []clouds.ConnectionSpec{clouds.Expiring("expiring")})
		h.edit(fastIntervals, slowIntervals)
		secrets := map[string]string{
			"client secret": strings.TrimSpace(h.read("client-secret-tenant-1")),
			"webhook token": strings.TrimSpace(h.read("webhook-token")),
			"SCIM token":    strings.TrimSpace(h.read("scim-token-expiring")),
		}
		for line := range strings.Lines(h.read("aws-credentials")) {
			if name, value, found := strings.Cut(line, "="); found && strings.Contains(name, "secret_access_key") {
				secrets["AWS secret key"] = strings.TrimSpace(value)
			}
		}
		h.start()
		time.Sleep(15 * time.Minute) // two polls that find it due
		if status, answer := h.alert(); status != http.StatusAccepted {
			t.Fatalf("the webhook answered %d %s", status, answer)
		}
		time.Sleep(time.Minute)
		outputs := map[string]string{"status page in the middle": h.get("/"), "rotations in the middle": h.get("/api/v1/rotations")}
		record := h.rotate()
		if record.Outcome != model.OutcomeDone || record.Proof != model.ProofExclusive {
			t.Fatalf("the rotation ended %s %s, proof %s", record.Outcome, record.Reason, record.Proof)
		}
		h.With(func(w *clouds.Model) {
			secrets["new SCIM token"] = w.TokenValue(record.NewTokenID)
			holding, _ := w.EntraState(h.Connection.ServicePrincipalID)
			if holding.Saved.TokenID != record.NewTokenID {
				t.Errorf("Entra holds %s, the rotation made %s", holding.Saved.TokenID, record.NewTokenID)
			}
			for _, outage := range w.Outages() {
				t.Errorf("an outage: %+v", outage)
			}
		})
		for _, path := range []string{"/", "/metrics", "/config", "/api/v1/connections", "/api/v1/rotations"} {
			outputs[path] = h.get(path)
		}
		h.stop()
		outputs["log"] = h.logs.String()
		outputs["check-config"] = h.command(func(_ context.Context, o Options) error { return CheckConfig(o, "") })
		outputs["metrics"] = h.command(Metrics)
		outputs["doctor"] = h.command(func(ctx context.Context, o Options) error { return Doctor(ctx, o, "") })
		stored := 0
		err := filepath.WalkDir(h.path("state"), func(path string, entry fs.DirEntry, err error) error {
			if err != nil || entry.IsDir() {
				return err
			}
			content, err := os.ReadFile(path)
			if strings.HasSuffix(path, ".token") { // the only place
				if strings.Contains(string(content), secrets["new SCIM token"]) {
					stored++
				}
				return err
			}
			outputs[path] = string(content)
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
		if stored != 1 {
			t.Errorf("the token store holds the new token in %d entries, want 1: does the search work?", stored)
		}
		if len(secrets) != 5 || len(outputs) < 12 {
			t.Fatalf("%d secrets are searched for in %d outputs, that is too few", len(secrets), len(outputs))
		}
		for where, output := range outputs {
			if output == "" && filepath.Base(where) != "lock" {
				t.Errorf("%s is empty", where)
			}
			for what, value := range secrets {
				if len(value) < 8 {
					t.Fatalf("the %s is %q", what, value)
				}
				if strings.Contains(output, value) {
					t.Errorf("%s shows the %s", where, what)
				}
			}
		}
	})
}

// A rejected secret is not repeated in any error.
func TestRefusedSecretsAreNotRepeated(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const planted = "pl4nted-wr0ng-secret"
		h := newHarness(t, []clouds.ConnectionSpec{clouds.Healthy("corp")})
		h.write("client-secret-tenant-1", planted)
		h.write("scim-token-corp", planted)
		h.start()
		time.Sleep(firstPoll)
		h.series().expect(t, `entra_aws_source_up{connection="corp",source="job"} 0`, `entra_aws_scim_probe_success{connection="corp"} 0`)
		if status, answer := h.request(http.MethodPost, "/webhook/alertmanager", "{}", "Authorization", "Bearer "+planted); status != http.StatusUnauthorized || strings.Contains(answer, planted) {
			t.Errorf("the webhook answered %d %s", status, answer)
		}
		for where, output := range map[string]string{
			"log": h.logs.String(), "status page": h.get("/"), "connections": h.get("/api/v1/connections"), "metrics": h.get("/metrics"),
		} {
			if strings.Contains(output, planted) {
				t.Errorf("%s repeats the wrong secret", where)
			}
		}
		if log := h.logs.String(); !strings.Contains(log, "AADSTS7000215") {
			t.Error("the log does not name Entra's code for a wrong secret")
		}
	})
}
