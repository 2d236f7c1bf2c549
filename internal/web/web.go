// Package web serves what a person or a script asks of the exporter besides its
// metrics: the status page, health, the config, a JSON API and the runbooks.
//
// The pages are rendered on the server and need nothing from elsewhere: no
// JavaScript, no outside address, so they work when nothing else does.
package web

import (
	"bytes"
	"embed"
	"encoding/json"
	"fmt"
	"html/template"
	"io"
	"io/fs"
	"log/slog"
	"net/http"
	"time"

	"entra-aws-exporter/docs"
	"entra-aws-exporter/internal/model"
)

//go:embed templates
var templates embed.FS

// contentSecurityPolicy allows this server's own stylesheet and icon, nothing else.
const contentSecurityPolicy = "default-src 'none'; style-src 'self'; img-src 'self'; " +
	"base-uri 'none'; form-action 'none'; frame-ancestors 'none'"

// Build says which build is running.
type Build struct {
	Version  string `json:"version"`
	Revision string `json:"revision,omitempty"`
}

// Options are what the pages show and the handlers that others provide.
type Options struct {
	Snapshots func() []model.Snapshot                      // every connection in config order
	Rotation  func(connection string) model.RotationStatus // of one connection
	Records   func() []model.RotationRecord                // newest first
	Ready     func() error                                 // nil: ready; otherwise what is still missing
	Config    func() ([]byte, error)                       // the running config as YAML, secrets hidden
	Build     Build
	Logger    *slog.Logger

	Metrics http.Handler // serves /metrics
	Webhook http.Handler // serves /webhook/alertmanager; nil: there is no such endpoint
	Reload  func() error // for POST /-/reload; nil: not enabled
}

// site serves the pages of one exporter.
type site struct {
	Options
	pages *template.Template
}

// New returns the handler of every route. It keeps no state of its own.
func New(options Options) (http.Handler, error) {
	pages, err := template.New("").Funcs(pageFunctions()).ParseFS(templates, "templates/*.html")
	if err != nil {
		return nil, fmt.Errorf("parsing the page templates: %w", err)
	}
	s := &site{Options: options, pages: pages}

	mux := http.NewServeMux()
	mux.HandleFunc("GET /{$}", s.status)
	mux.HandleFunc("GET /-/healthy", s.healthy)
	mux.HandleFunc("GET /-/ready", s.ready)
	mux.HandleFunc("POST /-/reload", s.reload)
	mux.HandleFunc("GET /config", s.config)
	mux.HandleFunc("GET /api/v1/connections", s.connections)
	mux.HandleFunc("GET /api/v1/rotations", s.rotations)
	mux.HandleFunc("GET /runbooks/{$}", s.runbookIndex)
	mux.HandleFunc("GET /runbooks/{name}", s.runbook("../"))
	// The links of the alerting rules and dashboards lead here when their base is this server.
	mux.HandleFunc("GET /docs/runbooks", elsewhere("../runbooks/"))
	mux.HandleFunc("GET /docs/runbooks/{$}", elsewhere("../../runbooks/"))
	mux.HandleFunc("GET /docs/runbooks/{name}", s.runbook("../../"))
	for _, page := range []struct{ name, title, text string }{
		{"rotation", "Token rotation", docs.Rotation},
		{"rotation-reasons", "Rotation reasons", docs.RotationReasons},
	} {
		mux.HandleFunc("GET /"+page.name, s.document(page.title, page.text, "./"))
		mux.HandleFunc("GET /docs/"+page.name, s.document(page.title, page.text, "../"))
		mux.HandleFunc("GET /docs/"+page.name+".md", s.document(page.title, page.text, "../"))
	}
	for _, asset := range []string{"style.css", "icon.svg"} {
		mux.HandleFunc("GET /"+asset, s.asset(asset))
	}
	if options.Metrics != nil {
		mux.Handle("GET /metrics", options.Metrics)
	}
	if options.Webhook != nil {
		mux.Handle("/webhook/alertmanager", options.Webhook) // it answers other methods itself
	}
	// A browser on another site must not be able to reload or to call the webhook.
	return withSecurityHeaders(http.NewCrossOriginProtection().Handler(mux)), nil
}

func withSecurityHeaders(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		header := w.Header()
		header.Set("Content-Security-Policy", contentSecurityPolicy)
		header.Set("X-Content-Type-Options", "nosniff")
		header.Set("X-Frame-Options", "DENY")
		header.Set("Referrer-Policy", "no-referrer")
		header.Set("Cross-Origin-Resource-Policy", "same-origin")
		next.ServeHTTP(w, r)
	})
}

func (s *site) healthy(w http.ResponseWriter, _ *http.Request) {
	s.text(w, http.StatusOK, "healthy\n")
}

func (s *site) ready(w http.ResponseWriter, _ *http.Request) {
	if err := s.Ready(); err != nil {
		s.text(w, http.StatusServiceUnavailable, "not ready: "+err.Error()+"\n")
		return
	}
	s.text(w, http.StatusOK, "ready\n")
}

func (s *site) reload(w http.ResponseWriter, _ *http.Request) {
	if s.Reload == nil {
		s.text(w, http.StatusForbidden, "reloading over HTTP is not enabled: start the exporter with --web.enable-lifecycle, or send it SIGHUP\n")
		return
	}
	if err := s.Reload(); err != nil {
		s.text(w, http.StatusInternalServerError, "the config was not reloaded, the old one stays in force: "+err.Error()+"\n")
		return
	}
	s.text(w, http.StatusOK, "reloaded\n")
}

func (s *site) config(w http.ResponseWriter, _ *http.Request) {
	yaml, err := s.Config()
	if err != nil {
		s.text(w, http.StatusInternalServerError, "writing the config as YAML: "+err.Error()+"\n")
		return
	}
	s.text(w, http.StatusOK, string(yaml))
}

func (s *site) connections(w http.ResponseWriter, _ *http.Request) {
	s.json(w, s.describe(time.Now()))
}

func (s *site) rotations(w http.ResponseWriter, _ *http.Request) {
	s.json(w, Rotations{Rotations: describeRecords(s.Records())})
}

func (s *site) status(w http.ResponseWriter, r *http.Request) {
	now := time.Now().UTC()
	s.page(w, r, "status.html", newStatusPage(s.describe(now), s.Records(), s.Build, now))
}

func (s *site) asset(name string) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		files, _ := fs.Sub(templates, "templates")
		w.Header().Set("Cache-Control", "max-age=300")
		http.ServeFileFS(w, r, files, name)
	}
}

// page renders completely before it writes, so that a failure is a 500 and not half a page.
func (s *site) page(w http.ResponseWriter, r *http.Request, name string, data any) {
	var body bytes.Buffer
	if err := s.pages.ExecuteTemplate(&body, name, data); err != nil {
		s.Logger.Error("rendering a page failed", "path", r.URL.Path, "err", err)
		s.text(w, http.StatusInternalServerError, "this page could not be rendered, see the log; /metrics and /api/v1/connections do not depend on it\n")
		return
	}
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	w.Header().Set("Cache-Control", "no-store")
	s.write(w, body.Bytes())
}

func (s *site) json(w http.ResponseWriter, value any) {
	body, err := json.MarshalIndent(value, "", "  ")
	if err != nil {
		s.text(w, http.StatusInternalServerError, "writing JSON: "+err.Error()+"\n")
		return
	}
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	s.write(w, append(body, '\n'))
}

func (s *site) text(w http.ResponseWriter, code int, text string) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(code)
	s.write(w, []byte(text))
}

func (s *site) write(w io.Writer, body []byte) {
	if _, err := w.Write(body); err != nil {
		s.Logger.Debug("the client left before it had read the answer", "err", err)
	}
}
