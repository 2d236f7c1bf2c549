// Package active tells generated mutants which of them is active. Only source that package
// mutant has rewritten, and tests, import it.
package active

import (
	"fmt"
	"os"
	"strconv"
	"sync/atomic"
	"time"
)

// limit is how many mutants there can be.
const limit = 1 << 14

// The environment of a test process.
const (
	// Variable is the environment variable with the number of the active mutant; "": none.
	Variable = "MUTANT_ACTIVE"
	// ReachVariable is the environment variable with the file to which the numbers of the
	// mutants are written whose place is reached; "": they are not written.
	ReachVariable = "MUTANT_REACH"
)

//nolint:gochecknoglobals // the rewritten source has nothing else in common
var (
	number  atomic.Int64 // of the active mutant; 0: none
	reached [limit]atomic.Bool
	report  *os.File
)

func init() { //nolint:gochecknoinits // the rewritten source may be reached before any test
	n, _ := strconv.ParseInt(os.Getenv(Variable), 10, 32)
	number.Store(n)
	if path := os.Getenv(ReachVariable); path != "" {
		report, _ = os.OpenFile(path, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600) //nolint:gosec // named by the runner
	}
}

// Activate makes this mutant the active one; 0: none.
func Activate(n int) { number.Store(int64(n)) }

// Take returns the mutants whose place was reached since the last call.
func Take() []int {
	var numbers []int
	for n := range reached {
		if reached[n].Swap(false) {
			numbers = append(numbers, n)
		}
	}
	return numbers
}

// On reports whether this mutant is active. Its place is reached.
func On(n int) bool {
	if !reached[n].Load() && !reached[n].Swap(true) && report != nil {
		_, _ = fmt.Fprintln(report, n)
	}
	return number.Load() == int64(n)
}

// Duration is a constant of time, or with one of these mutants nothing or ten times as much.
func Duration(nothing, tenfold int, d time.Duration) time.Duration {
	switch {
	case On(nothing):
		return 0
	case On(tenfold):
		return 10 * d
	default:
		return d
	}
}

// Case is the value of a case, or with this mutant one that the switch does not have.
func Case[T any](n int, value T) T {
	if On(n) {
		var none T
		return none
	}
	return value
}

// Keep is the new value of a variable, or with this mutant its old one.
func Keep[T any](n int, old, fresh T) T {
	if On(n) {
		return old
	}
	return fresh
}
