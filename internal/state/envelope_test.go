package state

import (
	"bytes"
	"errors"
	"testing"

	"entra-aws-exporter/internal/model"
)

// FuzzDecode: arbitrary bytes never panic. They are refused as unreadable, or encode
// again to what decodes to the same content.
func FuzzDecode(f *testing.F) {
	record := encode("record", recordHeader{Key: "a", Number: 7, FileID: "1:2"}, []byte("content"), 0)
	reservation := encode("token", entryHeader{Key: "a", Reserved: true}, nil, 400)
	entry := encode("token", entryHeader{Key: "a", Length: 5}, []byte("value"), 400)
	tooLong := encode("token", entryHeader{Key: "a", Length: 500}, []byte("value"), 400)
	for _, seed := range [][]byte{nil, record, reservation, entry, tooLong, record[:40], []byte("entra-aws-exporter record 2 "), bytes.Replace(record, []byte("7"), []byte("-7"), 1)} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		var header recordHeader
		content, err := decode("record", raw, &header)
		if err != nil && !errors.Is(err, model.ErrUnreadable) {
			t.Fatalf("neither read nor unreadable: %v", err)
		}
		if err == nil {
			again := encode("record", header, content, 0)
			if found, err := decode("record", again, &recordHeader{}); err != nil || !bytes.Equal(found, content) {
				t.Fatalf("encoded again: %v", err)
			}
		}
		if found, err := decodeEntry(raw, "a"); (found == nil) != (err != nil) {
			t.Fatalf("%v and %v", found, err)
		}
	})
}

func TestDecodeDetectsEveryFlippedBit(t *testing.T) {
	raw := encode("token", entryHeader{Key: "a", Length: 5}, []byte("value"), 300)
	if len(raw) != 300 {
		t.Fatalf("%d bytes", len(raw))
	}
	for i := range raw {
		for bit := range 8 {
			damaged := bytes.Clone(raw)
			damaged[i] ^= 1 << bit
			if _, err := decodeEntry(damaged, "a"); !errors.Is(err, model.ErrUnreadable) {
				t.Fatalf("bit %d of byte %d: %v", bit, i, err)
			}
		}
		if _, err := decodeEntry(raw[:i], "a"); !errors.Is(err, model.ErrUnreadable) {
			t.Fatalf("cut off at %d: %v", i, err)
		}
	}
}
