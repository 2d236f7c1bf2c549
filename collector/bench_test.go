package collector_test

import (
	"crypto/rand"
	"fmt"
	"net/http"
	"net/http/httptest"
	"runtime"
	"slices"
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

// BenchmarkScrape compares a scrape of healthy connections, live values hidden, with a
// scrape of the same series from client_golang's vectors, which keep them ready. They take
// turns, and each ratio is a median, so that a busy machine slows both alike.
func BenchmarkScrape(b *testing.B) {
	for _, connections := range []int{1, 100, 1000} {
		snapshots, rotations := fleet(connections, time.Now())
		c := collector.New(collector.Options{
			Snapshots: func() []model.Snapshot { return snapshots },
			Rotation: func(connection string, kind model.Procedure) model.RotationStatus {
				return rotations[connection].of("", kind)
			},
			Redactor: redactor(connections),
		})
		exporter, vectors := prometheus.NewRegistry(), prometheus.NewRegistry()
		exporter.MustRegister(c)
		for _, family := range gather(b, c) {
			vectors.MustRegister(asVector(family))
		}
		b.Run(fmt.Sprintf("connections=%d", connections), func(b *testing.B) {
			var floors, ratios []float64
			for b.Loop() {
				var floor, own float64
				if len(ratios)%2 == 0 {
					floor, own = scrape(b, vectors), scrape(b, exporter)
				} else {
					own, floor = scrape(b, exporter), scrape(b, vectors)
				}
				floors, ratios = append(floors, floor), append(ratios, own/floor)
			}
			b.ReportMetric(median(floors)*median(ratios)*1000, "exporter-ms")
			b.ReportMetric(median(floors)*1000, "floor-ms")
			b.ReportMetric(median(ratios), "ratio")
		})
	}
}

func median(values []float64) float64 {
	slices.Sort(values)
	return values[len(values)/2]
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

// scrape makes one scrape and returns how many seconds it took.
func scrape(b *testing.B, registry prometheus.Gatherer) float64 {
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
	return took.Seconds()
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

func labelsOf(metric *dto.Metric) (names, values []string) {
	for _, label := range metric.GetLabel() {
		names = append(names, label.GetName())
		values = append(values, label.GetValue())
	}
	return names, values
}
