package simulator_test

import (
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"entra-aws-exporter/internal/simulator"
	"entra-aws-exporter/internal/simulator/clouds"
)

// TestDocumentation holds docs/simulator.md to the code: every operation, effect,
// quirk, scenario and endpoint is in it, and no other operation or quirk.
func TestDocumentation(t *testing.T) {
	content, err := os.ReadFile("../../docs/simulator.md")
	if err != nil {
		t.Fatal(err)
	}
	text := string(content)
	l := newHarness(t)
	var documented []string
	for _, line := range strings.Split(text, "\n") {
		if strings.HasPrefix(line, "- ") {
			for _, name := range regexp.MustCompile("`([^`]+)`").FindAllStringSubmatch(line, -1) {
				documented = append(documented, name[1])
			}
		}
	}
	slices.Sort(documented)
	if operations := l.Operations(); !slices.Equal(documented, operations) {
		t.Errorf("documented operations:\n%v\nserved:\n%v", documented, operations)
	}
	for _, effect := range simulator.Effects() {
		if !strings.Contains(text, "| `"+string(effect)+"`") {
			t.Errorf("the effect %s is not documented", effect)
		}
	}
	for _, scenario := range simulator.Scenarios() {
		if !strings.Contains(text, "| `"+scenario+"`") {
			t.Errorf("the scenario %s is not documented", scenario)
		}
	}
	for _, endpoint := range simulator.Endpoints("https://127.0.0.1:10198") {
		if line := fmt.Sprintf("| `connections[].aws.endpoints.%s` | `%s` |", endpoint.Key, endpoint.URL); !strings.Contains(text, line) {
			t.Errorf("missing: %s", line)
		}
	}
	_, table, _ := strings.Cut(text, "## Quirks")
	_, rows, _ := strings.Cut(table, "|---|---|---|\n")
	var want strings.Builder
	quirks := clouds.AllQuirks()
	for _, quirk := range quirks {
		fmt.Fprintf(&want, "| `%s` | %s | %s |\n", quirk.Name, quirk.Doc, strings.Join(quirk.Values, ", "))
	}
	if rows != want.String() {
		t.Errorf("the table of quirks should be:\n%s", want.String())
	}
	names := make([]string, len(quirks))
	for i, quirk := range quirks {
		names[i] = quirk.Name
	}
	if err := l.SetQuirk("?", ""); err == nil || err.Error() != `unknown quirk "?": known are `+strings.Join(names, ", ") {
		t.Errorf("an unknown quirk: %v", err)
	}
	_, err = l.Perform(simulator.Action{Do: "?"})
	_, known, _ := strings.Cut(err.Error(), "known are ")
	for action := range strings.SplitSeq(known, ", ") {
		if !strings.Contains(text, "`"+action+"`") {
			t.Errorf("the action %s is not documented", action)
		}
	}
}

// TestDocumentedAnswers: an answer of the control API has the members that
// docs/simulator.md gives it.
func TestDocumentedAnswers(t *testing.T) {
	content, err := os.ReadFile("../../docs/simulator.md")
	if err != nil {
		t.Fatal(err)
	}
	l := newHarness(t)
	names := func(text string) []string {
		var list []string
		for _, match := range regexp.MustCompile(`"([a-z_]+)"`).FindAllStringSubmatch(text, -1) {
			list = append(list, match[1])
		}
		slices.Sort(list)
		return slices.Compact(list)
	}
	for row, answer := range map[string]any{
		"GET quirks":   decoded[[]map[string]any](t, l.must("GET", "quirks", ""))[0],
		"GET timeline": decoded[map[string]any](t, l.must("GET", "timeline", "")),
	} {
		line := regexp.MustCompile("(?m)^\\| `" + row + "`.*$").FindString(string(content))
		var served []string
		for name, value := range answer.(map[string]any) {
			served = append(served, name)
			if list, _ := value.([]any); len(list) > 0 {
				record, _ := list[0].(map[string]any)
				served = slices.AppendSeq(served, maps.Keys(record))
			}
		}
		slices.Sort(served)
		if documented := names(line); !slices.Equal(documented, served) {
			t.Errorf("%s has the members %q, documented are %q in: %s", row, served, documented, line)
		}
	}
}

func decoded[T any](t *testing.T, answer reply) (value T) {
	t.Helper()
	if err := json.Unmarshal([]byte(answer.body), &value); err != nil {
		t.Fatal(err)
	}
	return value
}
