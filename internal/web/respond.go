package web

import (
	"bytes"
	"cmp"
	"encoding/json"
	"html/template"
	"io"
	"log/slog"
	"net/http"
	"strings"
)

// responder writes responses.
type responder struct {
	templates *template.Template
	build     Build
	logger    *slog.Logger
}

// Build identifies the running build.
type Build struct {
	Version  string `json:"version"`
	Revision string `json:"revision,omitempty"`
}

// layout is what every page shows around its content.
type layout struct {
	Title string
	Root  string // relative path to /, so that links work behind a proxy with a path prefix
	Build Build
}

func (r responder) newLayout(title, address string) layout {
	return layout{Title: title, Root: cmp.Or(strings.Repeat("../", strings.Count(address, "/")-1), "./"), Build: r.build}
}

// show serves a page that never changes.
func (r responder) show(name string, data any) http.HandlerFunc {
	return func(w http.ResponseWriter, request *http.Request) { r.page(w, request, name, data) }
}

// page renders completely before it writes, so that a failure is a 500 and not half a page.
func (r responder) page(w http.ResponseWriter, request *http.Request, name string, data any) {
	var body bytes.Buffer
	if err := r.templates.ExecuteTemplate(&body, name, data); err != nil {
		r.logger.Error("page rendering failed", "path", request.URL.Path, "err", err)
		r.text(w, http.StatusInternalServerError, "rendering this page failed, see the log; /metrics and /api/v1/connections still work\n")
		return
	}
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	w.Header().Set("Cache-Control", "no-store")
	r.write(w, body.Bytes())
}

func (r responder) json(w http.ResponseWriter, value any) {
	body, err := json.MarshalIndent(value, "", "  ")
	if err != nil {
		r.text(w, http.StatusInternalServerError, "encoding JSON: "+err.Error()+"\n")
		return
	}
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	r.write(w, append(body, '\n'))
}

func (r responder) text(w http.ResponseWriter, code int, text string) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(code)
	r.write(w, []byte(text))
}

func (r responder) write(w io.Writer, body []byte) {
	if _, err := w.Write(body); err != nil {
		r.logger.Debug("response write failed", "err", err)
	}
}
