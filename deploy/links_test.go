package deploy

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

var (
	link    = regexp.MustCompile(`\]\(([^)\s]+)\)`)
	heading = regexp.MustCompile(`(?m)^#{1,6} +(.+)$`)
	fence   = regexp.MustCompile("(?ms)^```.*?^```")
)

// TestLinks checks that every link between the pages leads to a file, and to a heading in it.
func TestLinks(t *testing.T) {
	seen := 0
	for _, pattern := range []string{"../*.md", "../docs/*.md", "../docs/runbooks/*.md", "*.md", "*/*.md"} {
		for _, page := range glob(t, pattern) {
			for _, match := range link.FindAllStringSubmatch(read(t, page), -1) {
				if strings.Contains(match[1], "://") {
					continue
				}
				seen++
				file, anchor, _ := strings.Cut(match[1], "#")
				target := page
				if file != "" {
					target = filepath.Join(filepath.Dir(page), file)
				}
				if _, err := os.Stat(target); err != nil {
					t.Errorf("%s: dead link: %v", page, err)
				} else if anchor != "" && !anchors(read(t, target))[anchor] {
					t.Errorf("%s: %s has no heading #%s", page, target, anchor)
				}
			}
		}
	}
	if seen < 80 {
		t.Errorf("only %d links found", seen)
	}
}

// anchors returns the anchors of a page's headings, as GitHub makes them.
func anchors(text string) map[string]bool {
	found := map[string]bool{}
	for _, match := range heading.FindAllStringSubmatch(fence.ReplaceAllString(text, ""), -1) {
		found[anchorOf(match[1])] = true
	}
	return found
}

func anchorOf(title string) string {
	dropped := regexp.MustCompile("[^a-z0-9 _-]")
	return strings.ReplaceAll(dropped.ReplaceAllString(strings.ToLower(title), ""), " ", "-")
}

// TestRolloverLinksItsReasons checks that the manual links every reason of the rollover.
func TestRolloverLinksItsReasons(t *testing.T) {
	manual := read(t, "../docs/rollover.md")
	_, chapter, found := strings.Cut(read(t, "../docs/rotation-reasons.md"), "\n## The SAML certificate\n")
	reasons := regexp.MustCompile(`(?m)^### ([a-z_]+)$`).FindAllStringSubmatch(chapter, -1)
	if !found || len(reasons) < 10 {
		t.Fatalf("only %d reasons found", len(reasons))
	}
	for _, reason := range reasons {
		if !strings.Contains(manual, "](rotation-reasons.md#"+reason[1]+")") {
			t.Errorf("docs/rollover.md does not link %s", reason[1])
		}
	}
}
