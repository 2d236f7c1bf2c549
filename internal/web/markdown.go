package web

import (
	"html"
	"html/template"
	"regexp"
	"strconv"
	"strings"
)

// renderMarkdown renders the subset of Markdown that the runbooks and docs/rotation.md
// use: headings, paragraphs, both kinds of list, tables, fenced code, and in the text
// `code`, **strong**, *emphasis* and [links](Other.md) to one another. Everything else is
// text: all input is escaped, and a link that leads elsewhere is written out instead of
// linked.
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
	open string   // the open element: "", p, ul, ol, table or pre
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
		m.out.WriteString("<h" + level + ` id="` + anchor(match[2]) + `">` + inline(match[2]) + "</h" + level + ">\n")
	case bullet.MatchString(line):
		m.item("ul", bullet.FindStringSubmatch(line)[1])
	case numbered.MatchString(line):
		m.item("ol", numbered.FindStringSubmatch(line)[1])
	case strings.HasPrefix(line, "|"):
		if m.open != "table" {
			m.begin("table")
		}
		m.text = append(m.text, line)
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
	case "table":
		m.table()
	case "ul", "ol":
		m.flushItem()
		m.out.WriteString("</" + m.open + ">\n")
	}
	m.open, m.text = "", nil
}

// table writes the rows so far. The second one only divides, and a head without a word
// is none.
func (m *markdown) table() {
	m.out.WriteString(`<div class="scroll" tabindex="0"><table>` + "\n")
	for i, line := range m.text {
		cell := "td"
		switch {
		case i == 1, i == 0 && strings.Trim(line, "| ") == "":
			continue
		case i == 0:
			cell = "th"
		}
		m.out.WriteString("<tr>")
		for text := range strings.SplitSeq(strings.Trim(line, "| "), "|") {
			m.out.WriteString("<" + cell + ">" + inline(strings.TrimSpace(text)) + "</" + cell + ">")
		}
		m.out.WriteString("</tr>\n")
	}
	m.out.WriteString("</table></div>\n")
}

// anchor is the name by which a link finds a heading, as GitHub makes it.
func anchor(heading string) string {
	return strings.Map(func(r rune) rune {
		switch {
		case r == ' ':
			return '-'
		case r == '_' || r == '-' || r >= '0' && r <= '9' || r >= 'a' && r <= 'z':
			return r
		default:
			return -1
		}
	}, strings.ToLower(heading))
}

var inlineSpan = regexp.MustCompile("`([^`]+)`" + `|\*\*([^*]+)\*\*|\[([^\]]+)\]\(([^)\s]+)\)|\*([^*\s][^*]*)\*`)

// pageLink is the only kind of address that is linked: a page that is served here, or a
// chapter.
var pageLink = regexp.MustCompile(`^(?:((?:\.\./|runbooks/)?(?:[A-Za-z]+|rotation-reasons))\.md)?(#[a-z0-9_-]+)?$`)

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
		switch code, strong, label, address, emphasis := group(1), group(2), group(3), group(4), group(5); {
		case code != "":
			out.WriteString("<code>" + html.EscapeString(code) + "</code>")
		case strong != "":
			out.WriteString("<strong>" + inline(strong) + "</strong>")
		case emphasis != "":
			out.WriteString("<em>" + inline(emphasis) + "</em>")
		case pageLink.MatchString(address):
			out.WriteString(`<a href="` + pageLink.ReplaceAllString(address, "$1$2") + `">` + html.EscapeString(label) + "</a>")
		default:
			out.WriteString(html.EscapeString(label + " (" + address + ")"))
		}
		text = text[at[1]:]
	}
}
