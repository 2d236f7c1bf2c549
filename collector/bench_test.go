package collector_test

import (
	"crypto/rand"
	"fmt"
	"net/http"
	"net/http/httptest"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	dto "github.com/prometheus/client_model/go"

	"entra-aws-exporter/collector"
	"entra-aws-exporter/internal/model"
	"entra-aws-exporter/internal/redact"
)

// BenchmarkScrape compares a scrape of healthy connections with two others that send the
// same series: client_golang's vectors, which only keep them, and a collector of
// client_golang's const metrics. They take turns and the fastest scrape of each counts,
// so that a busy machine slows all of them alike. The limit for vector-ratio is 1.25;
// const-ratio is what our own samples gain over const metrics. redacted-ratio is what
// searching the labels for live values costs.
func BenchmarkScrape(b *testing.B) {
	for _, connections := range []int{1, 100, 1000} {
		snapshots, statuses := fleet(connections, time.Now())
		c := collector.New(collector.Options{
			Snapshots: func() []model.Snapshot { return snapshots },
			Rotation:  func(connection string) model.RotationStatus { return statuses[connection] },
		})
		exporter, vectors, constants := prometheus.NewRegistry(), prometheus.NewRegistry(), prometheus.NewRegistry()
		exporter.MustRegister(c)
		families := gather(b, c)
		for _, family := range families {
			vectors.MustRegister(asVector(family))
		}
		constants.MustRegister(asConstMetrics(families))
		b.Run(fmt.Sprintf("connections=%d", connections), func(b *testing.B) {
			gatherers := map[string]prometheus.Gatherer{
				"exporter": exporter, "vectors": vectors, "constants": constants, "redacted": redactor(connections).Gatherer(exporter),
			}
			fastest := make(map[string]float64)
			for b.Loop() {
				for name, gatherer := range gatherers {
					took := float64(scrape(b, gatherer).Nanoseconds())
					if previous, found := fastest[name]; !found || took < previous {
						fastest[name] = took
					}
				}
			}
			b.ReportMetric(fastest["exporter"], "exporter-ns")
			b.ReportMetric(fastest["exporter"]/fastest["vectors"], "vector-ratio")
			b.ReportMetric(fastest["exporter"]/fastest["constants"], "const-ratio")
			b.ReportMetric(fastest["redacted"]/fastest["exporter"], "redacted-ratio")
		})
	}
}

// redactor knows as many values as this many connections have.
func redactor(connections int) *redact.Redactor {
	r := &redact.Redactor{}
	for range connections {
		r.Add(model.NewSecret(rand.Text() + rand.Text() + rand.Text()))
		r.AddPassing(model.NewSecret(strings.Repeat(rand.Text(), 20)))
	}
	return r
}

// scrape makes one scrape and returns how long it took.
func scrape(b *testing.B, registry prometheus.Gatherer) time.Duration {
	b.Helper()
	handler := promhttp.HandlerFor(registry, promhttp.HandlerOpts{DisableCompression: true})
	request, response := httptest.NewRequest(http.MethodGet, "/metrics", nil), httptest.NewRecorder()
	runtime.GC() // none pays for another's garbage
	started := time.Now()
	handler.ServeHTTP(response, request)
	took := time.Since(started)
	if response.Code != http.StatusOK {
		b.Fatal(response.Body)
	}
	return took
}

// asVector keeps a family as an ordinary exporter does.
func asVector(family *dto.MetricFamily) prometheus.Collector {
	names, _ := labelsOf(family.GetMetric()[0])
	gauges := prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: family.GetName(), Help: family.GetHelp()}, names)
	counters := prometheus.NewCounterVec(prometheus.CounterOpts{Name: family.GetName(), Help: family.GetHelp()}, names)
	for _, metric := range family.GetMetric() {
		_, values := labelsOf(metric)
		if family.GetType() == dto.MetricType_COUNTER {
			counters.WithLabelValues(values...).Add(metric.GetCounter().GetValue())
		} else {
			gauges.WithLabelValues(values...).Set(metric.GetGauge().GetValue())
		}
	}
	if family.GetType() == dto.MetricType_COUNTER {
		return counters
	}
	return gauges
}

// constMetrics makes each of its series anew at every scrape.
type constMetrics []constSeries

type constSeries struct {
	desc      *prometheus.Desc
	valueType prometheus.ValueType
	value     float64
	labels    []string
}

func asConstMetrics(families []*dto.MetricFamily) constMetrics {
	var series constMetrics
	for _, family := range families {
		names, _ := labelsOf(family.GetMetric()[0])
		desc := prometheus.NewDesc(family.GetName(), family.GetHelp(), names, nil)
		for _, metric := range family.GetMetric() {
			_, values := labelsOf(metric)
			if family.GetType() == dto.MetricType_COUNTER {
				series = append(series, constSeries{desc, prometheus.CounterValue, metric.GetCounter().GetValue(), values})
			} else {
				series = append(series, constSeries{desc, prometheus.GaugeValue, metric.GetGauge().GetValue(), values})
			}
		}
	}
	return series
}

// Describe implements prometheus.Collector.
func (c constMetrics) Describe(descs chan<- *prometheus.Desc) {
	prometheus.DescribeByCollect(c, descs)
}

// Collect implements prometheus.Collector.
func (c constMetrics) Collect(samples chan<- prometheus.Metric) {
	for _, s := range c {
		samples <- prometheus.MustNewConstMetric(s.desc, s.valueType, s.value, s.labels...)
	}
}

func labelsOf(metric *dto.Metric) (names, values []string) {
	for _, label := range metric.GetLabel() {
		names = append(names, label.GetName())
		values = append(values, label.GetValue())
	}
	return names, values
}
