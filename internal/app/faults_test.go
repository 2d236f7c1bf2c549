package app

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"entra-aws-exporter/internal/model"
	"entra-aws-exporter/internal/simulator"
	"entra-aws-exporter/internal/simulator/clouds"
)

// faultCase is a fault of the connection "affected" and its expected effects. The
// exporter also has the connection "unaffected", of another tenant and account, which
// must see no effect at all.
type faultCase struct {
	prepare func(*isolationTest) // before the exporter starts
	inject  func(*isolationTest) // while it runs
	faults  []simulator.Fault    // of calls for affected, from then on

	// wantDown are the sources of affected that fail, and why; every other one stays up.
	// Each has one line in the log, with all the words of wantLog.
	wantDown map[model.Source]model.Reason
	wantLog  []string
	// mayFail are sources that may fail sometimes.
	mayFail      []model.Source
	failedHolder string // of the certificates: the only holder that cannot be read
	// datesMove: the fault changes the dates, so only the names of the series stay.
	datesMove bool
	// datesMayVanish: the fault removes dates.
	datesMayVanish bool
	// check makes the checks that are specific to this case.
	check    func(t *testing.T, w *isolationTest, before, after seriesList)
	duration time.Duration // until the checks; default: four missed intervals
}

// isolationTest is a harness with the connections affected and unaffected.
type isolationTest struct {
	*harness
	affected  clouds.Connection
	transport *faultingTransport
}

const everyMinuteIntervals = "intervals: {tokens: 1m, scim: 1m, usage: 1m, job: 1m, events: 1m, certificates: 1m, app_credentials: 1m}"

func affectedAndUnaffected() *clouds.Model {
	affected, unaffected := clouds.Healthy("affected"), clouds.Healthy("unaffected")
	unaffected.TenantID, unaffected.Account, unaffected.Region = "22222222-2222-4222-8222-222222222222", "444455556666", "us-east-1"
	return newModel(affected, unaffected)
}

func newIsolationTest(t *testing.T) *isolationTest {
	t.Helper()
	w := &isolationTest{harness: buildHarness(t, affectedAndUnaffected())}
	w.affected = w.Connection
	w.edit(fastIntervals, everyMinuteIntervals)
	// A host name of its own lets the transport fail the affected connection alone.
	text := w.read("exporter.yml")
	part := connectionSection(text, "affected")
	text = strings.Replace(text, part, strings.ReplaceAll(part, simulatorURL, "https://affected.example"), 1)
	w.write("exporter.yml", strings.Replace(text, fmt.Sprintf("endpoints: {login: %q, graph: %q}", simulatorURL, simulatorURL+"/graph"),
		`endpoints: {login: "https://affected.example", graph: "https://affected.example/graph"}`, 1))
	w.transport = &faultingTransport{matches: func(r *http.Request) bool {
		return r.URL.Host == "affected.example" || strings.Contains(r.URL.Path, w.affected.EntraTenantID) || strings.Contains(r.URL.Path, w.affected.ProvisioningTenantID)
	}}
	w.wrapTransport = w.transport.wrap
	return w
}

// injectFault injects a fault into calls for the affected connection.
func (w *isolationTest) injectFault(fault simulator.Fault) {
	w.t.Helper()
	switch {
	case strings.HasPrefix(fault.Operation, "SCIM "):
		fault.Customer = w.affected.ProvisioningTenantID
	case strings.Contains(fault.Operation, " "):
		fault.Customer = w.affected.EntraTenantID
	default:
		fault.Customer = w.affected.Account
	}
	w.InjectFault(fault)
}

// runFaultCases runs each case in a bubble, with an exporter of its own.
func runFaultCases(t *testing.T, rows map[string]faultCase) {
	t.Helper()
	newHarnessFor(t, affectedAndUnaffected()) // sets the environment, which is the same for all
	for name, row := range rows {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, row.run)
		})
	}
}

func (m faultCase) run(t *testing.T) {
	w := newIsolationTest(t)
	if m.prepare != nil {
		m.prepare(w)
	}
	w.start()
	time.Sleep(firstPoll)
	before := w.series()
	if m.inject != nil {
		m.inject(w)
	}
	for _, fault := range m.faults {
		w.injectFault(fault)
	}
	if m.inject != nil || len(m.faults) > 0 {
		if failed := before.matching("source_errors_total"); len(failed) > 0 {
			t.Fatalf("before anything has happened: %v", failed)
		}
		lasts := m.duration
		if lasts == 0 {
			lasts = 5 * time.Minute
		}
		time.Sleep(lasts)
	} else { // the fault was there from the start: nothing was ever read
		before = nil
	}
	after := w.series()
	for _, source := range model.Sources() {
		m.checkSource(t, w, source, before, after)
		after.expect(t, fmt.Sprintf(`entra_aws_source_up{connection="unaffected",source=%q} 1`, source))
	}
	if failed := after.matching("source_errors_total", `"unaffected"`); len(failed) > 0 {
		t.Errorf("the other connection fails as well: %v", failed)
	}
	for _, line := range before.matching("_expiry_timestamp_seconds") {
		if m.datesMayVanish && (strings.Contains(line, `"affected"`) || strings.Contains(line, `"tenant-1"`)) {
			continue
		}
		if m.datesMove {
			line, _, _ = strings.Cut(line, " ")
			if len(after.matching(line)) != 1 {
				t.Errorf("%s has gone", line)
			}
			continue
		}
		after.expect(t, line)
	}
	if log := w.logs.String(); strings.Contains(log, "level=ERROR") || strings.Contains(log, "panic") {
		t.Errorf("the log:\n%s", log)
	}
	if m.check != nil {
		m.check(t, w, before, after)
	}
}

// checkSource checks one source of the affected connection.
func (m faultCase) checkSource(t *testing.T, w *isolationTest, source model.Source, before, after seriesList) {
	t.Helper()
	failed := after.matching("source_errors_total", `"affected"`, fmt.Sprintf("source=%q", source))
	reason, down := m.wantDown[source]
	if slices.Contains(m.mayFail, source) {
		return
	}
	if !down {
		after.expect(t, fmt.Sprintf(`entra_aws_source_up{connection="affected",source=%q} 1`, source))
		if len(failed) > 0 {
			t.Errorf("%s has nothing to do with it and fails: %v", source, failed)
		}
		return
	}
	after.expect(t, fmt.Sprintf(`entra_aws_source_up{connection="affected",source=%q} 0`, source))
	if len(failed) != 1 || len(failed.matching(fmt.Sprintf("reason=%q", reason))) != 1 {
		t.Errorf("%s: %v, want the reason %s alone", source, failed, reason)
	}
	known := make(map[string]bool, len(before))
	for _, line := range before {
		known[line] = true
	}
	for _, line := range after.matching(`"affected"`) {
		if sourceOf(line) != source || m.failedHolder != "" && source == model.SourceCertificates && holderOf(line) != m.failedHolder {
			continue
		}
		if !known[line] {
			t.Errorf("the failure of %s has become a number: %s", source, line)
		}
		if hiddenWhenStale(source) {
			t.Errorf("%s misleads: its source failed all the time", line)
		}
	}
	w.expectLogLine(t, source, reason, m.wantLog...)
}

// expectLogLine expects exactly one log line about the failing source, with these words.
func (w *isolationTest) expectLogLine(t *testing.T, source model.Source, reason model.Reason, words ...string) {
	t.Helper()
	var lines []string
	for line := range strings.Lines(w.logs.String()) {
		ours := strings.Contains(line, "connection=affected ") || strings.Contains(line, "entra_tenant=tenant-1 ")
		if ours && strings.Contains(line, "source read failed") && strings.Contains(line, " source_name="+string(source)+" ") {
			lines = append(lines, line)
		}
	}
	if len(lines) != 1 {
		t.Errorf("%d lines about %s in the log, want one: %s\n%s", len(lines), source, lines, w.logs)
		return
	}
	for _, word := range append(words, "level=WARN", "reason="+string(reason)) {
		if !strings.Contains(lines[0], word) {
			t.Errorf("the line about %s does not say %q:\n%s", source, word, lines[0])
		}
	}
}

// hiddenWhenStale reports whether the values of a source mislead when they are stale.
func hiddenWhenStale(source model.Source) bool {
	return source == model.SourceJob || source == model.SourceSCIM
}

// holderOf is the holder of the certificate that a series describes.
func holderOf(line string) string {
	if strings.Contains(line, `holder="aws"`) || strings.Contains(line, "certificate_trusted") {
		return "aws"
	}
	return "entra"
}

// sourceOf is the source of a series; "" if it also depends on the clock.
func sourceOf(line string) model.Source {
	for _, family := range []struct {
		prefix string
		source model.Source
	}{
		{"scim_token_age_seconds", ""},
		{"scim_token_last_used", model.SourceUsage},
		{"scim_probe_", model.SourceSCIM},
		{"scim_token", model.SourceTokens},
		{"scim_active_token", model.SourceTokens},
		{"provisioning_event", model.SourceEvents},
		{"provisioning_last_event", model.SourceEvents},
		{"provisioning_", model.SourceJob},
		{"saml_", model.SourceCertificates},
		{"app_credential_", model.SourceAppCredentials},
	} {
		if strings.HasPrefix(line, "entra_aws_"+family.prefix) {
			return family.source
		}
	}
	return ""
}

// failing maps several sources to one reason.
func failing(reason model.Reason, sources ...model.Source) map[model.Source]model.Reason {
	down := make(map[model.Source]model.Reason, len(sources))
	for _, source := range sources {
		down[source] = reason
	}
	return down
}

// The sources that each side serves. Certificates are read from both.
func entraSources() []model.Source {
	return []model.Source{model.SourceJob, model.SourceEvents, model.SourceCertificates, model.SourceAppCredentials}
}

func awsSources() []model.Source {
	return []model.Source{model.SourceTokens, model.SourceSCIM, model.SourceUsage, model.SourceCertificates}
}
