package redact

import (
	"io"
	"net/http"
	"strings"
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

// Handler returns a handler whose responses hide the values, except metrics, which may
// be compressed: the collector hides them in its labels.
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
