package web

import (
	"fmt"
	"io/fs"
	"os"
	"regexp"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"entra-aws-exporter/docs/runbooks"
	"entra-aws-exporter/internal/model"
)

var now = time.Date(2026, 11, 24, 12, 0, 0, 0, time.UTC)

// in is a moment so many days and an hour ahead, or behind.
func in(days int) time.Time { return now.Add(time.Duration(days)*day + time.Hour) }

func tokens(all ...Token) *Tokens {
	return &Tokens{Slots: 2, Tokens: all, ActiveTokenID: all[len(all)-1].ID, ActiveExpires: all[len(all)-1].Expires}
}

func token(id string, expires time.Time) Token {
	return Token{Token: model.Token{ID: id, Expires: expires}}
}

func TestAdvice(t *testing.T) {
	yes, no, none, three := true, false, 0, int64(3)
	for _, test := range []struct {
		name       string
		connection Connection
		want       []string // severity: sentence [command] (alert)
	}{
		{"all is well", Connection{
			Tokens:         tokens(token("a", in(100))),
			Probe:          &Probe{StatusCode: 200, Accepted: true},
			Job:            &Job{Status: model.JobActive, IntervalSeconds: 2400, LastCycle: &Cycle{Ended: now.Add(-119 * time.Minute), State: model.CycleSucceeded}},
			Certificates:   &Certificates{ActiveExpires: in(60), Entra: []Certificate{{Active: true, Trusted: &yes}}},
			AppCredentials: []AppCredential{{Expires: in(-5)}, {Expires: in(30)}},
			Sources:        []Source{{Source: model.SourceJob, Up: &yes, Fresh: true}, {Source: model.SourceUsage}},
		}, nil},
		{"token soon, rotation off", Connection{Tokens: tokens(token("a", in(20)))}, []string{
			"warning: The SCIM access token a expires in 20 days (14 December 2026). Generate a new token in IAM Identity Center, enter it in Entra, test, save, see a user provisioned, then delete the old one. [] (EntraAwsScimTokenExpiringSoon)"}},
		{"token critical, rotation on", Connection{Tokens: tokens(token("a", in(13))), Rotation: Rotation{Mode: model.RotationEnabled}}, []string{
			"critical: The SCIM access token a expires in 13 days (7 December 2026). The rotation replaces it when its alert arrives; start it by hand if that does not happen. [entra-aws-exporter rotation start corp] (EntraAwsScimTokenExpiringCritical)"}},
		{"token expired", Connection{Tokens: tokens(token("a", in(-3)))}, []string{
			"critical: The SCIM access token a expired 2 days ago (21 November 2026). Generate a new token in IAM Identity Center, enter it in Entra, test, save, see a user provisioned, then delete the old one. [] (EntraAwsScimTokenExpiringCritical)"}},
		{"token being replaced, both slots taken by it", Connection{
			Tokens: tokens(token("b", in(360)), token("a", in(50))), Rotation: Rotation{Mode: model.RotationEnabled, Phase: model.PhaseVerify},
		}, []string{
			"info: The SCIM access token a expires in 50 days (13 January 2027). A rotation is replacing it; nothing to do unless it stops. [] (EntraAwsScimTokenExpiringSoon)"}},
		{"slots full", Connection{Tokens: tokens(token("b", in(300)), token("a", in(200)))}, []string{
			"warning: The token slots are full (2 of 2). Delete the one that Entra does not use, so that the next rotation has a slot. [] (EntraAwsScimTokenSlotsFull)"}},
		{"slots full, one expired", Connection{Tokens: tokens(token("b", in(-30)), token("a", in(200)))}, []string{
			"warning: The token slots are full (2 of 2). Token b has expired: deleting it frees its slot. [] (EntraAwsScimTokenSlotsFull)"}},
		{"no token", Connection{Tokens: &Tokens{Slots: 2}}, []string{
			"warning: There is no SCIM access token at AWS: generate one in IAM Identity Center and enter it in Entra. [] ()"}},
		{"refused", Connection{Probe: &Probe{StatusCode: 401}}, []string{
			"critical: AWS refuses the SCIM access token (HTTP 401). If Entra's own provisioning fails too, replace the token. [entra-aws-exporter doctor corp] (EntraAwsScimTokenRefused)"}},
		{"throttled is not refused", Connection{Probe: &Probe{StatusCode: 429}}, nil},
		{"quarantine by a bad token, soon disabled", Connection{Job: &Job{Status: model.JobQuarantine, Quarantine: &Quarantine{
			Reason: model.QuarantineReasonException, NextAttempt: now.Add(time.Hour), DisablesAt: in(5),
		}}}, []string{
			"critical: Entra has put the provisioning job into quarantine (EncounteredQuarantineException). The SCIM access token that Entra holds is refused: replace it, the job recovers at its next attempt. Entra's next attempt: 2026-11-24 13:00 UTC. [] (EntraAwsProvisioningQuarantined)",
			"critical: Entra disables the quarantined job on 29 November 2026 (in 5 days) unless a cycle succeeds before. [] (EntraAwsProvisioningDisableImminent)"}},
		{"quarantine by deletions", Connection{Job: &Job{Status: model.JobQuarantine, Quarantine: &Quarantine{Reason: model.QuarantineReasonDeletes, DisablesAt: in(20)}}}, []string{
			"critical: Entra has put the provisioning job into quarantine (TooManyDeletes). It holds back many deletions until a person allows them; do not restart the job before you have read which. [] (EntraAwsProvisioningQuarantined)"}},
		{"paused", Connection{Job: &Job{Status: model.JobPaused, LastCycle: &Cycle{Ended: in(-9), State: model.CycleFailed}}}, []string{
			"warning: Provisioning does not run: the job is paused. Nobody is created, changed or removed in AWS; if this is not wanted, start the job in Entra. [] (EntraAwsProvisioningStopped)"}},
		{"disabled", Connection{Job: &Job{Status: model.JobActive, Schedule: model.ScheduleDisabled}}, []string{
			"warning: Provisioning does not run: the job's schedule is disabled. Nobody is created, changed or removed in AWS; if this is not wanted, start the job in Entra. [] (EntraAwsProvisioningStopped)"}},
		{"failing and stale", Connection{Job: &Job{Status: model.JobActive, IntervalSeconds: 2400, ConsecutiveFailures: &three, LastCycle: &Cycle{Ended: now.Add(-121 * time.Minute)}}}, []string{
			"warning: 3 provisioning cycles in a row have failed; read the newest entries of Entra's provisioning log. [] (EntraAwsProvisioningFailing)",
			"warning: No provisioning cycle has ended for 2 hours; look at the job's progress in Entra. [] (EntraAwsProvisioningStale)"}},
		{"last cycle failed", Connection{Job: &Job{Status: model.JobActive, LastCycle: &Cycle{State: model.CycleFailed, ErrorCode: "Oops"}}}, []string{
			"warning: The last provisioning cycle failed, Oops; read the newest entries of Entra's provisioning log. [] (EntraAwsProvisioningFailing)"}},
		{"some entries failed", Connection{Job: &Job{Status: model.JobActive, LastCycle: &Cycle{State: model.CycleEntryLevelErrors}}}, []string{
			"info: Some users or groups failed in the last cycle, the rest went through; Entra's provisioning log names them. [] (EntraAwsProvisioningFailing)"}},
		{"certificate", Connection{Certificates: &Certificates{
			ActiveExpires: in(-1), UnexpectedSigner: "NEXT", NotificationAddresses: &none, Entra: []Certificate{{Thumbprint: "OLD", Active: true, Trusted: &no}, {Thumbprint: "NEXT", Trusted: &no}},
		}}, []string{
			"critical: The SAML signing certificate expired 23 hours ago (23 November 2026). Import its successor into AWS first, then make it active in Entra, then remove the old one. [] (EntraAwsSamlCertificateExpiringCritical)",
			"critical: The active SAML certificate has expired and Entra signs with NEXT by itself. AWS does not hold that one, so nobody can sign in: import it into IAM Identity Center, then make it active. [] (EntraAwsSamlUnexpectedSigner)",
			"critical: AWS does not hold the certificate that Entra signs with (OLD), so nobody can sign in: import it into IAM Identity Center. [] (EntraAwsSamlCertificateNotTrusted)",
			"info: Entra mails nobody before the SAML certificate expires: enter a notification address. [] (EntraAwsSamlNobodyNotified)"}},
		{"unexpected signer that AWS trusts", Connection{Certificates: &Certificates{UnexpectedSigner: "NEXT", Entra: []Certificate{{Thumbprint: "NEXT", Trusted: &yes}}}}, []string{
			"warning: The active SAML certificate has expired and Entra signs with NEXT by itself. AWS trusts that one, so sign-in goes on: make it active. [] (EntraAwsSamlUnexpectedSigner)"}},
		{"unexpected signer, trust not known", Connection{Certificates: &Certificates{UnexpectedSigner: "NEXT", Entra: []Certificate{{Thumbprint: "NEXT"}}}}, []string{
			"critical: The active SAML certificate has expired and Entra signs with NEXT by itself. Check that AWS trusts that one, then make it active. [] (EntraAwsSamlUnexpectedSigner)"}},
		{"own credential", Connection{EntraTenant: "contoso", AppCredentials: []AppCredential{{EntraTenant: "contoso", Kind: "secret", KeyID: "k", Expires: in(6)}, {EntraTenant: "contoso", Kind: "certificate", KeyID: "l", Expires: in(29)}}}, []string{
			"critical: The exporter's own Entra secret k of tenant contoso expires in 6 days (30 November 2026): give the exporter a new one, then delete this one. [] (EntraAwsAppCredentialExpiringCritical)",
			"warning: The exporter's own Entra certificate l of tenant contoso expires in 29 days (23 December 2026): give the exporter a new one, then delete this one. [] (EntraAwsAppCredentialExpiringSoon)"}},
		{"own credentials all expired", Connection{EntraTenant: "contoso", AppCredentials: []AppCredential{{EntraTenant: "contoso", Kind: "secret", KeyID: "k", Expires: in(-3)}}}, []string{
			"critical: The exporter's own Entra secret k of tenant contoso expired 2 days ago (21 November 2026): give the exporter a new one, then delete this one. [] (EntraAwsAppCredentialExpiringCritical)"}},
		{"sources", Connection{Sources: []Source{{Source: model.SourceEvents, Up: &no, Error: "reading: licence."}, {Source: model.SourceJob, Up: &yes, LastSuccess: now.Add(-time.Hour)}}}, []string{
			"warning: Reading events fails: reading: licence. [entra-aws-exporter doctor corp] (EntraAwsSourceFailing)",
			"warning: What is shown of job is from 2026-11-24 11:00 UTC: it is no longer being read. [] (EntraAwsSourceStale)"}},
		{"rotation blocked", Connection{Rotation: Rotation{Phase: model.PhaseBlocked, Blocked: "two_tokens", Message: "corp is blocked (two_tokens)."}}, []string{
			"warning: corp is blocked (two_tokens). [entra-aws-exporter rotation show corp] (EntraAwsRotationBlocked)"}},
		{"rotation blocked, outage", Connection{Rotation: Rotation{Phase: model.PhaseBlocked, Blocked: "entra_holds_dead_token", Message: "corp is blocked: dead."}}, []string{
			"critical: corp is blocked: dead. [entra-aws-exporter rotation show corp] (EntraAwsRotationBlocked)"}},
		{"approval", Connection{Rotation: Rotation{Phase: model.PhaseRetire, Waiting: "approval", Message: "corp waits for leave to delete."}}, []string{
			"warning: corp waits for leave to delete. [entra-aws-exporter rotation show corp] (EntraAwsRotationNeedsApproval)"}},
		{"does not get on", Connection{Rotation: Rotation{Phase: model.PhaseVerify, Started: in(0), Message: "corp does not get on."}}, []string{
			"info: corp does not get on. [entra-aws-exporter rotation show corp] ()"}},
		{"no state directory", Connection{Rotation: Rotation{Phase: model.PhaseVerify, Started: in(0), Waiting: "store_unavailable", Message: "corp: no space."}}, []string{
			"info: corp: no space. [entra-aws-exporter rotation show corp] (EntraAwsRotationBlocked)"}},
		{"token soon, dry run", Connection{Tokens: tokens(token("a", in(20))), Rotation: Rotation{Mode: model.RotationDryRun}}, []string{
			"warning: The SCIM access token a expires in 20 days (14 December 2026). rotation.mode is dry_run, so nothing rotates: set it to enabled, or do it by hand. Generate a new token in IAM Identity Center, enter it in Entra, test, save, see a user provisioned, then delete the old one. [entra-aws-exporter rotation start corp --dry-run] (EntraAwsScimTokenExpiringSoon)"}},
		{"token soon, a person makes the tokens", Connection{Tokens: tokens(token("a", in(20))), Rotation: Rotation{Mode: model.RotationEnabled, Issuer: model.IssuerOperator}}, []string{
			"warning: The SCIM access token a expires in 20 days (14 December 2026). Generate a token in IAM Identity Center and give it to the rotation. [entra-aws-exporter rotation start corp --token-stdin --token-id ID] (EntraAwsScimTokenExpiringSoon)"}},
		{"overdue, dry run", Connection{Rotation: Rotation{Mode: model.RotationDryRun, Phase: model.PhaseIdle, Due: in(-9)}}, []string{
			"warning: A rotation has been due for 8 days and none has run: rotation.mode is dry_run, so nothing rotates. Set it to enabled, or replace the token by hand. [entra-aws-exporter rotation start corp --dry-run] (EntraAwsRotationOverdue)"}},
		{"overdue, a person makes the tokens", Connection{Rotation: Rotation{Mode: model.RotationEnabled, Issuer: model.IssuerOperator, Phase: model.PhaseIdle, Due: in(-9)}}, []string{
			"warning: A rotation has been due for 8 days and none has run: rotation.issuer is operator, so no alert begins one. Generate a token in IAM Identity Center and give it to the rotation. [entra-aws-exporter rotation start corp --token-stdin --token-id ID] (EntraAwsRotationOverdue)"}},
		{"overdue, never begun", Connection{Rotation: Rotation{Mode: model.RotationEnabled, Phase: model.PhaseIdle, Due: in(-9)}}, []string{
			"warning: A rotation has been due for 8 days and none has run. Check that Alertmanager reaches the webhook, or start it by hand. [entra-aws-exporter rotation start corp] (EntraAwsRotationOverdue)"}},
		{"overdue, running", Connection{Rotation: Rotation{Phase: model.PhaseVerify, Started: in(-9), Message: "Wait."}}, []string{
			"warning: The rotation has been running for 8 days and is still in phase verify. Wait. [entra-aws-exporter rotation show corp] (EntraAwsRotationOverdue)"}},
		{"ambiguous", Connection{Ambiguous: "corp2 resolves to the same identity store d-1."}, []string{
			"warning: This connection may not rotate: corp2 resolves to the same identity store d-1. [] ()"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			test.connection.Name = "corp"
			if test.connection.Rotation.Phase == "" {
				test.connection.Rotation.Phase = model.PhaseIdle
			}
			if test.connection.Rotation.Mode == "" {
				test.connection.Rotation.Mode = model.RotationDisabled
			}
			all := advise(test.connection, now)
			got := make([]string, 0, len(all))
			for _, advice := range all {
				got = append(got, fmt.Sprintf("%s: %s [%s] (%s)", advice.Severity, advice.Message, advice.Command, advice.Alert))
			}
			if diff := cmp.Diff(test.want, got, cmpopts.EquateEmpty()); diff != "" {
				t.Errorf("advice (-want +got):\n%s", diff)
			}
		})
	}
}

// TestAdviceHasItsRunbook: a link from the status page must not be dead.
func TestAdviceHasItsRunbook(t *testing.T) {
	source, err := os.ReadFile("advice.go")
	if err != nil {
		t.Fatal(err)
	}
	names := regexp.MustCompile(`"(EntraAws[A-Za-z]+)"`).FindAllSubmatch(source, -1)
	if len(names) < 15 {
		t.Fatalf("only %d alerts are named in advice.go", len(names))
	}
	for _, name := range names {
		if _, err := fs.Stat(runbooks.Pages, string(name[1])+".md"); err != nil {
			t.Errorf("there is no runbook %s", name[1])
		}
	}
}

func TestSpan(t *testing.T) {
	for d, want := range map[time.Duration]string{
		0: "0 seconds", -time.Second: "1 second", 59 * time.Second: "59 seconds", time.Minute: "1 minute", 119 * time.Minute: "119 minutes",
		2 * time.Hour: "2 hours", 47 * time.Hour: "47 hours", 48 * time.Hour: "2 days", -20 * day: "20 days",
	} {
		if got := span(d); got != want {
			t.Errorf("span(%v) = %q, want %q", d, got, want)
		}
	}
}
