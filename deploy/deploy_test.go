package deploy

import (
	"flag"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"gopkg.in/yaml.v3"

	"entra-aws-exporter/deploy/grafana"
)

var update = flag.Bool("update", false, "write kubernetes/prometheusrule.yaml")

// alerts lists every alert. The names are a contract.
const alerts = `ScimTokenRotationDue ScimTokenExpiringSoon ScimTokenExpiringCritical ScimTokenSlotsFull ScimTokenRefused ScimTokenInUseUnknown
	ProvisioningQuarantined ProvisioningDisableImminent ProvisioningStopped ProvisioningStale ProvisioningFailing
	SamlCertificateRolloverDue SamlCertificateExpiringSoon SamlCertificateExpiringCritical SamlUnexpectedSigner SamlActiveCertificateUnknown
	SamlCertificateNotTrusted SamlSpareNotTrusted SamlNobodyNotified
	AppCredentialExpiringSoon AppCredentialExpiringCritical SourceFailing SourceStale ExporterAbsent ConfigReloadFailed
	RotationBlocked RotationNeedsApproval RotationOverdue RotationSucceeded`

func alertNames() []string {
	names := strings.Fields(alerts)
	for i := range names {
		names[i] = "EntraAws" + names[i]
	}
	return names
}

type rule struct {
	Record      string            `yaml:"record"`
	Alert       string            `yaml:"alert"`
	Expr        string            `yaml:"expr"`
	For         string            `yaml:"for"`
	KeepFiring  string            `yaml:"keep_firing_for"`
	Labels      map[string]string `yaml:"labels"`
	Annotations map[string]string `yaml:"annotations"`
}

type ruleFile struct {
	Groups []struct {
		Name  string `yaml:"name"`
		Rules []rule `yaml:"rules"`
	} `yaml:"groups"`
}

func glob(t *testing.T, pattern string) []string {
	t.Helper()
	files, err := filepath.Glob(pattern)
	if err != nil || len(files) == 0 {
		t.Fatalf("%s: no such file: %v", pattern, err)
	}
	return files
}

func read(t *testing.T, path string) string {
	t.Helper()
	content, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(content)
}

func rules(t *testing.T) []rule {
	t.Helper()
	var all []rule
	for _, path := range glob(t, "prometheus/rules/*.yml") {
		var file ruleFile
		decoder := yaml.NewDecoder(strings.NewReader(read(t, path)))
		decoder.KnownFields(true)
		if err := decoder.Decode(&file); err != nil {
			t.Fatalf("%s: %v", path, err)
		}
		for _, group := range file.Groups {
			all = append(all, group.Rules...)
		}
	}
	return all
}

// TestAlerts checks the conventions of every alert: name, severity, sentences, links,
// aggregation, and a runbook.
func TestAlerts(t *testing.T) {
	var found []string
	for _, rule := range rules(t) {
		if rule.Alert == "" {
			continue
		}
		found = append(found, rule.Alert)
		for _, fault := range alertFaults(rule) {
			t.Errorf("%s: %s", rule.Alert, fault)
		}
		if _, err := os.Stat("../docs/runbooks/" + rule.Alert + ".md"); err != nil {
			t.Errorf("%s: %v", rule.Alert, err)
		}
	}
	slices.Sort(found)
	want := alertNames()
	slices.Sort(want)
	if diff := cmp.Diff(want, slices.Compact(found)); diff != "" {
		t.Errorf("alerts (-want +in the rules):\n%s", diff)
	}
}

// rotates are the labels by which the webhook knows what to rotate, by alert.
var rotates = map[string]string{
	"EntraAwsScimTokenRotationDue":       "scim-token",
	"EntraAwsSamlCertificateRolloverDue": "saml-certificate",
}

func alertFaults(r rule) []string {
	var faults []string
	fault := func(bad bool, text string) {
		if bad {
			faults = append(faults, text)
		}
	}
	// These alerts have no connection.
	global := r.Alert == "EntraAwsExporterAbsent" || r.Alert == "EntraAwsConfigReloadFailed" || strings.HasPrefix(r.Alert, "EntraAwsAppCredential")
	fault(!slices.Contains([]string{"critical", "warning", "info"}, r.Labels["severity"]), "severity is not critical, warning or info")
	fault(r.Labels["rotate"] != rotates[r.Alert], "the label rotate is not the webhook's for this alert")
	summary := r.Annotations["summary"]
	fault(!strings.HasSuffix(summary, ".") || strings.Contains(summary, "{{"), "summary is not a fixed sentence with a full stop")
	fault(!strings.HasSuffix(r.Annotations["description"], "."), "description has no full stop")
	fault(r.Annotations["runbook_url"] != grafana.Base+"/docs/runbooks/"+r.Alert+".md", "runbook_url is not the alert's")
	if global {
		fault(r.Annotations["dashboard_url"] != grafana.Base+"/d/"+grafana.OverviewUID, "dashboard_url is not the overview")
		return faults
	}
	fault(r.Annotations["dashboard_url"] != grafana.Base+"/d/"+grafana.ConnectionUID+"?var-connection={{ $labels.connection }}", "dashboard_url is not the connection's")
	fault(!strings.Contains(r.Annotations["description"], "{{ $labels.connection }}"), "description does not name the connection")
	fault(aggregation.MatchString(notByConnection.ReplaceAllString(r.Expr, "")), "aggregates without by (connection)")
	fault(!strings.Contains(r.Expr, "connection:entra_aws_") && !strings.Contains(r.Expr, "by (connection"), "does not aggregate by (connection)")
	return faults
}

var (
	notByConnection = regexp.MustCompile(`\b(max|min|sum|count) by \(connection(, [a-z_]+)*\)`)
	aggregation     = regexp.MustCompile(`\b(max|min|sum|count|avg|group|topk|bottomk) ?(by|without)? ?\(`)
)

// TestAlertFaultsAreFound breaks a good alert in every way that alertFaults knows.
func TestAlertFaultsAreFound(t *testing.T) {
	good := func() rule {
		for _, rule := range rules(t) {
			if rule.Alert == "EntraAwsProvisioningQuarantined" {
				return rule
			}
		}
		t.Fatal("EntraAwsProvisioningQuarantined is missing")
		return rule{}
	}
	for want, spoil := range map[string]func(*rule){
		"severity is not critical, warning or info":            func(r *rule) { r.Labels["severity"] = "page" },
		"the label rotate is not the webhook's for this alert": func(r *rule) { r.Labels["rotate"] = "scim-token" },
		"summary is not a fixed sentence with a full stop":     func(r *rule) { r.Annotations["summary"] = "x {{ $value }}." },
		"description has no full stop":                         func(r *rule) { r.Annotations["description"] = "{{ $labels.connection }}" },
		"runbook_url is not the alert's":                       func(r *rule) { r.Annotations["runbook_url"] = "https://example.com/x" },
		"dashboard_url is not the connection's":                func(r *rule) { r.Annotations["dashboard_url"] = "" },
		"description does not name the connection":             func(r *rule) { r.Annotations["description"] = "Broken." },
		"aggregates without by (connection)":                   func(r *rule) { r.Expr = "max by (instance) (x) + max by (connection) (y)" },
		"does not aggregate by (connection)":                   func(r *rule) { r.Expr = "entra_aws_provisioning_job_status == 1" },
	} {
		r := good()
		spoil(&r)
		if got := alertFaults(r); !slices.Equal(got, []string{want}) {
			t.Errorf("found %q, want %q alone", got, want)
		}
	}
	if got := alertFaults(good()); len(got) > 0 {
		t.Errorf("a good alert has %q", got)
	}
}

var (
	metricName = regexp.MustCompile(`\bentra_aws_[a-z_]+[a-z]\b`)
	documented = regexp.MustCompile("`(entra_aws_[a-z_]+)`")
)

// TestMetricsAreDocumented checks that docs/metrics.md has every metric that a rule,
// dashboard or runbook names.
func TestMetricsAreDocumented(t *testing.T) {
	known := map[string]bool{}
	for _, match := range documented.FindAllStringSubmatch(read(t, "../docs/metrics.md"), -1) {
		known[match[1]] = true
	}
	if len(known) < 50 {
		t.Fatalf("only %d metrics found in docs/metrics.md", len(known))
	}
	files := slices.Concat(glob(t, "prometheus/rules/*.yml"), glob(t, "prometheus/tests/*.yml"), glob(t, "grafana/dashboards/*.json"), glob(t, "../docs/runbooks/*.md"))
	for _, path := range files {
		for _, name := range metricName.FindAllString(read(t, path), -1) {
			if !known[name] && !isGroup(name, known) {
				t.Errorf("%s: %s is missing in docs/metrics.md", path, name)
			}
		}
	}
}

// isGroup allows the prefix of several metrics in a pattern, such as entra_aws_webhook in a grep.
func isGroup(name string, known map[string]bool) bool {
	for metric := range known {
		if strings.HasPrefix(metric, name+"_") && name == "entra_aws_webhook" {
			return true
		}
	}
	return false
}

// TestRecordedSeriesAreUsed checks that every recorded series is used, and that every used
// one is recorded.
func TestRecordedSeriesAreUsed(t *testing.T) {
	recorded, used := map[string]bool{}, map[string]bool{}
	all := rules(t)
	for _, rule := range all {
		if rule.Record != "" {
			recorded[rule.Record] = true
		}
	}
	for _, rule := range all {
		for _, name := range regexp.MustCompile(`\b[a-z_]+:entra_aws_[a-z_]+:[a-z]+\b`).FindAllString(rule.Expr, -1) {
			used[name] = true
		}
	}
	if diff := cmp.Diff(recorded, used); diff != "" {
		t.Errorf("series (-recorded +used):\n%s", diff)
	}
}

// TestRunbooks checks that every alert has a page and every page an alert. Each page has the
// same sections, and a command in its diagnosis.
func TestRunbooks(t *testing.T) {
	files := glob(t, "../docs/runbooks/*.md")
	pages := make([]string, 0, len(files))
	for _, path := range files {
		name := strings.TrimSuffix(filepath.Base(path), ".md")
		pages = append(pages, name)
		text := read(t, path)
		if !strings.HasPrefix(text, "# "+name+"\n") {
			t.Errorf("%s does not begin with its title", name)
		}
		rest := text
		for _, section := range []string{"Meaning", "Impact", "Urgency", "Diagnosis", "Mitigation"} {
			before, after, found := strings.Cut(rest, "\n## "+section+"\n")
			if !found {
				t.Errorf("%s: section %q is missing or misplaced", name, section)
			}
			if section == "Mitigation" && !strings.Contains(before, "```sh\n") {
				t.Errorf("%s has no command in its diagnosis", name)
			}
			rest = after
		}
	}
	want := alertNames()
	slices.Sort(want)
	slices.Sort(pages)
	if diff := cmp.Diff(want, pages); diff != "" {
		t.Errorf("runbooks (-alerts +pages):\n%s", diff)
	}
}

// TestRunbookCommandsExist checks that the runbooks and the status page name no unknown
// command.
func TestRunbookCommandsExist(t *testing.T) {
	var source strings.Builder
	for _, path := range glob(t, "../cmd/exporter/*.go") {
		source.WriteString(read(t, path))
	}
	seen := 0
	for _, path := range append(glob(t, "../docs/runbooks/*.md"), "../internal/web/advice.go", "../internal/web/rotationadvice.go") {
		for _, match := range regexp.MustCompile("entra-aws-exporter (rotation )?([a-z-]+)").FindAllStringSubmatch(read(t, path), -1) {
			seen++
			if !regexp.MustCompile(`(Command|add)\("` + match[2] + `"`).MatchString(source.String()) {
				t.Errorf("%s: unknown command %q", path, match[0])
			}
		}
	}
	if seen < 20 {
		t.Errorf("only %d commands found in the runbooks", seen)
	}
}

// TestAlertmanagerNamesAlerts checks that routes and inhibitions name existing alerts.
func TestAlertmanagerNamesAlerts(t *testing.T) {
	named := regexp.MustCompile(`EntraAws[A-Z][A-Za-z]+`).FindAllString(read(t, "alertmanager/alertmanager.yml"), -1)
	if len(named) < 5 {
		t.Fatalf("only %d alerts are named", len(named))
	}
	for _, name := range named {
		if !slices.Contains(alertNames(), name) {
			t.Errorf("unknown alert %s", name)
		}
	}
}

// TestDueInhibitsOnlyWhereItRotates checks the inhibition of the two warnings about an expiry:
// of the two rules of each Due alert, only the one under which an alert starts a rotation
// inhibits.
func TestDueInhibitsOnlyWhereItRotates(t *testing.T) {
	for _, c := range []struct{ due, warning, rotates string }{
		{"EntraAwsScimTokenRotationDue", "EntraAwsScimTokenExpiringSoon", `mode="enabled",issuer="console_api"`},
		{"EntraAwsSamlCertificateRolloverDue", "EntraAwsSamlCertificateExpiringSoon", `kind="saml_certificate",mode="enabled"`},
	} {
		rotates := "and on (connection)\n  max by (connection) (last_over_time(entra_aws_rotation_info{" + c.rotates + "}[15m]))"
		if found := inhibitors(t, c.due, c.warning); len(found) != 1 || !strings.Contains(found[0], rotates) {
			t.Errorf("%s is inhibited by %q, want the one rule with\n%s", c.warning, found, rotates)
		}
	}
}

// inhibitors returns the expressions of an alert's rules that inhibit a warning.
func inhibitors(t *testing.T, alert, warning string) []string {
	t.Helper()
	var config struct {
		Inhibit []struct {
			Source []string `yaml:"source_matchers"`
			Target []string `yaml:"target_matchers"`
		} `yaml:"inhibit_rules"`
	}
	if err := yaml.Unmarshal([]byte(read(t, "alertmanager/alertmanager.yml")), &config); err != nil {
		t.Fatal(err)
	}
	var expressions []string
	for _, inhibition := range config.Inhibit {
		if !slices.Equal(inhibition.Target, []string{`alertname="` + warning + `"`}) || !slices.Contains(inhibition.Source, `alertname="`+alert+`"`) {
			continue
		}
		for _, rule := range rules(t) {
			carries := func(matcher string) bool {
				name, value, _ := strings.Cut(matcher, "=")
				return strings.Trim(value, `"`) == rule.Labels[name] || name == "alertname" && strings.Trim(value, `"`) == rule.Alert
			}
			if !slices.ContainsFunc(inhibition.Source, func(matcher string) bool { return !carries(matcher) }) {
				expressions = append(expressions, rule.Expr)
			}
		}
	}
	return expressions
}

// TestEveryAlertIsTested checks that each alert has a promtool test of its own, and is in the
// test that restarts exporters.
func TestEveryAlertIsTested(t *testing.T) {
	const restarts = "prometheus/tests/restarts.yml"
	var others strings.Builder
	for _, path := range glob(t, "prometheus/tests/*.yml") {
		if path != restarts {
			others.WriteString(read(t, path))
		}
	}
	// Whole names only: ExpiringSoon is not a test of Expiring.
	named := func(name, text string) bool {
		return regexp.MustCompile(`\b` + name + `\b`).MatchString(text)
	}
	for _, name := range alertNames() {
		if !named(name, others.String()) {
			t.Errorf("%s has no test", name)
		}
		if !named(name, read(t, restarts)) {
			t.Errorf("%s is missing in %s", name, restarts)
		}
	}
}

// TestPrometheusRuleIsCurrent checks that the manifest contains the rule files, word for word.
func TestPrometheusRuleIsCurrent(t *testing.T) {
	const path = "kubernetes/prometheusrule.yaml"
	want := prometheusRule(t)
	if *update {
		if err := os.WriteFile(path, []byte(want), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if diff := cmp.Diff(want, read(t, path)); diff != "" {
		t.Errorf("%s is not current; run go test ./deploy -update (-generated +committed):\n%s", path, diff)
	}
	var manifest struct {
		Kind string   `yaml:"kind"`
		Spec ruleFile `yaml:"spec"`
	}
	if err := yaml.Unmarshal([]byte(want), &manifest); err != nil {
		t.Fatalf("%s: %v", path, err)
	}
	count := 0
	for _, group := range manifest.Spec.Groups {
		count += len(group.Rules)
	}
	if manifest.Kind != "PrometheusRule" || count != len(rules(t)) {
		t.Errorf("%s is a %s of %d rules, want a PrometheusRule of %d", path, manifest.Kind, count, len(rules(t)))
	}
}

// TestLinkBaseCanBeReplaced runs the README's command on a copy: no file may keep the
// placeholder.
func TestLinkBaseCanBeReplaced(t *testing.T) {
	command := regexp.MustCompile(`(?s)sed -i .*?\n` + "```").FindString(read(t, "prometheus/README.md"))
	folder := t.TempDir()
	for _, part := range []string{"prometheus", "kubernetes"} {
		if err := os.CopyFS(filepath.Join(folder, part), os.DirFS(part)); err != nil {
			t.Fatal(err)
		}
	}
	sh := exec.CommandContext(t.Context(), "sh", "-ec", strings.TrimSuffix(command, "```"))
	sh.Dir = filepath.Join(folder, "prometheus")
	if output, err := sh.CombinedOutput(); err != nil {
		t.Fatalf("%s: %v\n%s", command, err, output)
	}
	for _, path := range append(glob(t, "prometheus/*/*.yml"), "kubernetes/prometheusrule.yaml") {
		if strings.Contains(read(t, filepath.Join(folder, path)), grafana.Base) {
			t.Errorf("%s keeps %s", path, grafana.Base)
		}
	}
}

func prometheusRule(t *testing.T) string {
	t.Helper()
	var manifest strings.Builder
	manifest.WriteString(`# Generated from deploy/prometheus/rules by go test ./deploy -update
apiVersion: monitoring.coreos.com/v1
kind: PrometheusRule
metadata:
  name: entra-aws-exporter
  labels:
    app.kubernetes.io/name: entra-aws-exporter
spec:
  groups:
`)
	for _, path := range glob(t, "prometheus/rules/*.yml") {
		_, groups, found := strings.Cut(read(t, path), "\ngroups:\n")
		if !found {
			t.Fatalf("%s has no groups", path)
		}
		for line := range strings.Lines(groups) {
			if strings.TrimSpace(line) != "" {
				line = "  " + line
			}
			manifest.WriteString(line)
		}
	}
	return manifest.String()
}
