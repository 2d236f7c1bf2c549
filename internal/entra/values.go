package entra

import (
	"regexp"
	"slices"
	"strings"
	"time"
	"unicode"
)

func stringOf(s *string) string {
	if s == nil {
		return ""
	}
	return *s
}

// timeOf reads a time that Graph may have left out or sent as the year 1.
func timeOf(t *time.Time) time.Time {
	if t == nil || t.Year() < 1990 {
		return time.Time{}
	}
	return t.UTC()
}

// enumValue returns Entra's word as the model spells it, or otherwise for a word that
// Entra added later.
func enumValue[T ~string](known []T, word string, otherwise T) T {
	if value := T(snakeCase(word)); slices.Contains(known, value) {
		return value
	}
	return otherwise
}

// snakeCase turns "stagedDelete" into "staged_delete".
func snakeCase(word string) string {
	var spelled strings.Builder
	for i, r := range word {
		if unicode.IsUpper(r) && i > 0 {
			spelled.WriteByte('_')
		}
		spelled.WriteRune(unicode.ToLower(r))
	}
	return spelled.String()
}

var labelPattern = regexp.MustCompile(`^[A-Za-z0-9_.:-]{1,80}$`)

// labelValue makes Entra's code fit for a metric label: a code stays as it is, anything
// else, which may be a sentence about a user, becomes "other".
func labelValue(code string) string {
	code = strings.TrimSpace(code)
	if code == "" || labelPattern.MatchString(code) {
		return code
	}
	return "other"
}
