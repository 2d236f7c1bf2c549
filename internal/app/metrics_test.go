package app

import (
	"strings"
	"testing"
	"testing/synctest"

	"entra-aws-exporter/internal/simulator"
	"entra-aws-exporter/internal/simulator/clouds"
)

// TestMetricsFailsWhenEveryCallIsRefused: what a script stores is not taken for a result.
func TestMetricsFailsWhenEveryCallIsRefused(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHarness(t, []clouds.ConnectionSpec{clouds.Healthy("corp")})
		h.InjectFault(simulator.Fault{Operation: "*", Status: 403, Code: "AccessDeniedException"})
		expectLines(t, h.command(Metrics), `entra_aws_source_up{connection="corp",source="tokens"} 0`, "no source could be read; the first error: ")
		h.ClearFaults()
		h.InjectFault(simulator.Fault{Operation: "ListBearerTokens", Status: 403, Code: "AccessDeniedException"})
		if printed := h.command(Metrics); strings.Contains(printed, "no source could be read") {
			t.Errorf("one source alone is refused:\n%s", printed)
		}
	})
}
