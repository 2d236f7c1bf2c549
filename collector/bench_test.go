package collector_test

import (
	"fmt"
	"math"
	"net/http"
	"net/http/httptest"
	"runtime"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	dto "github.com/prometheus/client_model/go"

	"entra-aws-exporter/collector"
	"entra-aws-exporter/internal/model"
)

// BenchmarkScrape compares a whole scrape of healthy connections with its floor: a
// bare registry of client_golang's own vectors that hold the very same series. The
// two take turns, and the fastest scrapes of each are compared, so that a busy
// machine slows both and not one. The ratio is to be 1.25 at most.
func BenchmarkScrape(b *testing.B) {
	for _, connections := range []int{1, 100, 1000} {
		snapshots, statuses := fleet(connections, time.Now())
		c := collector.New(collector.Inputs{
			Snapshots: func() []model.Snapshot { return snapshots },
			Rotation:  func(connection string) model.RotationStatus { return statuses[connection] },
		})
		exporter, floor := prometheus.NewRegistry(), prometheus.NewRegistry()
		exporter.MustRegister(c)
		for _, family := range gather(b, c) {
			floor.MustRegister(kept(family))
		}
		b.Run(fmt.Sprintf("connections=%d", connections), func(b *testing.B) {
			ours, theirs := time.Duration(math.MaxInt64), time.Duration(math.MaxInt64)
			for b.Loop() {
				ours = min(ours, scrape(b, exporter))
				theirs = min(theirs, scrape(b, floor))
			}
			b.ReportMetric(float64(ours.Nanoseconds()), "exporter-ns")
			b.ReportMetric(float64(theirs.Nanoseconds()), "floor-ns")
			b.ReportMetric(float64(ours)/float64(theirs), "ratio")
		})
	}
}

// scrape makes one scrape and returns how long it took.
func scrape(b *testing.B, registry *prometheus.Registry) time.Duration {
	b.Helper()
	handler := promhttp.HandlerFor(registry, promhttp.HandlerOpts{DisableCompression: true})
	request, response := httptest.NewRequest(http.MethodGet, "/metrics", nil), httptest.NewRecorder()
	runtime.GC() // neither pays for the other's garbage
	started := time.Now()
	handler.ServeHTTP(response, request)
	took := time.Since(started)
	if response.Code != http.StatusOK {
		b.Fatal(response.Body)
	}
	return took
}

// kept is a family as an ordinary exporter would keep it.
func kept(family *dto.MetricFamily) prometheus.Collector {
	labels := family.GetMetric()[0].GetLabel()
	names := make([]string, 0, len(labels))
	for _, label := range labels {
		names = append(names, label.GetName())
	}
	gauges := prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: family.GetName(), Help: family.GetHelp()}, names)
	counters := prometheus.NewCounterVec(prometheus.CounterOpts{Name: family.GetName(), Help: family.GetHelp()}, names)
	for _, metric := range family.GetMetric() {
		values := make([]string, 0, len(labels))
		for _, label := range metric.GetLabel() {
			values = append(values, label.GetValue())
		}
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
