package config

import (
	"regexp"
	"strings"
)

// plain matches a mistyped key, enum value, number or duration. Anything else may be a
// secret that was pasted into the wrong place.
var plain = regexp.MustCompile(`^-?[A-Za-z0-9][A-Za-z0-9 .,_-]{0,31}$`)

// quoteSafe quotes a wrong value if it cannot be a secret.
func quoteSafe(value string) string {
	if plain.MatchString(value) {
		return `"` + value + `"`
	}
	return "the value"
}

// suggest returns the candidate that was probably meant, or "".
func suggest(wrong string, candidates []string) string {
	best, bound := "", 1+len(wrong)/3
	for _, candidate := range candidates {
		if d := editDistance(strings.ToLower(wrong), candidate); d <= bound {
			best, bound = candidate, d-1
		}
	}
	return best
}

// editDistance is the Levenshtein distance.
func editDistance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			change := diagonal
			if a[i] != b[j] {
				change++
			}
			diagonal, row[j+1] = row[j+1], min(change, row[j]+1, row[j+1]+1)
		}
	}
	return row[len(b)]
}
