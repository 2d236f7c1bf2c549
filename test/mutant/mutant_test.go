package mutant

import (
	"errors"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"
)

// writePackage writes a module with a package under test and one that it uses, and makes
// it the working directory.
func writePackage(t *testing.T) {
	t.Helper()
	t.Chdir(t.TempDir())
	files := map[string]string{
		"go.mod": "module example.test/shop\n\ngo 1.26\n",
		"shop.go": `package shop

import "example.test/shop/price"

func Sell(stock, wanted int) (paid int, ok bool) {
	c := &price.Counter{}
	if wanted > stock || wanted < 1 { // nothing is sold
		return 0, false
	}
	return c.Of(
		price.Unit, // for one
		wanted,
	), true
}
`,
		"shop_test.go": `package shop

import "testing"

func TestSell(t *testing.T) {
	for _, wanted := range []int{1, 2, 3} {
		if paid, ok := Sell(2, wanted); ok != (wanted < 3) || paid != wanted*5 && ok {
			t.Errorf("FOUND %d for %d, %v", paid, wanted, ok)
		}
	}
}
`,
		"price/price.go": `package price

const Unit = 5

type Counter struct {
	calls int
}

func (c *Counter) Of(unit, count int) int {
	c.note()
	for range c.calls {
		if unit == 0 {
			return 0
		}
	}
	return unit * count
}

func (c *Counter) note() { c.calls++ }
`,
	}
	for name, content := range files {
		if err := os.MkdirAll(filepath.Dir(name), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(name, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

func TestEditChangesOnePlace(t *testing.T) {
	for name, c := range map[string]struct {
		edit Edit
		want string // in the changed file, tokens only
	}{
		"replace an expression over several lines": {Edit{"Sell", "c.Of(price.Unit, wanted)", "price.Unit"}, "return price.Unit, true"},
		"replace a part of a condition":            {Edit{"Sell", "wanted > stock", "wanted > stock && wanted > 9"}, "if (wanted > stock && wanted > 9) || wanted < 1 {"},
		"negate a condition":                       {Edit{"Sell", "wanted < 1", "!($)"}, "if wanted > stock || !(wanted < 1) {"},
		"drop a statement":                         {Edit{"price/Counter.Of", "c.note()", ""}, "int { {} for range"},
		"drop an if statement":                     {Edit{"Sell", "if wanted > stock || wanted < 1", ""}, "c := &price.Counter{} {} return"},
		"drop a loop":                              {Edit{"price/Counter.Of", "for range c.calls", ""}, "c.note() {} return unit*count"},
		"insert before a statement":                {Edit{"price/Counter.Of", "return unit * count", "unit++\n$"}, "unit++ return unit*count"},
		"insert after a statement":                 {Edit{"price/Counter.Of", "c.note()", "$\nc.note()"}, "c.note() c.note() for range"},
		"insert at the beginning":                  {Edit{"price/Counter.note", "", "c.calls = 7\n$"}, "func (c *Counter) note() { c.calls = 7 c.calls++ }"},
		"replace a body":                           {Edit{"price/Counter.Of", "", "return 5"}, "(unit, count int) int { return 5 }"},
		"add a field":                              {Edit{"price/Counter", "", "$\nlast int"}, "type Counter struct { calls int last int }"},
	} {
		t.Run(name, func(t *testing.T) {
			writePackage(t)
			changed := map[string][]byte{}
			if err := c.edit.apply(changed); err != nil {
				t.Fatal(err)
			}
			for _, source := range changed {
				if got := normalize(string(source)); !strings.Contains(got, normalize(c.want)) {
					t.Errorf("not %s in %s", c.want, source)
				}
			}
			if len(changed) != 1 {
				t.Errorf("%d files changed", len(changed))
			}
		})
	}
}

func TestEditsOfOneFileAddUp(t *testing.T) {
	writePackage(t)
	changed, err := Mutant{Edits: []Edit{{"price/Counter", "", "$\nlast int"}, {"price/Counter.note", "", "c.last = 1"}, {"price/Counter.note", "c.last", "c.calls"}}}.Apply()
	if err != nil {
		t.Fatal(err)
	}
	for _, source := range changed {
		if got := normalize(string(source)); len(changed) != 1 || !strings.Contains(got, normalize("last int }")) || !strings.Contains(got, normalize("note() { c.calls = 1 }")) {
			t.Errorf("%d files: %s", len(changed), source)
		}
	}
}

func TestEditFails(t *testing.T) {
	for name, c := range map[string]struct {
		edit Edit
		want string
	}{
		"unknown function":  {Edit{"Buy", "stock", "0"}, "no such function or struct type"},
		"unknown directory": {Edit{"tax/Of", "stock", "0"}, "tax"},
		"no match":          {Edit{"Sell", "if wanted > stock", ""}, "0 matches of if wanted > stock; most similar:\n\tif wanted > stock || wanted < 1\n"},
		"several matches":   {Edit{"Sell", "wanted", "0"}, "3 matches of wanted"},
		"no source":         {Edit{"Sell", "wanted < 1", "return"}, "return cannot stand for wanted < 1"},
	} {
		t.Run(name, func(t *testing.T) {
			writePackage(t)
			if err := c.edit.apply(map[string][]byte{}); err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("%v, want %s", err, c.want)
			}
		})
	}
}

func TestRunnerCatchesFailuresOnly(t *testing.T) {
	writePackage(t)
	runner := Runner{Tests: "^TestSell$", Caught: regexp.MustCompile(`FOUND (.*)`), Timeout: time.Minute}
	for name, c := range map[string]struct {
		edits    []Edit
		caughtBy string
		err      string
	}{
		"no mutant":        {nil, "", ErrSurvived.Error()},
		"caught":           {[]Edit{{"price/Counter.Of", "unit * count", "unit + count"}}, "6 for 1, true", ""},
		"survives":         {[]Edit{{"Sell", "wanted < 1", "false"}}, "", ErrSurvived.Error()},
		"panics":           {[]Edit{{"price/Counter.note", "", "panic(c)"}}, "", "panics or does not compile"},
		"does not compile": {[]Edit{{"Sell", "false", "0"}}, "", "panics or does not compile"},
		"does not apply":   {[]Edit{{"Buy", "", "panic(0)"}}, "", `mutant "does not apply": Buy: no such function`},
	} {
		t.Run(name, func(t *testing.T) {
			caughtBy, err := runner.Test(t.Context(), t.TempDir(), Mutant{Name: name, Edits: c.edits})
			if caughtBy != c.caughtBy || (err == nil) != (c.err == "") || err != nil && !strings.Contains(err.Error(), c.err) {
				t.Errorf("%q, %v", caughtBy, err)
			}
			if c.err == ErrSurvived.Error() && !errors.Is(err, ErrSurvived) {
				t.Errorf("%v is not ErrSurvived", err)
			}
		})
	}
}
