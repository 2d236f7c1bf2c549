package state

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"regexp"
	"strconv"

	"entra-aws-exporter/internal/model"
)

// The first line of every file names its kind, the schema and the checksum of the rest:
//
//	entra-aws-exporter record 1 SHA-256
//
// A header in one line of JSON follows, and then the content.
const (
	product = "entra-aws-exporter"
	schema  = 1
)

var firstLine = regexp.MustCompile(`^` + product + ` (record|token) ([0-9]{1,9}) ([0-9a-f]{64})$`)

// encode puts content into an envelope. A size greater than the result pads it to that size.
func encode(kind string, header any, content []byte, size int) []byte {
	head, _ := json.Marshal(header) // cannot fail: the headers have texts, numbers and flags only
	rest := append(append(head, '\n'), content...)
	if missing := size - len(rest) - len(product) - len(kind) - sha256.Size*2 - len("  1 \n"); missing > 0 {
		rest = append(rest, bytes.Repeat([]byte{'\n'}, missing)...)
	}
	return fmt.Appendf(nil, "%s %s %d %s\n%s", product, kind, schema, digest(rest), rest)
}

// decode opens an envelope: it fills header and returns the content with its padding.
// Its errors wrap model.ErrUnreadable.
func decode(kind string, raw []byte, header any) ([]byte, error) {
	first, rest, found := bytes.Cut(raw, []byte{'\n'})
	match := firstLine.FindSubmatch(first)
	if !found || match == nil || string(match[1]) != kind {
		return nil, fmt.Errorf("%w: not an %s %s, or corrupt", model.ErrUnreadable, product, kind)
	}
	if version, _ := strconv.Atoi(string(match[2])); version != schema {
		return nil, fmt.Errorf("%w: it has schema %d, this version reads %d", model.ErrUnreadable, version, schema)
	}
	if digest(rest) != string(match[3]) {
		return nil, fmt.Errorf("%w: corrupt: wrong checksum", model.ErrUnreadable)
	}
	head, content, found := bytes.Cut(rest, []byte{'\n'})
	decoder := json.NewDecoder(bytes.NewReader(head))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(header); err != nil || !found {
		return nil, fmt.Errorf("%w: corrupt: invalid header", model.ErrUnreadable)
	}
	return content, nil
}

func digest(content []byte) string {
	sum := sha256.Sum256(content)
	return hex.EncodeToString(sum[:])
}
