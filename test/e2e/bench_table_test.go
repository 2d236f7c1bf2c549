//go:build e2e

package e2e

import (
	"fmt"
	"os"
	"runtime"
	"slices"
	"strings"
	"testing"
)

// benchTable is what make bench prints: each figure beside its floor or peer.
type benchTable struct {
	t     *testing.T
	lines []string
}

func newBenchTable(t *testing.T) *benchTable {
	b := &benchTable{t: t}
	b.lines = []string{"| figure | exporter | floor or peer | ratio | goal |", "| --- | ---: | ---: | ---: | --- |"}
	return b
}

// absolute adds a figure whose goal is a number in the same unit; 0: it has none.
func (b *benchTable) absolute(what, unit string, own, goal float64, beside string) {
	want := ""
	if goal > 0 {
		want = fmt.Sprintf("≤ %s %s%s", number(goal), unit, b.missed(what, own, goal))
	}
	b.lines = append(b.lines, fmt.Sprintf("| %s | %s %s | %s | | %s |", what, number(own), unit, beside, want))
}

// relative adds a figure whose goal is a multiple of its floor; 0: it has none.
func (b *benchTable) relative(what, unit string, own, floor, ratio, goal float64, beside string) {
	want := ""
	if goal > 0 {
		want = fmt.Sprintf("≤ %.1f ×%s", goal, b.missed(what, ratio, goal))
	}
	b.lines = append(b.lines, fmt.Sprintf("| %s | %s %s | %s %s %s | %.2f × | %s |", what, number(own), unit, number(floor), unit, beside, ratio, want))
}

// none adds a count that should be zero.
func (b *benchTable) none(what string, own int) {
	want := "0"
	if own > 0 {
		want += b.missed(what, float64(own), 0)
	}
	b.lines = append(b.lines, fmt.Sprintf("| %s | %d | | | %s |", what, own, want))
}

// missed fails the test if a goal is missed, and says so in the table.
func (b *benchTable) missed(what string, got, goal float64) string {
	if got <= goal {
		return ""
	}
	b.t.Errorf("%s: %.2f, the goal is %.2f", what, got, goal)
	return ", **missed**"
}

func (b *benchTable) print() {
	fmt.Printf("\n%s\n\n%d CPUs, load average at the end %s.\n\n", strings.Join(b.lines, "\n"), runtime.NumCPU(), loadAverage())
}

func number(value float64) string {
	if value >= 100 || value == float64(int(value)) {
		return fmt.Sprintf("%.0f", value)
	}
	return fmt.Sprintf("%.3g", value)
}

// loadAverage is that of the last minute: other programs make every duration longer.
func loadAverage() string {
	content, err := os.ReadFile("/proc/loadavg")
	if err != nil {
		return "unknown"
	}
	return strings.Fields(string(content))[0]
}

func median(values []float64) float64 {
	slices.Sort(values)
	return values[len(values)/2]
}
