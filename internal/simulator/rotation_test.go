package simulator_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"testing"
	"testing/synctest"
	"time"

	"entra-aws-exporter/internal/model"
	"entra-aws-exporter/internal/simulator/clouds"
)

// TestManualRotation replaces a token over the wire as the documentation tells people
// to, in both orders: the right one causes no outage, the wrong one an outage that the
// engine itself finds.
func TestManualRotation(t *testing.T) {
	for _, deleteFirst := range []bool{false, true} {
		t.Run(fmt.Sprintf("delete first %v", deleteFirst), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				l := newHarness(t).checkingContract()
				old := l.Connection.TokenIDs[0]
				created := l.tokens("CreateBearerToken")
				id, value := created.at("BearerToken", "TokenId").(string), created.at("BearerToken", "Token").(string)
				remove := func() {
					if answer := l.tokens("DeleteBearerToken", "TokenId", old); answer.status != http.StatusOK {
						t.Errorf("delete: %d %s", answer.status, answer.body)
					}
				}
				if deleteFirst {
					remove()
					time.Sleep(time.Hour)
					if job := l.graph(http.MethodGet, l.job(), ""); job.at("status", "quarantine", "error", "code") != model.QuarantineCodeBadCredentials {
						t.Errorf("no quarantine: %s", job.body)
					}
				}
				body, _ := json.Marshal(map[string]any{"value": []map[string]string{
					{"key": model.CredentialKeyBaseAddress, "value": l.Connection.SCIMEndpoint}, {"key": model.CredentialKeySecretToken, "value": value},
				}})
				if answer := l.graph(http.MethodPut, l.synchronization()+"/secrets", string(body)); answer.status != http.StatusNoContent {
					t.Errorf("save: %d %s", answer.status, answer.body)
				}
				// Right after a save, the test may fail for a while.
				if answer := l.graph(http.MethodPost, l.job()+"/validateCredentials", `{"useSavedCredentials":true}`); answer.status != http.StatusBadRequest {
					t.Errorf("test at once: %d %s", answer.status, answer.body)
				}
				time.Sleep(2 * time.Minute)
				if answer := l.graph(http.MethodPost, l.job()+"/validateCredentials", `{"useSavedCredentials":true}`); answer.status != http.StatusNoContent {
					t.Errorf("test: %d %s", answer.status, answer.body)
				}
				if deleteFirst {
					if answer := l.graph(http.MethodPost, l.job()+"/start", ""); answer.status != http.StatusNoContent {
						t.Errorf("start: %d %s", answer.status, answer.body)
					}
				}
				time.Sleep(time.Hour)
				job := l.graph(http.MethodGet, l.job(), "")
				if job.at("status", "code") != "Active" || job.at("status", "lastExecution", "state") != "Succeeded" {
					t.Errorf("after a cycle: %s", job.body)
				}
				if !deleteFirst {
					remove()
					time.Sleep(time.Hour)
				}
				l.With(func(w *clouds.Model) {
					if saved := w.SavedToken(l.Connection.ServicePrincipalID); saved != id {
						t.Errorf("saved %s, want %s", saved, id)
					}
					outages := w.Outages()
					if deleteFirst != (len(outages) == 1) {
						t.Errorf("outages: %v", outages)
					}
					if deleteFirst && (outages[0].Cause != clouds.CauseDeleted || outages[0].CausedBy != clouds.ActorExporter) {
						t.Errorf("outage: %+v", outages[0])
					}
				})
			})
		})
	}
}
