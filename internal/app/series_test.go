package app

import (
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"entra-aws-exporter/internal/simulator"
	"entra-aws-exporter/internal/simulator/clouds"
)

// docs/metrics.md states how many series a connection has during a rotation, also in
// quarantine, with the rollover switched on.
func TestSeriesInARotation(t *testing.T) {
	aged := clouds.Healthy("expiring")
	aged.Tokens = []clouds.TokenSpec{{Age: 345 * 24 * time.Hour, Left: 20 * 24 * time.Hour, Saved: true}}
	for name, spec := range map[string]clouds.ConnectionSpec{
		"undisturbed": aged, "in quarantine": clouds.Quarantined("expiring"), "rollover": clouds.ExpiringCertificate("expiring"),
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				h := newHarness(t, []clouds.ConnectionSpec{spec})
				h.edit(fastIntervals, slowIntervals)
				h.edit("saml: {aws_certificates: console_api}", rolloverEnabled)
				h.start()
				time.Sleep(firstPoll)
				if name == "rollover" {
					h.post(strings.ReplaceAll(rolloverAlert, "corp", "expiring"))
				} else {
					h.alert()
				}
				most := 0
				for len(h.series().matching("entra_aws_rotations_total", `outcome="done"} 1`)) == 0 {
					most = max(most, len(h.series().matching(`connection="expiring"`)))
					time.Sleep(10 * time.Minute)
				}
				if t.Logf("%d series", most); most < 100 || most > 115 {
					t.Errorf("%d series, want 100 to 115", most)
				}
			})
		})
	}
}

// A healthy connection has at most 100 series with everything on: the usage of its token,
// two signing certificates that AWS trusts, users that come, and both kinds of rotation.
func TestSeriesOfAHealthyConnection(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		spec := clouds.Healthy("corp")
		spec.Certificates = append(spec.Certificates, clouds.CertificateSpec{Left: 900 * 24 * time.Hour, Trusted: true})
		h := newHarness(t, []clouds.ConnectionSpec{spec})
		h.edit(fastIntervals, slowIntervals)
		h.edit("saml: {aws_certificates: console_api}", rolloverEnabled)
		h.start()
		time.Sleep(30 * time.Minute)
		if _, err := h.Perform(simulator.Action{Do: "add_user", UserName: "ann@example.com"}); err != nil {
			t.Fatal(err)
		}
		time.Sleep(6 * time.Hour)
		all := h.series().matching(`connection="corp"`)
		for name, want := range map[string]int{"scim_token_last_used": 1, "saml_certificate_trusted": 2, "saml_certificate_expiry": 4, "source_up": 7, "rotation_phase": 2, "rollover_due": 1} {
			if got := len(all.matching(name)); got != want {
				t.Errorf("%d series of %s, want %d: it is not all on", got, name, want)
			}
		}
		if t.Logf("%d series", len(all)); len(all) > 100 {
			t.Errorf("%d series, want at most 100", len(all))
		}
	})
}
