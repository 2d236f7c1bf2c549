package collector

import (
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"

	"entra-aws-exporter/internal/model"
)

// described is what docs/metrics.md and the code both say of a metric.
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
	if difference := cmp.Diff(metricsInCode(t), metricsOnPage(t, string(page))); difference != "" {
		t.Errorf("docs/metrics.md (+) and the code (-) differ:\n%s", difference)
	}
}

func metricsInCode(t *testing.T) map[string]described {
	t.Helper()
	found := make(map[string]described)
	name := regexp.MustCompile(`fqName: "([^"]+)"`) // a Desc shows its name in its text only
	for _, desc := range New(Options{}).descriptions {
		kind := "gauge"
		if desc.valueType == prometheus.CounterValue {
			kind = "counter"
		}
		match := name.FindStringSubmatch(desc.String())
		if match == nil {
			t.Fatalf("no name in %s", desc)
		}
		var labels []string
		for _, label := range slices.Sorted(slices.Values(desc.labels)) {
			if label != connectionLabel {
				labels = append(labels, label)
			}
		}
		found[match[1]] = described{kind, labels}
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

// metricsOnPage reads the rows "| `entra_aws_name` | type | `label`, `label` | meaning | absent |".
func metricsOnPage(t *testing.T, page string) map[string]described {
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
			t.Errorf("%s appears twice or has an empty cell", name)
		}
		found[name] = described{cells[2], labels}
	}
	return found
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
	check("provisioning_job_status", stringsOf(model.JobStatuses())...)
	check("provisioning_schedule_state", stringsOf(model.ScheduleStates())...)
	check("provisioning_last_cycle_state", stringsOf(model.CycleStates())...)
	check("provisioning_events_total", append(model.EventActions(), model.EventStatuses()...)...)
	check("rotation_phase", stringsOf(model.Phases())...)
	check("rotation_info", stringsOf([]model.Procedure{model.ProcedureToken, model.ProcedureCertificate})...)
	check("rotations_total", stringsOf(model.Outcomes())...)
	check("rotation_proof_info", stringsOf([]model.ProofLevel{model.ProofStored, model.ProofUsed, model.ProofAttributed, model.ProofExclusive})...)
	check("rotation_info", stringsOf([]model.RotationMode{model.RotationDisabled, model.RotationDryRun, model.RotationEnabled})...)
	check("rotation_info", stringsOf([]model.Issuer{model.IssuerConsoleAPI, model.IssuerOperator})...)
	check("scim_token_info", stringsOf([]model.TokenRole{model.RoleInUse, model.RoleNew, model.RolePrevious, model.RoleUnknown})...)
	check("scim_token_info", stringsOf([]model.TokenOrigin{model.OriginConsoleAPI, model.OriginDeclared})...)
	for _, reason := range model.Reasons() {
		if !strings.Contains(page, "| `"+string(reason)+"` |") {
			t.Errorf("docs/metrics.md does not explain the reason %s", reason)
		}
	}
	for _, source := range model.Sources() {
		if !strings.Contains(page, "`"+string(source)+"`") {
			t.Errorf("docs/metrics.md does not name the source %s", source)
		}
	}
}

func stringsOf[S ~string](values []S) []string {
	texts := make([]string, 0, len(values))
	for _, value := range values {
		texts = append(texts, string(value))
	}
	return texts
}
