package web

import (
	"cmp"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"entra-aws-exporter/internal/model"
)

// The thresholds of the alerting rules in deploy/prometheus/rules.
const (
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

// adviceFor returns the advice for a connection, most urgent first.
func adviceFor(connection Connection, now time.Time) []Advice {
	l := &adviceList{Connection: connection, now: now, advice: []Advice{}}
	l.addRotation()
	l.addTokens()
	l.addProbe()
	l.addProvisioning()
	l.addCertificates()
	l.addAppCredentials()
	l.addSources()
	slices.SortStableFunc(l.advice, compareAdvice)
	return l.advice
}

// adviceForExporter returns the advice about the exporter itself, if its last reload failed.
func adviceForExporter(reload error) []Advice {
	if reload == nil {
		return []Advice{}
	}
	return []Advice{{
		Severity: Warning, Harm: HarmMonitoring, Alert: "EntraAwsConfigReloadFailed", Command: "entra-aws-exporter check-config",
		Message: "The last configuration reload failed, and the previous configuration stays active. With the current file the exporter cannot start: " + reload.Error(),
	}}
}

// compareAdvice orders by harm, then by severity. What is only for information comes last.
func compareAdvice(a, b Advice) int {
	information := func(a Advice) int {
		if a.Severity == Info {
			return 1
		}
		return 0
	}
	return cmp.Or(information(a)-information(b), a.Harm.rank()-b.Harm.rank(), a.Severity.rank()-b.Severity.rank())
}

// GroupAdvice puts advice of one cause together, in the order of the list. The first of a
// group is the most harmful. A command stands in a group once.
func GroupAdvice(advice []Advice) [][]Advice {
	var groups [][]Advice
	for _, a := range advice {
		i := slices.IndexFunc(groups, func(group []Advice) bool { return a.Cause != "" && group[0].Cause == a.Cause })
		if i < 0 {
			groups = append(groups, []Advice{a})
			continue
		}
		if slices.ContainsFunc(groups[i], func(other Advice) bool { return other.Command == a.Command }) {
			a.Command = ""
		}
		groups[i] = append(groups[i], a)
	}
	return groups
}

// adviceList collects the advice for one connection.
type adviceList struct {
	Connection
	now    time.Time
	advice []Advice
}

// add appends advice with its message.
func (l *adviceList) add(advice Advice, format string, values ...any) {
	advice.Message = fmt.Sprintf(format, values...)
	l.advice = append(l.advice, advice)
}

// The causes by which advice is grouped.
const (
	causeToken       = "token"
	causeJob         = "job"
	causeCertificate = "certificate"
)

// isTokenDead reports whether AWS does not accept the token that Entra uses: it has
// expired, or the endpoint rejects it.
func (l *adviceList) isTokenDead() bool {
	expired := l.Tokens != nil && !l.Tokens.ActiveExpires.IsZero() && !l.Tokens.ActiveExpires.After(l.now)
	return expired || l.Probe != nil && l.Probe.StatusCode == http.StatusUnauthorized
}

// jobCause is the cause of what is wrong with the job: the token, if that is dead.
func (l *adviceList) jobCause() string {
	if l.isTokenDead() {
		return causeToken
	}
	return causeJob
}

func (l *adviceList) addTokens() {
	if l.Tokens == nil {
		return
	}
	if len(l.Tokens.Tokens) == 0 {
		l.add(Advice{Severity: Info, Harm: HarmProvisioning, Cause: causeToken}, "AWS lists no SCIM access token. Generate one in IAM Identity Center and enter it in Entra.")
	}
	if expires := l.Tokens.ActiveExpires; !expires.IsZero() && expires.Sub(l.now) < expiringSoon {
		severity, harm, alert := Warning, HarmExpiry, "EntraAwsScimTokenExpiringSoon"
		if expires.Sub(l.now) <= 0 {
			harm = HarmProvisioning
		}
		if expires.Sub(l.now) < expiringCritical {
			severity, alert = Critical, "EntraAwsScimTokenExpiringCritical"
		} else if l.isRotating() {
			severity = Info
		}
		l.add(Advice{Severity: severity, Harm: harm, Cause: causeToken, Alert: alert, Command: l.startCommand()}, "The SCIM access token %s %s (%s). %s",
			l.Tokens.ActiveTokenID, expiresIn(expires.Sub(l.now)), formatDate(expires), l.replacement())
	}
	if l.inUseUnknown() {
		l.add(Advice{Severity: Warning, Harm: HarmProvisioning, Cause: causeToken, Alert: "EntraAwsScimTokenInUseUnknown", Command: "entra-aws-exporter doctor " + l.Name},
			"Nothing shows that Entra uses one of the listed SCIM access tokens. It may hold a deleted one. Test the connection in Entra.")
	}
	if l.Tokens.Slots > 0 && len(l.Tokens.Tokens) >= l.Tokens.Slots && !l.isRotating() {
		action := "Delete the token that Entra does not use, so that the next rotation has a slot."
		if expired := l.expiredToken(); expired != "" && expired != l.Tokens.ActiveTokenID {
			action = "Token " + expired + " has expired. Delete it to free its slot."
		}
		l.add(Advice{Severity: Warning, Harm: HarmExpiry, Cause: causeToken, Alert: "EntraAwsScimTokenSlotsFull"}, "All token slots are in use (%d of %d). %s", len(l.Tokens.Tokens), l.Tokens.Slots, action)
	}
}

// inUseUnknown reports whether a cycle of a working job could have shown which token is in
// use, and none has.
func (l *adviceList) inUseUnknown() bool {
	if l.Job == nil || l.Job.Quarantine != nil || stoppedReason(*l.Job) != "" || l.Rotation.Phase != model.PhaseIdle {
		return false
	}
	for _, token := range l.Tokens.Tokens {
		if token.Role == model.RoleInUse || token.Created.IsZero() || l.now.Sub(token.Created) < cycleStale {
			return false
		}
	}
	return len(l.Tokens.Tokens) > 0
}

func (l *adviceList) expiredToken() string {
	for _, token := range l.Tokens.Tokens {
		if token.Expired(l.now) {
			return token.ID
		}
	}
	return ""
}

func (l *adviceList) addProbe() {
	if l.Probe == nil {
		return
	}
	advice := Advice{Severity: Critical, Harm: HarmProvisioning, Cause: causeToken, Alert: "EntraAwsScimTokenRefused", Command: "entra-aws-exporter doctor " + l.Name}
	switch l.Probe.StatusCode {
	case http.StatusUnauthorized:
		l.add(advice, "AWS rejects the SCIM access token (HTTP 401). If Entra's provisioning fails too, replace the token.")
	case http.StatusForbidden:
		advice.Severity, advice.Harm, advice.Cause = Warning, HarmMonitoring, ""
		l.add(advice, "AWS refuses the exporter's SCIM probe (HTTP 403). The identity store may not allow the exporter's address. Entra's calls may be allowed.")
	}
}

func (l *adviceList) addProvisioning() {
	job := l.Job
	if job == nil {
		return
	}
	if q := job.Quarantine; q != nil && job.Status == model.JobQuarantine {
		l.addQuarantine(*q)
	}
	if reason := stoppedReason(*job); reason != "" {
		l.add(Advice{Severity: Warning, Harm: HarmProvisioning, Cause: causeJob, Alert: "EntraAwsProvisioningStopped"}, "Provisioning does not run: %s. No user is created, changed or removed in AWS. If this is not intended, start the job in Entra.", reason)
	}
	last := job.LastCycle
	if failures := job.ConsecutiveFailures; failures != nil && *failures >= consecutiveFailureMax {
		l.add(Advice{Severity: Warning, Harm: HarmProvisioning, Cause: l.jobCause(), Alert: "EntraAwsProvisioningFailing"}, "%d provisioning cycles in a row have failed. Read the newest entries of Entra's provisioning log.", *failures)
	} else if last != nil && last.State == model.CycleFailed {
		code := ""
		if last.ErrorCode != "" {
			code = " (" + last.ErrorCode + ")"
		}
		l.add(Advice{Severity: Warning, Harm: HarmProvisioning, Cause: l.jobCause(), Alert: "EntraAwsProvisioningFailing"}, "The last provisioning cycle failed%s. Read the newest entries of Entra's provisioning log.", code)
	} else if last != nil && last.State == model.CycleEntryLevelErrors {
		l.add(Advice{Severity: Info, Harm: HarmProvisioning, Alert: "EntraAwsProvisioningFailing"}, "Some users or groups failed in the last cycle; the others were provisioned. Entra's provisioning log names the failed ones.")
	}
	if last == nil || last.Ended.IsZero() {
		last = job.LastSuccess // as in the alerting rule
	}
	if last != nil && !last.Ended.IsZero() {
		age := l.now.Sub(last.Ended)
		if age > cycleStale && age.Seconds() > cycleStaleIntervals*job.IntervalSeconds {
			l.add(Advice{Severity: Warning, Harm: HarmProvisioning, Cause: l.jobCause(), Alert: "EntraAwsProvisioningStale"}, "No provisioning cycle has ended for %s. Check the job's progress in Entra.", formatDuration(age))
		}
	}
}

func (l *adviceList) addQuarantine(q Quarantine) {
	message, cause := "Entra has quarantined the provisioning job ("+q.Reason+").", l.jobCause()
	if q.ErrorCode != "" {
		message = "Entra has quarantined the provisioning job (" + q.Reason + ", " + q.ErrorCode + ")."
	}
	switch {
	case q.Reason == model.QuarantineReasonDeletes:
		message += " Entra holds back many deletions until an operator allows them. Review the deletions before you restart the job."
	case model.Quarantine{Reason: q.Reason, ErrorCode: q.ErrorCode}.Credentials():
		cause = causeToken
		message += " AWS rejects the SCIM access token that Entra holds. Replace the token; the job recovers at its next attempt."
	}
	if !q.NextAttempt.IsZero() {
		message += " Entra's next attempt: " + formatTime(q.NextAttempt) + "."
	}
	l.add(Advice{Severity: Critical, Harm: HarmProvisioning, Cause: cause, Alert: "EntraAwsProvisioningQuarantined"}, "%s", message)
	if left := q.DisablesAt.Sub(l.now); !q.DisablesAt.IsZero() && left < disableImminent {
		l.add(Advice{Severity: Critical, Harm: HarmProvisioning, Cause: cause, Alert: "EntraAwsProvisioningDisableImminent"}, "Entra disables the quarantined job on %s (%s) unless a cycle succeeds first.",
			formatDate(q.DisablesAt), relativeTime(q.DisablesAt, l.now))
	}
}

// stoppedReason says why the job does not run; "" if it does.
func stoppedReason(job Job) string {
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

func (l *adviceList) addCertificates() {
	c := l.Certificates
	if c == nil {
		return
	}
	left := c.ActiveExpires.Sub(l.now)
	expiresSoon := !c.ActiveExpires.IsZero() && left < expiringSoon
	if expiresSoon {
		severity, harm, alert := Warning, HarmExpiry, "EntraAwsSamlCertificateExpiringSoon"
		if left <= 0 {
			harm = HarmSignIn
		}
		if left < expiringCritical {
			severity, alert = Critical, "EntraAwsSamlCertificateExpiringCritical"
		} else if l.isRollingOver() {
			severity = Info
		}
		l.add(Advice{Severity: severity, Harm: harm, Cause: causeCertificate, Alert: alert, Command: l.rolloverCommand()}, "The SAML signing certificate %s (%s). %s",
			expiresIn(left), formatDate(c.ActiveExpires), l.certificateReplacement())
	}
	for _, certificate := range c.Entra {
		if c.UnexpectedSigner != "" && certificate.Thumbprint == c.UnexpectedSigner {
			l.addUnexpectedSigner(certificate)
		}
	}
	if c.ActiveKnown != nil && !*c.ActiveKnown {
		l.add(Advice{Severity: Warning, Harm: HarmExpiry, Cause: causeCertificate, Alert: "EntraAwsSamlActiveCertificateUnknown"}, "Entra names no active SAML certificate, or one that it does not list. Make the certificate that AWS trusts the active one in Entra.")
	}
	for _, certificate := range c.Entra {
		switch trusted := certificate.Trusted; {
		case trusted == nil || *trusted:
		case certificate.Active:
			l.add(Advice{Severity: Critical, Harm: HarmSignIn, Cause: causeCertificate, Alert: "EntraAwsSamlCertificateNotTrusted"}, "AWS does not trust the certificate that Entra signs with (%s), so nobody can sign in. Import it into IAM Identity Center.", certificate.Thumbprint)
		case expiresSoon && c.ActiveKnown != nil && *c.ActiveKnown && c.UnexpectedSigner == "" && certificate.NotAfter.After(l.now) && !l.isRollingOver():
			l.add(Advice{Severity: Warning, Harm: HarmExpiry, Cause: causeCertificate, Alert: "EntraAwsSamlSpareNotTrusted"}, "AWS does not trust the inactive SAML certificate %s. Entra signs with it as soon as the active one expires. Import it into IAM Identity Center, or delete it in Entra.", certificate.Thumbprint)
		}
	}
	if c.NotificationAddresses != nil && *c.NotificationAddresses == 0 {
		l.add(Advice{Severity: Info, Harm: HarmMonitoring, Alert: "EntraAwsSamlNobodyNotified"}, "Entra notifies nobody before the SAML certificate expires. Add a notification address.")
	}
}

func (l *adviceList) addUnexpectedSigner(signer Certificate) {
	severity, harm, action := Critical, HarmSignIn, "Check that AWS trusts it, then activate it in Entra."
	if signer.Trusted != nil && *signer.Trusted {
		severity, harm, action = Warning, HarmExpiry, "AWS trusts it, so sign-in works. Activate it in Entra."
	} else if signer.Trusted != nil {
		action = "AWS does not trust it, so nobody can sign in. Import it into IAM Identity Center, then activate it in Entra."
	}
	l.add(Advice{Severity: severity, Harm: harm, Cause: causeCertificate, Alert: "EntraAwsSamlUnexpectedSigner"}, "The active SAML certificate has expired, and Entra signs with %s instead. %s", signer.Thumbprint, action)
}

func (l *adviceList) addAppCredentials() {
	for _, credential := range usedCredentials(l.AppCredentials, l.now) {
		left := credential.Expires.Sub(l.now)
		if credential.Expires.IsZero() || left >= credentialSoon {
			continue
		}
		severity, alert := Warning, "EntraAwsAppCredentialExpiringSoon"
		if left < credentialCritical {
			severity, alert = Critical, "EntraAwsAppCredentialExpiringCritical"
		}
		l.add(Advice{Severity: severity, Harm: HarmExpiry, Cause: "credential " + credential.EntraTenant, Alert: alert}, "The exporter's own Entra %s %s of tenant %s %s (%s). Give the exporter a new one, then delete this one.",
			credential.Kind, credential.KeyID, credential.EntraTenant, expiresIn(left), formatDate(credential.Expires))
	}
}

func (l *adviceList) addSources() {
	for _, source := range l.Sources {
		switch {
		case source.Error != "":
			l.add(Advice{Severity: Warning, Harm: HarmMonitoring, Cause: "source " + string(source.Reason), Alert: "EntraAwsSourceFailing", Command: "entra-aws-exporter doctor " + l.Name}, "Source %s fails: %s.", source.Source, strings.TrimSuffix(source.Error, "."))
		case source.Up != nil && !source.Fresh:
			l.add(Advice{Severity: Warning, Harm: HarmMonitoring, Cause: "stale", Alert: "EntraAwsSourceStale"}, "Source %s is stale: the values shown are from %s.", source.Source, formatTime(source.LastSuccess))
		}
	}
}
