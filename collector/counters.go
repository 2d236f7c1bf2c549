package collector

import (
	"strconv"

	"github.com/prometheus/client_golang/prometheus"

	"entra-aws-exporter/internal/model"
)

// Requests counts the answers of the two clouds. It is a collector of its own,
// because its counters outlive a reload; the clients tell it.
type Requests struct{ *prometheus.CounterVec }

// NewRequests returns a counter that is not registered yet.
func NewRequests() *Requests {
	return &Requests{prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: namespace + "api_requests_total",
		Help: "Requests to the two clouds by service and HTTP status; without an answer the code is error.",
	}, []string{"service", "code"})}
}

// Observe counts one answered request: code is the HTTP status, or "error".
func (r *Requests) Observe(service, code string) { r.WithLabelValues(service, code).Inc() }

// Webhook counts what Alertmanager sent and what became of it.
type Webhook struct{ requests, alerts *prometheus.CounterVec }

// NewWebhook returns counters that are not registered yet, with all known codes and
// decisions at 0.
func NewWebhook() *Webhook {
	w := &Webhook{
		requests: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: namespace + "webhook_requests_total",
			Help: "Requests to the webhook by the HTTP status they were answered with.",
		}, []string{"code"}),
		alerts: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: namespace + "webhook_alerts_total",
			Help: "Alerts that the webhook received by what it decided.",
		}, []string{"decision"}),
	}
	for _, code := range []string{"200", "202", "400", "401", "405", "413", "415", "503"} {
		w.requests.WithLabelValues(code)
	}
	for _, decision := range model.Decisions() {
		w.alerts.WithLabelValues(string(decision))
	}
	return w
}

// Request counts a request by the HTTP status of its answer.
func (w *Webhook) Request(code int) { w.requests.WithLabelValues(strconv.Itoa(code)).Inc() }

// Alerts counts alerts by the decision about them.
func (w *Webhook) Alerts(decision string, count int) {
	w.alerts.WithLabelValues(decision).Add(float64(count))
}

// Describe implements prometheus.Collector.
func (w *Webhook) Describe(descriptions chan<- *prometheus.Desc) {
	w.requests.Describe(descriptions)
	w.alerts.Describe(descriptions)
}

// Collect implements prometheus.Collector.
func (w *Webhook) Collect(samples chan<- prometheus.Metric) {
	w.requests.Collect(samples)
	w.alerts.Collect(samples)
}
