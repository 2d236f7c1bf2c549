package app

import (
	"testing"
	"testing/synctest"
	"time"

	"entra-aws-exporter/internal/simulator/clouds"
)

// 6,000 SCIM calls a day are more than one poll can read. The newest come first, the next
// poll reads on, and a restart does not begin again.
func TestUsageOfABusyDay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHarness(t, []clouds.ConnectionSpec{clouds.Healthy("corp")})
		h.edit(fastIntervals, slowIntervals)
		h.edit("usage: 1h", "usage: 15m")
		h.With(func(m *clouds.Model) {
			if err := m.AddCalls(h.Connection.TokenIDs[0], time.Now().Add(-24*time.Hour), 24*time.Hour/6000, 6000); err != nil {
				t.Fatal(err)
			}
		})
		h.start()
		up := `entra_aws_source_up{connection="corp",source="usage"} 1`
		for range 4 {
			time.Sleep(20 * time.Minute)
			h.series().expect(t, up)
		}
		if failed := h.series().matching("source_errors_total", `source="usage"`); len(failed) != 0 {
			t.Errorf("failed: %v", failed)
		}
		if used := h.series().matching("scim_token_last_used"); len(used) != 1 {
			t.Errorf("last used: %v", used)
		}
		read := h.Calls()["LookupEvents"]
		h.stop()
		h.start()
		time.Sleep(firstPoll)
		h.series().expect(t, up)
		if used := h.series().matching("scim_token_last_used"); len(used) != 1 {
			t.Errorf("last used after a restart: %v", used)
		}
		if again := h.Calls()["LookupEvents"] - read; again > 5 {
			t.Errorf("%d look-ups after a restart, %d before", again, read)
		} else {
			t.Logf("%d look-ups, then %d after a restart", read, again)
		}
	})
}
