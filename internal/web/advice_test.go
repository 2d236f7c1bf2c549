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

	"entra-aws-exporter/docs"
	"entra-aws-exporter/internal/model"
)

var now = time.Date(2026, 11, 24, 12, 0, 0, 0, time.UTC)

// in returns the time that is this many days and one hour after now.
func in(days int) time.Time { return now.Add(time.Duration(days)*day + time.Hour) }

func tokens(all ...Token) *Tokens {
	return &Tokens{Slots: 2, Tokens: all, ActiveTokenID: all[len(all)-1].ID, ActiveExpires: all[len(all)-1].Expires}
}

// made returns token a, of no known role, made at that time.
func made(at time.Time) Token {
	return Token{Token: model.Token{ID: "a", Created: at, Expires: in(100)}, Role: model.RoleUnknown}
}

func token(id string, expires time.Time) Token {
	return Token{Token: model.Token{ID: id, Expires: expires}}
}

// expiringCertificate is a connection whose certificate expires in so many days, with a rollover.
func expiringCertificate(days int, phase model.Phase) Connection {
	rollover := Rotation{Mode: model.RotationEnabled, Phase: phase}
	if phase == model.PhaseBlocked {
		rollover.Blocked, rollover.Message = model.BlockedImportRefused, "corp is blocked."
	}
	return Connection{Certificates: &Certificates{ActiveExpires: in(days)}, Rollover: &rollover}
}

func TestAdvice(t *testing.T) {
	yes, no, none, three := true, false, 0, int64(3)
	for _, test := range []struct {
		name       string
		connection Connection
		want       []string // severity: sentence [command] (alert)
	}{
		{"healthy", Connection{
			Tokens:         tokens(token("a", in(100))),
			Probe:          &Probe{StatusCode: 200, Accepted: true},
			Job:            &Job{Status: model.JobActive, IntervalSeconds: 2400, LastCycle: &Cycle{Ended: now.Add(-119 * time.Minute), State: model.CycleSucceeded}},
			Certificates:   &Certificates{ActiveExpires: in(60), Entra: []Certificate{{Active: true, Trusted: &yes}}},
			AppCredentials: []AppCredential{{Expires: in(-5)}, {Expires: in(30)}},
			Sources:        []Source{{Source: model.SourceJob, Up: &yes, Fresh: true}, {Source: model.SourceUsage}},
		}, nil},
		{"token soon, rotation off", Connection{Tokens: tokens(token("a", in(20)))}, []string{
			"warning: The SCIM access token a expires in 20 days (14 December 2026). Generate a new token in IAM Identity Center, enter it in Entra, test the connection and save. Delete the old token once a user was provisioned. [] (EntraAwsScimTokenExpiringSoon)"}},
		{"token critical, rotation on", Connection{Tokens: tokens(token("a", in(13))), Rotation: Rotation{Mode: model.RotationEnabled}}, []string{
			"critical: The SCIM access token a expires in 13 days (7 December 2026). The rotation replaces it when its alert arrives. If that does not happen, start the rotation by hand. [entra-aws-exporter rotation start corp] (EntraAwsScimTokenExpiringCritical)"}},
		{"token expired", Connection{Tokens: tokens(token("a", in(-3)))}, []string{
			"critical: The SCIM access token a expired 2 days ago (21 November 2026). Generate a new token in IAM Identity Center, enter it in Entra, test the connection and save. Delete the old token once a user was provisioned. [] (EntraAwsScimTokenExpiringCritical)"}},
		{"token being replaced, both slots taken by it", Connection{
			Tokens: tokens(token("b", in(360)), token("a", in(50))), Rotation: Rotation{Mode: model.RotationEnabled, Phase: model.PhaseVerify},
		}, []string{
			"info: The SCIM access token a expires in 50 days (13 January 2027). A rotation is replacing it. No action is needed unless the rotation stops. [] (EntraAwsScimTokenExpiringSoon)"}},
		{"slots full", Connection{Tokens: tokens(token("b", in(300)), token("a", in(200)))}, []string{
			"warning: All token slots are in use (2 of 2). Delete the token that Entra does not use, so that the next rotation has a slot. [] (EntraAwsScimTokenSlotsFull)"}},
		{"slots full, one expired", Connection{Tokens: tokens(token("b", in(-30)), token("a", in(200)))}, []string{
			"warning: All token slots are in use (2 of 2). Token b has expired. Delete it to free its slot. [] (EntraAwsScimTokenSlotsFull)"}},
		{"no token", Connection{Tokens: &Tokens{Slots: 2}}, []string{
			"info: AWS lists no SCIM access token. Generate one in IAM Identity Center and enter it in Entra. [] ()"}},
		{"probe rejected", Connection{Probe: &Probe{StatusCode: 401}}, []string{
			"critical: AWS rejects the SCIM access token (HTTP 401). If Entra's provisioning fails too, replace the token. [entra-aws-exporter doctor corp] (EntraAwsScimTokenRefused)"}},
		{"only the exporter's address is refused", Connection{Probe: &Probe{StatusCode: 403}}, []string{
			"warning: AWS refuses the exporter's SCIM probe (HTTP 403). The identity store may not allow the exporter's address. Entra's calls may be allowed. [entra-aws-exporter doctor corp] (EntraAwsScimTokenRefused)"}},
		{"no token in use", Connection{Tokens: tokens(made(now.Add(-121 * time.Minute))), Job: &Job{Status: model.JobActive}}, []string{
			"warning: Nothing shows that Entra uses one of the listed SCIM access tokens. It may hold a deleted one. Test the connection in Entra. [entra-aws-exporter doctor corp] (EntraAwsScimTokenInUseUnknown)"}},
		{"no token in use, the newest is young", Connection{Tokens: tokens(made(now.Add(-119 * time.Minute))), Job: &Job{Status: model.JobActive}}, nil},
		{"no token in use, a rotation runs", Connection{
			Tokens: tokens(made(in(-9))), Job: &Job{Status: model.JobActive}, Rotation: Rotation{Phase: model.PhaseVerify},
		}, nil},
		{"no token in use, the job is stopped", Connection{Tokens: tokens(made(in(-9))), Job: &Job{Status: model.JobPaused}}, []string{
			"warning: Provisioning does not run: the job is paused. No user is created, changed or removed in AWS. If this is not intended, start the job in Entra. [] (EntraAwsProvisioningStopped)"}},
		{"a throttled probe is not a rejection", Connection{Probe: &Probe{StatusCode: 429}}, nil},
		{"quarantine by a bad token, soon disabled", Connection{Job: &Job{Status: model.JobQuarantine, Quarantine: &Quarantine{
			Reason: model.QuarantineReasonException, NextAttempt: now.Add(time.Hour), DisablesAt: in(5),
		}}}, []string{
			"critical: Entra has quarantined the provisioning job (EncounteredQuarantineException). AWS rejects the SCIM access token that Entra holds. Replace the token; the job recovers at its next attempt. Entra's next attempt: 2026-11-24 13:00 UTC. [] (EntraAwsProvisioningQuarantined)",
			"critical: Entra disables the quarantined job on 29 November 2026 (in 5 days) unless a cycle succeeds first. [] (EntraAwsProvisioningDisableImminent)"}},
		{"quarantine by deletions", Connection{Job: &Job{Status: model.JobQuarantine, Quarantine: &Quarantine{Reason: model.QuarantineReasonDeletes, DisablesAt: in(20)}}}, []string{
			"critical: Entra has quarantined the provisioning job (TooManyDeletes). Entra holds back many deletions until an operator allows them. Review the deletions before you restart the job. [] (EntraAwsProvisioningQuarantined)"}},
		{"paused", Connection{Job: &Job{Status: model.JobPaused, LastCycle: &Cycle{Ended: in(-9), State: model.CycleFailed}}}, []string{
			"warning: Provisioning does not run: the job is paused. No user is created, changed or removed in AWS. If this is not intended, start the job in Entra. [] (EntraAwsProvisioningStopped)",
			"warning: The last provisioning cycle failed. Read the newest entries of Entra's provisioning log. [] (EntraAwsProvisioningFailing)",
			"warning: No provisioning cycle has ended for 8 days. Check the job's progress in Entra. [] (EntraAwsProvisioningStale)"}},
		{"disabled", Connection{Job: &Job{Status: model.JobActive, Schedule: model.ScheduleDisabled}}, []string{
			"warning: Provisioning does not run: the job's schedule is disabled. No user is created, changed or removed in AWS. If this is not intended, start the job in Entra. [] (EntraAwsProvisioningStopped)"}},
		{"failing and stale", Connection{Job: &Job{Status: model.JobActive, IntervalSeconds: 2400, ConsecutiveFailures: &three, LastCycle: &Cycle{Ended: now.Add(-121 * time.Minute)}}}, []string{
			"warning: 3 provisioning cycles in a row have failed. Read the newest entries of Entra's provisioning log. [] (EntraAwsProvisioningFailing)",
			"warning: No provisioning cycle has ended for 2 hours. Check the job's progress in Entra. [] (EntraAwsProvisioningStale)"}},
		{"last cycle failed", Connection{Job: &Job{Status: model.JobActive, LastCycle: &Cycle{State: model.CycleFailed, ErrorCode: "Oops"}}}, []string{
			"warning: The last provisioning cycle failed (Oops). Read the newest entries of Entra's provisioning log. [] (EntraAwsProvisioningFailing)"}},
		{"some entries failed", Connection{Job: &Job{Status: model.JobActive, LastCycle: &Cycle{State: model.CycleEntryLevelErrors}}}, []string{
			"info: Some users or groups failed in the last cycle; the others were provisioned. Entra's provisioning log names the failed ones. [] (EntraAwsProvisioningFailing)"}},
		{"certificate", Connection{Certificates: &Certificates{
			ActiveExpires: in(-1), UnexpectedSigner: "NEXT", NotificationAddresses: &none, Entra: []Certificate{{Thumbprint: "OLD", Active: true, Trusted: &no}, {Thumbprint: "NEXT", Trusted: &no}},
		}}, []string{
			"critical: The SAML signing certificate expired 23 hours ago (23 November 2026). Import the next certificate into AWS, then activate it in Entra, then remove the old one. [] (EntraAwsSamlCertificateExpiringCritical)",
			"critical: The active SAML certificate has expired, and Entra signs with NEXT instead. AWS does not trust it, so nobody can sign in. Import it into IAM Identity Center, then activate it in Entra. [] (EntraAwsSamlUnexpectedSigner)",
			"critical: AWS does not trust the certificate that Entra signs with (OLD), so nobody can sign in. Import it into IAM Identity Center. [] (EntraAwsSamlCertificateNotTrusted)",
			"info: Entra notifies nobody before the SAML certificate expires. Add a notification address. [] (EntraAwsSamlNobodyNotified)"}},
		{"unexpected signer that AWS trusts", Connection{Certificates: &Certificates{UnexpectedSigner: "NEXT", Entra: []Certificate{{Thumbprint: "NEXT", Trusted: &yes}}}}, []string{
			"warning: The active SAML certificate has expired, and Entra signs with NEXT instead. AWS trusts it, so sign-in works. Activate it in Entra. [] (EntraAwsSamlUnexpectedSigner)"}},
		{"unexpected signer, trust not known", Connection{Certificates: &Certificates{UnexpectedSigner: "NEXT", Entra: []Certificate{{Thumbprint: "NEXT"}}}}, []string{
			"critical: The active SAML certificate has expired, and Entra signs with NEXT instead. Check that AWS trusts it, then activate it in Entra. [] (EntraAwsSamlUnexpectedSigner)"}},
		{"own credential", Connection{EntraTenant: "contoso", AppCredentials: []AppCredential{{EntraTenant: "contoso", Kind: "secret", KeyID: "k", Expires: in(6)}, {EntraTenant: "contoso", Kind: "certificate", KeyID: "l", Expires: in(29)}}}, []string{
			"critical: The exporter's own Entra secret k of tenant contoso expires in 6 days (30 November 2026). Give the exporter a new one, then delete this one. [] (EntraAwsAppCredentialExpiringCritical)",
			"warning: The exporter's own Entra certificate l of tenant contoso expires in 29 days (23 December 2026). Give the exporter a new one, then delete this one. [] (EntraAwsAppCredentialExpiringSoon)"}},
		{"own credentials all expired", Connection{EntraTenant: "contoso", AppCredentials: []AppCredential{{EntraTenant: "contoso", Kind: "secret", KeyID: "k", Expires: in(-3)}}}, []string{
			"critical: The exporter's own Entra secret k of tenant contoso expired 2 days ago (21 November 2026). Give the exporter a new one, then delete this one. [] (EntraAwsAppCredentialExpiringCritical)"}},
		{"sources", Connection{Sources: []Source{{Source: model.SourceEvents, Up: &no, Error: "reading: licence."}, {Source: model.SourceJob, Up: &yes, LastSuccess: now.Add(-time.Hour)}}}, []string{
			"warning: Source events fails: reading: licence. [entra-aws-exporter doctor corp] (EntraAwsSourceFailing)",
			"warning: Source job is stale: the values shown are from 2026-11-24 11:00 UTC. [] (EntraAwsSourceStale)"}},
		{"rotation blocked", Connection{Rotation: Rotation{Phase: model.PhaseBlocked, Blocked: "two_tokens", Message: "corp is blocked (two_tokens)."}}, []string{
			"warning: corp is blocked (two_tokens). [entra-aws-exporter rotation show corp] (EntraAwsRotationBlocked)"}},
		{"rotation blocked, outage", Connection{Rotation: Rotation{Phase: model.PhaseBlocked, Blocked: "entra_holds_dead_token", Message: "corp is blocked: dead."}}, []string{
			"critical: corp is blocked: dead. [entra-aws-exporter rotation show corp] (EntraAwsRotationBlocked)"}},
		{"approval", Connection{Rotation: Rotation{Phase: model.PhaseRetire, Waiting: "approval", Message: "corp is waiting for approval."}}, []string{
			"warning: corp is waiting for approval. [entra-aws-exporter rotation show corp] (EntraAwsRotationNeedsApproval)"}},
		{"rotation stalled", Connection{Rotation: Rotation{Phase: model.PhaseVerify, Started: in(0), Message: "corp is stalled."}}, []string{
			"info: corp is stalled. [entra-aws-exporter rotation show corp] ()"}},
		{"no state directory", Connection{Rotation: Rotation{Phase: model.PhaseVerify, Started: in(0), Waiting: "store_unavailable", Message: "corp: no space."}}, []string{
			"info: corp: no space. [entra-aws-exporter rotation show corp] (EntraAwsRotationBlocked)"}},
		{"token soon, dry run", Connection{Tokens: tokens(token("a", in(20))), Rotation: Rotation{Mode: model.RotationDryRun}}, []string{
			"warning: The SCIM access token a expires in 20 days (14 December 2026). rotation.mode is dry_run, so no token is replaced. Set it to enabled, or replace the token by hand. Generate a new token in IAM Identity Center, enter it in Entra, test the connection and save. Delete the old token once a user was provisioned. [entra-aws-exporter rotation start corp --dry-run] (EntraAwsScimTokenExpiringSoon)"}},
		{"token soon, the operator creates tokens", Connection{Tokens: tokens(token("a", in(20))), Rotation: Rotation{Mode: model.RotationEnabled, Issuer: model.IssuerOperator}}, []string{
			"warning: The SCIM access token a expires in 20 days (14 December 2026). Generate a token in IAM Identity Center and pass it to the rotation. [entra-aws-exporter rotation start corp --token-stdin --token-id ID] (EntraAwsScimTokenExpiringSoon)"}},
		{"overdue, dry run", Connection{Rotation: Rotation{Mode: model.RotationDryRun, Phase: model.PhaseIdle, Due: in(-9)}}, []string{
			"warning: A rotation has been due for 8 days and has not started. rotation.mode is dry_run, so no token is replaced. Set it to enabled, or replace the token by hand. [entra-aws-exporter rotation start corp --dry-run] (EntraAwsRotationOverdue)"}},
		{"overdue, the operator creates tokens", Connection{Rotation: Rotation{Mode: model.RotationEnabled, Issuer: model.IssuerOperator, Phase: model.PhaseIdle, Due: in(-9)}}, []string{
			"warning: A rotation has been due for 8 days and has not started. rotation.issuer is operator, so no alert starts one. Generate a token in IAM Identity Center and pass it to the rotation. [entra-aws-exporter rotation start corp --token-stdin --token-id ID] (EntraAwsRotationOverdue)"}},
		{"overdue, not started", Connection{Rotation: Rotation{Mode: model.RotationEnabled, Phase: model.PhaseIdle, Due: in(-9)}}, []string{
			"warning: A rotation has been due for 8 days and has not started. Check that Alertmanager reaches the webhook, or start it by hand. [entra-aws-exporter rotation start corp] (EntraAwsRotationOverdue)"}},
		{"overdue, running", Connection{Rotation: Rotation{Phase: model.PhaseVerify, Started: in(-9), Message: "Wait."}}, []string{
			"warning: The rotation has been running for 8 days and is still in phase verify. Wait. [entra-aws-exporter rotation show corp] (EntraAwsRotationOverdue)"}},
		{"rollover blocked, outage", Connection{Rollover: &Rotation{Mode: model.RotationEnabled, Phase: model.PhaseBlocked, Blocked: "signer_not_trusted", Message: "corp is blocked (signer_not_trusted)."}}, []string{
			"critical: corp is blocked (signer_not_trusted). [entra-aws-exporter rotation show corp] (EntraAwsRotationBlocked)"}},
		{"rollover and rotation need approval", Connection{
			Rotation: Rotation{Phase: model.PhaseRetire, Waiting: "approval", Message: "token?"}, Rollover: &Rotation{Mode: model.RotationEnabled, Phase: model.PhaseRetire, Waiting: "approval", Message: "certificate?"},
		}, []string{
			"warning: token? [entra-aws-exporter rotation show corp] (EntraAwsRotationNeedsApproval)",
			"warning: certificate? [entra-aws-exporter rotation show corp] (EntraAwsRotationNeedsApproval)"}},
		{"rollover overdue, not started", Connection{Rollover: &Rotation{Mode: model.RotationEnabled, Phase: model.PhaseIdle, Due: in(-9)}}, []string{
			"warning: A rollover has been due for 8 days and has not started. Check that Alertmanager reaches the webhook, or start it by hand. [entra-aws-exporter rotation start corp --kind certificate] (EntraAwsRotationOverdue)"}},
		{"rollover overdue, dry run", Connection{Rollover: &Rotation{Mode: model.RotationDryRun, Phase: model.PhaseIdle, Due: in(-9)}}, []string{
			"warning: A rollover has been due for 8 days and has not started. saml.rollover.mode is dry_run, so no certificate is replaced. Set it to enabled, or replace the certificate by hand. [entra-aws-exporter rotation start corp --kind certificate --dry-run] (EntraAwsRotationOverdue)"}},
		{"rollover overdue, running", Connection{Rollover: &Rotation{Phase: model.PhaseVerify, Started: in(-9), Message: "Wait."}}, []string{
			"warning: The rollover has been running for 8 days and is still in phase verify. Wait. [entra-aws-exporter rotation show corp] (EntraAwsRotationOverdue)"}},
		{"certificate soon, rollover running", expiringCertificate(50, model.PhaseVerify), []string{
			"info: The SAML signing certificate expires in 50 days (13 January 2027). A rollover is replacing it. No action is needed unless the rollover stops. [] (EntraAwsSamlCertificateExpiringSoon)"}},
		{"certificate soon, rollover not started", expiringCertificate(50, model.PhaseIdle), []string{
			"warning: The SAML signing certificate expires in 50 days (13 January 2027). The rollover replaces it when its alert arrives. If that does not happen, start the rollover by hand. [entra-aws-exporter rotation start corp --kind certificate] (EntraAwsSamlCertificateExpiringSoon)"}},
		{"certificate soon, rollover blocked", expiringCertificate(50, model.PhaseBlocked), []string{
			"warning: corp is blocked. [entra-aws-exporter rotation show corp] (EntraAwsRotationBlocked)",
			"warning: The SAML signing certificate expires in 50 days (13 January 2027). Its rollover is blocked. Resolve that first. [] (EntraAwsSamlCertificateExpiringSoon)"}},
		{"certificate too soon for a rollover by itself", expiringCertificate(13, model.PhaseIdle), []string{
			"critical: The SAML signing certificate expires in 13 days (7 December 2026). So late, no rollover starts by itself. Start it by hand. [entra-aws-exporter rotation start corp --kind certificate --force] (EntraAwsSamlCertificateExpiringCritical)"}},
		{"certificate expires within a day", expiringCertificate(0, model.PhaseIdle), []string{
			"critical: The SAML signing certificate expires in 60 minutes (24 November 2026). Import the next certificate into AWS, then activate it in Entra, then remove the old one. [entra-aws-exporter rotation start corp --kind certificate] (EntraAwsSamlCertificateExpiringCritical)"}},
		{"a spare that AWS does not trust", Connection{Certificates: &Certificates{ActiveKnown: &yes, ActiveExpires: in(59), Entra: []Certificate{
			{Thumbprint: "NOW", Active: true, Trusted: &yes, NotAfter: in(59)}, {Thumbprint: "SPARE", Trusted: &no, NotAfter: in(900)},
			{Thumbprint: "EXPIRED", Trusted: &no, NotAfter: in(-9)}, {Thumbprint: "IMPORTED", Trusted: &yes, NotAfter: in(900)}, {Thumbprint: "NOT READ", NotAfter: in(900)},
		}}}, []string{
			"warning: The SAML signing certificate expires in 59 days (22 January 2027). Import the next certificate into AWS, then activate it in Entra, then remove the old one. [] (EntraAwsSamlCertificateExpiringSoon)",
			"warning: AWS does not trust the inactive SAML certificate SPARE. Entra signs with it as soon as the active one expires. Import it into IAM Identity Center, or delete it in Entra. [] (EntraAwsSamlSpareNotTrusted)"}},
		{"a spare beside an active one that lasts", Connection{Certificates: &Certificates{ActiveKnown: &yes, ActiveExpires: in(60), Entra: []Certificate{
			{Thumbprint: "NOW", Active: true, Trusted: &yes, NotAfter: in(60)}, {Thumbprint: "SPARE", Trusted: &no, NotAfter: in(900)},
		}}}, nil},
		{"a spare that a rollover imports", Connection{
			Certificates: &Certificates{ActiveKnown: &yes, ActiveExpires: in(59), Entra: []Certificate{{Thumbprint: "SPARE", Trusted: &no, NotAfter: in(900)}}},
			Rollover:     &Rotation{Mode: model.RotationEnabled, Phase: model.PhaseImport},
		}, []string{
			"info: The SAML signing certificate expires in 59 days (22 January 2027). A rollover is replacing it. No action is needed unless the rollover stops. [] (EntraAwsSamlCertificateExpiringSoon)"}},
		{"ambiguous", Connection{Ambiguous: "corp2 resolves to the same identity store d-1."}, []string{
			"info: This connection cannot be rotated: corp2 resolves to the same identity store d-1. [] ()"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			test.connection.Name = "corp"
			if test.connection.Rotation.Phase == "" {
				test.connection.Rotation.Phase = model.PhaseIdle
			}
			if test.connection.Rotation.Mode == "" {
				test.connection.Rotation.Mode = model.RotationDisabled
			}
			all := adviceFor(test.connection, now)
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

// TestAdviceOrder: what harms most comes first, then what is more severe, and what is only
// for information last. Advice of one cause is one group.
func TestAdviceOrder(t *testing.T) {
	no, none := false, 0
	connection := Connection{
		Name:           "corp",
		Tokens:         tokens(token("a", in(-3))),
		Probe:          &Probe{StatusCode: 401},
		Job:            &Job{Status: model.JobActive, LastCycle: &Cycle{State: model.CycleFailed}},
		Certificates:   &Certificates{ActiveExpires: in(-1), NotificationAddresses: &none, Entra: []Certificate{{Thumbprint: "OLD", Active: true, Trusted: &no}}},
		AppCredentials: []AppCredential{{EntraTenant: "contoso", Expires: in(-400)}, {EntraTenant: "contoso", Expires: in(5)}},
		Sources:        []Source{{Source: model.SourceEvents, Up: &no, Reason: model.ReasonAuth, Error: "e"}, {Source: model.SourceUsage, Up: &no, Reason: model.ReasonAuth, Error: "u"}},
	}
	var got []string
	for _, group := range GroupAdvice(adviceFor(connection, now)) {
		for i, advice := range group {
			got = append(got, fmt.Sprintf("%d %s %s %s", i, advice.Harm, advice.Severity, advice.Alert))
		}
	}
	want := []string{
		"0 sign_in critical EntraAwsSamlCertificateExpiringCritical",
		"1 sign_in critical EntraAwsSamlCertificateNotTrusted",
		"0 provisioning critical EntraAwsScimTokenExpiringCritical",
		"1 provisioning critical EntraAwsScimTokenRefused",
		"2 provisioning warning EntraAwsProvisioningFailing",
		"0 expiry critical EntraAwsAppCredentialExpiringCritical",
		"0 monitoring warning EntraAwsSourceFailing",
		"1 monitoring warning EntraAwsSourceFailing",
		"0 monitoring info EntraAwsSamlNobodyNotified",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// TestCommandStandsOnce: two of one cause with the same command need it once.
func TestCommandStandsOnce(t *testing.T) {
	groups := GroupAdvice([]Advice{{Cause: "token", Command: "start"}, {Cause: "token", Command: "start"}, {Cause: "token", Command: "doctor"}, {Command: "start"}})
	var got []string
	for _, group := range groups {
		for _, advice := range group {
			got = append(got, advice.Command)
		}
	}
	if diff := cmp.Diff([]string{"start", "", "doctor", "start"}, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// TestExpiresNext: what is not in use does not expire next, and a credential that two
// connections share is listed once.
func TestExpiresNext(t *testing.T) {
	credentials := []AppCredential{{EntraTenant: "contoso", KeyID: "left over", Expires: in(-400)}, {EntraTenant: "contoso", KeyID: "used", Expires: in(9)}}
	got := expiresNext([]Connection{
		{Name: "corp", Tokens: tokens(token("expired", in(-30)), token("active", in(20))), AppCredentials: credentials},
		{Name: "emea", Certificates: &Certificates{ActiveExpires: in(-2), Entra: []Certificate{{Thumbprint: "OLD", NotAfter: in(-2)}, {Thumbprint: "NEXT", NotAfter: in(900)}}}, AppCredentials: credentials},
	}, now)
	want := []Expiry{
		{Kind: ExpiryCertificate, Connection: "emea", ID: "OLD", Expires: in(-2)},
		{Kind: ExpiryCredential, EntraTenant: "contoso", ID: "used", Expires: in(9)},
		{Kind: ExpiryToken, Connection: "corp", ID: "active", Expires: in(20)},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// TestAdviceHasItsRunbook: no link from the status page is dead.
func TestAdviceHasItsRunbook(t *testing.T) {
	var source []byte
	for _, file := range []string{"advice.go", "rotationadvice.go"} {
		content, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		source = append(source, content...)
	}
	names := regexp.MustCompile(`"(EntraAws[A-Za-z]+)"`).FindAllSubmatch(source, -1)
	if len(names) < 15 {
		t.Fatalf("only %d alerts are named in advice.go", len(names))
	}
	for _, name := range names {
		if _, err := fs.Stat(docs.Pages, "runbooks/"+string(name[1])+".md"); err != nil {
			t.Errorf("there is no runbook %s", name[1])
		}
	}
}

func TestFormatDuration(t *testing.T) {
	for d, want := range map[time.Duration]string{
		0: "0 seconds", -time.Second: "1 second", 59 * time.Second: "59 seconds", time.Minute: "1 minute", 119 * time.Minute: "119 minutes",
		2 * time.Hour: "2 hours", 47 * time.Hour: "47 hours", 48 * time.Hour: "2 days", -20 * day: "20 days",
	} {
		if got := formatDuration(d); got != want {
			t.Errorf("formatDuration(%v) = %q, want %q", d, got, want)
		}
	}
}
