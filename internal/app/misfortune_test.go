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

// misfortune is something that happens to the connection "hit" of a running exporter,
// and what must be seen of it. Beside it stands the connection "safe", of another
// tenant and another account, to which nothing may happen at all.
type misfortune struct {
	exists  func(*ward)       // what is so before the exporter starts
	happens func(*ward)       // what happens to it while it runs
	faults  []simulator.Fault // of hit's own calls, from then on

	// down are the sources of hit that fail, and why; every other one stays up. Each
	// has one line in the log, with all the words of says.
	down map[model.Source]model.Reason
	says []string
	// shaken are those that may fail for the same reason now and then.
	shaken []model.Source
	half   string // of the certificates: the only holder whose cannot be read
	// moves: what happens moves the dates that are shown, so that only the series stay.
	moves bool
	// forgets: an answer says that there is no such date after all.
	forgets bool
	// shows looks at what is particular to this one.
	shows func(t *testing.T, w *ward, before, after page)
	lasts time.Duration // until somebody looks; default: four missed intervals
}

// ward is a lab with hit and safe, with everything on.
type ward struct {
	*lab
	hit  clouds.Connection
	wire *wire
}

const everyMinute = "intervals: {tokens: 1m, scim: 1m, usage: 1m, job: 1m, events: 1m, certificates: 1m, app_credentials: 1m}"

func hitAndSafe() *clouds.Model {
	hit, safe := clouds.Healthy("hit"), clouds.Healthy("safe")
	safe.TenantID, safe.Account, safe.Region = "22222222-2222-4222-8222-222222222222", "444455556666", "us-east-1"
	w := clouds.New(clouds.Options{Seed: 1})
	w.Add(hit)
	w.Add(safe)
	return w
}

func newWard(t *testing.T) *ward {
	t.Helper()
	w := &ward{lab: settleIn(t, hitAndSafe())}
	w.hit = w.access.Connections[0]
	w.edit(hasty, everyMinute)
	// A host name of its own, so that what happens on the wire can happen to hit alone.
	text := w.read("exporter.yml")
	part := section(text, "hit")
	text = strings.Replace(text, part, strings.ReplaceAll(part, simulated, "https://hit.example"), 1)
	w.write("exporter.yml", strings.Replace(text, fmt.Sprintf("endpoints: {login: %q, graph: %q}", simulated, simulated+"/graph"),
		`endpoints: {login: "https://hit.example", graph: "https://hit.example/graph"}`, 1))
	w.wire = &wire{belongs: func(r *http.Request) bool {
		return r.URL.Host == "hit.example" || strings.Contains(r.URL.Path, w.hit.EntraTenantID) || strings.Contains(r.URL.Path, w.hit.ProvisioningTenantID)
	}}
	w.around = w.wire.before
	return w
}

// strike lets calls for hit go wrong.
func (w *ward) strike(fault simulator.Fault) {
	w.t.Helper()
	switch {
	case strings.HasPrefix(fault.Operation, "SCIM "):
		fault.Customer = w.hit.ProvisioningTenantID
	case strings.Contains(fault.Operation, " "):
		fault.Customer = w.hit.EntraTenantID
	default:
		fault.Customer = w.hit.Account
	}
	w.fault(fault)
}

// suffer runs the rows, each in a bubble and an exporter of its own.
func suffer(t *testing.T, rows map[string]misfortune) {
	t.Helper()
	admit(t, hitAndSafe()) // the environment is the same for all
	for name, row := range rows {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, row.test)
		})
	}
}

func (m misfortune) test(t *testing.T) {
	w := newWard(t)
	if m.exists != nil {
		m.exists(w)
	}
	w.start()
	time.Sleep(settle)
	before := w.series()
	if m.happens != nil {
		m.happens(w)
	}
	for _, fault := range m.faults {
		w.strike(fault)
	}
	if m.happens != nil || len(m.faults) > 0 {
		if failed := before.with("source_errors_total"); len(failed) > 0 {
			t.Fatalf("before anything has happened: %v", failed)
		}
		lasts := m.lasts
		if lasts == 0 {
			lasts = 5 * time.Minute
		}
		time.Sleep(lasts)
	} else { // it was so from the start: nothing was ever read
		before = nil
	}
	after := w.series()
	for _, source := range model.Sources() {
		m.judge(t, w, source, before, after)
		after.holds(t, fmt.Sprintf(`entra_aws_source_up{connection="safe",source=%q} 1`, source))
	}
	if failed := after.with("source_errors_total", `"safe"`); len(failed) > 0 {
		t.Errorf("the other connection fails as well: %v", failed)
	}
	for _, line := range before.with("_expiry_timestamp_seconds") {
		if m.forgets && (strings.Contains(line, `"hit"`) || strings.Contains(line, `"tenant-1"`)) {
			continue
		}
		if m.moves {
			line, _, _ = strings.Cut(line, " ")
			if len(after.with(line)) != 1 {
				t.Errorf("%s has gone", line)
			}
			continue
		}
		after.holds(t, line)
	}
	if log := w.logs.String(); strings.Contains(log, "level=ERROR") || strings.Contains(log, "panic") {
		t.Errorf("the log:\n%s", log)
	}
	if m.shows != nil {
		m.shows(t, w, before, after)
	}
}

// judge holds one source of hit to what the row says of it.
func (m misfortune) judge(t *testing.T, w *ward, source model.Source, before, after page) {
	t.Helper()
	failed := after.with("source_errors_total", `"hit"`, fmt.Sprintf("source=%q", source))
	reason, down := m.down[source]
	if slices.Contains(m.shaken, source) {
		return
	}
	if !down {
		after.holds(t, fmt.Sprintf(`entra_aws_source_up{connection="hit",source=%q} 1`, source))
		if len(failed) > 0 {
			t.Errorf("%s has nothing to do with it and fails: %v", source, failed)
		}
		return
	}
	after.holds(t, fmt.Sprintf(`entra_aws_source_up{connection="hit",source=%q} 0`, source))
	if len(failed) != 1 || len(failed.with(fmt.Sprintf("reason=%q", reason))) != 1 {
		t.Errorf("%s: %v, want the reason %s alone", source, failed, reason)
	}
	known := make(map[string]bool, len(before))
	for _, line := range before {
		known[line] = true
	}
	for _, line := range after.with(`"hit"`) {
		if sourceOf(line) != source || m.half != "" && source == model.SourceCertificates && holderIn(line) != m.half {
			continue
		}
		if !known[line] {
			t.Errorf("the failure of %s has become a number: %s", source, line)
		}
		if vanishes(source) {
			t.Errorf("%s misleads: its source failed all the time", line)
		}
	}
	w.says(t, source, reason, m.says...)
}

// says holds the log to one line about the failing source, with all these words.
func (w *ward) says(t *testing.T, source model.Source, reason model.Reason, words ...string) {
	t.Helper()
	var lines []string
	for line := range strings.Lines(w.logs.String()) {
		ours := strings.Contains(line, "connection=hit ") || strings.Contains(line, "entra_tenant=tenant-1 ")
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

// vanishes reports whether what a source said misleads when it is old.
func vanishes(source model.Source) bool {
	return source == model.SourceJob || source == model.SourceSCIM
}

// holderIn is who holds the certificate that a series is about.
func holderIn(line string) string {
	if strings.Contains(line, `holder="aws"`) || strings.Contains(line, "certificate_trusted") {
		return "aws"
	}
	return "entra"
}

// sourceOf is the source that a series comes from; "" for those that live by the clock.
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

// all are several sources that fail for one reason.
func all(reason model.Reason, sources ...model.Source) map[model.Source]model.Reason {
	down := make(map[model.Source]model.Reason, len(sources))
	for _, source := range sources {
		down[source] = reason
	}
	return down
}

// Which sources one side of the bridge carries. The certificates are read on both.
func entraSources() []model.Source {
	return []model.Source{model.SourceJob, model.SourceEvents, model.SourceCertificates, model.SourceAppCredentials}
}

func awsSources() []model.Source {
	return []model.Source{model.SourceTokens, model.SourceSCIM, model.SourceUsage, model.SourceCertificates}
}
