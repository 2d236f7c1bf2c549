package web

import (
	"strings"

	"entra-aws-exporter/internal/model"
)

// rotationKind is how advice speaks of one kind of rotation.
type rotationKind struct {
	noun       string
	cause      string
	command    string // which starts one; "": none may start now
	notStarted string // why a due one has not started
}

// addRotation passes on messages of the rotation and of the rollover.
func (l *adviceList) addRotation() {
	l.addRotationOf(l.Rotation, rotationKind{"rotation", causeToken, l.startCommand(), l.notStartedReason()})
	if l.Rollover != nil {
		l.addRotationOf(*l.Rollover, rotationKind{"rollover", causeCertificate, l.rolloverCommand(), l.rolloverNotStartedReason()})
	}
	if l.Ambiguous != "" && l.Rotation.Blocked != model.BlockedAmbiguous {
		l.add(Advice{Severity: Info, Harm: HarmExpiry}, "This connection cannot be rotated: %s.", strings.TrimSuffix(l.Ambiguous, "."))
	}
}

// blockedAdvice is how urgent a reason is: two are an outage.
func blockedAdvice(reason model.BlockedReason) (Severity, Harm) {
	switch reason {
	case model.BlockedEntraHoldsDeadToken:
		return Critical, HarmProvisioning
	case model.BlockedSignerNotTrusted:
		return Critical, HarmSignIn
	default:
		return Warning, HarmExpiry
	}
}

// addRotationOf passes on messages of a rotation. They name the connection, the reason and
// the next command.
func (l *adviceList) addRotationOf(r Rotation, kind rotationKind) {
	advice := func(severity Severity, alert string) Advice {
		return Advice{Severity: severity, Harm: HarmExpiry, Cause: kind.cause, Alert: alert, Command: "entra-aws-exporter rotation show " + l.Name}
	}
	switch {
	case r.Blocked != "":
		blocked := advice(Warning, "EntraAwsRotationBlocked")
		blocked.Reason = r.Blocked
		blocked.Severity, blocked.Harm = blockedAdvice(r.Blocked)
		l.add(blocked, "%s", r.Message)
	case r.Waiting == model.WaitingApproval:
		l.add(advice(Warning, "EntraAwsRotationNeedsApproval"), "%s", r.Message)
	case !r.Started.IsZero() && l.now.Sub(r.Started) > rotationOverdue:
		l.add(advice(Warning, "EntraAwsRotationOverdue"), "The %s has been running for %s and is still in phase %s. %s", kind.noun, formatDuration(l.now.Sub(r.Started)), r.Phase, r.Message)
	case r.Phase != model.PhaseIdle && r.Message != "" && r.Waiting == "": // a call keeps failing
		l.add(advice(Info, ""), "%s", r.Message)
	case r.Phase == model.PhaseIdle && !r.Due.IsZero() && l.now.Sub(r.Due) > rotationOverdue:
		overdue := advice(Warning, "EntraAwsRotationOverdue")
		why := kind.notStarted
		if overdue.Command = kind.command; r.Waiting == model.WaitingStoreUnavailable {
			why = r.Message
		}
		l.add(overdue, "A %s has been due for %s and has not started. %s", kind.noun, formatDuration(l.now.Sub(r.Due)), why)
	case r.Message != "" && r.Waiting == model.WaitingStoreUnavailable:
		l.add(advice(Info, "EntraAwsRotationBlocked"), "%s", r.Message)
	}
}

// isRunning reports whether a rotation runs and is not blocked.
func (r Rotation) isRunning() bool {
	return r.Phase != model.PhaseIdle && r.Phase != model.PhaseBlocked
}

func (l *adviceList) isRotating() bool { return l.Rotation.isRunning() }

func (l *adviceList) isRollingOver() bool { return l.Rollover != nil && l.Rollover.isRunning() }

// startCommand is the command that starts a rotation, or a dry run of one; "" if none may
// start now.
func (l *adviceList) startCommand() string {
	start := "entra-aws-exporter rotation start " + l.Name
	switch r := l.Rotation; {
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

// rolloverCommand is the same for the certificate.
func (l *adviceList) rolloverCommand() string {
	start := "entra-aws-exporter rotation start " + l.Name + " --kind certificate"
	switch r := l.Rollover; {
	case r == nil || r.Mode == model.RotationDisabled || r.Phase != model.PhaseIdle:
		return ""
	case r.Mode == model.RotationDryRun:
		return start + " --dry-run"
	case l.isForced():
		return start + " --force"
	default:
		return start
	}
}

// isForced reports whether the active certificate expires so soon that a rollover does not
// start by itself, and an operator can still start one.
func (l *adviceList) isForced() bool {
	if l.Certificates == nil {
		return false
	}
	left := l.Certificates.ActiveExpires.Sub(l.now)
	return left < expiringCritical && left > day
}

const (
	dryRunOnly     = "rotation.mode is dry_run, so no token is replaced. Set it to enabled, or replace the token by hand."
	operatorStarts = "Generate a token in IAM Identity Center and pass it to the rotation."
	manualSteps    = "Generate a new token in IAM Identity Center, enter it in Entra, test the connection and save. Delete the old token once a user was provisioned."
	webhookOrHand  = "Check that Alertmanager reaches the webhook, or start it by hand."

	rolloverDryRunOnly  = "saml.rollover.mode is dry_run, so no certificate is replaced. Set it to enabled, or replace the certificate by hand."
	rolloverManualSteps = "Import the next certificate into AWS, then activate it in Entra, then remove the old one."
)

func (l *adviceList) notStartedReason() string {
	switch {
	case l.Rotation.Mode == model.RotationDryRun:
		return dryRunOnly
	case l.Rotation.Issuer == model.IssuerOperator:
		return "rotation.issuer is operator, so no alert starts one. " + operatorStarts
	default:
		return webhookOrHand
	}
}

func (l *adviceList) rolloverNotStartedReason() string {
	if l.Rollover.Mode == model.RotationDryRun {
		return rolloverDryRunOnly
	}
	return webhookOrHand
}

// replacement says how the token in use gets replaced.
func (l *adviceList) replacement() string {
	switch {
	case l.isRotating():
		return "A rotation is replacing it. No action is needed unless the rotation stops."
	case l.Rotation.Blocked != "":
		return "Its rotation is blocked. Resolve that first."
	case l.Rotation.Mode == model.RotationDryRun:
		return dryRunOnly + " " + manualSteps
	case l.Rotation.Mode == model.RotationEnabled && l.Rotation.Issuer == model.IssuerOperator:
		return operatorStarts
	case l.Rotation.Mode == model.RotationEnabled:
		return "The rotation replaces it when its alert arrives. If that does not happen, start the rotation by hand."
	default:
		return manualSteps
	}
}

// certificateReplacement says how the active certificate gets replaced.
func (l *adviceList) certificateReplacement() string {
	switch r := l.Rollover; {
	case l.isRollingOver():
		return "A rollover is replacing it. No action is needed unless the rollover stops."
	case r == nil || r.Mode == model.RotationDisabled:
		return rolloverManualSteps
	case r.Blocked != "":
		return "Its rollover is blocked. Resolve that first."
	case r.Mode == model.RotationDryRun:
		return rolloverDryRunOnly + " " + rolloverManualSteps
	case l.isForced():
		return "So late, no rollover starts by itself. Start it by hand."
	case !l.Certificates.ActiveExpires.After(l.now.Add(day)):
		return rolloverManualSteps
	default:
		return "The rollover replaces it when its alert arrives. If that does not happen, start the rollover by hand."
	}
}
