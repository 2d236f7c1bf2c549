package webhook_test

import (
	"net/http"
	"slices"
	"testing"

	"entra-aws-exporter/internal/model"
)

func FuzzWebhookBody(f *testing.F) {
	for _, seed := range []string{
		firing(alertFor("corp", "firing")), firing(), firing(alertFor("unknown", "resolved"), `{"labels":null}`), `{"version":"4"}`,
		`{"version":4}`, `[]`, `null`, ``, `{"version":"4","alerts":[null,{"status":"firing","labels":{"alertname":"EntraAwsScimTokenRotationDue","connection":"corp","rotate":"scim-token"}}]}`,
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, body string) {
		w := newWebhook(decisions{"corp": model.DecisionStarted, "idle": model.DecisionNotDue})
		response := post(w, body)
		if !slices.Contains([]int{http.StatusOK, http.StatusAccepted, http.StatusBadRequest, http.StatusRequestEntityTooLarge}, response.Code) {
			t.Errorf("response %d to %q", response.Code, body)
		}
		if started := w.counters.decisions[model.DecisionStarted]; started > 1 {
			t.Errorf("%d rotations were started by one payload", started)
		}
	})
}
