package app

import (
	"context"
	"encoding/json"
	"net/http"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"entra-aws-exporter/internal/model"
	"entra-aws-exporter/internal/simulator/clouds"
)

// Two servers and a command share one state directory and start a rotation at the same
// moment: there is one rotation, and all three show it.
func TestConcurrentServersAndCommand(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHarness(t, []clouds.ConnectionSpec{clouds.Expiring("expiring")})
		h.edit(fastIntervals, slowIntervals)
		h.holderIsDead = func(string) bool { return false } // all three are alive, although they share a process
		h.start()
		first := h.client
		h.start()
		second := h.client
		time.Sleep(15 * time.Minute)

		bearer := "Bearer " + strings.TrimSpace(h.read("webhook-token"))
		post := func(client *http.Client) int {
			request, err := http.NewRequest(http.MethodPost, "http://exporter/webhook/alertmanager", strings.NewReader(dueAlert))
			if err != nil {
				t.Error(err)
				return 0
			}
			request.Header = http.Header{"Content-Type": {"application/json"}, "Authorization": {bearer}}
			response, err := client.Do(request)
			if err != nil {
				t.Error(err)
				return 0
			}
			_ = response.Body.Close()
			return response.StatusCode
		}
		var starts sync.WaitGroup
		statuses, command := [2]int{}, ""
		starts.Go(func() { statuses[0] = post(first) })
		starts.Go(func() { statuses[1] = post(second) })
		starts.Go(func() {
			command = h.command(func(ctx context.Context, o Options) error {
				return RotationStart(ctx, o, StartOptions{Connection: "expiring", Pace: 1})
			})
		})
		starts.Wait()
		if statuses != [2]int{http.StatusAccepted, http.StatusAccepted} {
			t.Errorf("the servers answered %v", statuses)
		}
		if !strings.Contains(command, "is in phase") && !strings.Contains(command, "done: token ") {
			t.Errorf("the command said %s", command)
		}
		record := h.waitForOutcome("expiring")
		if record.Outcome != model.OutcomeDone {
			t.Errorf("it ended %s %s", record.Outcome, record.Reason)
		}
		time.Sleep(time.Hour)
		for _, client := range []*http.Client{first, second} {
			h.client = client
			if list := h.rotations("expiring"); len(list) != 1 || list[0].ID != record.ID || list[0].Outcome != model.OutcomeDone {
				shown, _ := json.Marshal(list)
				t.Errorf("a server shows %s", shown)
			}
		}
		h.With(func(now *clouds.Model) {
			created := 0
			for range clouds.EntriesOf[clouds.Creation](now) {
				created++
			}
			if created != 1 {
				t.Errorf("%d tokens were created", created)
			}
			for _, outage := range now.Outages() {
				t.Errorf("an outage: %s", outage)
			}
		})
	})
}
