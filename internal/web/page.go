package web

import (
	"fmt"
	"html/template"
	"slices"
	"strings"
	"time"

	"entra-aws-exporter/internal/model"
)

func pageFunctions() template.FuncMap {
	return template.FuncMap{
		"ago":     ago,
		"date":    date,
		"span":    span,
		"moment":  moment,
		"badge":   badge,
		"waiting": waiting,
		"iso":     func(t time.Time) string { return t.UTC().Format(time.RFC3339) },
		"words":   func(v any) string { return strings.ReplaceAll(fmt.Sprint(v), "_", " ") },
	}
}

// layout is what every page has around its content.
type layout struct {
	Title string
	Root  string // the relative path to /, so that the pages work below a proxy's prefix
	Build Build
}

// statusPage is what status.html shows.
type statusPage struct {
	layout
	Now         time.Time
	Severity    Severity
	Verdict     string
	Connections []connectionView // most urgent first
	History     []recordView
}

// connectionView is a connection with what only a person needs.
type connectionView struct {
	Connection
	Now          time.Time
	Severity     Severity
	Bars         []bar
	Provisioning string
	Phases       []phaseView // of a rotation that is under way
}

// bar shows how much of a lifetime is left.
type bar struct {
	kind     string // token, certificate or credential
	Label    string
	What     string // which token or certificate
	Expires  time.Time
	Left     string
	Percent  int
	Severity Severity
}

// phaseView is one phase of the rotation under way.
type phaseView struct {
	Phase   model.Phase
	Done    bool
	Current bool
}

// recordView is one rotation of the history.
type recordView struct {
	model.RotationRecord
	Summary  string
	Severity Severity
}

func newStatusPage(described Connections, records []model.RotationRecord, build Build, now time.Time) statusPage {
	page := statusPage{layout: layout{Title: "Status", Root: "./", Build: build}, Now: now}
	for _, connection := range described.Connections {
		page.Connections = append(page.Connections, newConnectionView(connection, now))
	}
	slices.SortStableFunc(page.Connections, func(a, b connectionView) int { return a.Severity.rank() - b.Severity.rank() })
	page.Severity, page.Verdict = verdict(page.Connections)
	for _, record := range records {
		page.History = append(page.History, newRecordView(record, now))
	}
	return page
}

// verdict is the one sentence for who has five seconds.
func verdict(connections []connectionView) (Severity, string) {
	urgent, attention := 0, 0
	for _, connection := range connections {
		switch connection.Severity {
		case Critical:
			urgent++
		case Warning:
			attention++
		default:
		}
	}
	total := count(len(connections), "connection")
	switch {
	case len(connections) == 0:
		return Info, "No connection is configured."
	case urgent > 0 && attention > 0:
		return Critical, fmt.Sprintf("%d of %s: urgent. %d more: needs attention.", urgent, total, attention)
	case urgent > 0:
		return Critical, fmt.Sprintf("%d of %s: urgent.", urgent, total)
	case attention > 0:
		return Warning, fmt.Sprintf("%d of %s: needs attention.", attention, total)
	case !slices.ContainsFunc(connections, connectionView.read):
		return Info, "Nothing has been read yet."
	default:
		return "", fmt.Sprintf("All good: nothing to do for %s.", total)
	}
}

// badge is a severity in words, so that colour is never the only sign.
func badge(severity Severity) string {
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

func newConnectionView(connection Connection, now time.Time) connectionView {
	view := connectionView{Connection: connection, Now: now, Provisioning: provisioning(connection, now)}
	if len(connection.Advice) > 0 {
		view.Severity = connection.Advice[0].Severity
	} else if !view.read() {
		view.Severity = Info
	}
	view.Bars = bars(connection, now)
	if r := connection.Rotation; r.Phase != model.PhaseIdle && r.Phase != model.PhaseBlocked && r.Phase != model.PhaseUndo {
		view.Phases = phases(r.Phase)
	}
	return view
}

// read reports whether anything has been tried for the connection yet.
func (v connectionView) read() bool {
	return slices.ContainsFunc(v.Sources, func(source Source) bool { return source.Up != nil })
}

// State is how the source does, in a word or two.
func (s Source) State() string {
	switch {
	case s.Error != "":
		return "fails: " + strings.ReplaceAll(string(s.Reason), "_", " ")
	case s.Off:
		return "off: nothing to read"
	case s.Up == nil:
		return "not tried yet"
	case !s.Fresh:
		return "stale"
	default:
		return "up"
	}
}

// HeldByAWS says whether AWS trusts the certificate.
func (c Certificate) HeldByAWS() string {
	switch {
	case c.Trusted == nil:
		return "not known"
	case *c.Trusted:
		return "yes"
	default:
		return "no"
	}
}

// Bar returns the bar of a kind, nil when there is none.
func (v connectionView) Bar(kind string) *bar {
	for _, b := range v.Bars {
		if b.kind == kind {
			return &b
		}
	}
	return nil
}

func bars(connection Connection, now time.Time) []bar {
	var all []bar
	if tokens := connection.Tokens; tokens != nil {
		for _, token := range tokens.Tokens {
			if token.ID == tokens.ActiveTokenID {
				all = append(all, newBar("token", "SCIM access token", token.ID, token.Created, token.Expires, now, expiringSoon, expiringCritical))
			}
		}
	}
	if certificates := connection.Certificates; certificates != nil {
		for _, certificate := range certificates.Entra {
			if certificate.NotAfter.Equal(certificates.ActiveExpires) && (certificate.Active || certificates.ActiveThumbprint == "") {
				all = append(all, newBar("certificate", "SAML signing certificate", certificate.Thumbprint, certificate.NotBefore, certificate.NotAfter, now, expiringSoon, expiringCritical))
				break
			}
		}
	}
	for _, credential := range connection.AppCredentials {
		all = append(all, newBar("credential", "The exporter's Entra "+credential.Kind, credential.KeyID, time.Time{}, credential.Expires, now, credentialSoon, credentialCritical))
	}
	return all
}

// newBar takes a year for the lifetime of what does not tell when it began.
func newBar(kind, label, what string, begins, expires, now time.Time, soon, critical time.Duration) bar {
	if expires.IsZero() {
		return bar{kind: kind, Label: label, What: what, Left: "expiry not known", Severity: Info}
	}
	lifetime := 365 * day
	if !begins.IsZero() && expires.After(begins) {
		lifetime = expires.Sub(begins)
	}
	left := expires.Sub(now)
	b := bar{kind: kind, Label: label, What: what, Expires: expires, Left: remaining(left)}
	b.Percent = min(100, max(0, int(100*left.Seconds()/lifetime.Seconds())))
	switch {
	case left < critical:
		b.Severity = Critical
	case left < soon:
		b.Severity = Warning
	}
	return b
}

// provisioning is the job's state in one sentence.
func provisioning(connection Connection, now time.Time) string {
	job := connection.Job
	if job == nil {
		for _, source := range connection.Sources {
			if source.Source == model.SourceJob && !source.LastSuccess.IsZero() {
				return "Not known: last read " + ago(source.LastSuccess, now) + "."
			}
		}
		return "Not known: not read yet."
	}
	state := map[model.JobStatus]string{
		model.JobActive:        "Active",
		model.JobPaused:        "Paused",
		model.JobQuarantine:    "In quarantine",
		model.JobNotConfigured: "Not configured",
		model.JobNotRun:        "Never run",
	}[job.Status]
	if state == "" {
		state = "In a state that Entra does not explain"
	}
	last := job.LastCycle
	if last == nil || last.Ended.IsZero() {
		return state + "."
	}
	how := map[model.CycleState]string{
		model.CycleSucceeded:        "succeeded",
		model.CycleFailed:           "failed",
		model.CycleEntryLevelErrors: "ended with errors for some entries",
	}[last.State]
	if how == "" {
		how = "ended"
	}
	return fmt.Sprintf("%s; the last cycle %s %s.", state, how, ago(last.Ended, now))
}

// phases is the story of a rotation that has come to the current phase.
func phases(current model.Phase) []phaseView {
	views := make([]phaseView, 0, len(model.Phases()))
	done := true
	for _, phase := range model.Phases() {
		if phase == model.PhaseIdle || phase == model.PhaseUndo || phase == model.PhaseBlocked {
			continue
		}
		if phase == current {
			done = false
		}
		views = append(views, phaseView{Phase: phase, Done: done, Current: phase == current})
	}
	return views
}

func newRecordView(record model.RotationRecord, now time.Time) recordView {
	view := recordView{RotationRecord: record}
	took := ""
	if !record.Ended.IsZero() {
		took = fmt.Sprintf(" after %s, on %s", span(record.Ended.Sub(record.Started)), date(record.Ended))
	}
	switch record.Outcome {
	case model.OutcomeDone:
		view.Summary = "done" + took
	case model.OutcomeAborted:
		view.Summary = "given up" + took
		view.Severity = Info
	case model.OutcomeBlocked:
		view.Summary = "blocked" + took
		view.Severity = Warning
	default:
		view.Summary = fmt.Sprintf("in phase %s, started %s", record.Phase, ago(record.Started, now))
		view.Severity = Info
	}
	return view
}
