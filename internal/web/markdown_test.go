package web

import (
	"html/template"
	"regexp"
	"strings"
	"testing"
)

func TestRenderMarkdown(t *testing.T) {
	for _, test := range []struct {
		name, text string
		want       template.HTML
	}{
		{"headings", "# A\n## B `c`\n### D", "<h1 id=\"a\">A</h1>\n<h2 id=\"b-c\">B <code>c</code></h2>\n<h3 id=\"d\">D</h3>\n"},
		{"a heading's anchor", "### It's two_tokens (1)", "<h3 id=\"its-two_tokens-1\">It&#39;s two_tokens (1)</h3>\n"},
		{"a paragraph over two lines", "one\ntwo\n\nthree", "<p>one two</p>\n<p>three</p>\n"},
		{"lists", "- a\n- b\n  more\n1. c\n2. d", "<ul>\n<li>a</li>\n<li>b more</li>\n</ul>\n<ol>\n<li>c</li>\n<li>d</li>\n</ol>\n"},
		{"code is not markdown", "```sh\na <b> **c**\n\n# d\n```", "<pre tabindex=\"0\"><code>a &lt;b&gt; **c**\n\n# d</code></pre>\n"},
		{"code without an end", "```\na", "<pre tabindex=\"0\"><code>a</code></pre>\n"},
		{"strong", "**now `a`** & `x<y`", "<p><strong>now <code>a</code></strong> &amp; <code>x&lt;y</code></p>\n"},
		{"emphasis", "*Safe:* a * b, **c** *d*", "<p><em>Safe:</em> a * b, <strong>c</strong> <em>d</em></p>\n"},
		{"a table", "| A | B |\n|---|---|\n| `a` | x<y |\n\nb", "<div class=\"scroll\" tabindex=\"0\"><table>\n<tr><th>A</th><th>B</th></tr>\n<tr><td><code>a</code></td><td>x&lt;y</td></tr>\n</table></div>\n<p>b</p>\n"},
		{"a table without a head", "| | |\n|---|---|\n| a | b |", "<div class=\"scroll\" tabindex=\"0\"><table>\n<tr><td>a</td><td>b</td></tr>\n</table></div>\n"},
		{"a chapter", "see [below](#by-hand)", `<p>see <a href="#by-hand">below</a></p>` + "\n"},
		{"a chapter of the page above", "see [that](../rotation-reasons.md#two_tokens)", `<p>see <a href="../rotation-reasons#two_tokens">that</a></p>` + "\n"},
		{"a runbook from above", "see [that](runbooks/EntraAwsX.md)", `<p>see <a href="runbooks/EntraAwsX">that</a></p>` + "\n"},
		{"a page that is not served", "see [that](rotation-proof.md)", "<p>see that (rotation-proof.md)</p>\n"},
		{"another runbook", "see [that](EntraAwsX.md).", `<p>see <a href="EntraAwsX">that</a>.</p>` + "\n"},
		{"elsewhere is written out", "see [docs](https://learn.microsoft.com/x)", "<p>see docs (https://learn.microsoft.com/x)</p>\n"},
		{"no address but a runbook's", "[x](javascript:alert)", "<p>x (javascript:alert)</p>\n"},
		{"HTML is text", "<script>x</script>", "<p>&lt;script&gt;x&lt;/script&gt;</p>\n"},
		{"line ends of Windows", "a\r\n\r\nb\r\n", "<p>a</p>\n<p>b</p>\n"},
		{"nothing", "", ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			if got := renderMarkdown(test.text); got != test.want {
				t.Errorf("got  %q\nwant %q", got, test.want)
			}
		})
	}
}

var ownTag = regexp.MustCompile(`</?(h[1-3]|p|ul|ol|li|code|strong|em|a|tr|th|td)>|<h[1-3] id="[a-z0-9_-]*">|<pre tabindex="0">|</pre>|` +
	`<div class="scroll" tabindex="0"><table>|</table></div>|<a href="(\.\./|runbooks/)?[A-Za-z-]*(#[a-z0-9_-]+)?">`)

// FuzzRenderMarkdown: whatever the text, only the renderer's own tags come out.
func FuzzRenderMarkdown(f *testing.F) {
	for _, seed := range []string{"# a", "- b\n1. c", "```\nd\n```", "`e` **f** [g](H.md) [i](\"><x)", "<b onx=1>", "`<`**<**[<](<)", "#### x\n* y", "| a | <b> |\n|-|-|\n| \">", "*i* [j](#k) [l](../m.md#n)"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		rest := ownTag.ReplaceAllString(string(renderMarkdown(text)), "")
		if strings.ContainsAny(rest, `<>"`) {
			t.Errorf("%q lets %q through", text, rest)
		}
	})
}
