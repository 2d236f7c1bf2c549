package collector

import (
	"strconv"

	"github.com/prometheus/client_golang/prometheus"

	"entra-aws-exporter/internal/model"
)

// Requests counts requests to AWS and Entra. It is a collector of its own, because its
// counters outlive a reload of the config.
type Requests struct{ *prometheus.CounterVec }

// NewRequests returns an unregistered counter.
func NewRequests() *Requests {
	return &Requests{prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: namespace + "api_requests_total",
		Help: "Total number of requests to AWS and Entra, by service and HTTP status code. Without a response the code is error.",
	}, []string{"service", "code"})}
}

// Observe counts one request. The code is the HTTP status, or "error" without a response.
func (r *Requests) Observe(service, code string) { r.WithLabelValues(service, code).Inc() }

// Webhook counts the requests and alerts that the webhook receives.
type Webhook struct{ requests, alerts *prometheus.CounterVec }

// NewWebhook returns unregistered counters. All known codes and decisions begin at 0.
func NewWebhook() *Webhook {
	w := &Webhook{
		requests: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: namespace + "webhook_requests_total",
			Help: "Total number of webhook requests, by HTTP status code of the response.",
		}, []string{"code"}),
		alerts: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: namespace + "webhook_alerts_total",
			Help: "Total number of alerts that the webhook received, by decision.",
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

// Request counts a request by the HTTP status of its response.
func (w *Webhook) Request(code int) { w.requests.WithLabelValues(strconv.Itoa(code)).Inc() }

// Alerts counts alerts by decision.
func (w *Webhook) Alerts(decision string, count int) {
	w.alerts.WithLabelValues(decision).Add(float64(count))
}

// Describe implements prometheus.Collector.
func (w *Webhook) Describe(descs chan<- *prometheus.Desc) {
	w.requests.Describe(descs)
	w.alerts.Describe(descs)
}

// Collect implements prometheus.Collector.
func (w *Webhook) Collect(samples chan<- prometheus.Metric) {
	w.requests.Collect(samples)
	w.alerts.Collect(samples)
}
