package journal

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"entra-aws-exporter/internal/model"
)

// ErrUnreadable means that there is a record, but this program cannot tell what it says.
var ErrUnreadable = errors.New("the journal cannot be read")

// Codec knows the types that each procedure keeps in a record.
type Codec map[model.Procedure]Types

// Types makes the empty values of one procedure's own parts of a record.
type Types struct {
	NewMemory   func() Memory   // of Procedure.Memory: a pointer
	NewProgress func() Progress // of Rotation.Progress: a pointer
}

// Memory is what a procedure remembers of a binding between its rotations.
type Memory interface {
	// Inventory lists what the record knows to exist, for messages: "tokens: …".
	Inventory() string
}

// Progress is what a procedure writes down of one rotation.
type Progress interface {
	// Check refuses what the procedure never writes.
	Check(rotation *Rotation) error
	// Describe adds to what the history shows of the rotation.
	Describe(shown *model.RotationRecord)
}

// NewRecord is the record of a binding about which nothing is remembered.
func (c Codec) NewRecord(binding model.Binding, connection string) *Record {
	r := &Record{Kind: recordKind, Schema: recordSchema, Updated: time.Now().UTC(), Binding: binding, Connection: connection}
	c.addProcedures(r)
	return r
}

func (c Codec) addProcedures(r *Record) {
	if r.Procedures == nil {
		r.Procedures = map[model.Procedure]*Procedure{}
	}
	for kind, types := range c {
		if r.Procedures[kind] == nil {
			r.Procedures[kind] = &Procedure{Memory: types.NewMemory()}
		}
	}
}

// Encode writes the record as it is stored.
func (c Codec) Encode(r *Record) ([]byte, error) {
	if r.Rotation != nil {
		if err := r.Rotation.check(); err != nil { // what could not be read again is never written
			return nil, fmt.Errorf("encoding the journal of %s: %w", r.Connection, err)
		}
	}
	content, err := json.Marshal(r)
	if err != nil {
		return nil, fmt.Errorf("encoding the journal of %s: %w", r.Connection, err)
	}
	return content, nil
}

// Decode reads what Encode wrote for this key. Anything else is ErrUnreadable, and is
// left as it is.
func (c Codec) Decode(content []byte, key string) (*Record, error) {
	header := readHeader(content)
	r := &Record{}
	if header.Rotation != nil {
		r.Rotation = &Rotation{}
		if types, known := c[header.Rotation.Kind]; known {
			r.Rotation.Progress = types.NewProgress() // the decoder fills in what is there
		}
	}
	if err := decodeStrictly(content, r); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrUnreadable, cmp.Or(header.mismatch(), fmt.Errorf("corrupt: %w", err)))
	}
	if r.Kind != recordKind || r.Schema != recordSchema {
		return nil, fmt.Errorf("%w: %w", ErrUnreadable, cmp.Or(header.mismatch(), errors.New("not a record of this program: it has no kind")))
	}
	if r.Binding.Key() != key {
		return nil, fmt.Errorf("%w: it belongs to the binding %s, not to %s", ErrUnreadable, r.Binding.Key(), key)
	}
	if err := c.decodeMemories(r); err != nil {
		return nil, fmt.Errorf("%w: corrupt: %w", ErrUnreadable, err)
	}
	if r.Rotation != nil {
		if err := r.Rotation.check(); err != nil {
			return nil, fmt.Errorf("%w: corrupt: %w", ErrUnreadable, err)
		}
	}
	return r, nil
}

// decodeMemories gives each procedure's memory its type.
func (c Codec) decodeMemories(r *Record) error {
	for kind, procedure := range r.Procedures {
		types, known := c[kind]
		if !known {
			return fmt.Errorf("unknown procedure %q", kind)
		}
		memory := types.NewMemory()
		if stored, ok := procedure.Memory.(json.RawMessage); ok {
			if err := decodeStrictly(stored, memory); err != nil {
				return err
			}
		}
		procedure.Memory = memory
	}
	c.addProcedures(r)
	return nil
}

// UnmarshalJSON implements json.Unmarshaler: the memory stays raw until the codec, which
// knows its type, decodes it.
func (p *Procedure) UnmarshalJSON(content []byte) error {
	type plain Procedure
	stored := struct {
		*plain
		Memory json.RawMessage `json:"memory"`
	}{plain: (*plain)(p)}
	if err := decodeStrictly(content, &stored); err != nil {
		return err
	}
	p.Memory = stored.Memory
	return nil
}

// decodeStrictly refuses fields that the type does not have.
func decodeStrictly(content []byte, into any) error {
	decoder := json.NewDecoder(bytes.NewReader(content))
	decoder.DisallowUnknownFields()
	return decoder.Decode(into) //nolint:wrapcheck // the caller says what was decoded
}

// clone returns a deep copy that may be changed.
func (c Codec) clone(r *Record) (*Record, error) {
	content, err := c.Encode(r)
	if err != nil {
		return nil, err
	}
	return c.Decode(content, r.Binding.Key())
}

// recordHeader is what tells one record from another.
type recordHeader struct {
	Kind     string `json:"kind"`
	Schema   int    `json:"schema"`
	Rotation *struct {
		Kind model.Procedure `json:"kind"`
	} `json:"rotation"`
}

// readHeader reads as much of a record's header as can be read.
func readHeader(content []byte) recordHeader {
	var h recordHeader
	_ = json.Unmarshal(content, &h) // a corrupt record is reported by the full decoding
	return h
}

// mismatch says what else the content is, if it says so; nil otherwise.
func (h recordHeader) mismatch() error {
	switch {
	case h.Kind == "":
		return nil
	case h.Kind != recordKind:
		return fmt.Errorf("not a record of this program: its kind is %q, not %q", h.Kind, recordKind)
	case h.Schema != recordSchema:
		return fmt.Errorf("its schema is %d, this program knows %d", h.Schema, recordSchema)
	default:
		return nil
	}
}
