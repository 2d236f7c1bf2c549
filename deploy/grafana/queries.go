package grafana

import (
	"strconv"
	"strings"

	"github.com/grafana/grafana-foundation-sdk/go/prometheus"
)

// rangeQuery covers the time range of the dashboard. The legend may use {{label}}.
func rangeQuery(expr, legend string) *prometheus.Dataquery {
	return &prometheus.Dataquery{
		Datasource: dataSource(), Expr: expr, LegendFormat: &legend, Format: new(prometheus.PromQueryFormatTimeSeries), Instant: new(false), Range: new(true),
	}
}

// lastQuery returns the values at the end of the time range.
func lastQuery(expr, legend string) *prometheus.Dataquery {
	return &prometheus.Dataquery{
		Datasource: dataSource(), Expr: expr, LegendFormat: &legend, Format: new(prometheus.PromQueryFormatTimeSeries), Instant: new(true), Range: new(false),
	}
}

// tableQuery returns the values at the end of the time range, with labels as columns.
func tableQuery(expr string) *prometheus.Dataquery {
	return &prometheus.Dataquery{
		Datasource: dataSource(), Expr: expr, LegendFormat: new(""), Format: new(prometheus.PromQueryFormatTable), Instant: new(true), Range: new(false),
	}
}

// selector selects the series of the chosen connections, with further matchers if given.
func selector(more ...string) string {
	return processSelector(append([]string{`connection=~"$connection"`}, more...)...)
}

// processSelector is for metrics without the label connection.
func processSelector(more ...string) string {
	return "{" + strings.Join(append([]string{`job=~"$job"`, `instance=~"$instance"`}, more...), ", ") + "}"
}

// highest and lowest limit what a panel shows of many connections.
func highest(expr string) string { return "topk(20, " + expr + ")" }

func lowest(expr string) string { return "bottomk(20, " + expr + ")" }

// atEnd looks at the end of the time range, so that the choice is the same for all of it.
func atEnd(expr string) string { return strings.ReplaceAll(expr, "}", "} @ end()") }

// state is one value of a state set and its look in a timeline.
type state struct {
	name, text, colour string
}

// stateNumber turns a state set into one number for each connection: the position of the
// current state, from 1 on. If replicas disagree, the later state of the list counts.
func stateNumber(metric, label string, states []state, more ...string) string {
	terms := make([]string, 0, len(states))
	for i, s := range states {
		terms = append(terms, strconv.Itoa(i+1)+" * ("+metric+selector(append([]string{label + `="` + s.name + `"`}, more...)...)+" == 1)")
	}
	return "max by (connection) (" + strings.Join(terms, " or ") + ")"
}

// shiftedBy moves the numbers of a second state set behind those of the first.
func shiftedBy(count int, expr string) string { return strconv.Itoa(count) + " + " + expr }

func jobStates() []state {
	return []state{
		{"active", "Active", "green"},
		{"not_run", "Never run", "orange"},
		{"not_configured", "Not configured", "orange"},
		{"paused", "Paused", "orange"},
		{"unknown", "Unknown", "purple"},
		{"quarantine", "Quarantine", "red"},
	}
}

func cycleStates() []state {
	return []state{
		{"succeeded", "Succeeded", "green"},
		{"entry_level_errors", "Errors for some entries", "yellow"},
		{"unknown", "Unknown", "purple"},
		{"failed", "Failed", "red"},
	}
}

// phaseStates are the phases of both kinds of rotation.
func phaseStates() []state {
	return []state{
		{"idle", "Idle", "text"},
		{"plan", "Plan", "super-light-blue"},
		{"create", "Create", "light-blue"},
		{"test", "Test", "blue"},
		{"switch", "Switch", "semi-dark-blue"},
		{"resume", "Resume", "dark-blue"},
		{"import", "Import", "blue"},
		{"settle", "Settle", "semi-dark-blue"},
		{"activate", "Activate", "dark-blue"},
		{"verify", "Verify", "light-purple"},
		{"retire", "Retire", "purple"},
		{"confirm", "Confirm", "green"},
		{"undo", "Undo", "orange"},
		{"blocked", "Blocked", "red"},
	}
}
