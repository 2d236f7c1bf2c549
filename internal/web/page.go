package web

import (
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

// recordView is one rotation in the history.
type recordView struct {
	model.RotationRecord
	Summary  string
	Severity Severity
}

func newStatusPage(l layout, connections []Connection, records []model.RotationRecord, exporter []Advice, f filter, now time.Time) statusPage {
	page := statusPage{layout: l, Now: now, Selection: newSelectionView(l.Root, connections, f, now), History: newHistory(records, now)}
	page.Severity, page.Headline = newHeadline(connections)
	page.Harms = newHarms(connections)
	if page.Problems = GroupAdvice(exporter); len(exporter) > 0 && page.Severity.rank() > Warning.rank() {
		page.Severity, page.Headline = Warning, "The exporter itself needs attention."
	}
	for _, expiry := range expiresNext(connections, now) {
		if len(page.ExpiresNext) < shownExpiries {
			page.ExpiresNext = append(page.ExpiresNext, expiryView{expiry, newBar(expiry.Kind, expiry.Kind.Label(), expiry.ID, time.Time{}, expiry.Expires, now)})
		}
	}
	if len(connections) == 1 {
		page.Only = new(newConnectionView(l.Root, connections[0], now))
		return page
	}
	for _, connection := range connections {
		switch {
		case !connection.needsAttention():
		case len(page.Attention) < shownAttention:
			page.Attention = append(page.Attention, newConnectionView(l.Root, connection, now))
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
func newHeadline(connections []Connection) (Severity, string) {
	count := map[Severity]int{}
	for _, connection := range connections {
		count[connection.severity()]++
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
	case !slices.ContainsFunc(connections, Connection.isPolled):
		return Info, "Nothing has been polled yet."
	default:
		return "", fmt.Sprintf("No action is needed for %s.", total)
	}
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
