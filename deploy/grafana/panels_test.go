package grafana

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

var (
	legendLabel = regexp.MustCompile(`\{\{([a-z_]+)\}\}`)
	grouping    = regexp.MustCompile(`by \(([a-z_, ]+)\)`)
)

// panelFaults are what a reader of a panel would stumble over, beside the linter's rules.
// No Grafana runs here that could show them.
func panelFaults(p *Panel) []string {
	var found []string
	add := func(format string, values ...any) { found = append(found, fmt.Sprintf(format, values...)) }

	pos := p.GridPos
	if pos.W < 1 || pos.H < 1 || pos.X < 0 || pos.Y < 0 || pos.X+pos.W > 24 {
		add("leaves the grid: %+v", pos)
	}
	for _, link := range p.Links {
		url := link["url"].(string)
		name, isRunbook := strings.CutPrefix(strings.TrimSuffix(url, ".md"), Base+"/docs/runbooks/")
		if _, err := os.Stat("../../docs/runbooks/" + name + ".md"); !isRunbook || err != nil {
			add("links to %s, which is no runbook", url)
		}
	}
	legends := map[string]bool{}
	for _, target := range p.Targets {
		found = append(found, legendFaults(p.Type, target, legends)...)
		legends[target.LegendFormat] = true
	}
	fields := fieldNames(p, legends)
	for _, override := range p.FieldConfig.Overrides {
		if name := override.Matcher["options"].(string); !slices.Contains(fields, name) {
			add("overrides the field %q, which is none of %q", name, fields)
		}
	}
	return found
}

// legendFaults: every series has a name of its own, made of labels that the query keeps.
func legendFaults(kind string, target Target, others map[string]bool) []string {
	if kind == "table" {
		if target.Format != "table" || !target.Instant {
			return []string{"a table whose query is no instant table: " + target.Expr}
		}
		return nil
	}
	var found []string
	if target.LegendFormat == "" {
		found = append(found, "no legend: "+target.Expr)
	}
	if others[target.LegendFormat] {
		found = append(found, "two queries have the legend "+target.LegendFormat)
	}
	var kept []string
	for _, match := range grouping.FindAllStringSubmatch(target.Expr, -1) {
		kept = append(kept, strings.Split(match[1], ", ")...)
	}
	for _, match := range legendLabel.FindAllStringSubmatch(target.LegendFormat, -1) {
		if !slices.Contains(kept, match[1]) {
			found = append(found, "the legend names "+match[1]+", which the query does not keep: "+target.Expr)
		}
	}
	return found
}

// fieldNames are the names that overrides can match: the columns of a table, else the series.
func fieldNames(p *Panel, legends map[string]bool) []string {
	var names []string
	for _, transformation := range p.Transformations {
		options := transformation["options"].(object)
		columns, _ := options["indexByName"].(object)
		for column := range columns {
			names = append(names, column)
		}
		switch renamed := options["renameByName"].(type) {
		case object:
			for _, name := range renamed {
				names = append(names, name.(string))
			}
		case map[string]string:
			for _, name := range renamed {
				names = append(names, name)
			}
		}
	}
	for _, match := range grouping.FindAllStringSubmatch(p.Targets[0].Expr, -1) {
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
	for file, dashboard := range all() {
		for _, p := range dashboard.Panels {
			if p.Type == "row" {
				continue
			}
			for _, fault := range panelFaults(p) {
				t.Errorf("%s: panel %q: %s", file, p.Title, fault)
			}
			for _, link := range p.Links {
				explained[strings.TrimSuffix(filepath.Base(link["url"].(string)), ".md")] = true
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

// TestPanelFaultsAreFound spoils a good panel in every way.
func TestPanelFaultsAreFound(t *testing.T) {
	good := func(title string) *Panel {
		for _, p := range Overview().Panels {
			if p.Title == title {
				return p
			}
		}
		t.Fatalf("there is no panel %q", title)
		return nil
	}
	for want, spoilt := range map[string]func() *Panel{
		"leaves the grid":               func() *Panel { p := good("Days left over time"); p.GridPos.X = 1; return p },
		"which is no runbook":           func() *Panel { return good("Days left over time").explains("EntraAwsNothing") },
		"no legend":                     func() *Panel { p := good("Days left over time"); p.Targets[0].LegendFormat = ""; return p },
		"two queries have the legend":   func() *Panel { p := good("Exporters"); p.Targets[1].LegendFormat = p.Targets[0].LegendFormat; return p },
		"which the query does not keep": func() *Panel { p := good("Days left over time"); p.Targets[0].LegendFormat = "{{instance}}"; return p },
		"overrides the field":           func() *Panel { return good("What expires next").field("days", property("unit", "d")) },
		"query is no instant table":     func() *Panel { p := good("What expires next"); p.Targets[0].Instant = false; return p },
	} {
		if found := strings.Join(panelFaults(spoilt()), "\n"); !strings.Contains(found, want) {
			t.Errorf("%q is not found; found %q", want, found)
		}
	}
}

// TestLinksBetweenDashboards: each leads to the other.
func TestLinksBetweenDashboards(t *testing.T) {
	known := []string{OverviewUID, ConnectionUID}
	for file, dashboard := range all() {
		leads := 0
		for _, link := range dashboard.Links {
			url := link["url"].(string)
			if uid, isDashboard := strings.CutPrefix(url, "/d/"); isDashboard {
				leads++
				if !slices.Contains(known, uid) || uid == dashboard.UID {
					t.Errorf("%s links to %s", file, url)
				}
			}
		}
		if leads != 1 {
			t.Errorf("%s has %d links to other dashboards", file, leads)
		}
	}
}
