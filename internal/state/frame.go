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

// Every file begins with a line that says what it is and proves the rest of it:
//
//	entra-aws-exporter record 1 SHA-256-OF-ALL-THAT-FOLLOWS
//
// A line of JSON follows, the header, and then the content as its owner encoded it.
const (
	product = "entra-aws-exporter"
	schema  = 1
)

var firstLine = regexp.MustCompile(`^` + product + ` (record|entry) ([0-9]{1,9}) ([0-9a-f]{64})$`)

// encode frames content. If size is greater than the frame, padding brings it to size.
func encode(kind string, header any, content []byte, size int) ([]byte, error) {
	head, err := json.Marshal(header)
	if err != nil {
		return nil, fmt.Errorf("encoding the header of a %s: %w", kind, err)
	}
	rest := append(append(head, '\n'), content...)
	if missing := size - len(rest) - len(product) - len(kind) - sha256.Size*2 - len("  1 \n"); missing > 0 {
		rest = append(rest, bytes.Repeat([]byte{'\n'}, missing)...)
	}
	return fmt.Appendf(nil, "%s %s %d %s\n%s", product, kind, schema, digest(rest), rest), nil
}

// decode reads what encode wrote into header, and returns the content with its padding.
// The error says why it is not that, and wraps model.ErrUnreadable.
func decode(kind string, raw []byte, header any) ([]byte, error) {
	first, rest, found := bytes.Cut(raw, []byte{'\n'})
	match := firstLine.FindSubmatch(first)
	if !found || match == nil || string(match[1]) != kind {
		return nil, fmt.Errorf("%w: foreign or corrupt: it is no %s of this program", model.ErrUnreadable, kind)
	}
	if version, _ := strconv.Atoi(string(match[2])); version != schema {
		return nil, fmt.Errorf("%w: newer: it has schema %d, this program knows %d", model.ErrUnreadable, version, schema)
	}
	if digest(rest) != string(match[3]) {
		return nil, fmt.Errorf("%w: corrupt: its checksum is wrong", model.ErrUnreadable)
	}
	head, content, found := bytes.Cut(rest, []byte{'\n'})
	decoder := json.NewDecoder(bytes.NewReader(head))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(header); err != nil || !found {
		return nil, fmt.Errorf("%w: corrupt: its header cannot be read", model.ErrUnreadable)
	}
	return content, nil
}

func digest(content []byte) string {
	sum := sha256.Sum256(content)
	return hex.EncodeToString(sum[:])
}
