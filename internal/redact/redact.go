// Package redact hides live secret values in what leaves the process, whoever put them
// there: a service may echo what it was sent.
//
// The clients already replace what looks like a value when they classify an error. This
// is the second line: it knows the values, so it also finds short ones and parts, in
// texts that nobody classified.
package redact

import (
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"html"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"

	"entra-aws-exporter/internal/model"
)

const (
	// minimum is the length of the shortest part of a value that is hidden. A shorter part
	// of a random value leaves at least half of it to guess, and common words have fewer
	// bytes. A value that is shorter itself is not hidden.
	minimum = 16
	// Every step-th byte of a value begins a window in the index, so every part of minimum
	// bytes contains a whole window.
	window = 8
	step   = minimum - window + 1
	// maxPassing bounds the values of a generation that are known because they were sent.
	maxPassing = 500

	placeholder = "(value)" // needs no escaping in HTML, JSON or logfmt
)

// Redactor knows the live values. A nil Redactor knows none.
type Redactor struct {
	mu   sync.RWMutex
	kept index
	// What was sent lately is in the newer generation. Once that is full, the older one is
	// forgotten.
	newer, older index
	known        uint64
}

// Known counts the values that were ever added. While it stays, Text hides nothing more
// than before.
func (r *Redactor) Known() uint64 {
	if r == nil {
		return 0
	}
	r.mu.RLock()
	defer r.mu.RUnlock()
	return r.known
}

// Add makes a value known for as long as the process runs.
func (r *Redactor) Add(value model.Secret) {
	if r != nil {
		r.mu.Lock()
		defer r.mu.Unlock()
		r.add(&r.kept, value.Reveal(), forms)
	}
}

// AddPassing makes a value known that is replaced often, such as an access token. It is
// forgotten some time after it was added last. It is long, so escapes leave parts of it
// that are hidden.
func (r *Redactor) AddPassing(value model.Secret) {
	if r == nil {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.kept.values[value.Reveal()] {
		return
	}
	if len(r.newer.values) >= maxPassing && !r.newer.values[value.Reveal()] {
		r.newer, r.older = index{}, r.newer
	}
	r.add(&r.newer, value.Reveal(), func(value string) []string { return []string{value} })
}

func (r *Redactor) add(to *index, value string, formsOf func(string) []string) {
	if len(value) >= minimum && !to.values[value] {
		r.known++
		to.add(value, formsOf)
	}
}

// Text hides the values in a text, also escaped or in part.
func (r *Redactor) Text(text string) string {
	if r == nil || len(text) < minimum {
		return text
	}
	r.mu.RLock()
	defer r.mu.RUnlock()
	var result strings.Builder
	written := 0
	for at := 0; at+window <= len(text); {
		found := r.find(text, written, at)
		if found.length() == 0 {
			at++
			continue
		}
		// The first window can belong to another form than the longest part.
		for next := at + 1; next < at+step && next+window <= len(text); next++ {
			found = longer(found, r.find(text, written, next))
		}
		result.WriteString(text[written:found.start])
		result.WriteString(placeholder)
		written, at = found.end, found.end
	}
	if written == 0 {
		return text
	}
	result.WriteString(text[written:])
	return result.String()
}

// find returns the longest part of a value around the window at an offset of a text.
func (r *Redactor) find(text string, from, at int) (found part) {
	key := windowAt(text, at)
	word, bit := hash(key)
	for _, known := range []*index{&r.kept, &r.newer, &r.older} {
		if known.filter[word]&bit != 0 {
			found = longer(found, known.find(text, from, at, key))
		}
	}
	return found
}

// stringLiteral matches a string in JSON.
var stringLiteral = regexp.MustCompile(`"(?:[^"\\]|\\.)*"`) //nolint:gochecknoglobals // compiled once, never changed

// JSON hides the values in the strings of a JSON text, which stays valid.
func (r *Redactor) JSON(content []byte) []byte {
	return stringLiteral.ReplaceAllFunc(content, func(literal []byte) []byte {
		var text string
		if json.Unmarshal(literal, &text) != nil {
			return literal
		}
		hidden := r.Text(text)
		if hidden == text {
			return literal
		}
		encoded, _ := json.Marshal(hidden) // a string always encodes
		return encoded
	})
}

// index finds parts of values by their windows.
type index struct {
	values map[string]bool
	forms  []string
	first  map[uint64]int32 // by window: the first of its places
	places []place
	filter [filterWords]uint64 // a bit per hash: most windows of a text are in no value
}

// place is where a window is in a form. There are hundreds for each value, so it is small.
type place struct {
	form, offset int32
	next         int32 // place of the same window; negative: it is the last one
}

// part is a part of a text.
type part struct{ start, end int }

func (p part) length() int { return p.end - p.start }

func longer(a, b part) part {
	if b.length() > a.length() {
		return b
	}
	return a
}

func (x *index) add(value string, formsOf func(string) []string) {
	if x.values == nil {
		x.values, x.first = map[string]bool{}, map[uint64]int32{}
	}
	x.values[value] = true
	for _, form := range formsOf(value) {
		x.forms = append(x.forms, form)
		for offset := 0; offset+window <= len(form); offset += step {
			key := windowAt(form, offset)
			next, known := x.first[key]
			if !known {
				next = -1
			}
			x.first[key] = int32(len(x.places))                                              //nolint:gosec // memory ends before
			x.places = append(x.places, place{int32(len(x.forms) - 1), int32(offset), next}) //nolint:gosec // as above
			word, bit := hash(key)
			x.filter[word] |= bit
		}
	}
}

// find returns the longest part of a value, not before from, around the window at an
// offset of a text.
func (x *index) find(text string, from, at int, key uint64) (found part) {
	next, known := x.first[key]
	for known && next >= 0 {
		p := x.places[next]
		next = p.next
		form, offset := x.forms[p.form], int(p.offset)
		before, after := 0, window
		for before < min(at-from, offset) && text[at-before-1] == form[offset-before-1] {
			before++
		}
		for after < min(len(text)-at, len(form)-offset) && text[at+after] == form[offset+after] {
			after++
		}
		candidate := part{at - before, at + after}
		if candidate.length() >= minimum && (candidate.length() == len(form) || !partOfUUID.MatchString(text[candidate.start:candidate.end])) {
			found = longer(found, candidate)
		}
	}
	return found
}

// partOfUUID matches a part that is no secret: a token's value can contain IDs.
var partOfUUID = regexp.MustCompile(`^:?[0-9a-f]{0,12}-[0-9a-f-]{0,35}:?$`) //nolint:gochecknoglobals // compiled once, never changed

func windowAt(text string, at int) uint64 {
	return binary.LittleEndian.Uint64([]byte(text[at : at+window]))
}

const filterWords = 1 << 14

func hash(key uint64) (word int, bit uint64) {
	h := key * 0x9E3779B97F4A7C15 >> 44 // as many bits as the filter has
	return int(h >> 6), 1 << (h & 63)
}

// forms returns a value as it is, and as what services and pages make of it.
func forms(value string) []string {
	list := []string{value, html.EscapeString(value), inJSON(value), strings.ReplaceAll(inJSON(value), "/", `\/`)}
	for _, unescaped := range []string{"-._~", "-._~/:=", "-._~/:=+"} {
		for _, escape := range []string{`\u%04x`, `\u%04X`, "%%%02x", "%%%02X", "&#%d;", "&#x%x;", "&#x%X;"} {
			list = append(list, escaped(value, unescaped, escape))
		}
	}
	for shift, skip := range []int{0, 2, 3} { // the value can begin at any of the three bytes that become four characters
		shifted := strings.Repeat("-", shift) + value
		whole := len(shifted) * 8 / 6
		list = append(list, base64.StdEncoding.EncodeToString([]byte(shifted))[skip:whole], base64.URLEncoding.EncodeToString([]byte(shifted))[skip:whole])
	}
	for _, form := range slices.Clone(list) { // an escaped form, escaped again
		quoted := strconv.Quote(form)
		list = append(list, html.EscapeString(form), inJSON(form), quoted[1:len(quoted)-1])
	}
	slices.Sort(list)
	return slices.Compact(list)
}

func inJSON(text string) string {
	encoded, _ := json.Marshal(text) // a string always encodes
	return string(encoded[1 : len(encoded)-1])
}

// escaped escapes every byte but letters, digits and those in unescaped.
func escaped(value, unescaped, escape string) string {
	var result strings.Builder
	for _, b := range []byte(value) {
		if 'a' <= b && b <= 'z' || 'A' <= b && b <= 'Z' || '0' <= b && b <= '9' || strings.IndexByte(unescaped, b) >= 0 {
			result.WriteByte(b)
		} else {
			fmt.Fprintf(&result, escape, b)
		}
	}
	return result.String()
}
