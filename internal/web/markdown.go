package web

import (
	"fmt"
	"html/template"
	"regexp"
	"strings"

	"github.com/yuin/goldmark"
	"github.com/yuin/goldmark/ast"
	"github.com/yuin/goldmark/extension"
	"github.com/yuin/goldmark/parser"
	"github.com/yuin/goldmark/renderer"
	"github.com/yuin/goldmark/util"
)

// newMarkdown returns a renderer for the embedded documents. It drops raw HTML, sets no
// style attribute, and links only to documents that isServed accepts.
func newMarkdown(isServed func(name string) bool) goldmark.Markdown {
	return goldmark.New(
		goldmark.WithExtensions(extension.NewTable(extension.WithTableCellAlignMethod(extension.TableCellAlignNone))),
		goldmark.WithParserOptions(parser.WithAutoHeadingID()),
		goldmark.WithRendererOptions(renderer.WithNodeRenderers(util.Prioritized(linkRenderer(isServed), 0))),
	)
}

func renderMarkdown(markdown goldmark.Markdown, source []byte) (template.HTML, error) {
	var out strings.Builder
	context := parser.NewContext(parser.WithIDs(headingIDs{}))
	if err := markdown.Convert(source, &out, parser.WithContext(context)); err != nil {
		return "", fmt.Errorf("rendering Markdown: %w", err)
	}
	// Wide blocks scroll, and the keyboard must reach what scrolls. These tags cannot come
	// from the source: goldmark escapes or drops them.
	scrollable := strings.NewReplacer("<pre>", `<pre tabindex="0">`,
		"<table>", `<div class="scroll" tabindex="0"><table>`, "</table>", "</table></div>")
	return template.HTML(scrollable.Replace(out.String())), nil //nolint:gosec // goldmark escaped the source
}

// headingIDs makes the id of a heading as GitHub does. Goldmark would replace underscores,
// which the reasons of a blocked rotation contain.
type headingIDs map[string]bool

// Generate implements parser.IDs.
func (h headingIDs) Generate(heading []byte, _ ast.NodeKind) []byte {
	base := strings.Map(func(r rune) rune {
		switch {
		case r == ' ':
			return '-'
		case r == '_' || r == '-' || r >= '0' && r <= '9' || r >= 'a' && r <= 'z':
			return r
		default:
			return -1
		}
	}, strings.ToLower(string(heading)))
	id := base
	for n := 1; h[id]; n++ {
		id = fmt.Sprintf("%s-%d", base, n)
	}
	h[id] = true
	return []byte(id)
}

// Put implements parser.IDs.
func (h headingIDs) Put(id []byte) { h[string(id)] = true }

// documentLink matches the address of a document, of a heading, or of both.
var documentLink = regexp.MustCompile(`^(?:((?:\.\./|runbooks/)?([A-Za-z-]+))\.md)?(#[a-z0-9_-]+)?$`)

// linkRenderer links to the pages of documents. It writes any other address as text, so
// that no page leads to another site.
type linkRenderer func(name string) bool

// RegisterFuncs implements renderer.NodeRenderer.
func (isServed linkRenderer) RegisterFuncs(registry renderer.NodeRendererFuncRegisterer) {
	registry.Register(ast.KindLink, func(w util.BufWriter, _ []byte, node ast.Node, entering bool) (ast.WalkStatus, error) {
		link := node.(*ast.Link)
		match := documentLink.FindSubmatch(link.Destination)
		switch isPage := match != nil && (len(match[1]) == 0 || isServed(string(match[2]))); {
		case isPage && entering:
			fmt.Fprintf(w, `<a href="%s%s">`, match[1], match[3])
		case isPage:
			fmt.Fprint(w, "</a>")
		case !entering:
			fmt.Fprintf(w, " (%s)", util.EscapeHTML(link.Destination))
		}
		return ast.WalkContinue, nil
	})
	registry.Register(ast.KindImage, func(w util.BufWriter, _ []byte, node ast.Node, entering bool) (ast.WalkStatus, error) {
		if !entering {
			fmt.Fprintf(w, " (%s)", util.EscapeHTML(node.(*ast.Image).Destination))
		}
		return ast.WalkContinue, nil
	})
	registry.Register(ast.KindAutoLink, func(w util.BufWriter, source []byte, node ast.Node, entering bool) (ast.WalkStatus, error) {
		if entering {
			fmt.Fprintf(w, "%s", util.EscapeHTML(node.(*ast.AutoLink).Label(source)))
		}
		return ast.WalkContinue, nil
	})
}
