package app

import (
	"testing"
	"testing/synctest"
	"time"

	"entra-aws-exporter/internal/simulator/clouds"
)

// docs/metrics.md states how many series a connection has during a rotation, also in
// quarantine.
func TestSeriesInARotation(t *testing.T) {
	aged := clouds.Healthy("expiring")
	aged.Tokens = []clouds.TokenSpec{{Age: 345 * 24 * time.Hour, Left: 20 * 24 * time.Hour, Saved: true}}
	for name, spec := range map[string]clouds.ConnectionSpec{"undisturbed": aged, "in quarantine": clouds.Quarantined("expiring")} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				h := newHarness(t, []clouds.ConnectionSpec{spec})
				h.edit(fastIntervals, slowIntervals)
				h.start()
				time.Sleep(firstPoll)
				h.alert()
				most := 0
				for len(h.series().matching("entra_aws_rotations_total", `outcome="done"} 1`)) == 0 {
					most = max(most, len(h.series().matching(`connection="expiring"`)))
					time.Sleep(10 * time.Minute)
				}
				if t.Logf("%d series", most); most < 100 || most > 110 {
					t.Errorf("%d series, want 100 to 110", most)
				}
			})
		})
	}
}
