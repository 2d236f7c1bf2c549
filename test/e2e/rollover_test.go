//go:build e2e

package e2e

import (
	"testing"
	"time"

	"entra-aws-exporter/internal/model"
)

// certificateConnection is the demo's connection whose certificate is due.
const certificateConnection = "signing"

// TestFailuresRollBack: AWS lists the new certificate, and does not accept it for hours. The
// failures after the activation make the old one active again.
func TestFailuresRollBack(t *testing.T) {
	t.Parallel()
	c := startSimulator(t, "demo")
	c.quirk("trust_lag", "24h")
	before := c.connection(certificateConnection)
	e := c.startExporter(freeAddress(t))
	eventually(t, time.Minute, "the rollover has started", e.rolloverStarted(c.bearer(), certificateConnection))
	var activated time.Time
	isActive := func(old bool) func() bool {
		return func() bool {
			for _, certificate := range c.connection(certificateConnection).Certificates {
				isOld := certificate.SHA256 == before.Certificates[0].SHA256
				if certificate.Active && isOld == old {
					return true
				}
			}
			return false
		}
	}
	eventually(t, rotationTimeout, "the new certificate is active", isActive(false))
	activated = time.Now()
	eventually(t, rotationTimeout, "the old one is active again", isActive(true))
	rolledBack := time.Since(activated) * pace
	e.waitForOutcome(certificateConnection, model.OutcomeBlocked, string(model.BlockedSignInFailing))
	failed := c.connection(certificateConnection).SignIns.Refused
	time.Sleep(10 * time.Second) // fifty minutes of the simulator
	after := c.connection(certificateConnection)
	if failed == 0 || after.SignIns.Refused != failed || after.SignIns.Accepted <= before.SignIns.Accepted {
		t.Errorf("after the rollback: %d sign-ins had failed, then %+v", failed, after.SignIns)
	}
	t.Logf("rolled back %s after the activation, as the simulator's time passes; %d sign-ins failed", rolledBack.Round(time.Minute), failed)
}
