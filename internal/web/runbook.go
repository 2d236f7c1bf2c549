package web

import (
	"html/template"
	"io/fs"
	"net/http"
	"path"
	"strings"

	"entra-aws-exporter/docs/runbooks"
)

// runbookPage is what runbook.html shows.
type runbookPage struct {
	layout
	Body template.HTML
}

// document serves a page of docs from a path at the depth of root. The pages and the
// runbooks link to each other by the same relative addresses, below /docs or not.
func (s *site) document(title, text, root string) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		s.page(w, r, "runbook.html", runbookPage{
			layout: layout{Title: title, Root: root, Build: s.Build},
			Body:   renderMarkdown(text),
		})
	}
}

// elsewhere redirects to an address relative to the path, so that it works below a
// proxy's prefix, which http.Redirect does not know.
func elsewhere(address string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Location", address)
		w.WriteHeader(http.StatusFound)
	}
}

// runbookIndexPage is what runbooks.html shows.
type runbookIndexPage struct {
	layout
	Names []string
}

func (s *site) runbookIndex(w http.ResponseWriter, r *http.Request) {
	files, err := fs.Glob(runbooks.Pages, "*.md")
	if err != nil {
		http.NotFound(w, r)
		return
	}
	page := runbookIndexPage{layout: layout{Title: "Runbooks", Root: "../", Build: s.Build}}
	for _, file := range files {
		page.Names = append(page.Names, strings.TrimSuffix(file, ".md"))
	}
	s.page(w, r, "runbooks.html", page)
}

// runbook serves a runbook from a path at the depth of root. It accepts a name with
// and without .md, so that a link to the file works too.
func (s *site) runbook(root string) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		name := strings.TrimSuffix(r.PathValue("name"), ".md")
		text, err := fs.ReadFile(runbooks.Pages, path.Clean(name)+".md")
		if err != nil {
			s.text(w, http.StatusNotFound, "there is no runbook of this name; /runbooks/ lists them\n")
			return
		}
		s.page(w, r, "runbook.html", runbookPage{
			layout: layout{Title: name, Root: root, Build: s.Build},
			Body:   renderMarkdown(string(text)),
		})
	}
}
