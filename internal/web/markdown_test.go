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
		{"headings", "# A\n## B `c`\n### D", "<h1>A</h1>\n<h2>B <code>c</code></h2>\n<h3>D</h3>\n"},
		{"a paragraph over two lines", "one\ntwo\n\nthree", "<p>one two</p>\n<p>three</p>\n"},
		{"lists", "- a\n- b\n  more\n1. c\n2. d", "<ul>\n<li>a</li>\n<li>b more</li>\n</ul>\n<ol>\n<li>c</li>\n<li>d</li>\n</ol>\n"},
		{"code is not markdown", "```sh\na <b> **c**\n\n# d\n```", "<pre tabindex=\"0\"><code>a &lt;b&gt; **c**\n\n# d</code></pre>\n"},
		{"code without an end", "```\na", "<pre tabindex=\"0\"><code>a</code></pre>\n"},
		{"strong", "**now** & `x<y`", "<p><strong>now</strong> &amp; <code>x&lt;y</code></p>\n"},
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

var ownTag = regexp.MustCompile(`</?(h[1-3]|p|ul|ol|li|code|strong|a)>|<pre tabindex="0">|</pre>|<a href="[A-Za-z]+">`)

// FuzzRenderMarkdown: whatever the text, only the renderer's own tags come out.
func FuzzRenderMarkdown(f *testing.F) {
	for _, seed := range []string{"# a", "- b\n1. c", "```\nd\n```", "`e` **f** [g](H.md) [i](\"><x)", "<b onx=1>", "`<`**<**[<](<)", "#### x\n* y"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		rest := ownTag.ReplaceAllString(string(renderMarkdown(text)), "")
		if strings.ContainsAny(rest, `<>"`) {
			t.Errorf("%q lets %q through", text, rest)
		}
	})
}
