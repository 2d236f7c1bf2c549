package redact

import (
	"io"
	"net/http"
	"slices"
	"strings"

	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"
)

// Writer returns a writer that hides the values. Each Write is passed on at once: of a
// value that is split over two, at most minimum-1 bytes of each part can remain.
func (r *Redactor) Writer(next io.Writer) io.Writer { return writer{r, next} }

type writer struct {
	redactor *Redactor
	next     io.Writer
}

// Write implements io.Writer.
func (w writer) Write(content []byte) (int, error) {
	if _, err := io.WriteString(w.next, w.redactor.Text(string(content))); err != nil {
		return 0, err
	}
	return len(content), nil
}

// Handler returns a handler whose responses hide the values, except metrics: Gatherer
// hides them there, before they are compressed.
func (r *Redactor) Handler(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, request *http.Request) {
		next.ServeHTTP(responseWriter{w, r}, request)
	})
}

type responseWriter struct {
	http.ResponseWriter
	redactor *Redactor
}

// Unwrap serves http.ResponseController.
func (w responseWriter) Unwrap() http.ResponseWriter { return w.ResponseWriter }

// isMetrics reports whether the response has the type of an exposition format.
func (w responseWriter) isMetrics() bool {
	return strings.Contains(w.Header().Get("Content-Type"), "version=")
}

// WriteHeader implements http.ResponseWriter.
func (w responseWriter) WriteHeader(status int) {
	if !w.isMetrics() {
		w.Header().Del("Content-Length") // it may change
	}
	w.ResponseWriter.WriteHeader(status)
}

// Write implements http.ResponseWriter.
func (w responseWriter) Write(content []byte) (int, error) {
	if w.isMetrics() {
		return w.ResponseWriter.Write(content)
	}
	w.Header().Del("Content-Length")
	return writer{w.redactor, w.ResponseWriter}.Write(content)
}

// Gatherer returns a gatherer that hides the values in labels, the only texts in metrics
// that are not the program's own.
func (r *Redactor) Gatherer(next prometheus.Gatherer) prometheus.Gatherer {
	return prometheus.GathererFunc(func() ([]*dto.MetricFamily, error) {
		families, err := next.Gather()
		for _, family := range families {
			for _, metric := range family.Metric {
				for i, label := range metric.Label {
					if hidden := r.Text(label.GetValue()); hidden != label.GetValue() {
						metric.Label = slices.Clone(metric.Label) // other scrapes read it
						metric.Label[i] = &dto.LabelPair{Name: label.Name, Value: &hidden}
					}
				}
			}
		}
		return families, err
	})
}
