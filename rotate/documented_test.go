package rotate_test

import (
	"os"
	"strings"
	"testing"

	"entra-aws-exporter/internal/model"
)

// TestEveryReasonIsDocumented: every reason in a metric has its chapter.
func TestEveryReasonIsDocumented(t *testing.T) {
	content, err := os.ReadFile("../docs/rotation-reasons.md")
	if err != nil {
		t.Fatal(err)
	}
	page := string(content)
	for _, reason := range model.BlockedReasons() {
		if !strings.Contains(page, "\n### "+string(reason)+"\n") {
			t.Errorf("docs/rotation-reasons.md has no chapter on %s", reason)
		}
	}
	for _, reason := range model.WaitingReasons() {
		if !strings.Contains(page, "| `"+string(reason)+"` |") {
			t.Errorf("docs/rotation-reasons.md does not explain waiting for %s", reason)
		}
	}
}
