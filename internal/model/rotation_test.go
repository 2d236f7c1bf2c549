package model_test

import (
	"encoding/json"
	"slices"
	"strconv"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"entra-aws-exporter/internal/model"
)

func TestProofLevelsAreOrdered(t *testing.T) {
	levels := []model.ProofLevel{
		"unheard of", model.ProofNone, model.ProofStored, model.ProofUsed, model.ProofAttributed, model.ProofExclusive,
	}
	for i, level := range levels {
		for j, other := range levels {
			if got := level.AtLeast(other); got != (i >= j) {
				t.Errorf("%q is at least %q: %v", level, other, got)
			}
		}
	}
}

// Each list is a metric label's closed set: a value that is in it twice would give two
// series of one name.
func TestLabelsAreListedOnce(t *testing.T) {
	lists := map[string][]string{
		"blocked": asStrings(model.BlockedReasons()), "waiting": asStrings(model.WaitingReasons()),
		"decisions": asStrings(model.Decisions()), "phases": asStrings(model.Phases()),
		"outcomes": asStrings(model.Outcomes()), "reasons": asStrings(model.Reasons()),
		"sources": asStrings(model.Sources()),
	}
	for name, list := range lists {
		sorted := slices.Sorted(slices.Values(list))
		if len(slices.Compact(sorted)) != len(list) || slices.Contains(list, "") {
			t.Errorf("%s: %q", name, list)
		}
	}
}

func asStrings[T ~string](list []T) []string {
	texts := make([]string, len(list))
	for i, value := range list {
		texts[i] = string(value)
	}
	return texts
}

func TestFailureStreak(t *testing.T) {
	const gap = 30 * time.Minute
	var streak model.FailureStreak
	begin := time.Date(2026, 11, 24, 0, 0, 0, 0, time.UTC)
	if streak.Active(begin, gap) {
		t.Error("a streak without a failure is active")
	}
	for i, kind := range []string{"network", "network", "permission"} {
		first := streak.Add(begin.Add(time.Duration(i)*time.Minute), kind, kind+" "+strconv.Itoa(i))
		if first != (i != 1) {
			t.Errorf("failure %d of kind %s is the first of its kind: %v", i, kind, first)
		}
	}
	last := begin.Add(2 * time.Minute)
	want := model.FailureStreak{Since: begin, Last: last, Attempts: 3, Text: "permission 2"}
	if diff := cmp.Diff(want, streak, cmpopts.IgnoreUnexported(model.FailureStreak{})); diff != "" {
		t.Error(diff)
	}
	if !streak.Active(last.Add(gap), gap) || streak.Active(last.Add(gap+time.Second), gap) {
		t.Error("a streak ends when nothing has failed for longer than the gap")
	}

	// A process that reads it from a record continues it, and logs each kind again.
	content, err := json.Marshal(streak)
	if err != nil {
		t.Fatal(err)
	}
	var resumed model.FailureStreak
	if err := json.Unmarshal(content, &resumed); err != nil {
		t.Fatal(err)
	}
	if !resumed.Add(last, "network", "again") || !resumed.Since.Equal(begin) || resumed.Attempts != 4 {
		t.Errorf("after a restart: %+v", resumed)
	}
	for i := range 100 {
		resumed.Add(last, strconv.Itoa(i), "")
	}
	if resumed.Add(last, "one more", "") {
		t.Error("the kinds of one streak are not limited")
	}
}
