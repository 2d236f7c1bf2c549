package app

import (
	"bytes"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"entra-aws-exporter/internal/entra"
)

func TestFailuresTable(t *testing.T) {
	for name, test := range map[string]struct {
		failures []entra.Failure
		want     string
	}{
		"none": {nil, "the provisioning log of corp has no failure\n"},
		"some": {
			[]entra.Failure{
				{At: time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC), Action: "create", Object: "Ann\x1b[2J", Code: "InvalidValue", Reason: "no\nlast name"},
				{At: time.Date(2026, 3, 1, 11, 0, 0, 0, time.UTC)},
			},
			"TIME                  ACTION  OBJECT   CODE          REASON\n" +
				"2026-03-01 12:00 UTC  create  Ann [2J  InvalidValue  no last name\n" +
				"2026-03-01 11:00 UTC  -       -        -             -\n",
		},
	} {
		var out bytes.Buffer
		if err := printFailures(&out, "corp", test.failures); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(test.want, out.String()); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
}

// TestFailuresNeedATerminal: personal data ends up in no pipe and no file.
func TestFailuresNeedATerminal(t *testing.T) {
	var out bytes.Buffer
	err := RotationFailures(t.Context(), Options{Terminal: &out}, "corp")
	if err == nil || err.Error() != "failures prints only to a terminal, because it shows personal data" || out.Len() > 0 {
		t.Errorf("%v, printed %q", err, out.String())
	}
}
