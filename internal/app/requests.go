package app

import (
	"github.com/prometheus/client_golang/prometheus"
)

// requests counts what the exporter asks of the clouds.
type requests struct{ counter *prometheus.CounterVec }

func newRequests() *requests {
	return &requests{prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "entra_aws_api_requests_total",
		Help: "HTTP requests to the clouds by service and status code; code error means that no answer came.",
	}, []string{"service", "code"})}
}

// Observe counts one answered, or failed, request.
func (r *requests) Observe(service, code string) { r.counter.WithLabelValues(service, code).Inc() }
