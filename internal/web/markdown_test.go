package web

import (
	"html/template"
	"regexp"
	"strings"
	"testing"
)

func isServed(name string) bool {
	return name == "rotation-reasons" || strings.HasPrefix(name, "EntraAws")
}

func TestRenderMarkdown(t *testing.T) {
	for _, test := range []struct {
		name, text string
		want       template.HTML
	}{
		{"headings", "# A\n## B `c`\n### D", "<h1 id=\"a\">A</h1>\n<h2 id=\"b-c\">B <code>c</code></h2>\n<h3 id=\"d\">D</h3>\n"},
		{"a heading's id", "### It's two_tokens (1)", "<h3 id=\"its-two_tokens-1\">It's two_tokens (1)</h3>\n"},
		{"a reason's id", "## `two_tokens`", "<h2 id=\"two_tokens\"><code>two_tokens</code></h2>\n"},
		{"the same heading twice", "## A\n## A", "<h2 id=\"a\">A</h2>\n<h2 id=\"a-1\">A</h2>\n"},
		{"a paragraph over two lines", "one\ntwo\n\nthree", "<p>one\ntwo</p>\n<p>three</p>\n"},
		{"lists", "- a\n- b\n  more\n\n1. c\n2. d", "<ul>\n<li>a</li>\n<li>b\nmore</li>\n</ul>\n<ol>\n<li>c</li>\n<li>d</li>\n</ol>\n"},
		{"code is not Markdown", "```\na <b> **c**\n\n# d\n```", "<pre tabindex=\"0\"><code>a &lt;b&gt; **c**\n\n# d\n</code></pre>\n"},
		{"code of a language", "```sh\na\n```", "<pre tabindex=\"0\"><code class=\"language-sh\">a\n</code></pre>\n"},
		{"code without an end", "```\na", "<pre tabindex=\"0\"><code>a\n</code></pre>\n"},
		{"strong", "**now `a`** & `x<y`", "<p><strong>now <code>a</code></strong> &amp; <code>x&lt;y</code></p>\n"},
		{"emphasis", "*Safe:* a * b, **c** *d*", "<p><em>Safe:</em> a * b, <strong>c</strong> <em>d</em></p>\n"},
		{"a table", "| A | B |\n|---|---|\n| `a` | x<y |\n\nb", "<div class=\"scroll\" tabindex=\"0\"><table>\n<thead>\n<tr>\n<th>A</th>\n<th>B</th>\n</tr>\n</thead>\n" +
			"<tbody>\n<tr>\n<td><code>a</code></td>\n<td>x&lt;y</td>\n</tr>\n</tbody>\n</table></div>\n<p>b</p>\n"},
		{"an aligned table has no style", "| A |\n|--:|\n", "<div class=\"scroll\" tabindex=\"0\"><table>\n<thead>\n<tr>\n<th>A</th>\n</tr>\n</thead>\n</table></div>\n"},
		{"a heading of the same page", "see [below](#by-hand)", `<p>see <a href="#by-hand">below</a></p>` + "\n"},
		{"a heading of a page above", "see [that](../rotation-reasons.md#two_tokens)", `<p>see <a href="../rotation-reasons#two_tokens">that</a></p>` + "\n"},
		{"a runbook from above", "see [that](runbooks/EntraAwsX.md)", `<p>see <a href="runbooks/EntraAwsX">that</a></p>` + "\n"},
		{"another runbook", "see [`that`](EntraAwsX.md \"title\").", `<p>see <a href="EntraAwsX"><code>that</code></a>.</p>` + "\n"},
		{"a document that is not served", "see [that](metrics.md)", "<p>see that (metrics.md)</p>\n"},
		{"another site is text", "see [docs](https://learn.microsoft.com/x?a&b)", "<p>see docs (https://learn.microsoft.com/x?a&amp;b)</p>\n"},
		{"an address is text", "see <https://learn.microsoft.com/x>", "<p>see https://learn.microsoft.com/x</p>\n"},
		{"an image is text", "![a *b*](https://x.example/c.png)", "<p>a <em>b</em> (https://x.example/c.png)</p>\n"},
		{"a script is no address", "[x](javascript:alert)", "<p>x (javascript:alert)</p>\n"},
		{"raw HTML is dropped", "a <script>x</script>\n\n<script>y</script>", "<p>a <!-- raw HTML omitted -->x<!-- raw HTML omitted --></p>\n<!-- raw HTML omitted -->\n"},
		{"line ends of Windows", "a\r\n\r\nb\r\n", "<p>a</p>\n<p>b</p>\n"},
		{"nothing", "", ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			got, err := renderMarkdown(newMarkdown(isServed), []byte(test.text))
			if err != nil || got != test.want {
				t.Errorf("got  %q, %v\nwant %q", got, err, test.want)
			}
		})
	}
}

var ownTag = regexp.MustCompile(`</?(h[1-6]|p|ul|ol|li|code|strong|em|blockquote|thead|tbody|tr|th|td)>|</a>|</pre>|<(hr|br)>|<!-- raw HTML omitted -->|` +
	`<h[1-6] id="[a-z0-9_-]*">|<ol start="[0-9]+">|<code class="language-[^<>"]*">|<pre tabindex="0">|` +
	`<div class="scroll" tabindex="0"><table>|</table></div>|<a href="(\.\./|runbooks/)?[A-Za-z-]*(#[a-z0-9_-]+)?">`)

// FuzzRenderMarkdown: whatever the text, only the renderer's own tags come out.
func FuzzRenderMarkdown(f *testing.F) {
	for _, seed := range []string{"# a", "- b\n1. c", "```\nd\n```", "`e` **f** [g](EntraAwsH.md) [i](\"><x)", "<b onx=1>", "`<`**<**[<](<)", "#### x\n* y",
		"| a | <b> |\n|-|:-:|\n| \">", "*i* [j](#k) [l](../m.md#n)", "> q\n***\n7) x", "![a](b \"c\") <http://d> [e][f]\n\n[f]: <g> 'h'", "``` \"><i>\nj"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		got, err := renderMarkdown(newMarkdown(isServed), []byte(text))
		if err != nil {
			t.Fatal(err)
		}
		rest := strings.ReplaceAll(ownTag.ReplaceAllString(string(got), ""), "&quot;", "")
		if strings.ContainsAny(rest, `<>"`) {
			t.Errorf("%q lets %q through", text, rest)
		}
	})
}
