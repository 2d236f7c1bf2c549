package web

import (
	"html"
	"html/template"
	"regexp"
	"strconv"
	"strings"
)

// renderMarkdown renders the subset of Markdown that the runbooks use: headings,
// paragraphs, both kinds of list, fenced code, and in the text `code`, **strong**
// and [links](Other.md) to other runbooks. Everything else is text: all input is
// escaped, and a link that leads elsewhere is written out instead of linked.
func renderMarkdown(text string) template.HTML {
	var r markdown
	for line := range strings.SplitSeq(strings.ReplaceAll(text, "\r\n", "\n"), "\n") {
		r.line(line)
	}
	r.close()
	return template.HTML(r.out.String()) //nolint:gosec // every piece of input went through inline or EscapeString
}

// markdown holds the block that is open while the lines go by.
type markdown struct {
	out  strings.Builder
	open string   // the open element: "", p, ul, ol or pre
	text []string // its lines so far; of a list, those of the current item
}

var (
	heading  = regexp.MustCompile(`^(#{1,3}) +(.+)$`)
	bullet   = regexp.MustCompile(`^[-*] +(.+)$`)
	numbered = regexp.MustCompile(`^[0-9]+\. +(.+)$`)
)

func (m *markdown) line(line string) {
	if m.open == "pre" {
		if strings.HasPrefix(line, "```") {
			m.close()
			return
		}
		m.text = append(m.text, line)
		return
	}
	switch {
	case strings.HasPrefix(line, "```"):
		m.begin("pre")
	case strings.TrimSpace(line) == "":
		m.close()
	case heading.MatchString(line):
		m.close()
		match := heading.FindStringSubmatch(line)
		level := strconv.Itoa(len(match[1]))
		m.out.WriteString("<h" + level + ">" + inline(match[2]) + "</h" + level + ">\n")
	case bullet.MatchString(line):
		m.item("ul", bullet.FindStringSubmatch(line)[1])
	case numbered.MatchString(line):
		m.item("ol", numbered.FindStringSubmatch(line)[1])
	default:
		if m.open == "" {
			m.begin("p")
		}
		m.text = append(m.text, strings.TrimSpace(line)) // a list item goes on, too
	}
}

func (m *markdown) begin(element string) {
	m.close()
	m.open = element
}

func (m *markdown) item(list, text string) {
	if m.open == list {
		m.flushItem()
	} else {
		m.begin(list)
		m.out.WriteString("<" + list + ">\n")
	}
	m.text = []string{text}
}

func (m *markdown) flushItem() {
	m.out.WriteString("<li>" + inline(strings.Join(m.text, " ")) + "</li>\n")
	m.text = nil
}

func (m *markdown) close() {
	switch m.open {
	case "p":
		m.out.WriteString("<p>" + inline(strings.Join(m.text, " ")) + "</p>\n")
	case "pre":
		m.out.WriteString(`<pre tabindex="0"><code>` + html.EscapeString(strings.Join(m.text, "\n")) + "</code></pre>\n")
	case "ul", "ol":
		m.flushItem()
		m.out.WriteString("</" + m.open + ">\n")
	}
	m.open, m.text = "", nil
}

var inlineSpan = regexp.MustCompile("`([^`]+)`" + `|\*\*([^*]+)\*\*|\[([^\]]+)\]\(([^)\s]+)\)`)

// runbookLink is the only kind of address that is linked.
var runbookLink = regexp.MustCompile(`^[A-Za-z]+\.md$`)

func inline(text string) string {
	var out strings.Builder
	for {
		at := inlineSpan.FindStringSubmatchIndex(text)
		if at == nil {
			out.WriteString(html.EscapeString(text))
			return out.String()
		}
		group := func(n int) string {
			if at[2*n] < 0 {
				return ""
			}
			return text[at[2*n]:at[2*n+1]]
		}
		out.WriteString(html.EscapeString(text[:at[0]]))
		switch code, strong, label, address := group(1), group(2), group(3), group(4); {
		case code != "":
			out.WriteString("<code>" + html.EscapeString(code) + "</code>")
		case strong != "":
			out.WriteString("<strong>" + html.EscapeString(strong) + "</strong>")
		case runbookLink.MatchString(address):
			out.WriteString(`<a href="` + strings.TrimSuffix(address, ".md") + `">` + html.EscapeString(label) + "</a>")
		default:
			out.WriteString(html.EscapeString(label + " (" + address + ")"))
		}
		text = text[at[1]:]
	}
}
