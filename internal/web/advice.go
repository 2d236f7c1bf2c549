package web

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"entra-aws-exporter/internal/model"
)

// Severity says how soon somebody has to act; the words are those of the alerts.
type Severity string

// The severities.
const (
	Critical Severity = "critical"
	Warning  Severity = "warning"
	Info     Severity = "info"
)

// rank orders severities, most urgent first; no severity at all comes last.
func (s Severity) rank() int {
	if i := slices.Index([]Severity{Critical, Warning, Info}, s); i >= 0 {
		return i
	}
	return 3
}

// Advice is one thing to do about a connection.
type Advice struct {
	Severity Severity `json:"severity"`
	Message  string   `json:"message"`           // what is the matter and what to do
	Command  string   `json:"command,omitempty"` // the next command, where there is one
	Alert    string   `json:"alert,omitempty"`   // the alert that says the same, which is the runbook's name
}

// The limits of the alerting rules (deploy/prometheus/rules), which say the same.
const (
	day                   = 24 * time.Hour
	expiringSoon          = 60 * day
	expiringCritical      = 14 * day
	credentialSoon        = 30 * day
	credentialCritical    = 7 * day
	disableImminent       = 7 * day
	rotationOverdue       = 7 * day
	cycleStale            = 2 * time.Hour
	cycleStaleIntervals   = 3
	consecutiveFailureMax = 3
)

// adviser collects the advice for one connection.
type adviser struct {
	Connection
	now    time.Time
	advice []Advice
}

func advise(connection Connection, now time.Time) []Advice {
	a := &adviser{Connection: connection, now: now, advice: []Advice{}}
	a.aboutRotation()
	a.aboutTokens()
	a.aboutProbe()
	a.aboutProvisioning()
	a.aboutCertificates()
	a.aboutAppCredentials()
	a.aboutSources()
	slices.SortStableFunc(a.advice, func(x, y Advice) int { return x.Severity.rank() - y.Severity.rank() })
	return a.advice
}

func (a *adviser) add(severity Severity, alert, command, format string, values ...any) {
	a.advice = append(a.advice, Advice{Severity: severity, Alert: alert, Command: command, Message: fmt.Sprintf(format, values...)})
}

// rotating reports whether a rotation is under way by itself.
func (a *adviser) rotating() bool {
	return a.Rotation.Phase != model.PhaseIdle && a.Rotation.Phase != model.PhaseBlocked
}

func (a *adviser) aboutRotation() {
	r := a.Rotation
	switch {
	case r.Blocked != "":
		severity := Warning
		if r.Blocked == model.BlockedEntraHoldsDeadToken {
			severity = Critical
		}
		// The sentence names the connection, the reason and the next command.
		a.add(severity, "EntraAwsRotationBlocked", "entra-aws-exporter rotation show "+a.Name, "%s", r.Message)
	case r.Waiting == model.WaitingApproval:
		a.add(Warning, "EntraAwsRotationNeedsApproval", "entra-aws-exporter rotation show "+a.Name, "%s", r.Message)
	case !r.Started.IsZero() && a.now.Sub(r.Started) > rotationOverdue:
		a.add(Warning, "EntraAwsRotationOverdue", "entra-aws-exporter rotation show "+a.Name,
			"The rotation has been running for %s and is still in phase %s. %s", span(a.now.Sub(r.Started)), r.Phase, r.Message)
	case r.Phase != model.PhaseIdle && r.Message != "" && (r.Waiting == "" || r.Waiting == model.WaitingStoreUnavailable): // something fails
		alert := ""
		if r.Waiting == model.WaitingStoreUnavailable {
			alert = "EntraAwsRotationBlocked"
		}
		a.add(Info, alert, "entra-aws-exporter rotation show "+a.Name, "%s", r.Message)
	case r.Phase == model.PhaseIdle && !r.Due.IsZero() && a.now.Sub(r.Due) > rotationOverdue:
		a.add(Warning, "EntraAwsRotationOverdue", a.rotationCommand(), "A rotation has been due for %s and none has run%s",
			span(a.now.Sub(r.Due)), a.whyNone())
	}
	if a.Ambiguous != "" && r.Blocked != model.BlockedAmbiguous {
		a.add(Warning, "", "", "This connection may not rotate: %s.", strings.TrimSuffix(a.Ambiguous, "."))
	}
}

func (a *adviser) aboutTokens() {
	if a.Tokens == nil {
		return
	}
	if len(a.Tokens.Tokens) == 0 {
		a.add(Warning, "", "", "There is no SCIM access token at AWS: generate one in IAM Identity Center and enter it in Entra.")
	}
	if expires := a.Tokens.ActiveExpires; !expires.IsZero() && expires.Sub(a.now) < expiringSoon {
		severity, alert := Warning, "EntraAwsScimTokenExpiringSoon"
		if expires.Sub(a.now) < expiringCritical {
			severity, alert = Critical, "EntraAwsScimTokenExpiringCritical"
		} else if a.rotating() {
			severity = Info
		}
		a.add(severity, alert, a.rotationCommand(), "The SCIM access token %s %s (%s). %s",
			a.Tokens.ActiveTokenID, due(expires.Sub(a.now)), date(expires), a.howToReplace())
	}
	if a.Tokens.Slots > 0 && len(a.Tokens.Tokens) >= a.Tokens.Slots && !a.rotating() {
		what := "Delete the one that Entra does not use, so that the next rotation has a slot."
		if expired := a.expiredToken(); expired != "" && expired != a.Tokens.ActiveTokenID {
			what = "Token " + expired + " has expired: deleting it frees its slot."
		}
		a.add(Warning, "EntraAwsScimTokenSlotsFull", "", "The token slots are full (%d of %d). %s", len(a.Tokens.Tokens), a.Tokens.Slots, what)
	}
}

func (a *adviser) aboutProbe() {
	if p := a.Probe; p != nil && (p.StatusCode == http.StatusUnauthorized || p.StatusCode == http.StatusForbidden) {
		a.add(Critical, "EntraAwsScimTokenRefused", "entra-aws-exporter doctor "+a.Name,
			"AWS refuses the SCIM access token (HTTP %d). If Entra's own provisioning fails too, replace the token.", p.StatusCode)
	}
}

// rotationCommand is how a person begins a rotation, or sees what one would do; "": not now.
func (a *adviser) rotationCommand() string {
	start := "entra-aws-exporter rotation start " + a.Name
	switch r := a.Rotation; {
	case r.Mode == model.RotationDisabled || r.Phase != model.PhaseIdle:
		return ""
	case r.Mode == model.RotationDryRun:
		return start + " --dry-run"
	case r.Issuer == model.IssuerOperator:
		return start + " --token-stdin --token-id ID"
	default:
		return start
	}
}

// whyNone ends the sentence on a rotation that is due and has not begun.
func (a *adviser) whyNone() string {
	switch {
	case a.Rotation.Mode == model.RotationDryRun:
		return ": rotation.mode is dry_run, so nothing rotates. Set it to enabled, or replace the token by hand."
	case a.Rotation.Issuer == model.IssuerOperator:
		return ": rotation.issuer is operator, so no alert begins one. " + operatorStarts
	default:
		return ". Check that Alertmanager reaches the webhook, or start it by hand."
	}
}

const (
	operatorStarts = "Generate a token in IAM Identity Center and give it to the rotation."
	byHand         = "Generate a new token in IAM Identity Center, enter it in Entra, test, save, see a user provisioned, then delete the old one."
)

func (a *adviser) howToReplace() string {
	switch {
	case a.rotating():
		return "A rotation is replacing it; nothing to do unless it stops."
	case a.Rotation.Blocked != "":
		return "Its rotation is blocked and needs you first."
	case a.Rotation.Mode == model.RotationDryRun:
		return "rotation.mode is dry_run, so nothing rotates: set it to enabled, or do it by hand. " + byHand
	case a.Rotation.Mode == model.RotationEnabled && a.Rotation.Issuer == model.IssuerOperator:
		return operatorStarts
	case a.Rotation.Mode == model.RotationEnabled:
		return "The rotation replaces it when its alert arrives; start it by hand if that does not happen."
	default:
		return byHand
	}
}

func (a *adviser) expiredToken() string {
	for _, token := range a.Tokens.Tokens {
		if token.Expired(a.now) {
			return token.ID
		}
	}
	return ""
}

func (a *adviser) aboutProvisioning() {
	job := a.Job
	if job == nil {
		return
	}
	if q := job.Quarantine; q != nil && job.Status == model.JobQuarantine {
		a.aboutQuarantine(*q)
		return
	}
	if stopped := stoppedBecause(*job); stopped != "" {
		a.add(Warning, "EntraAwsProvisioningStopped", "", "Provisioning does not run: %s. Nobody is created, changed or removed in AWS; if this is not wanted, start the job in Entra.", stopped)
		return
	}
	if failures := job.ConsecutiveFailures; failures != nil && *failures >= consecutiveFailureMax {
		a.add(Warning, "EntraAwsProvisioningFailing", "", "%d provisioning cycles in a row have failed; read the newest entries of Entra's provisioning log.", *failures)
	} else if last := job.LastCycle; last != nil && last.State == model.CycleFailed {
		a.add(Warning, "EntraAwsProvisioningFailing", "", "The last provisioning cycle failed%s; read the newest entries of Entra's provisioning log.", because(last.ErrorCode))
	} else if last != nil && last.State == model.CycleEntryLevelErrors {
		a.add(Info, "EntraAwsProvisioningFailing", "", "Some users or groups failed in the last cycle, the rest went through; Entra's provisioning log names them.")
	}
	if last := job.LastCycle; last != nil && !last.Ended.IsZero() {
		age := a.now.Sub(last.Ended)
		if age > cycleStale && age.Seconds() > cycleStaleIntervals*job.IntervalSeconds {
			a.add(Warning, "EntraAwsProvisioningStale", "", "No provisioning cycle has ended for %s; look at the job's progress in Entra.", span(age))
		}
	}
}

func (a *adviser) aboutQuarantine(q Quarantine) {
	why := "Entra has put the provisioning job into quarantine (" + q.Reason + because(q.ErrorCode) + ")."
	switch {
	case q.Reason == model.QuarantineReasonDeletes:
		why += " It holds back many deletions until a person allows them; do not restart the job before you have read which."
	case model.Quarantine{Reason: q.Reason, ErrorCode: q.ErrorCode}.Credentials():
		why += " The SCIM access token that Entra holds is refused: replace it, the job recovers at its next attempt."
	}
	if !q.NextAttempt.IsZero() {
		why += " Entra's next attempt: " + moment(q.NextAttempt) + "."
	}
	a.add(Critical, "EntraAwsProvisioningQuarantined", "", "%s", why)
	if left := q.DisablesAt.Sub(a.now); !q.DisablesAt.IsZero() && left < disableImminent {
		a.add(Critical, "EntraAwsProvisioningDisableImminent", "", "Entra disables the quarantined job on %s (%s) unless a cycle succeeds before.", date(q.DisablesAt), ago(q.DisablesAt, a.now))
	}
}

func stoppedBecause(job Job) string {
	switch {
	case job.Status == model.JobPaused || job.Schedule == model.SchedulePaused:
		return "the job is paused"
	case job.Schedule == model.ScheduleDisabled:
		return "the job's schedule is disabled"
	case job.Status == model.JobNotConfigured:
		return "the job is not configured"
	case job.Status == model.JobNotRun:
		return "the job has never run"
	default:
		return ""
	}
}

func (a *adviser) aboutCertificates() {
	c := a.Certificates
	if c == nil {
		return
	}
	if left := c.ActiveExpires.Sub(a.now); !c.ActiveExpires.IsZero() && left < expiringSoon {
		severity, alert := Warning, "EntraAwsSamlCertificateExpiringSoon"
		if left < expiringCritical {
			severity, alert = Critical, "EntraAwsSamlCertificateExpiringCritical"
		}
		a.add(severity, alert, "", "The SAML signing certificate %s (%s). Import its successor into AWS first, then make it active in Entra, then remove the old one.",
			due(left), date(c.ActiveExpires))
	}
	a.aboutUnexpectedSigner()
	for _, certificate := range c.Entra {
		if certificate.Active && certificate.Trusted != nil && !*certificate.Trusted {
			a.add(Critical, "EntraAwsSamlCertificateNotTrusted", "", "AWS does not hold the certificate that Entra signs with (%s), so nobody can sign in: import it into IAM Identity Center.", certificate.Thumbprint)
		}
	}
	if c.NotificationAddresses != nil && *c.NotificationAddresses == 0 {
		a.add(Info, "EntraAwsSamlNobodyNotified", "", "Entra mails nobody before the SAML certificate expires: enter a notification address.")
	}
}

func (a *adviser) aboutUnexpectedSigner() {
	for _, signer := range a.Certificates.Entra {
		if a.Certificates.UnexpectedSigner == "" || signer.Thumbprint != a.Certificates.UnexpectedSigner {
			continue
		}
		severity, next := Critical, "Check that AWS trusts that one, then make it active."
		if signer.Trusted != nil && *signer.Trusted {
			severity, next = Warning, "AWS trusts that one, so sign-in goes on: make it active."
		} else if signer.Trusted != nil {
			next = "AWS does not hold that one, so nobody can sign in: import it into IAM Identity Center, then make it active."
		}
		a.add(severity, "EntraAwsSamlUnexpectedSigner", "", "The active SAML certificate has expired and Entra signs with %s by itself. %s", signer.Thumbprint, next)
	}
}

// aboutAppCredentials passes over what has expired beside a valid one: a left-over
// that the exporter cannot be using.
func (a *adviser) aboutAppCredentials() {
	latest := map[string]time.Time{} // by tenant
	for _, credential := range a.AppCredentials {
		if credential.Expires.After(latest[credential.EntraTenant]) {
			latest[credential.EntraTenant] = credential.Expires
		}
	}
	for _, credential := range a.AppCredentials {
		left := credential.Expires.Sub(a.now)
		if credential.Expires.IsZero() || left >= credentialSoon || (left <= 0 && latest[credential.EntraTenant].After(a.now)) {
			continue
		}
		severity, alert := Warning, "EntraAwsAppCredentialExpiringSoon"
		if left < credentialCritical {
			severity, alert = Critical, "EntraAwsAppCredentialExpiringCritical"
		}
		a.add(severity, alert, "", "The exporter's own Entra %s %s of tenant %s %s (%s): give the exporter a new one, then delete this one.",
			credential.Kind, credential.KeyID, credential.EntraTenant, due(left), date(credential.Expires))
	}
}

func (a *adviser) aboutSources() {
	for _, source := range a.Sources {
		switch {
		case source.Error != "":
			a.add(Warning, "EntraAwsSourceFailing", "entra-aws-exporter doctor "+a.Name, "Reading %s fails: %s.", source.Source, strings.TrimSuffix(source.Error, "."))
		case source.Up != nil && !source.Fresh:
			a.add(Warning, "EntraAwsSourceStale", "", "What is shown of %s is from %s: it is no longer being read.", source.Source, moment(source.LastSuccess))
		}
	}
}

func because(code string) string {
	if code == "" {
		return ""
	}
	return ", " + code
}
