package config

import (
	"errors"
	"os"
	"strings"
	"testing"
)

// FuzzParse: no file makes it panic, every problem has a line of the file, and the
// configuration that an accepted file is shown as is accepted, too.
func FuzzParse(f *testing.F) {
	for _, bad := range badFiles {
		f.Add(bad.text)
	}
	if example, err := os.ReadFile("../../config.example.yaml"); err == nil {
		f.Add(string(example))
	}
	f.Add(smallestYAML)
	f.Add("a: &a {<<: *a}\n")
	f.Add("tenants: {<<: &a [*a]}\n")
	f.Add("\xff\xfet\x00:\x00")
	f.Fuzz(func(t *testing.T, text string) {
		config, err := parse("c.yml", "/etc/exporter", []byte(text))
		if err == nil {
			if _, err := parse("shown.yml", "/", []byte(config.String())); err != nil {
				t.Fatalf("accepted, but not when shown:\n%s\n%v", config, err)
			}
			return
		}
		var problems Problems
		if !errors.As(err, &problems) || len(problems) == 0 {
			t.Fatalf("an error without problems: %v", err)
		}
		lines := strings.Count(text, "\n") + strings.Count(text, "\r") + 1
		for _, problem := range problems {
			if problem.Line < 1 || problem.Line > lines+1 || problem.Text == "" {
				t.Fatalf("%d lines, but %+v", lines, problem)
			}
		}
	})
}
