package app

import (
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"entra-aws-exporter/internal/simulator"
	"entra-aws-exporter/internal/simulator/clouds"
)

// With the application of one instance and the AWS credentials of another, nothing of AWS is
// shown as the connection's. Entra's side is, and an Entra that fails hides nothing of AWS.
func TestApplicationOfAnotherInstance(t *testing.T) {
	const other = "https://eu-central-1.signin.aws.amazon.com/platform/saml/d-9999999999"
	for name, test := range map[string]struct {
		identifier string
		fault      bool
		wrong      bool
	}{
		"another instance":   {identifier: other, wrong: true},
		"no instance at all": {identifier: "https://example.com/sso"},
		"Entra fails":        {identifier: other, fault: true},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				h := newHarness(t, []clouds.ConnectionSpec{clouds.Healthy("corp")})
				if _, err := h.Perform(simulator.Action{Do: "change_identifier", Value: test.identifier}); err != nil {
					t.Fatal(err)
				}
				if test.fault {
					h.InjectFault(simulator.Fault{Operation: "GET servicePrincipal", Status: 500})
				}
				report := h.doctor("corp")
				h.start()
				time.Sleep(firstPoll)
				shown := len(h.series().matching("scim_token_expiry")) + len(h.series().matching("saml_certificate_expiry", `holder="aws"`))
				if failed := strings.Contains(report, "FAILED  AWS instance and tenant        wrong_target"); failed != test.wrong {
					t.Errorf("doctor:\n%s", report)
				}
				if (shown == 0) != test.wrong {
					t.Errorf("%d series of AWS", shown)
				}
				for _, source := range []string{"tokens", "usage", "certificates"} {
					failures := h.series().matching("source_errors_total", `source="`+source+`"`, `reason="wrong_target"`)
					if (len(failures) == 1) != test.wrong {
						t.Errorf("%s: %v", source, failures)
					}
				}
				h.series().expect(t, `entra_aws_source_up{connection="corp",source="job"} 1`)
				if !test.fault {
					return
				}
				h.ClearFaults()
				time.Sleep(firstPoll)
				h.series().expect(t, `entra_aws_source_up{connection="corp",source="tokens"} 0`)
			})
		})
	}
}
