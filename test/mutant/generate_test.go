package mutant

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// writeStore writes a module with one package of rules and its test, and what the
// rewritten source needs, and makes it the working directory.
func writeStore(t *testing.T) {
	t.Helper()
	source, err := os.ReadFile("active/active.go")
	if err != nil {
		t.Fatal(err)
	}
	t.Chdir(t.TempDir())
	for name, content := range map[string]string{
		"go.mod":                       "module example.test/store\n\ngo 1.26\n",
		"test/mutant/active/active.go": string(source),
		"rules/rules.go": `package rules

import "time"

const (
	day  = 24 * time.Hour
	week = 7 * day
)

type Shelf struct {
	Open    time.Time
	Checked bool
	Items   []string
}

func (s *Shelf) Keep(now time.Time, count int) bool {
	if count < 1 || now.After(s.Open.Add(week)) { // nothing to keep
		s.Items, s.Open = nil, time.Time{}
		return false
	}
	switch s.Items[0] {
	case "milk":
		s.Checked = false
	}
	return true
}
`,
		"rules/other.go": `package rules

import "time"

func Late(d time.Duration) bool { return d >= day }
`,
		"rules/rules_test.go": `package rules

import (
	"encoding/json"
	"fmt"
	"os"
	"testing"
	"time"

	"example.test/store/test/mutant/active"
)

func TestKeep(t *testing.T) {
	s := &Shelf{Items: []string{"milk"}, Checked: true}
	if !s.Keep(time.Time{}.Add(6 * 24 * time.Hour), 1) || s.Checked || s.Keep(time.Time{}.Add(8 * 24 * time.Hour), 1) || s.Items != nil {
		t.Error("not kept", s)
	}
}

func TestLate(t *testing.T) {
	if Late(time.Hour) {
		t.Error("late")
	}
}

func TestWorker(t *testing.T) {
	var work []struct{ Number int }
	content, _ := os.ReadFile(os.Getenv("WORK"))
	_ = json.Unmarshal(content, &work)
	for _, w := range work {
		fmt.Printf("\nMUTANT BEGAN %d\n", w.Number)
		active.Activate(w.Number)
		switch w.Number {
		case 1:
			panic("one")
		case 2:
			time.Sleep(time.Hour)
		case 3:
			fmt.Printf("\nMUTANT CAUGHT 3 by this\n")
		default:
			fmt.Printf("\nMUTANT SURVIVED %d\n", w.Number)
		}
	}
}
`,
	} {
		if err := os.MkdirAll(filepath.Dir(name), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(name, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

func generateStore(t *testing.T) Set {
	t.Helper()
	writeStore(t)
	set, err := Generate(".", "example.test/store", []string{"rules/rules.go"})
	if err != nil {
		t.Fatal(err)
	}
	return set
}

func TestGenerateNamesEveryMutant(t *testing.T) {
	var keys []string
	for _, m := range generateStore(t).Mutants {
		keys = append(keys, m.Key())
	}
	want := []string{
		"rules/day | ×0 | 24 * time . Hour",
		"rules/day | ×10 | 24 * time . Hour",
		"rules/week | ×0 | 7 * day",
		"rules/week | ×10 | 7 * day",
		"rules/Shelf.Keep | left out | if count < 1 || now . After ( s . Open . Add ( week ) )",
		"rules/Shelf.Keep | left out | return false",
		"rules/Shelf.Keep | negated | count < 1",
		"rules/Shelf.Keep | dropped | count < 1",
		"rules/Shelf.Keep | shifted | count < 1",
		"rules/Shelf.Keep | negated | now . After ( s . Open . Add ( week ) )",
		"rules/Shelf.Keep | dropped | now . After ( s . Open . Add ( week ) )",
		"rules/Shelf.Keep | shifted | now . After ( s . Open . Add ( week ) )",
		"rules/Shelf.Keep | left out | s . Items = nil",
		"rules/Shelf.Keep | left out | s . Open = time . Time { }",
		`rules/Shelf.Keep | left out | case "milk"`,
		"rules/Shelf.Keep | left out | s . Checked = false",
	}
	slices.Sort(keys)
	slices.Sort(want)
	if !slices.Equal(keys, want) {
		t.Errorf("got\n%s\nwant\n%s", strings.Join(keys, "\n"), strings.Join(want, "\n"))
	}
}

func TestTestsOfOneBinaryCatchMutants(t *testing.T) {
	set := generateStore(t)
	binaries, err := set.Compile(t.Context(), t.TempDir(), "rules")
	if err != nil {
		t.Fatal(err)
	}
	tests, err := binaries[0].Tests(t.Context(), "Keep|Late")
	if err != nil || !slices.Equal(tests, []string{"TestKeep", "TestLate"}) {
		t.Fatal(tests, err)
	}
	reaching := map[int][]string{}
	for _, test := range tests {
		numbers, err := binaries[0].Reach(t.Context(), test, t.TempDir())
		if err != nil {
			t.Fatal(err)
		}
		for _, n := range numbers {
			reaching[n] = append(reaching[n], test)
		}
	}
	for _, m := range set.Mutants {
		want := "TestKeep"
		switch operator := m.Operator + " " + m.Text; {
		case m.Place == "rules/day" && m.Operator == Nothing && len(reaching[m.Number]) == 2: // both use it
		case operator == "dropped count < 1", m.Operator == Shifted && strings.HasPrefix(m.Text, "now"), operator == "left out s . Open = time . Time { }":
			want = ""
		}
		if got := binaries[0].Catches(t.Context(), m.Number, reaching[m.Number], time.Minute); got != want || len(reaching[m.Number]) == 0 {
			t.Errorf("%s: caught by %q of %v, want %q", m.Key(), got, reaching[m.Number], want)
		}
	}
}

func TestWorkerThatDiesOrHangsCatches(t *testing.T) {
	set := generateStore(t)
	binaries, err := set.Compile(t.Context(), t.TempDir(), "rules")
	if err != nil {
		t.Fatal(err)
	}
	caught := map[int]string{}
	err = binaries[0].Play(t.Context(), "TestWorker", "WORK", t.TempDir(), []Work{{Number: 4}, {Number: 1}, {Number: 3}, {Number: 2}, {Number: 5}}, time.Second,
		func(number int, by string) { caught[number] = by })
	if err != nil || len(caught) != 3 || caught[1] != "a panic" || caught[2] != "no end in 1s" || caught[3] != "by this" {
		t.Errorf("%v %v", caught, err)
	}
}
