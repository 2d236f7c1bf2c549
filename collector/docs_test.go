package collector

import (
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"

	"entra-aws-exporter/internal/model"
)

// described is a metric as docs/metrics.md and the code both describe it.
type described struct {
	Kind   string
	Labels []string // without connection
}

// TestDocumentation compares docs/metrics.md with the code, both ways.
func TestDocumentation(t *testing.T) {
	page, err := os.ReadFile("../docs/metrics.md")
	if err != nil {
		t.Fatal(err)
	}
	if difference := cmp.Diff(inCode(t), onPage(t, string(page))); difference != "" {
		t.Errorf("docs/metrics.md (+) and the code (-) differ:\n%s", difference)
	}
}

func inCode(t *testing.T) map[string]described {
	t.Helper()
	found := make(map[string]described)
	for _, m := range New(Inputs{}).metrics {
		kind := "gauge"
		if m.kind == prometheus.CounterValue {
			kind = "counter"
		}
		found[m.name] = described{kind, without(m.labels, connectionLabel)}
	}
	requests := NewRequests()
	requests.Observe("graph", "200")
	registry := prometheus.NewRegistry()
	registry.MustRegister(requests, NewWebhook())
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, family := range families {
		pairs := family.GetMetric()[0].GetLabel()
		labels := make([]string, 0, len(pairs))
		for _, pair := range pairs {
			labels = append(labels, pair.GetName())
		}
		found[family.GetName()] = described{strings.ToLower(dto.MetricType_name[int32(family.GetType())]), labels}
	}
	return found
}

// onPage reads the rows "| `entra_aws_name` | type | `label`, `label` | meaning | absent |".
func onPage(t *testing.T, page string) map[string]described {
	t.Helper()
	found := make(map[string]described)
	for line := range strings.Lines(page) {
		if !strings.HasPrefix(line, "| `"+namespace) {
			continue
		}
		cells := strings.Split(line, "|")
		if len(cells) != 7 {
			t.Fatalf("a row of %d cells: %s", len(cells)-2, line)
		}
		for i := range cells {
			cells[i] = strings.TrimSpace(cells[i])
		}
		var labels []string
		for label := range strings.SplitSeq(cells[3], ",") {
			if label = strings.Trim(label, " `"); label != "" {
				labels = append(labels, label)
			}
		}
		slices.Sort(labels)
		name := strings.Trim(cells[1], "`")
		if _, twice := found[name]; twice || cells[4] == "" || cells[5] == "" {
			t.Errorf("%s is there twice, or says nothing", name)
		}
		found[name] = described{cells[2], labels}
	}
	return found
}

func without(labels []string, label string) []string {
	var rest []string
	for _, l := range labels {
		if l != label {
			rest = append(rest, l)
		}
	}
	return rest
}

// TestDocumentedValues looks for every value of the closed sets of label values in
// the row of its metric.
func TestDocumentedValues(t *testing.T) {
	content, err := os.ReadFile("../docs/metrics.md")
	if err != nil {
		t.Fatal(err)
	}
	page := string(content)
	check := func(name string, values ...string) {
		_, row, found := strings.Cut(page, "| `"+namespace+name+"` |")
		row, _, _ = strings.Cut(row, "\n")
		for _, value := range values {
			if !found || !strings.Contains(row, "`"+value+"`") {
				t.Errorf("the row of %s does not name %s", name, value)
			}
		}
	}
	check("provisioning_job_status", texts(model.JobStatuses())...)
	check("provisioning_schedule_state", texts(model.ScheduleStates())...)
	check("provisioning_last_cycle_state", texts(model.CycleStates())...)
	check("provisioning_events_total", append(model.EventActions(), model.EventStatuses()...)...)
	check("rotation_phase", texts(model.Phases())...)
	check("rotations_total", texts(model.Outcomes())...)
	check("rotation_proof_info", texts([]model.ProofLevel{model.ProofStored, model.ProofUsed, model.ProofAttributed, model.ProofExclusive})...)
	check("rotation_info", texts([]model.RotationMode{model.RotationDisabled, model.RotationDryRun, model.RotationEnabled})...)
	check("rotation_info", texts([]model.Issuer{model.IssuerConsoleAPI, model.IssuerOperator})...)
	check("scim_token_info", texts([]model.TokenRole{model.RoleInUse, model.RoleNew, model.RolePrevious, model.RoleUnknown})...)
	check("scim_token_info", texts([]model.TokenOrigin{model.OriginConsoleAPI, model.OriginDeclared})...)
	for _, reason := range model.Reasons() {
		if !strings.Contains(page, "| `"+string(reason)+"` |") {
			t.Errorf("the reason %s is not explained", reason)
		}
	}
	for _, source := range model.Sources() {
		if !strings.Contains(page, "`"+string(source)+"`") {
			t.Errorf("the source %s is not named", source)
		}
	}
}

func texts[S ~string](values []S) []string {
	texts := make([]string, 0, len(values))
	for _, value := range values {
		texts = append(texts, string(value))
	}
	return texts
}
