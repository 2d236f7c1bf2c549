package grafana

import (
	"encoding/json"
	"flag"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/grafana/grafana-foundation-sdk/go/dashboard"
	"github.com/grafana/grafana-foundation-sdk/go/prometheus"
)

var update = flag.Bool("update", false, "write the dashboards' JSON")

func allDashboards() map[string]Dashboard {
	return map[string]Dashboard{"overview.json": Overview(), "connection.json": Connection()}
}

// panelsOf are the panels of a dashboard, without its rows.
func panelsOf(d Dashboard) []*dashboard.Panel {
	var panels []*dashboard.Panel
	for _, p := range d.Panels {
		if p.Panel != nil {
			panels = append(panels, p.Panel)
		}
	}
	return panels
}

func queriesOf(p *dashboard.Panel) []*prometheus.Dataquery {
	queries := make([]*prometheus.Dataquery, 0, len(p.Targets))
	for _, target := range p.Targets {
		queries = append(queries, target.(*prometheus.Dataquery))
	}
	return queries
}

func valueOf[T any](pointer *T) T {
	if pointer == nil {
		return *new(T)
	}
	return *pointer
}

// TestJSONIsCurrent compares the committed JSON with the generated.
func TestJSONIsCurrent(t *testing.T) {
	for file, d := range allDashboards() {
		path := filepath.Join("dashboards", file)
		content, err := json.MarshalIndent(d, "", "  ")
		if err != nil {
			t.Fatal(err)
		}
		content = append(content, '\n')
		if *update {
			if err := os.WriteFile(path, content, 0o644); err != nil {
				t.Fatal(err)
			}
		}
		committed, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(string(committed), string(content)); diff != "" {
			t.Errorf("%s is not current; run go test ./deploy/grafana -update (-committed +generated):\n%s", path, diff)
		}
	}
}

var (
	metric     = regexp.MustCompile(`\bentra_aws_[a-z_]+`)
	selected   = regexp.MustCompile(`\bentra_aws_[a-z_]+\{job=~"\$job", instance=~"\$instance"[,}]`)
	counter    = regexp.MustCompile(`(rate|increase)\(entra_aws_[a-z_]+_total\{[^}]*\}\[\$__rate_interval\]\)`)
	rangeOf    = regexp.MustCompile(`\[[^\]]*\]`)
	knownUnits = []string{"none", "short", "d", "s", "bytes", "bool_yes_no", "dateTimeAsIso"}
)

// lintFaults are the breaches of the rules of grafana/dashboard-linter, named as there.
// https://github.com/grafana/dashboard-linter/blob/main/docs/index.md
func lintFaults(d Dashboard) []string {
	var found []string
	add := func(rule, where string) { found = append(found, rule+": "+where) }

	if valueOf(d.Editable) {
		add("uneditable-dashboard", *d.Title)
	}
	variables := map[string]dashboard.VariableModel{}
	for _, v := range d.Templating.List {
		variables[v.Name] = v
	}
	if v := variables["datasource"]; v.Type != "datasource" || valueOf(v.Query.String) != "prometheus" || valueOf(v.Label) != "Data source" {
		add("template-datasource-rule", "datasource")
	}
	for name, label := range map[string]string{"job": "Job", "instance": "Instance"} {
		v := variables[name]
		if valueOf(v.Label) != label || v.Type != "query" || !valueOf(v.Multi) || valueOf(v.AllValue) != ".+" {
			add("template-"+name+"-rule", name)
		}
	}
	for name, v := range variables {
		if v.Type != "query" {
			continue
		}
		if valueOf(v.Refresh) != dashboard.VariableRefreshOnTimeRangeChanged {
			add("template-on-time-change-reload-rule", name)
		}
		if query := v.Query.Map["query"].(string); !regexp.MustCompile(`^label_values\(entra_aws_[a-z_]+(\{.+\})?, [a-z]+\)$`).MatchString(query) {
			add("template-label-promql-rule", query)
		}
	}
	for _, p := range panelsOf(d) {
		where := "panel " + *p.Title
		if *p.Title == "" || *p.Description == "" || !strings.HasSuffix(*p.Description, ".") {
			add("panel-title-description-rule", where)
		}
		if p.Datasource == nil || valueOf(p.Datasource.Uid) != "${datasource}" {
			add("panel-datasource-rule", where)
		}
		if !slices.Contains(knownUnits, *p.FieldConfig.Defaults.Unit) {
			add("panel-units-rule", where+": "+*p.FieldConfig.Defaults.Unit)
		}
		if len(p.Targets) == 0 {
			add("panel-no-targets-rule", where)
		}
		for _, query := range queriesOf(p) {
			found = append(found, queryFaults(query, where)...)
		}
	}
	slices.Sort(found)
	return found
}

func queryFaults(query *prometheus.Dataquery, where string) []string {
	var found []string
	add := func(rule string) { found = append(found, rule+": "+where+": "+query.Expr) }
	if strings.Count(query.Expr, "(") != strings.Count(query.Expr, ")") || query.Expr == "" {
		add("target-promql-rule")
	}
	if len(metric.FindAllString(query.Expr, -1)) != len(selected.FindAllString(query.Expr, -1)) {
		add("target-job-rule")
	}
	for _, window := range rangeOf.FindAllString(query.Expr, -1) {
		if window != "[$__rate_interval]" {
			add("target-rate-interval-rule")
		}
	}
	if strings.Count(query.Expr, "_total{") != len(counter.FindAllString(query.Expr, -1)) {
		add("target-counter-agg-rule")
	}
	if valueOf(query.Datasource.Uid) != "${datasource}" {
		add("target-datasource-rule")
	}
	return found
}

func TestLinterRules(t *testing.T) {
	for file, d := range allDashboards() {
		for _, fault := range lintFaults(d) {
			t.Errorf("%s: %s", file, fault)
		}
	}
}

// TestLinterRulesCanFail breaks each rule in turn.
func TestLinterRulesCanFail(t *testing.T) {
	for rule, breakRule := range map[string]func(*Dashboard){
		"uneditable-dashboard":     func(d *Dashboard) { d.Editable = new(true) },
		"template-datasource-rule": func(d *Dashboard) { d.Templating.List[0].Label = new("DS") },
		"template-job-rule":        func(d *Dashboard) { d.Templating.List[1].Multi = new(false) },
		"template-instance-rule":   func(d *Dashboard) { d.Templating.List[2].AllValue = nil },
		"template-on-time-change-reload-rule": func(d *Dashboard) {
			d.Templating.List[3].Refresh = new(dashboard.VariableRefreshOnDashboardLoad)
		},
		"template-label-promql-rule": func(d *Dashboard) {
			d.Templating.List[3].Query.Map["query"] = "up"
		},
		"panel-title-description-rule": func(d *Dashboard) { d.Panels[0].Panel.Description = new("") },
		"panel-datasource-rule":        func(d *Dashboard) { d.Panels[0].Panel.Datasource.Uid = new("abc") },
		"panel-units-rule":             func(d *Dashboard) { d.Panels[0].Panel.FieldConfig.Defaults.Unit = new("days") },
		"panel-no-targets-rule":        func(d *Dashboard) { d.Panels[0].Panel.Targets = nil },
		"target-promql-rule":           func(d *Dashboard) { queriesOf(d.Panels[0].Panel)[0].Expr = "sum(" },
		"target-job-rule":              func(d *Dashboard) { queriesOf(d.Panels[0].Panel)[0].Expr = "entra_aws_scim_tokens" },
		"target-rate-interval-rule": func(d *Dashboard) {
			queriesOf(d.Panels[0].Panel)[0].Expr = "rate(entra_aws_rotations_total" + selector() + "[5m])"
		},
		"target-counter-agg-rule": func(d *Dashboard) {
			queriesOf(d.Panels[0].Panel)[0].Expr = "entra_aws_rotations_total" + selector()
		},
		"target-datasource-rule": func(d *Dashboard) { queriesOf(d.Panels[0].Panel)[0].Datasource.Uid = new("abc") },
	} {
		d := Overview()
		breakRule(&d)
		if found := strings.Join(lintFaults(d), "\n"); !strings.Contains(found, rule+":") {
			t.Errorf("%s is not found; found %q", rule, found)
		}
	}
}

// TestOverviewOfMany: no panel has a series or a row for each of a thousand connections.
func TestOverviewOfMany(t *testing.T) {
	limited := 0
	for _, p := range panelsOf(Overview()) {
		for _, query := range queriesOf(p) {
			if p.Type != "table" && !strings.Contains(*query.LegendFormat, "{{connection}}") {
				continue
			}
			if limited++; !regexp.MustCompile(`\b(top|bottom)k\([0-9]+, `).MatchString(query.Expr) {
				t.Errorf("panel %q shows every connection: %s", *p.Title, query.Expr)
			}
		}
	}
	if limited < 7 {
		t.Errorf("only %d queries are by connection", limited)
	}
}

// TestLayout: panels do not overlap and stay in the grid; ids and titles are unique.
func TestLayout(t *testing.T) {
	for file, d := range allDashboards() {
		taken, titles := map[[2]uint32]string{}, map[string]bool{}
		for i, placed := range d.Panels {
			var id uint32
			var title string
			var position *dashboard.GridPos
			if row := placed.RowPanel; row != nil {
				id, title, position = row.Id, *row.Title, row.GridPos
			} else {
				id, title, position = *placed.Panel.Id, *placed.Panel.Title, placed.Panel.GridPos
			}
			if int(id) != i+1 || titles[title] {
				t.Errorf("%s: panel %q has the id %d, or a second panel has its title", file, title, id)
			}
			titles[title] = true
			if position.X+position.W > gridWidth {
				t.Errorf("%s: panel %q leaves the grid", file, title)
			}
			for x := position.X; x < position.X+position.W; x++ {
				for y := position.Y; y < position.Y+position.H; y++ {
					if other, found := taken[[2]uint32{x, y}]; found {
						t.Fatalf("%s: panels %q and %q overlap", file, title, other)
					}
					taken[[2]uint32{x, y}] = title
				}
			}
		}
	}
}
