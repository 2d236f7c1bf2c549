// Package covering chooses combinations of quirks for a test that cannot play them all.
package covering

import (
	"iter"
	"slices"

	"entra-aws-exporter/internal/simulator/clouds"
)

// Named returns these quirks, in the order of clouds.AllQuirks.
func Named(names ...string) []clouds.Quirk {
	return slices.DeleteFunc(clouds.AllQuirks(), func(q clouds.Quirk) bool { return !slices.Contains(names, q.Name) })
}

// Product yields every combination of the values of these quirks, the others as in base.
func Product(base clouds.Quirks, quirks []clouds.Quirk) iter.Seq[clouds.Quirks] {
	return func(yield func(clouds.Quirks) bool) { product(base, quirks, yield) }
}

func product(base clouds.Quirks, quirks []clouds.Quirk, yield func(clouds.Quirks) bool) bool {
	if len(quirks) == 0 {
		return yield(base)
	}
	for _, value := range quirks[0].Values {
		if base.Set(quirks[0].Name, value) != nil || !product(base, quirks[1:], yield) {
			return false // a listed value is valid
		}
	}
	return true
}

// Triples returns combinations such that every choice of values of any three of these
// quirks occurs in at least one of them; the others as in base. Greedy, so not the
// smallest set, but always the same.
func Triples(base clouds.Quirks, quirks []clouds.Quirk) []clouds.Quirks {
	open := uncovered(quirks)
	var rows []clouds.Quirks
	for _, first := range sortedTriples(open) {
		if !open[first] {
			continue
		}
		row := slices.Repeat([]int{-1}, len(quirks))
		for n := range first.quirk {
			row[first.quirk[n]] = first.value[n]
		}
		for q := range quirks {
			if row[q] < 0 {
				row[q] = bestValue(open, row, q, len(quirks[q].Values), len(rows))
			}
		}
		eachTriple(row, func(t triple) { delete(open, t) })
		combination := base
		for q, value := range row {
			_ = combination.Set(quirks[q].Name, quirks[q].Values[value]) // a listed value is valid
		}
		rows = append(rows, combination)
	}
	return rows
}

// triple is a choice of values for three quirks, by their indexes.
type triple struct{ quirk, value [3]int }

func uncovered(quirks []clouds.Quirk) map[triple]bool {
	open := map[triple]bool{}
	for a := range quirks {
		for b := a + 1; b < len(quirks); b++ {
			for c := b + 1; c < len(quirks); c++ {
				for x := range quirks[a].Values {
					for y := range quirks[b].Values {
						for z := range quirks[c].Values {
							open[triple{[3]int{a, b, c}, [3]int{x, y, z}}] = true
						}
					}
				}
			}
		}
	}
	return open
}

func sortedTriples(open map[triple]bool) []triple {
	list := make([]triple, 0, len(open))
	for t := range open {
		list = append(list, t)
	}
	slices.SortFunc(list, func(s, t triple) int {
		if by := slices.Compare(s.quirk[:], t.quirk[:]); by != 0 {
			return by
		}
		return slices.Compare(s.value[:], t.value[:])
	})
	return list
}

// bestValue returns the value of a quirk that covers most of what is open, together
// with what the row has already; ties go round by the number of the row.
func bestValue(open map[triple]bool, row []int, quirk, values, turn int) int {
	best, most := turn%values, -1
	for n := range values {
		value := (turn + n) % values
		row[quirk] = value
		covers := 0
		for a := range row {
			for b := a + 1; b < len(row); b++ {
				if a != quirk && b != quirk && row[a] >= 0 && row[b] >= 0 && open[tripleOf(row, a, b, quirk)] {
					covers++
				}
			}
		}
		if covers > most {
			best, most = value, covers
		}
	}
	return best
}

// tripleOf returns the row's choice for three quirks, in their order.
func tripleOf(row []int, a, b, c int) triple {
	at := [3]int{a, b, c}
	slices.Sort(at[:])
	return triple{at, [3]int{row[at[0]], row[at[1]], row[at[2]]}}
}

// eachTriple visits the triples among the quirks that have a value in the row.
func eachTriple(row []int, visit func(triple)) {
	for a := range row {
		for b := a + 1; b < len(row); b++ {
			for c := b + 1; c < len(row); c++ {
				if row[a] >= 0 && row[b] >= 0 && row[c] >= 0 {
					visit(triple{[3]int{a, b, c}, [3]int{row[a], row[b], row[c]}})
				}
			}
		}
	}
}
