package rotate_test

import (
	"slices"

	"entra-aws-exporter/internal/model"
	"entra-aws-exporter/rotate/journal"
	"entra-aws-exporter/rotate/token"
)

// codec knows the records of these tests.
var codec = journal.Codec{model.ProcedureToken: token.Types()}

// record is a journal record together with the token's part of it.
type record struct {
	*journal.Record
	*token.Memory
	Rotation *rotation
}

// rotation is the journal's rotation together with the token's part of it.
type rotation struct {
	*journal.Rotation
	*token.Progress
}

func viewOf(r *journal.Record) *record {
	if r == nil {
		return nil
	}
	v := &record{Record: r, Memory: r.Procedures[model.ProcedureToken].Memory.(*token.Memory)}
	if r.Rotation != nil {
		v.Rotation = &rotation{r.Rotation, r.Rotation.Progress.(*token.Progress)}
	}
	return v
}

// decodeRecord reads a stored record.
func decodeRecord(content []byte, key string) (*record, error) {
	r, err := codec.Decode(content, key)
	if err != nil {
		return nil, err
	}
	return viewOf(r), nil
}

// old lists the planned tokens that must be gone at the end.
func (r *rotation) old() []token.PlannedToken {
	return slices.DeleteFunc(slices.Clone(r.Plan.Tokens), func(p token.PlannedToken) bool { return p.ID == r.newID() })
}

func (r *rotation) newID() string {
	if r.NewToken == nil {
		return ""
	}
	return r.NewToken.ID
}
