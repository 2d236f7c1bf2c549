// Package web serves the status page, health checks, the running configuration, the JSON
// API, and the embedded runbooks and manuals.
//
// All pages are rendered on the server. They need no JavaScript and no other host, so
// they work during an outage.
//
// Read web.go first: it has the routes. Then follow the data: convert.go turns a snapshot
// into the types of api.go, advice.go and rotationadvice.go add what an operator should do,
// expiry.go what expires next, and filter.go selects. page.go and connectionview.go prepare all of it for the
// templates. documents.go and markdown.go render the runbooks and manuals.
// Every handler uses respond.go, every sentence format.go.
package web

import (
	"embed"
	"fmt"
	"html/template"
	"io/fs"
	"log/slog"
	"net/http"
	"net/http/pprof"
	"slices"
	"strings"
	"time"

	"entra-aws-exporter/internal/model"
)

//go:embed templates
var assets embed.FS

// contentSecurityPolicy allows only this server's own stylesheet and icon.
const contentSecurityPolicy = "default-src 'none'; style-src 'self'; img-src 'self'; " +
	"base-uri 'none'; form-action 'self'; frame-ancestors 'none'"

// Options are the data sources of the pages, and the handlers of other packages.
type Options struct {
	Snapshots func() []model.Snapshot                                            // every connection, in the order of the configuration
	Rotation  func(connection string, kind model.Procedure) model.RotationStatus // status of one kind
	Records   func() []model.RotationRecord                                      // newest first
	Ready     func() error                                                       // nil: ready; otherwise what is missing
	Reloaded  func() error                                                       // why the last reload failed; nil: it did not
	Config    func() ([]byte, error)                                             // the running configuration as YAML, without secrets
	Build     Build
	Logger    *slog.Logger

	Metrics http.Handler // serves /metrics
	Webhook http.Handler // serves /webhook/alertmanager; nil: no such endpoint
	Reload  func() error // for POST /-/reload; nil: disabled

	Profiles bool // serve Go's profiles under /debug/pprof/
}

// site serves the pages of one exporter.
type site struct {
	Options
	responder
}

// New returns the handler of every route.
func New(options Options) (http.Handler, error) {
	pages, err := template.New("").Funcs(pageFunctions()).ParseFS(assets, "templates/*.html")
	if err != nil {
		return nil, fmt.Errorf("parsing the page templates: %w", err)
	}
	s := &site{options, responder{pages, options.Build, options.Logger}}

	mux := http.NewServeMux()
	mux.HandleFunc("GET /{$}", s.status)
	mux.HandleFunc("GET /connections/{name}", s.connection)
	s.serveHealth(mux)
	mux.HandleFunc("POST /-/reload", s.reload)
	mux.HandleFunc("GET /config", s.config)
	mux.HandleFunc("GET /api/v1/connections", s.connections)
	mux.HandleFunc("GET /api/v1/rotations", s.rotations)
	if err := s.serveDocuments(mux); err != nil {
		return nil, err
	}
	for _, name := range []string{"style.css", "icon.svg"} {
		mux.HandleFunc("GET /"+name, s.asset(name))
	}
	if options.Metrics != nil {
		mux.Handle("GET /metrics", options.Metrics)
	}
	if options.Webhook != nil {
		mux.Handle("/webhook/alertmanager", options.Webhook) // it handles other methods itself
	}
	if options.Profiles {
		serveProfiles(mux)
	}
	// A browser on another site must not be able to reload or to call the webhook.
	return withSecurityHeaders(http.NewCrossOriginProtection().Handler(mux)), nil
}

// NewHealth returns the handler of the health and readiness checks alone.
func NewHealth(ready func() error, logger *slog.Logger) http.Handler {
	s := &site{Options{Ready: ready}, responder{logger: logger}}
	mux := http.NewServeMux()
	s.serveHealth(mux)
	return withSecurityHeaders(mux)
}

func (s *site) serveHealth(mux *http.ServeMux) {
	mux.HandleFunc("GET /-/healthy", s.healthy)
	mux.HandleFunc("GET /-/ready", s.ready)
}

// serveProfiles serves what `go tool pprof` reads.
func serveProfiles(mux *http.ServeMux) {
	for path, handler := range map[string]http.HandlerFunc{
		"": pprof.Index, "cmdline": pprof.Cmdline, "profile": pprof.Profile, "symbol": pprof.Symbol, "trace": pprof.Trace,
	} {
		mux.HandleFunc("GET /debug/pprof/"+path, handler)
	}
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
		s.text(w, http.StatusForbidden, "reload over HTTP is disabled; start the exporter with --web.enable-lifecycle, or send SIGHUP\n")
		return
	}
	if err := s.Reload(); err != nil {
		s.text(w, http.StatusInternalServerError, "configuration reload failed, the previous configuration stays active: "+err.Error()+"\n")
		return
	}
	s.text(w, http.StatusOK, "reloaded\n")
}

// config shows the configuration: a page to a browser, YAML to everything else.
func (s *site) config(w http.ResponseWriter, r *http.Request) {
	content, err := s.Config()
	if err != nil {
		s.text(w, http.StatusInternalServerError, "encoding the configuration: "+err.Error()+"\n")
		return
	}
	w.Header().Set("Vary", "Accept")
	if strings.Contains(r.Header.Get("Accept"), "text/html") {
		s.page(w, r, "config.html", configPage{s.newLayout("Configuration", "/config"), string(content)})
		return
	}
	s.text(w, http.StatusOK, string(content))
}

func (s *site) connections(w http.ResponseWriter, r *http.Request) {
	f, err := parseFilter(r.URL.Query(), 0)
	if err != nil {
		s.text(w, http.StatusBadRequest, err.Error()+"\n")
		return
	}
	now := time.Now()
	all := s.currentConnections(now)
	response := Connections{Advice: adviceForExporter(s.Reloaded()), ExpiresNext: expiresNext(all, now)}
	response.Connections, response.Total = f.apply(all)
	s.json(w, response)
}

func (s *site) rotations(w http.ResponseWriter, _ *http.Request) {
	s.json(w, Rotations{Rotations: toRecords(s.Records())})
}

// currentConnections returns the state of every connection, most harmed first.
func (s *site) currentConnections(now time.Time) []Connection {
	connections := []Connection{}
	for _, snapshot := range s.Snapshots() {
		connections = append(connections, s.toConnection(snapshot, now))
	}
	slices.SortStableFunc(connections, compareConnections)
	return connections
}

func (s *site) status(w http.ResponseWriter, r *http.Request) {
	f, err := parseFilter(r.URL.Query(), pageLimit)
	if err != nil {
		s.text(w, http.StatusBadRequest, err.Error()+"\n")
		return
	}
	now := time.Now().UTC()
	s.page(w, r, "status.html", newStatusPage(s.newLayout("Status", "/"), s.currentConnections(now), s.Records(), adviceForExporter(s.Reloaded()), f, now))
}

// connection shows one connection with all details.
func (s *site) connection(w http.ResponseWriter, r *http.Request) {
	name, now := r.PathValue("name"), time.Now().UTC()
	for _, snapshot := range s.Snapshots() {
		if snapshot.Connection == name {
			connection := s.toConnection(snapshot, now)
			s.page(w, r, "connection.html", newConnectionPage(s.newLayout(name, "/connections/"), connection, s.Records(), now))
			return
		}
	}
	s.text(w, http.StatusNotFound, "no such connection; see / for the list\n")
}

func (s *site) asset(name string) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		files, _ := fs.Sub(assets, "templates")
		w.Header().Set("Cache-Control", "max-age=300")
		http.ServeFileFS(w, r, files, name)
	}
}
