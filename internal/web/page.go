package web

import (
	"cmp"
	"fmt"
	"html/template"
	"slices"
	"time"

	"entra-aws-exporter/internal/model"
)

func pageFunctions() template.FuncMap {
	return template.FuncMap{
		"date":     formatDate,
		"duration": formatDuration,
		"harm":     harmLabel,
		"iso":      func(t time.Time) string { return t.UTC().Format(time.RFC3339) },
		"label":    severityLabel,
		"relative": relativeTime,
		"spaced":   spaced,
		"time":     formatTime,
		"waiting":  waitingSentence,
	}
}

// statusPage is what status.html shows.
type statusPage struct {
	layout
	Now         time.Time
	Severity    Severity
	Headline    string
	Problems    [][]Advice // of the exporter itself
	Harms       []harmView
	ExpiresNext []expiryView
	Attention   []connectionView // the most harmed ones in full
	Unshown     int              // how many more need attention
	Only        *connectionView  // the only connection, in full
	Selection   selectionView
	History     []recordView
}

// The status page shows this many expiries, connections in full, and rotations.
const (
	shownExpiries  = 5
	shownAttention = 10
	shownRotations = 10
)

// harmView names the connections of which one thing is harmed.
type harmView struct {
	Harm        Harm
	Severity    Severity
	Connections []string
	Unshown     int
}

// expiryView is an expiry as the page shows it.
type expiryView struct {
	Expiry
	Bar bar
}

// selectionView is one page of the connections that a filter selects.
type selectionView struct {
	Filter             filter
	Connections        []connectionView
	First, Last, Total int
}

// Previous is the number of the page before.
func (v selectionView) Previous() int { return v.Filter.Page - 1 }

// Next is the number of the page after.
func (v selectionView) Next() int { return v.Filter.Page + 1 }

// connectionView is a connection with what only the page needs.
type connectionView struct {
	Connection
	Root         string // relative path to /
	Now          time.Time
	Severity     Severity
	Problems     [][]Advice // by cause
	Bars         []bar
	Provisioning string
	Phases       []phaseView // of a running rotation
}

// connectionPage is what connection.html shows.
type connectionPage struct {
	layout
	Now     time.Time
	View    connectionView
	History []recordView
}

// configPage is what config.html shows.
type configPage struct {
	layout
	Config string
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

// recordView is one rotation in the history.
type recordView struct {
	model.RotationRecord
	Summary  string
	Severity Severity
}

func newStatusPage(l layout, connections []Connection, records []model.RotationRecord, exporter []Advice, f filter, now time.Time) statusPage {
	page := statusPage{layout: l, Now: now, Selection: newSelectionView(l.Root, connections, f, now), History: newHistory(records, now)}
	var views []connectionView
	for _, connection := range connections {
		views = append(views, newConnectionView(l.Root, connection, now))
	}
	page.Severity, page.Headline = newHeadline(views)
	page.Harms = newHarms(connections)
	if page.Problems = GroupAdvice(exporter); len(exporter) > 0 && page.Severity.rank() > Warning.rank() {
		page.Severity, page.Headline = Warning, "The exporter itself needs attention."
	}
	for _, expiry := range expiresNext(connections, now) {
		if len(page.ExpiresNext) < shownExpiries {
			page.ExpiresNext = append(page.ExpiresNext, expiryView{expiry, newBar(expiry.Kind, expiry.Kind.Label(), expiry.ID, time.Time{}, expiry.Expires, now)})
		}
	}
	if len(views) == 1 {
		page.Only = &views[0]
		return page
	}
	for _, view := range views {
		switch {
		case !view.needsAttention():
		case len(page.Attention) < shownAttention:
			page.Attention = append(page.Attention, view)
		default:
			page.Unshown++
		}
	}
	return page
}

func newConnectionPage(l layout, connection Connection, records []model.RotationRecord, now time.Time) connectionPage {
	own := slices.DeleteFunc(slices.Clone(records), func(record model.RotationRecord) bool { return record.Connection != connection.Name })
	return connectionPage{layout: l, Now: now, View: newConnectionView(l.Root, connection, now), History: newHistory(own, now)}
}

func newSelectionView(root string, connections []Connection, f filter, now time.Time) selectionView {
	selected, total := f.apply(connections)
	view := selectionView{Filter: f, First: (f.Page-1)*f.Limit + 1, Total: total}
	view.Last = view.First + len(selected) - 1
	for _, connection := range selected {
		view.Connections = append(view.Connections, newConnectionView(root, connection, now))
	}
	return view
}

// newHistory shows the newest rotations.
func newHistory(records []model.RotationRecord, now time.Time) []recordView {
	var history []recordView
	for _, record := range records[:min(len(records), shownRotations)] {
		history = append(history, newRecordView(record, now))
	}
	return history
}

// newHarms lists what is harmed, worst first, without what is only for information.
func newHarms(connections []Connection) []harmView {
	const shownNames = 3
	var harms []harmView
	for _, harm := range []Harm{HarmSignIn, HarmProvisioning, HarmExpiry, HarmMonitoring} {
		view := harmView{Harm: harm}
		for _, connection := range connections {
			severity := connection.severityOf(harm)
			switch {
			case severity.rank() > Warning.rank():
				continue
			case len(view.Connections) < shownNames:
				view.Connections = append(view.Connections, connection.Name)
			default:
				view.Unshown++
			}
			if severity.rank() < view.Severity.rank() {
				view.Severity = severity
			}
		}
		if len(view.Connections) > 0 {
			harms = append(harms, view)
		}
	}
	return harms
}

// compareConnections orders by the most harmful advice. Connections without any come last.
func compareConnections(a, b Connection) int {
	switch {
	case len(a.Advice) > 0 && len(b.Advice) > 0:
		return compareAdvice(a.Advice[0], b.Advice[0])
	default:
		return min(1, len(b.Advice)) - min(1, len(a.Advice))
	}
}

// newHeadline sums up the state of all connections in one sentence.
func newHeadline(connections []connectionView) (Severity, string) {
	count := map[Severity]int{}
	for _, connection := range connections {
		count[connection.Severity]++
	}
	total := formatCount(len(connections), "connection")
	switch critical, warning := count[Critical], count[Warning]; {
	case len(connections) == 0:
		return Info, "No connection is configured."
	case critical > 0 && warning > 0:
		return Critical, fmt.Sprintf("%s: %d urgent, %d with warnings.", total, critical, warning)
	case critical > 0:
		return Critical, fmt.Sprintf("%s: %d urgent.", total, critical)
	case warning > 0:
		return Warning, fmt.Sprintf("%s: %d with warnings.", total, warning)
	case !slices.ContainsFunc(connections, connectionView.isPolled):
		return Info, "Nothing has been polled yet."
	default:
		return "", fmt.Sprintf("No action is needed for %s.", total)
	}
}

func newConnectionView(root string, connection Connection, now time.Time) connectionView {
	view := connectionView{
		Connection: connection, Root: root, Now: now, Severity: connection.severity(), Problems: GroupAdvice(connection.Advice),
		Bars: newBars(connection, now), Provisioning: provisioningSentence(connection, now),
	}
	if len(connection.Advice) == 0 && !view.isPolled() {
		view.Severity = Info
	}
	if current := connection.Rotation.Phase; isStep(current) {
		done := true
		for _, phase := range model.Phases() {
			if !isStep(phase) {
				continue
			}
			done = done && phase != current
			view.Phases = append(view.Phases, phaseView{Phase: phase, Done: done, Current: phase == current})
		}
	}
	return view
}

// isStep reports whether a successful rotation passes through the phase.
func isStep(phase model.Phase) bool {
	return phase != model.PhaseIdle && phase != model.PhaseUndo && phase != model.PhaseBlocked
}

// isPolled reports whether any source of the connection has been polled.
func (v connectionView) isPolled() bool {
	return slices.ContainsFunc(v.Sources, func(source Source) bool { return source.Up != nil })
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

func newRecordView(record model.RotationRecord, now time.Time) recordView {
	view := recordView{RotationRecord: record}
	switch record.Outcome {
	case model.OutcomeDone:
	case model.OutcomeBlocked:
		view.Severity = Warning
	default:
		view.Severity = Info
	}
	view.Summary = string(record.Outcome)
	if record.Outcome == "" {
		view.Summary = fmt.Sprintf("in phase %s, started %s", record.Phase, relativeTime(record.Started, now))
	} else if !record.Ended.IsZero() {
		view.Summary += fmt.Sprintf(" after %s, on %s", formatDuration(record.Ended.Sub(record.Started)), formatDate(record.Ended))
	}
	return view
}

// harmLabel names a harm.
func harmLabel(harm Harm) string {
	return map[Harm]string{
		HarmSignIn:       "Users may be unable to sign in",
		HarmProvisioning: "Provisioning fails or has stopped",
		HarmExpiry:       "Expires soon, or its renewal needs you",
		HarmMonitoring:   "The exporter cannot see everything",
	}[harm]
}

// severityLabel names a severity, so that colour is never the only sign.
func severityLabel(severity Severity) string {
	switch severity {
	case Critical:
		return "Urgent"
	case Warning:
		return "Needs attention"
	case Info:
		return "For information"
	default:
		return "All good"
	}
}

// waitingSentence explains a waiting reason; docs/rotation-reasons.md has the details.
func waitingSentence(reason model.WaitingReason, phase model.Phase) string {
	if reason == model.WaitingSettling && phase == model.PhaseConfirm {
		return "The old token is deleted. The rotation checks that provisioning works without it."
	}
	return map[model.WaitingReason]string{
		model.WaitingJobStoppedBriefly: "The provisioning job is stopped, and so are the rotation's timers. Both continue when the job runs again.",
		model.WaitingQuarantineRetry:   "Entra retries the quarantined job soon. The rotation waits for the result.",
		model.WaitingProofPending:      "Entra has saved the new token. A provisioning cycle must still prove that Entra uses it.",
		model.WaitingRetireWait:        "The new token is proven. The old one is kept for a while, in case it is still needed.",
		model.WaitingSettling:          "The last change takes a while to become visible everywhere. The rotation then checks again.",
		model.WaitingStoreUnavailable:  "The journal or the token store cannot be written. Check the state directory. Nothing is changed meanwhile.",
		model.WaitingApproval:          "An operator must approve the deletion of the old token.",
		model.WaitingOnHold:            "The rotation is on hold. Resume it with rotation hold --release.",
	}[reason]
}
