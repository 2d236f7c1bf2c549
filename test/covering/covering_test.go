package covering_test

import (
	"slices"
	"testing"

	"entra-aws-exporter/internal/simulator/clouds"
	"entra-aws-exporter/test/covering"
)

func TestCoveringHasEveryTriple(t *testing.T) {
	all := clouds.AllQuirks()
	rows := covering.Triples(clouds.DefaultQuirks(), all)
	type choice struct{ nameA, a, nameB, b, nameC, c string }
	seen := map[choice]bool{}
	for _, row := range rows {
		values := make([]string, len(all))
		for i, quirk := range all {
			values[i] = row.Get(quirk.Name)
		}
		for i, a := range all {
			for j, b := range all[i+1:] {
				for k, c := range all[i+1+j+1:] {
					seen[choice{a.Name, values[i], b.Name, values[i+1+j], c.Name, values[i+1+j+1+k]}] = true
				}
			}
		}
	}
	want := 0
	for i, a := range all {
		for j, b := range all[i+1:] {
			for _, c := range all[i+1+j+1:] {
				want += len(a.Values) * len(b.Values) * len(c.Values)
			}
		}
	}
	if len(seen) != want {
		t.Errorf("%d triples covered, want %d", len(seen), want)
	}
	t.Logf("%d rows cover %d triples of %d quirks", len(rows), want, len(all))
	if len(rows) > 250 {
		t.Errorf("%d rows are too many", len(rows))
	}
	if again := covering.Triples(clouds.DefaultQuirks(), all); !slices.Equal(rows, again) {
		t.Error("another covering the second time")
	}
}

func TestProductIsFull(t *testing.T) {
	chosen := covering.Named("put_secrets", "extra_keys", "deleted_lag", "unknown")
	if len(chosen) != 3 {
		t.Fatalf("%d quirks, want 3", len(chosen))
	}
	seen := map[clouds.Quirks]bool{}
	for quirks := range covering.Product(clouds.DefaultQuirks(), chosen) {
		seen[quirks] = true
	}
	if want := 5 * 3 * 3; len(seen) != want {
		t.Errorf("%d different combinations, want %d", len(seen), want)
	}
	for range covering.Product(clouds.DefaultQuirks(), chosen) {
		break // must not panic
	}
}
