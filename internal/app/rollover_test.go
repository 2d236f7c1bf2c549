package app

import (
	"context"
	"crypto/sha256"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"entra-aws-exporter/internal/model"
	"entra-aws-exporter/internal/simulator/clouds"
)

const rolloverEnabled = "saml: {aws_certificates: console_api, rollover: {mode: enabled, approval: never, retire_after: 2h}}"

const rolloverAlert = `{"version":"4","alerts":[{"status":"firing","labels":{"alertname":"EntraAwsSamlCertificateRolloverDue","rotate":"saml-certificate","connection":"corp"}}]}`

// TestWebhookRollsTheCertificateOver: the alert starts the rollover, over the wire. Every
// sign-in succeeds, and at the end AWS trusts the new certificate alone.
func TestWebhookRollsTheCertificateOver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHarness(t, []clouds.ConnectionSpec{clouds.ExpiringCertificate("corp")})
		h.edit("saml: {aws_certificates: console_api}", rolloverEnabled)
		h.edit(fastIntervals, slowIntervals)
		h.start()
		time.Sleep(15 * time.Minute)
		if code, body := h.post(rolloverAlert); code != 202 || !strings.Contains(body, `"started":1`) {
			t.Fatalf("%d %s", code, body)
		}
		time.Sleep(8 * time.Hour)
		records := h.rotations("corp")
		if len(records) != 1 || records[0].Kind != model.ProcedureCertificate || records[0].Outcome != model.OutcomeDone || records[0].Proof != model.ProofExclusive {
			t.Fatalf("records: %+v\n%s", records, h.logs)
		}
		h.checkSignIns(t)
		h.With(func(m *clouds.Model) {
			connection := m.Connections()[0]
			trusted, err := m.IdPCertificates(clouds.CallerFor("test"), connection.IdPID, connection.IdentityStoreID)
			signer, accepted, _ := m.Signer(connection.EntraTenantID, connection.ServicePrincipalID)
			if err != nil || len(trusted) != 1 || trusted[0].Thumbprint() != signer || !accepted {
				t.Errorf("AWS trusts %v, Entra signs with %s (accepted: %t): %v", trusted, signer, accepted, err)
			}
		})
	})
}

// TestCommandEndsTheOutage: Entra signs with a certificate that AWS does not trust. The
// rollover stops with the one command that ends the outage, and that command ends it.
func TestCommandEndsTheOutage(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		spec := clouds.Healthy("corp")
		spec.Certificates = []clouds.CertificateSpec{
			{Age: 1100 * 24 * time.Hour, Left: -5 * 24 * time.Hour, Active: true, Trusted: true},
			{Age: 40 * 24 * time.Hour, Left: 1055 * 24 * time.Hour},
		}
		h := newHarness(t, []clouds.ConnectionSpec{spec})
		h.edit("saml: {aws_certificates: console_api}", rolloverEnabled)
		run := func(start StartOptions) (output string, err error) {
			start.Connection, start.Pace = "corp", 1
			output = h.command(func(ctx context.Context, options Options) error {
				err = RotationStart(ctx, options, start)
				return err
			})
			return output, err
		}
		output, err := run(StartOptions{Kind: "certificate"})
		if err == nil || !strings.Contains(output, "(signer_not_trusted)") {
			t.Fatalf("%v\n%s", err, output)
		}
		shown := h.command(func(ctx context.Context, options Options) error { return RotationShow(ctx, options, "corp") })
		_, after, found := strings.Cut(shown, "next: rotation start corp --certificate ")
		if !found {
			t.Fatalf("no command in\n%s", shown)
		}
		if output, err := run(StartOptions{Certificate: after[:64]}); err != nil || !strings.Contains(output, "done: AWS trusts certificate "+after[:64]+"\n") {
			t.Fatalf("%v\n%s", err, output)
		}
		h.With(func(m *clouds.Model) {
			connection := m.Connections()[0]
			if signer, accepted, err := m.Signer(connection.EntraTenantID, connection.ServicePrincipalID); !accepted || err != nil {
				t.Errorf("AWS does not accept what %s signs: %v", signer, err)
			}
		})
	})
}

// TestScheduleRollsTheCertificateOver: of two connections, rotation start --if-due rolls
// over the one that is due, run by run.
func TestScheduleRollsTheCertificateOver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHarness(t, []clouds.ConnectionSpec{clouds.ExpiringCertificate("corp"), clouds.Healthy("lab")})
		h.edit("saml: {aws_certificates: console_api}", rolloverEnabled)
		output := ""
		for range 8 {
			printed, err := h.startIfDue("")
			if output += printed; err != nil {
				t.Fatalf("%v\n%s", err, output)
			}
			time.Sleep(time.Hour)
		}
		connection := h.Credentials.Connections[0]
		var trusted []clouds.IdPCertificate
		h.With(func(m *clouds.Model) {
			var err error
			if trusted, err = m.IdPCertificates(clouds.CallerFor("test"), connection.IdPID, connection.IdentityStoreID); err != nil || len(trusted) != 1 {
				t.Fatalf("AWS trusts %v: %v\n%s", trusted, err, output)
			}
		})
		expectLines(t, output, "lab: not due until 20", fmt.Sprintf("done: certificate %x is in use, proof exclusive\n", sha256.Sum256(trusted[0].DER())))
	})
}

// TestBlockedRolloverLetsTheTokenBeRepaired: AWS trusts neither what Entra signs with nor the
// token that Entra holds. The rollover that needs an operator does not keep the token from
// being replaced, and it is blocked again afterwards.
func TestBlockedRolloverLetsTheTokenBeRepaired(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHarness(t, []clouds.ConnectionSpec{clouds.Quarantined("corp")})
		h.edit("saml: {aws_certificates: console_api}", rolloverEnabled)
		h.edit(fastIntervals, "intervals: {tokens: 5m, scim: 5m, usage: 15m, job: 5m, events: 15m, certificates: 5m, app_credentials: 30m}")
		h.start()
		time.Sleep(15 * time.Minute)
		post := func(body, want string) {
			t.Helper()
			if _, answer := h.post(body); !strings.Contains(answer, want) {
				t.Fatalf("%s, want %s", answer, want)
			}
		}
		post(rolloverAlert, `"started":1`)
		time.Sleep(time.Hour)
		post(rolloverAlert, `"blocked":1`)
		post(alertsPayload("firing", "corp"), `"started":1`)
		post(rolloverAlert, `"already_running":1`)
		time.Sleep(8 * time.Hour)
		post(rolloverAlert, `"started":1`)
		time.Sleep(time.Hour)
		var got []string
		for _, record := range h.rotations("corp") { // newest first
			got = append(got, string(record.Kind)+" "+string(record.Outcome)+" "+record.Reason)
		}
		want := []string{"saml_certificate blocked signer_not_trusted", "scim_token done ", "saml_certificate blocked signer_not_trusted"}
		if !slices.Equal(got, want) {
			t.Errorf("got %q, want %q", got, want)
		}
	})
}

// TestBadFingerprints: what is no fingerprint, or fits no certificate, starts nothing.
func TestBadFingerprints(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHarness(t, []clouds.ConnectionSpec{clouds.Healthy("corp")})
		h.edit("saml: {aws_certificates: console_api}", rolloverEnabled)
		for fingerprint, want := range map[string]string{
			"ABCD":                   `connection corp: "ABCD" is not the SHA-256 fingerprint of a certificate: it has 64 hex digits`,
			strings.Repeat("ab", 32): "neither Entra nor AWS shows a certificate with the fingerprint " + strings.Repeat("ab", 32),
		} {
			output := h.command(func(ctx context.Context, options Options) error {
				return RotationStart(ctx, options, StartOptions{Connection: "corp", Certificate: fingerprint, Pace: 1})
			})
			expectLines(t, output, want)
		}
		if n := h.mutations(); n != 0 {
			t.Errorf("%d changes at AWS and in Entra", n)
		}
	})
}

// TestOperatorIsTheProof: neither log can be read. The rollover asks an operator before the
// deletion, and again after it.
func TestOperatorIsTheProof(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHarness(t, []clouds.ConnectionSpec{clouds.ExpiringCertificate("corp")})
		h.edit("saml: {aws_certificates: console_api}", "saml: {aws_certificates: console_api, rollover: {mode: enabled, retire_after: 2h}}")
		h.edit(fastIntervals, slowIntervals)
		h.With(func(m *clouds.Model) {
			m.Deny(clouds.ActorExporter, clouds.LookupEventsAction, clouds.DenyMissing)
			m.Deny(clouds.ActorExporter, clouds.ReadSignInLog, clouds.DenyMissing)
		})
		h.start()
		time.Sleep(2 * time.Hour)
		if code, body := h.post(rolloverAlert); code != 202 || !strings.Contains(body, `"started":1`) {
			t.Fatalf("%d %s", code, body)
		}
		for _, evidence := range []string{
			"corp is waiting for approval to delete certificate ", "corp is waiting for approval to end: AWS trusts certificate ",
		} {
			time.Sleep(6 * time.Hour)
			shown := h.command(func(ctx context.Context, options Options) error { return RotationShow(ctx, options, "corp") })
			approval := "rotation approve corp " + h.rotations("corp")[0].OldCertificate
			if strings.Count(shown, evidence) != 2 || !strings.Contains(shown, approval) { // once in its log, once as its state
				t.Fatalf("it does not ask:\n%s", shown)
			}
			h.command(func(ctx context.Context, options Options) error {
				return RotationApprove(ctx, options, "corp", h.rotations("corp")[0].OldCertificate)
			})
		}
		time.Sleep(2 * time.Hour)
		if records := h.rotations("corp"); records[0].Outcome != model.OutcomeDone || records[0].Proof != model.ProofExclusive {
			t.Errorf("records: %+v", records)
		}
	})
}

// checkSignIns demands that every sign-in was possible, by the simulator's own record.
func (h *harness) checkSignIns(t *testing.T) {
	t.Helper()
	h.With(func(m *clouds.Model) {
		if outages := m.SignInOutages(); len(outages) > 0 {
			t.Errorf("nobody could sign in: %v", outages)
		}
	})
}
