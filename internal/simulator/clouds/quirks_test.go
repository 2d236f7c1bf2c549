package clouds

import (
	"strings"
	"testing"
)

func TestQuirksAreListedSetAndShown(t *testing.T) {
	seen := map[string]bool{}
	for _, quirk := range AllQuirks() {
		if seen[quirk.Name] || quirk.Doc == "" || len(quirk.Values) < 2 {
			t.Errorf("quirk %q: twice, without a doc or without a choice", quirk.Name)
		}
		seen[quirk.Name] = true
		if got := DefaultQuirks().Get(quirk.Name); got != quirk.Values[0] {
			t.Errorf("%s is %q by default, want %q", quirk.Name, got, quirk.Values[0])
		}
		for _, value := range quirk.Values {
			quirks := DefaultQuirks()
			if err := quirks.Set(quirk.Name, value); err != nil || quirks.Get(quirk.Name) != value {
				t.Errorf("%s=%s: got %q, error %v", quirk.Name, value, quirks.Get(quirk.Name), err)
			}
			want := quirk.Name + "=" + value
			if value == quirk.Values[0] {
				want = "default"
			}
			if got := quirks.String(); got != want {
				t.Errorf("String is %q, want %q", got, want)
			}
		}
	}
}

func TestQuirksRefuse(t *testing.T) {
	for _, test := range []struct{ name, value, want string }{
		{"put_secrets", "explodes", "quirk put_secrets=explodes: want one of merges, replaces, needs_settings, keeps_token, limit"},
		{"new_lag", "-1s", "quirk new_lag=-1s: want a duration of at least 0, such as 90s"},
		{"new_lag", "soon", "quirk new_lag=soon: want a duration of at least 0, such as 90s"},
	} {
		quirks := DefaultQuirks()
		wantText(t, quirks.Set(test.name, test.value), test.want)
		if quirks != DefaultQuirks() {
			t.Errorf("%s=%s was refused and changed something", test.name, test.value)
		}
	}
	quirks := DefaultQuirks()
	if err := quirks.Set("nonsense", "1"); err == nil || !strings.HasPrefix(err.Error(), `unknown quirk "nonsense": known are put_secrets, `) {
		t.Errorf("unknown quirk: %v", err)
	}
	if err := quirks.Set("new_lag", "47s"); err != nil {
		t.Errorf("a duration that is not listed: %v", err)
	}
}
