package grafana

import (
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/grafana/grafana-foundation-sdk/go/dashboard"
	"github.com/grafana/grafana-foundation-sdk/go/prometheus"
)

var (
	legendLabel = regexp.MustCompile(`\{\{([a-z_]+)\}\}`)
	grouping    = regexp.MustCompile(`by \(([a-z_, ]+)\)`)
)

// panelFaults are the faults that a Grafana would show and the linter does not know.
func panelFaults(p *dashboard.Panel) []string {
	var found []string
	add := func(format string, values ...any) { found = append(found, fmt.Sprintf(format, values...)) }

	pos := p.GridPos
	if pos.W < 1 || pos.H < 1 || pos.X+pos.W > gridWidth {
		add("leaves the grid: %+v", pos)
	}
	for _, link := range p.Links {
		url := *link.Url
		name, isRunbook := strings.CutPrefix(strings.TrimSuffix(url, ".md"), Base+"/docs/runbooks/")
		if _, err := os.Stat("../../docs/runbooks/" + name + ".md"); !isRunbook || err != nil {
			add("links to %s, which is no runbook", url)
		}
	}
	legends := map[string]bool{}
	for _, query := range queriesOf(p) {
		found = append(found, legendFaults(p.Type, query, legends)...)
		legends[*query.LegendFormat] = true
	}
	fields := fieldNames(p, legends)
	for _, override := range p.FieldConfig.Overrides {
		if name := override.Matcher.Options.(string); !slices.Contains(fields, name) {
			add("overrides the field %q, which is none of %q", name, fields)
		}
	}
	return found
}

// legendFaults: every series has a name of its own, made of labels that the query keeps.
func legendFaults(kind string, query *prometheus.Dataquery, others map[string]bool) []string {
	if kind == "table" {
		if valueOf(query.Format) != "table" || !valueOf(query.Instant) {
			return []string{"a table whose query is no instant table: " + query.Expr}
		}
		return nil
	}
	var found []string
	if *query.LegendFormat == "" {
		found = append(found, "no legend: "+query.Expr)
	}
	if others[*query.LegendFormat] {
		found = append(found, "two queries have the legend "+*query.LegendFormat)
	}
	var kept []string
	for _, match := range grouping.FindAllStringSubmatch(query.Expr, -1) {
		kept = append(kept, strings.Split(match[1], ", ")...)
	}
	for _, match := range legendLabel.FindAllStringSubmatch(*query.LegendFormat, -1) {
		if !slices.Contains(kept, match[1]) {
			found = append(found, "the legend names "+match[1]+", which the query does not keep: "+query.Expr)
		}
	}
	return found
}

// fieldNames are the names that overrides can match: the columns of a table, else the series.
func fieldNames(p *dashboard.Panel, legends map[string]bool) []string {
	var names []string
	for _, transformation := range p.Transformations {
		if organize, ok := transformation.Options.(*organizeOptions); ok {
			names = slices.AppendSeq(names, maps.Keys(organize.IndexByName))
			names = slices.AppendSeq(names, maps.Values(organize.RenameByName))
		}
	}
	for _, match := range grouping.FindAllStringSubmatch(queriesOf(p)[0].Expr, -1) {
		names = append(names, strings.Split(match[1], ", ")...)
	}
	for legend := range legends {
		names = append(names, legend)
	}
	slices.Sort(names)
	return slices.Compact(names)
}

func TestPanels(t *testing.T) {
	explained := map[string]bool{}
	for file, d := range allDashboards() {
		for _, p := range panelsOf(d) {
			for _, fault := range panelFaults(p) {
				t.Errorf("%s: panel %q: %s", file, *p.Title, fault)
			}
			for _, link := range p.Links {
				explained[strings.TrimSuffix(filepath.Base(*link.Url), ".md")] = true
			}
		}
	}
	files, err := filepath.Glob("../../docs/runbooks/EntraAws*.md")
	if err != nil || len(files) == 0 {
		t.Fatalf("no runbooks: %v", err)
	}
	for _, file := range files {
		if name := strings.TrimSuffix(filepath.Base(file), ".md"); !explained[name] {
			t.Errorf("no panel links to the runbook of %s", name)
		}
	}
}

// TestPanelFaultsAreFound adds each fault to a good panel.
func TestPanelFaultsAreFound(t *testing.T) {
	good := func(title string) *dashboard.Panel {
		for _, p := range panelsOf(Overview()) {
			if *p.Title == title {
				return p
			}
		}
		t.Fatalf("there is no panel %q", title)
		return nil
	}
	for want, faulty := range map[string]func() *dashboard.Panel{
		"leaves the grid":     func() *dashboard.Panel { p := good("Days left over time"); p.GridPos.X = 1; return p },
		"which is no runbook": func() *dashboard.Panel { return panel{good("Days left over time")}.forAlerts("EntraAwsNothing").Panel },
		"no legend": func() *dashboard.Panel {
			p := good("Days left over time")
			queriesOf(p)[0].LegendFormat = new("")
			return p
		},
		"two queries have the legend": func() *dashboard.Panel {
			p := good("Exporters")
			queriesOf(p)[1].LegendFormat = queriesOf(p)[0].LegendFormat
			return p
		},
		"which the query does not keep": func() *dashboard.Panel {
			p := good("Days left over time")
			queriesOf(p)[0].LegendFormat = new("{{instance}}")
			return p
		},
		"overrides the field": func() *dashboard.Panel {
			return panel{good("What expires next")}.withField("days", unitProperty("d")).Panel
		},
		"query is no instant table": func() *dashboard.Panel {
			p := good("What expires next")
			queriesOf(p)[0].Instant = new(false)
			return p
		},
	} {
		if found := strings.Join(panelFaults(faulty()), "\n"); !strings.Contains(found, want) {
			t.Errorf("%q is not found; found %q", want, found)
		}
	}
}

// TestLinksBetweenDashboards: each leads to the other.
func TestLinksBetweenDashboards(t *testing.T) {
	known := []string{OverviewUID, ConnectionUID}
	for file, d := range allDashboards() {
		leads := 0
		for _, link := range d.Links {
			url := *link.Url
			if uid, isDashboard := strings.CutPrefix(url, "/d/"); isDashboard {
				leads++
				if !slices.Contains(known, uid) || uid == *d.Uid {
					t.Errorf("%s links to %s", file, url)
				}
			}
		}
		if leads != 1 {
			t.Errorf("%s has %d links to other dashboards", file, leads)
		}
	}
}
