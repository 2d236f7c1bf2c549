package config

import (
	"regexp"
	"slices"
	"strings"
)

// plain matches a mistyped key or enum value. Anything else may be a secret that was
// pasted into the wrong place.
var plain = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9 ._-]{0,31}$`)

// number matches what was meant as a number or a duration, such as -5m or 1,5h. Secrets
// are longer.
var number = regexp.MustCompile(`^-?[0-9][A-Za-z0-9 .,_-]{0,15}$`)

// quoteSafe quotes a wrong value if it cannot be a secret.
func quoteSafe(value string) string {
	if plain.MatchString(value) {
		return `"` + value + `"`
	}
	return "the value"
}

// quoteNumber quotes a wrong number or duration.
func quoteNumber(value string) string {
	if number.MatchString(value) {
		return `"` + value + `"`
	}
	return quoteSafe(value)
}

var listIndex = regexp.MustCompile(`\[[0-9]+\]`)

// describeUnknownKey explains a key that the mapping at path does not have.
func describeUnknownKey(key string, mapping []field, path string) string {
	known := make([]string, len(mapping))
	for i, f := range mapping {
		known[i] = f.key
	}
	if slices.Contains(known, key+"_file") {
		return "a secret must not be written into the config; put it into a file and name that: " + key + "_file: PATH"
	}
	if guess := suggest(key, known); guess != "" {
		return "unknown key; did you mean " + guess + "?"
	}
	var below, anywhere []string
	for _, k := range schemaKeys() {
		if k.key != key {
			continue
		}
		anywhere = append(anywhere, k.path)
		if strings.HasPrefix(k.path, listIndex.ReplaceAllString(path, "[]")+".") {
			below = append(below, k.path)
		}
	}
	if below != nil {
		anywhere = below
	}
	if anywhere != nil {
		return "unknown key at this place; it belongs to " + strings.Join(anywhere, " or ")
	}
	return "unknown key; known here: " + strings.Join(known, ", ")
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
