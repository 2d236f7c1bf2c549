package collector_test

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	dto "github.com/prometheus/client_model/go"

	"entra-aws-exporter/collector"
	"entra-aws-exporter/internal/bridge"
)

// BenchmarkScrape compares a whole scrape of healthy connections with its floor: a
// bare registry of client_golang's own vectors that hold the very same series.
func BenchmarkScrape(b *testing.B) {
	for _, connections := range []int{1, 100, 1000} {
		snapshots, statuses := fleet(connections, time.Now())
		c := collector.New(collector.Inputs{
			Snapshots: func() []bridge.Snapshot { return snapshots },
			Rotation:  func(connection string) bridge.RotationStatus { return statuses[connection] },
		})
		registry := prometheus.NewRegistry()
		registry.MustRegister(c)
		floor := prometheus.NewRegistry()
		for _, family := range gather(b, c) {
			floor.MustRegister(kept(family))
		}
		b.Run(fmt.Sprintf("connections=%d/of=exporter", connections), func(b *testing.B) { scrape(b, registry) })
		b.Run(fmt.Sprintf("connections=%d/of=floor", connections), func(b *testing.B) { scrape(b, floor) })
	}
}

func scrape(b *testing.B, registry *prometheus.Registry) {
	b.Helper()
	b.ReportAllocs()
	handler := promhttp.HandlerFor(registry, promhttp.HandlerOpts{DisableCompression: true})
	request := httptest.NewRequest(http.MethodGet, "/metrics", nil)
	for b.Loop() {
		response := httptest.NewRecorder()
		handler.ServeHTTP(response, request)
		if response.Code != http.StatusOK {
			b.Fatal(response.Body)
		}
	}
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
