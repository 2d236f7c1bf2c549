package web

import (
	"cmp"
	"fmt"
	"slices"
	"time"

	"entra-aws-exporter/internal/model"
)

// connectionView is a connection with what only the page needs.
type connectionView struct {
	Connection
	Root         string // relative path to /
	Now          time.Time
	Severity     Severity
	Problems     [][]Advice // by cause
	Bars         []bar
	Provisioning string
	Rotations    []rotationView
}

// rotationView is what is shown of the rotation, or of the rollover.
type rotationView struct {
	Rotation
	Kind   model.Procedure
	Now    time.Time
	Phases []phaseView // while one is running
}

// bar shows how much of a lifetime is left.
type bar struct {
	kind     ExpiryKind
	Label    string
	ID       string // of the token, certificate or credential
	Expires  time.Time
	Left     string
	Percent  int
	Expired  bool
	Severity Severity
}

// phaseView is one phase of a running rotation.
type phaseView struct {
	Phase   model.Phase
	Done    bool
	Current bool
}

func newConnectionView(root string, connection Connection, now time.Time) connectionView {
	view := connectionView{
		Connection: connection, Root: root, Now: now, Severity: connection.severity(), Problems: GroupAdvice(connection.Advice),
		Bars: newBars(connection, now), Provisioning: provisioningSentence(connection, now),
	}
	if len(connection.Advice) == 0 && !connection.isPolled() {
		view.Severity = Info
	}
	view.Rotations = []rotationView{newRotationView(connection.Rotation, model.ProcedureToken, now)}
	if connection.Rollover != nil {
		view.Rotations = append(view.Rotations, newRotationView(*connection.Rollover, model.ProcedureCertificate, now))
	}
	return view
}

func newRotationView(rotation Rotation, kind model.Procedure, now time.Time) rotationView {
	view := rotationView{Rotation: rotation, Kind: kind, Now: now}
	if !isStep(rotation.Phase) {
		return view
	}
	done := true
	for _, phase := range model.PhasesOf(kind) {
		if isStep(phase) {
			done = done && phase != rotation.Phase
			view.Phases = append(view.Phases, phaseView{Phase: phase, Done: done, Current: phase == rotation.Phase})
		}
	}
	return view
}

// Title heads what is shown of it.
func (v rotationView) Title() string {
	if v.Kind == model.ProcedureCertificate {
		return "Rollover of the SAML certificate"
	}
	return "Rotation of the SCIM token"
}

// Noun says in a sentence what it is.
func (v rotationView) Noun() string {
	if v.Kind == model.ProcedureCertificate {
		return "rollover"
	}
	return "rotation"
}

// isStep reports whether a successful rotation passes through the phase.
func isStep(phase model.Phase) bool {
	return phase != model.PhaseIdle && phase != model.PhaseUndo && phase != model.PhaseBlocked
}

// Bar returns the first bar of a kind, nil if there is none.
func (v connectionView) Bar(kind ExpiryKind) *bar {
	if i := slices.IndexFunc(v.Bars, func(b bar) bool { return b.kind == kind }); i >= 0 {
		return &v.Bars[i]
	}
	return nil
}

// State sums up the state of the source.
func (s Source) State() string {
	switch {
	case s.Error != "":
		return "failing: " + spaced(s.Reason)
	case s.Off:
		return "off: nothing to read"
	case s.Up == nil:
		return "not polled yet"
	case !s.Fresh:
		return "stale"
	default:
		return "up"
	}
}

// TrustedByAWS says whether AWS trusts the certificate.
func (c Certificate) TrustedByAWS() string {
	switch {
	case c.Trusted == nil:
		return "unknown"
	case *c.Trusted:
		return "yes"
	default:
		return "no"
	}
}

func newBars(connection Connection, now time.Time) []bar {
	var bars []bar
	if tokens := connection.Tokens; tokens != nil {
		for _, token := range tokens.Tokens {
			if token.ID == tokens.ActiveTokenID {
				bars = append(bars, newBar(ExpiryToken, "SCIM access token", token.ID, token.Created, token.Expires, now))
			}
		}
	}
	if certificates := connection.Certificates; certificates != nil {
		for _, certificate := range certificates.Entra {
			if certificate.Thumbprint == certificates.effectiveThumbprint() {
				bars = append(bars, newBar(ExpiryCertificate, "SAML signing certificate", certificate.Thumbprint, certificate.NotBefore, certificate.NotAfter, now))
				break
			}
		}
	}
	for _, credential := range usedCredentials(connection.AppCredentials, now) {
		bars = append(bars, newBar(ExpiryCredential, "The exporter's Entra "+credential.Kind, credential.KeyID, time.Time{}, credential.Expires, now))
	}
	return bars
}

// newBar assumes a lifetime of one year if the start is unknown.
func newBar(kind ExpiryKind, label, id string, begins, expires, now time.Time) bar {
	b := bar{kind: kind, Label: label, ID: id, Expires: expires, Left: "expiry unknown", Severity: Info}
	if expires.IsZero() {
		return b
	}
	lifetime, left := 365*day, expires.Sub(now)
	if !begins.IsZero() && expires.After(begins) {
		lifetime = expires.Sub(begins)
	}
	b.Percent = min(100, max(0, int(100*left.Seconds()/lifetime.Seconds())))
	b.Left = expiresIn(left)
	if left > 0 {
		b.Left = formatDuration(left) + " left"
	} else {
		b.Percent, b.Expired = 100, true // the strongest bar, not an empty one
	}
	soon, critical := expiringSoon, expiringCritical
	if kind == ExpiryCredential {
		soon, critical = credentialSoon, credentialCritical
	}
	switch {
	case left < critical:
		b.Severity = Critical
	case left < soon:
		b.Severity = Warning
	default:
		b.Severity = ""
	}
	return b
}

// provisioningSentence sums up the state of the provisioning job.
func provisioningSentence(connection Connection, now time.Time) string {
	job := connection.Job
	if job == nil {
		for _, source := range connection.Sources {
			if source.Source == model.SourceJob && !source.LastSuccess.IsZero() {
				return "Unknown; last read " + relativeTime(source.LastSuccess, now) + "."
			}
		}
		return "Unknown; not read yet."
	}
	state := cmp.Or(map[model.JobStatus]string{
		model.JobActive:        "Active",
		model.JobPaused:        "Paused",
		model.JobQuarantine:    "In quarantine",
		model.JobNotConfigured: "Not configured",
		model.JobNotRun:        "Never run",
	}[job.Status], "In an unknown state")
	last := job.LastCycle
	if last == nil || last.Ended.IsZero() {
		return state + "."
	}
	result := cmp.Or(map[model.CycleState]string{
		model.CycleSucceeded:        "succeeded",
		model.CycleFailed:           "failed",
		model.CycleEntryLevelErrors: "ended with errors for some entries",
	}[last.State], "ended")
	return fmt.Sprintf("%s; the last cycle %s %s.", state, result, relativeTime(last.Ended, now))
}

// WaitingSentence explains the waiting reason; docs/rotation-reasons.md has the details.
func (v rotationView) WaitingSentence() string {
	own := map[model.WaitingReason]string{
		model.WaitingProofPending: "Entra has saved the new token. A provisioning cycle must still prove that Entra uses it.",
		model.WaitingRetireWait:   "The new token is proven. The old one is kept for a while, in case it is still needed.",
		model.WaitingApproval:     "An operator must approve the deletion of the old token.",
	}
	switch {
	case v.Kind == model.ProcedureCertificate && v.Phase == model.PhaseConfirm:
		own = map[model.WaitingReason]string{model.WaitingProofPending: "AWS trusts the new certificate alone. Users must still sign in by it."}
	case v.Kind == model.ProcedureCertificate:
		own = map[model.WaitingReason]string{
			model.WaitingProofPending: "The new certificate is active. Users must still sign in by it.",
			model.WaitingRetireWait:   "Users sign in by the new certificate. AWS trusts the old one for a while, in case it is still needed.",
			model.WaitingApproval:     "An operator must approve the deletion of the old certificate at AWS.",
		}
	case v.Phase == model.PhaseConfirm:
		own[model.WaitingSettling] = "The old token is deleted. The rotation checks that provisioning works without it."
	}
	return cmp.Or(own[v.Waiting], map[model.WaitingReason]string{
		model.WaitingJobStoppedBriefly: "The provisioning job is stopped, and so are the rotation's timers. Both continue when the job runs again.",
		model.WaitingQuarantineRetry:   "Entra retries the quarantined job soon. The rotation waits for the result.",
		model.WaitingSettling:          "The last change takes a while to become visible everywhere. The " + v.Noun() + " then checks again.",
		model.WaitingStoreUnavailable:  "The journal or the token store cannot be written. doctor says why. Nothing is changed meanwhile.",
		model.WaitingOnHold:            "The " + v.Noun() + " is on hold. Resume it with rotation hold --release.",
	}[v.Waiting])
}
