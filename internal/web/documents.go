package web

import (
	"errors"
	"html/template"
	"io/fs"
	"net/http"
	"slices"
	"strings"

	"entra-aws-exporter/docs"
)

// documentPage is what document.html shows.
type documentPage struct {
	layout
	Name    string // its path in docs, without .md
	Summary string // of a runbook: its first paragraph
	Body    template.HTML
}

// documentIndexPage is what runbooks.html shows.
type documentIndexPage struct {
	layout
	Manuals, Runbooks []documentPage
}

// serveDocuments renders the embedded documents and serves each at its path in the
// repository, below / and below /docs, so that their relative links work in both places.
// Alerting rules and dashboards link to /docs if their base address is this server.
func (r responder) serveDocuments(mux *http.ServeMux) error {
	manuals, err := loadDocuments("*.md")
	if err != nil {
		return err
	}
	runbooks, err := loadDocuments("runbooks/*.md")
	if err != nil {
		return err
	}
	for _, page := range slices.Concat(manuals, runbooks) {
		for _, address := range []string{"/" + page.Name, "/docs/" + page.Name} {
			page.layout = r.newLayout(page.Title, address)
			mux.HandleFunc("GET "+address, r.show("document.html", page))
			mux.HandleFunc("GET "+address+".md", r.show("document.html", page))
		}
	}
	index := documentIndexPage{r.newLayout("Runbooks", "/runbooks/"), manuals, runbooks}
	mux.HandleFunc("GET /runbooks/{$}", r.show("runbooks.html", index))
	mux.HandleFunc("GET /docs/runbooks", relativeRedirect("../runbooks/"))
	mux.HandleFunc("GET /docs/runbooks/{$}", relativeRedirect("../../runbooks/"))
	for _, address := range []string{"/runbooks/{name}", "/docs/runbooks/{name}"} {
		mux.HandleFunc("GET "+address, r.noRunbook)
	}
	return nil
}

// loadDocuments renders the embedded documents that match pattern, in the order of their names.
func loadDocuments(pattern string) ([]documentPage, error) {
	markdown := newMarkdown(isEmbedded)
	files, err := fs.Glob(docs.Pages, pattern)
	pages := make([]documentPage, 0, len(files))
	for _, file := range files {
		source, readErr := fs.ReadFile(docs.Pages, file)
		body, renderErr := renderMarkdown(markdown, source)
		err = errors.Join(err, readErr, renderErr)
		heading, rest, _ := strings.Cut(string(source), "\n\n")
		page := documentPage{Name: strings.TrimSuffix(file, ".md"), Body: body}
		page.Title = strings.TrimPrefix(heading, "# ")
		page.Summary, _, _ = strings.Cut(rest, "\n")
		pages = append(pages, page)
	}
	return pages, err
}

// isEmbedded reports whether a document of this name, in either folder, is embedded.
func isEmbedded(name string) bool {
	_, manualErr := fs.Stat(docs.Pages, name+".md")
	_, runbookErr := fs.Stat(docs.Pages, "runbooks/"+name+".md")
	return manualErr == nil || runbookErr == nil
}

func (r responder) noRunbook(w http.ResponseWriter, _ *http.Request) {
	r.text(w, http.StatusNotFound, "no such runbook; see /runbooks/ for the list\n")
}

// relativeRedirect redirects to an address relative to the path. http.Redirect would make
// it absolute, which breaks behind a proxy that strips a path prefix.
func relativeRedirect(address string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Location", address)
		w.WriteHeader(http.StatusFound)
	}
}
