package collector_test

import (
	"bytes"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"

	"entra-aws-exporter/collector"
	"entra-aws-exporter/internal/model"
	"entra-aws-exporter/internal/redact"
	"entra-aws-exporter/rotate"
	"entra-aws-exporter/rotate/certificate"
	"entra-aws-exporter/rotate/policy"
	"entra-aws-exporter/rotate/token"
)

var update = flag.Bool("update", false, "rewrite the golden files")

// newCollector returns a Collector over one connection.
func newCollector(snapshot model.Snapshot, status statuses) *collector.Collector {
	return collector.New(collector.Options{
		Redactor:  &redact.Redactor{},
		Snapshots: func() []model.Snapshot { return []model.Snapshot{snapshot} },
		Rotation:  status.of,
		Reload:    func() collector.Reload { return collector.Reload{LastSuccess: time.Now()} },
	})
}

// TestGolden compares the whole page of a connection in each state. The clock of the
// bubble stands at 2000-01-01T00:00:00Z.
func TestGolden(t *testing.T) {
	for name, fixture := range map[string]func(now time.Time) (model.Snapshot, statuses){
		"healthy":   func(now time.Time) (model.Snapshot, statuses) { return healthy("corp", now) },
		"broken":    func(now time.Time) (model.Snapshot, statuses) { return broken("corp", now) },
		"malformed": func(now time.Time) (model.Snapshot, statuses) { return malformed("corp", now) },
		"failing": func(now time.Time) (model.Snapshot, statuses) {
			return failing("corp", now, 20*time.Minute)
		},
		"started": func(time.Time) (model.Snapshot, statuses) {
			return model.Snapshot{
				Connection: "corp", Binding: model.Binding{Region: "eu-central-1"},
				Sources: []model.SourceStatus{{Source: model.SourceTokens, Interval: time.Minute}},
			}, neverRotated()
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c := newCollector(fixture(time.Now()))
				golden := filepath.Join("testdata", name+".prom")
				if *update {
					if err := os.WriteFile(golden, page(t, c), 0o600); err != nil {
						t.Fatal(err)
					}
				}
				want, err := os.ReadFile(golden)
				if err != nil {
					t.Fatal(err)
				}
				if err := testutil.CollectAndCompare(c, bytes.NewReader(want)); err != nil {
					t.Error(err)
				}
				problems, err := testutil.CollectAndLint(c)
				if err != nil {
					t.Error(err)
				}
				for _, problem := range problems {
					t.Errorf("promlint: %s: %s", problem.Metric, problem.Text)
				}
			})
		})
	}
}

// neverRotated is the engine's status of a connection that does not rotate and never did.
func neverRotated() statuses {
	disabled := policy.Policy{Mode: model.RotationDisabled}
	engine := rotate.New(rotate.Options{}, []rotate.Connection{{Name: "corp", Procedures: []rotate.Procedure{
		token.New(token.Options{Policy: policy.Token{Policy: disabled, Issuer: model.IssuerConsoleAPI}}),
		certificate.New(certificate.Options{Policy: policy.Certificate{Policy: disabled}}),
	}}})
	return statuses{engine.Status("corp", model.ProcedureToken), engine.Status("corp", model.ProcedureCertificate)}
}

func gather(t testing.TB, collectors ...prometheus.Collector) []*dto.MetricFamily {
	t.Helper()
	registry := prometheus.NewPedanticRegistry()
	for _, c := range collectors {
		if err := registry.Register(c); err != nil {
			t.Fatal(err)
		}
	}
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	return families
}

// page is the exposition text.
func page(t testing.TB, collectors ...prometheus.Collector) []byte {
	t.Helper()
	var text bytes.Buffer
	for _, family := range gather(t, collectors...) {
		if _, err := expfmt.MetricFamilyToText(&text, family); err != nil {
			t.Fatal(err)
		}
	}
	return text.Bytes()
}

// seriesOf counts a connection's series by family.
func seriesOf(families []*dto.MetricFamily, connection string) (total int, byFamily map[string]int) {
	byFamily = make(map[string]int)
	for _, family := range families {
		for _, metric := range family.GetMetric() {
			for _, label := range metric.GetLabel() {
				if label.GetName() == "connection" && label.GetValue() == connection {
					byFamily[family.GetName()]++
					total++
				}
			}
		}
	}
	return total, byFamily
}

func TestAHealthyConnectionHasAtMostAHundredSeries(t *testing.T) {
	snapshot, status := healthy("corp", time.Now())
	total, byFamily := seriesOf(gather(t, newCollector(snapshot, status)), "corp")
	if total > 100 || len(byFamily) < 40 {
		t.Errorf("%d series in %d families: %v", total, len(byFamily), byFamily)
	}
	t.Logf("%d series in %d families with every source and both kinds of rotation on", total, len(byFamily))
}

// TestSeriesDuringAFailure: expiry dates stay, job states end after three intervals, and
// the result of the probe ends with the first failed probe.
func TestSeriesDuringAFailure(t *testing.T) {
	stay := []string{
		"scim_token_expiry_timestamp_seconds", "scim_token_created_timestamp_seconds", "scim_token_age_seconds", "scim_token_info",
		"scim_active_token_expiry_timestamp_seconds", "saml_certificate_expiry_timestamp_seconds", "saml_certificate_not_before_timestamp_seconds",
		"saml_active_certificate_expiry_timestamp_seconds", "provisioning_events_total", "source_last_success_timestamp_seconds",
		"source_errors_total", "scim_token_last_used_timestamp_seconds", "provisioning_last_event_timestamp_seconds",
	}
	job := []string{
		"provisioning_job_status", "provisioning_schedule_state", "provisioning_interval_seconds", "provisioning_last_cycle_state",
		"provisioning_last_cycle_end_timestamp_seconds", "provisioning_last_success_timestamp_seconds", "provisioning_consecutive_failures",
		"provisioning_synchronized_entries", "provisioning_notification_enabled",
	}
	probe := []string{"scim_probe_success", "scim_probe_http_status_code", "scim_probe_duration_seconds"}
	synctest.Test(t, func(t *testing.T) {
		now := time.Now()
		for _, test := range []struct {
			failingFor time.Duration
			job        bool
		}{
			{14 * time.Minute, true}, // three intervals of five minutes after a poll one minute earlier
			{14*time.Minute + time.Second, false},
			{300 * day, false},
		} {
			_, families := seriesOf(gather(t, newCollector(failing("corp", now, test.failingFor))), "corp")
			check := func(names []string, want bool) {
				for _, name := range names {
					if (families["entra_aws_"+name] > 0) != want {
						t.Errorf("failing for %s: %s is present: %t", test.failingFor, name, !want)
					}
				}
			}
			check(stay, true)
			check(job, test.job)
			check(probe, false)
		}
	})
}

func TestADeletedTokenTakesItsSeriesAway(t *testing.T) {
	snapshot, status := broken("corp", time.Now())
	var current model.Snapshot
	c := collector.New(collector.Options{
		Redactor:  &redact.Redactor{},
		Snapshots: func() []model.Snapshot { return []model.Snapshot{current} },
		Rotation:  status.of,
	})
	current = snapshot
	if text := string(page(t, c)); !strings.Contains(text, `token_id="older"`) || strings.Contains(text, "deleted long ago") {
		t.Errorf("before:\n%s", text)
	}
	remaining := *snapshot.Tokens
	remaining.Tokens = remaining.Tokens[1:]
	current.Tokens = &remaining
	if text := string(page(t, c)); strings.Contains(text, `token_id="older"`) || !strings.Contains(text, `token_id="newer"`) {
		t.Errorf("after:\n%s", text)
	}
}

// Whatever the last scrape showed, the next one shows what a first one would.
func TestScrapeAfterAnother(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var current model.Snapshot
		var status statuses
		options := collector.Options{
			Redactor:  &redact.Redactor{},
			Snapshots: func() []model.Snapshot { return []model.Snapshot{current, {Connection: "corp-2"}} },
			Rotation:  func(_ string, kind model.Procedure) model.RotationStatus { return status.of("", kind) },
		}
		c := collector.New(options)
		for _, fixture := range []func(string, time.Time) (model.Snapshot, statuses){healthy, broken, healthy, malformed, healthy, healthy} {
			time.Sleep(time.Minute)
			current, status = fixture("corp", time.Now())
			if diff := cmp.Diff(string(page(t, collector.New(options))), string(page(t, c))); diff != "" {
				t.Error(diff)
			}
		}
	})
}

// A scrape makes only the labels that the last one did not have.
func TestLabelsAreKept(t *testing.T) {
	snapshot, status := healthy("corp", time.Now())
	snapshot.Job.LastCycle, snapshot.Job.Synchronized, snapshot.Events = nil, nil, nil // a map has no order
	snapshot.AppCredentials = nil                                                      // they belong to a tenant
	c := newCollector(snapshot, status)
	made := make(map[*dto.LabelPair]bool)
	for scrape := range 2 {
		for _, family := range gather(t, c) {
			for _, metric := range family.GetMetric() {
				for _, pair := range metric.GetLabel() {
					if scrape == 1 && !made[pair] && !strings.HasPrefix(family.GetName(), "entra_aws_config_") {
						t.Errorf("%s: %v is new", family.GetName(), pair)
					}
					made[pair] = true
				}
			}
		}
	}
}

// A label hides a live value, also one that became known after the last scrape.
func TestLiveValuesInLabels(t *testing.T) {
	snapshot, status := healthy("corp", time.Now())
	const first, second = "one-value-that-is-known", "AnotherThatBecomesKnown"
	snapshot.Binding.JobID, snapshot.Tokens.Tokens[0].ID = "echo "+first, second
	redactor := &redact.Redactor{}
	redactor.Add(model.NewSecret(first))
	c := collector.New(collector.Options{
		Redactor:  redactor,
		Snapshots: func() []model.Snapshot { return []model.Snapshot{snapshot} },
		Rotation:  status.of,
	})
	for _, later := range []bool{false, true, true} {
		if later {
			redactor.AddPassing(model.NewSecret(second))
		}
		if text := string(page(t, c)); !strings.Contains(text, `job_id="echo (value)"`) || strings.Contains(text, first) || strings.Contains(text, second) == later {
			t.Errorf("second value known: %t\n%s", later, text)
		}
	}
}

func TestATenantsCredentialsAreShownOnce(t *testing.T) {
	snapshots, _ := fleet(3, time.Now())
	snapshots[2].EntraTenant = "another"
	c := collector.New(collector.Options{Redactor: &redact.Redactor{}, Snapshots: func() []model.Snapshot { return snapshots }})
	if n := testutil.CollectAndCount(c, "entra_aws_app_credential_expiry_timestamp_seconds"); n != 2 {
		t.Errorf("%d series for two tenants", n)
	}
	for _, absent := range []string{"entra_aws_rotation_info", "entra_aws_config_last_reload_successful"} {
		if n := testutil.CollectAndCount(c, absent); n != 0 {
			t.Errorf("%s is present without its source", absent)
		}
	}
}

func TestCounters(t *testing.T) {
	requests, webhook := collector.NewRequests(), collector.NewWebhook()
	requests.Observe("graph", "200")
	requests.Observe("graph", "200")
	requests.Observe("identitystore", "error")
	webhook.Request(202)
	webhook.Alerts("started", 1)
	const want = `# HELP entra_aws_api_requests_total Total number of requests to AWS and Entra, by service and HTTP status code. Without a response the code is error.
# TYPE entra_aws_api_requests_total counter
entra_aws_api_requests_total{code="200",service="graph"} 2
entra_aws_api_requests_total{code="error",service="identitystore"} 1
# HELP entra_aws_webhook_alerts_total Total number of alerts that the webhook received, by decision.
# TYPE entra_aws_webhook_alerts_total counter
entra_aws_webhook_alerts_total{decision="already_running"} 0
entra_aws_webhook_alerts_total{decision="blocked"} 0
entra_aws_webhook_alerts_total{decision="cooldown"} 0
entra_aws_webhook_alerts_total{decision="disabled"} 0
entra_aws_webhook_alerts_total{decision="dry_run"} 0
entra_aws_webhook_alerts_total{decision="not_due"} 0
entra_aws_webhook_alerts_total{decision="resolved"} 0
entra_aws_webhook_alerts_total{decision="started"} 1
entra_aws_webhook_alerts_total{decision="unknown_connection"} 0
entra_aws_webhook_alerts_total{decision="unmatched"} 0
# HELP entra_aws_webhook_requests_total Total number of webhook requests, by HTTP status code of the response.
# TYPE entra_aws_webhook_requests_total counter
entra_aws_webhook_requests_total{code="200"} 0
entra_aws_webhook_requests_total{code="202"} 1
entra_aws_webhook_requests_total{code="400"} 0
entra_aws_webhook_requests_total{code="401"} 0
entra_aws_webhook_requests_total{code="405"} 0
entra_aws_webhook_requests_total{code="413"} 0
entra_aws_webhook_requests_total{code="415"} 0
entra_aws_webhook_requests_total{code="503"} 0
`
	if got := string(page(t, requests, webhook)); got != want {
		t.Errorf("got\n%s", got)
	}
}
