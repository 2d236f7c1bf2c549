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
)

var update = flag.Bool("update", false, "write the dashboards' JSON")

func all() map[string]Dashboard {
	return map[string]Dashboard{"overview.json": Overview(), "connection.json": Connection()}
}

// TestJSONIsCurrent: what is committed is what the code makes.
func TestJSONIsCurrent(t *testing.T) {
	for file, dashboard := range all() {
		path := filepath.Join("dashboards", file)
		content, err := json.MarshalIndent(dashboard, "", "  ")
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
	knownUnits = []string{"none", "short", "d", "s", "bool_yes_no", "dateTimeAsIso"}
)

// faults are the breaches of the rules of grafana/dashboard-linter, named as there.
// https://github.com/grafana/dashboard-linter/blob/main/docs/index.md
func faults(d Dashboard) []string {
	var found []string
	add := func(rule, where string) { found = append(found, rule+": "+where) }

	if d.Editable {
		add("uneditable-dashboard", d.Title)
	}
	variables := map[string]object{}
	for _, v := range d.Templating["list"].([]object) {
		variables[v["name"].(string)] = v
	}
	if v := variables["datasource"]; v == nil || v["type"] != "datasource" || v["query"] != "prometheus" || v["label"] != "Data source" {
		add("template-datasource-rule", "datasource")
	}
	for name, label := range map[string]string{"job": "Job", "instance": "Instance"} {
		v := variables[name]
		if v == nil || v["label"] != label || v["type"] != "query" || v["multi"] != true || v["allValue"] != ".+" {
			add("template-"+name+"-rule", name)
		}
	}
	for name, v := range variables {
		if v["type"] != "query" {
			continue
		}
		if v["refresh"] != 2 {
			add("template-on-time-change-reload-rule", name)
		}
		if query := v["query"].(object)["query"].(string); !regexp.MustCompile(`^label_values\(entra_aws_[a-z_]+(\{.+\})?, [a-z]+\)$`).MatchString(query) {
			add("template-label-promql-rule", query)
		}
	}
	for _, p := range d.Panels {
		if p.Type == "row" {
			continue
		}
		where := "panel " + p.Title
		if p.Title == "" || p.Description == "" || !strings.HasSuffix(p.Description, ".") {
			add("panel-title-description-rule", where)
		}
		if p.Datasource == nil || (*p.Datasource)["uid"] != "${datasource}" {
			add("panel-datasource-rule", where)
		}
		if !slices.Contains(knownUnits, p.FieldConfig.Defaults.Unit) {
			add("panel-units-rule", where+": "+p.FieldConfig.Defaults.Unit)
		}
		if len(p.Targets) == 0 {
			add("panel-no-targets-rule", where)
		}
		for _, target := range p.Targets {
			found = append(found, targetFaults(target, where)...)
		}
	}
	slices.Sort(found)
	return found
}

func targetFaults(target Target, where string) []string {
	var found []string
	add := func(rule string) { found = append(found, rule+": "+where+": "+target.Expr) }
	if strings.Count(target.Expr, "(") != strings.Count(target.Expr, ")") || target.Expr == "" {
		add("target-promql-rule")
	}
	if len(metric.FindAllString(target.Expr, -1)) != len(selected.FindAllString(target.Expr, -1)) {
		add("target-job-rule")
	}
	for _, window := range rangeOf.FindAllString(target.Expr, -1) {
		if window != "[$__rate_interval]" {
			add("target-rate-interval-rule")
		}
	}
	if strings.Count(target.Expr, "_total{") != len(counter.FindAllString(target.Expr, -1)) {
		add("target-counter-agg-rule")
	}
	if target.Datasource["uid"] != "${datasource}" {
		add("target-datasource-rule")
	}
	return found
}

func TestLinterRules(t *testing.T) {
	for file, dashboard := range all() {
		for _, fault := range faults(dashboard) {
			t.Errorf("%s: %s", file, fault)
		}
	}
}

// TestLinterRulesCanFail breaks one rule after the other.
func TestLinterRulesCanFail(t *testing.T) {
	for rule, spoil := range map[string]func(*Dashboard){
		"uneditable-dashboard":                func(d *Dashboard) { d.Editable = true },
		"template-datasource-rule":            func(d *Dashboard) { d.Templating["list"].([]object)[0]["label"] = "DS" },
		"template-job-rule":                   func(d *Dashboard) { d.Templating["list"].([]object)[1]["multi"] = false },
		"template-instance-rule":              func(d *Dashboard) { d.Templating["list"].([]object)[2]["allValue"] = "" },
		"template-on-time-change-reload-rule": func(d *Dashboard) { d.Templating["list"].([]object)[3]["refresh"] = 1 },
		"template-label-promql-rule": func(d *Dashboard) {
			d.Templating["list"].([]object)[3]["query"].(object)["query"] = "up"
		},
		"panel-title-description-rule": func(d *Dashboard) { d.Panels[0].Description = "" },
		"panel-datasource-rule":        func(d *Dashboard) { (*d.Panels[0].Datasource)["uid"] = "abc" },
		"panel-units-rule":             func(d *Dashboard) { d.Panels[0].FieldConfig.Defaults.Unit = "days" },
		"panel-no-targets-rule":        func(d *Dashboard) { d.Panels[0].Targets = nil },
		"target-promql-rule":           func(d *Dashboard) { d.Panels[0].Targets[0].Expr = "sum(" },
		"target-job-rule":              func(d *Dashboard) { d.Panels[0].Targets[0].Expr = "entra_aws_scim_tokens" },
		"target-rate-interval-rule": func(d *Dashboard) {
			d.Panels[0].Targets[0].Expr = "rate(entra_aws_rotations_total" + selector() + "[5m])"
		},
		"target-counter-agg-rule": func(d *Dashboard) { d.Panels[0].Targets[0].Expr = "entra_aws_rotations_total" + selector() },
		"target-datasource-rule":  func(d *Dashboard) { d.Panels[0].Targets[0].Datasource["uid"] = "abc" },
	} {
		d := Overview()
		spoil(&d)
		if found := strings.Join(faults(d), "\n"); !strings.Contains(found, rule+":") {
			t.Errorf("%s is not found; found %q", rule, found)
		}
	}
}

// TestLayout: panels neither overlap nor leave the grid, ids and titles are unique.
func TestLayout(t *testing.T) {
	for file, dashboard := range all() {
		taken, titles := map[[2]int]string{}, map[string]bool{}
		for i, p := range dashboard.Panels {
			if p.ID != i+1 || titles[p.Title] {
				t.Errorf("%s: panel %q has the id %d or is there twice", file, p.Title, p.ID)
			}
			titles[p.Title] = true
			if p.GridPos.X+p.GridPos.W > 24 {
				t.Errorf("%s: panel %q leaves the grid", file, p.Title)
			}
			for x := p.GridPos.X; x < p.GridPos.X+p.GridPos.W; x++ {
				for y := p.GridPos.Y; y < p.GridPos.Y+p.GridPos.H; y++ {
					if other, ok := taken[[2]int{x, y}]; ok {
						t.Fatalf("%s: panels %q and %q overlap", file, p.Title, other)
					}
					taken[[2]int{x, y}] = p.Title
				}
			}
		}
	}
}
