package harness

import (
	"slices"

	"entra-aws-exporter/internal/model"
	"entra-aws-exporter/rotate/journal"
	"entra-aws-exporter/rotate/token"
)

// Codec encodes and decodes records of token rotations.
var Codec = journal.Codec{model.ProcedureToken: token.Types()}

// Record is a journal record together with the token's part of it.
type Record struct {
	*journal.Record
	*token.Memory
	Rotation *Rotation
}

// Rotation is the journal's rotation together with the token's part of it.
type Rotation struct {
	*journal.Rotation
	*token.Progress
}

// ViewOf adds the token's part to a record; nil: there is none.
func ViewOf(r *journal.Record) *Record {
	if r == nil {
		return nil
	}
	v := &Record{Record: r, Memory: r.Procedures[model.ProcedureToken].Memory.(*token.Memory)}
	if r.Rotation != nil {
		v.Rotation = &Rotation{r.Rotation, r.Rotation.Progress.(*token.Progress)}
	}
	return v
}

// DecodeRecord reads a stored record.
func DecodeRecord(content []byte, key string) (*Record, error) {
	r, err := Codec.Decode(content, key)
	if err != nil {
		return nil, err
	}
	return ViewOf(r), nil
}

// OldTokens are the tokens of the plan that the rotation deletes.
func (r *Rotation) OldTokens() []token.PlannedToken {
	return slices.DeleteFunc(slices.Clone(r.Plan.Tokens), func(p token.PlannedToken) bool { return p.ID == r.NewID() })
}

// NewID is the ID of the new token; "": there is none yet.
func (r *Rotation) NewID() string {
	if r.NewToken == nil {
		return ""
	}
	return r.NewToken.ID
}
