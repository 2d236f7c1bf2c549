package harness

import (
	"slices"

	"entra-aws-exporter/internal/model"
	"entra-aws-exporter/rotate/certificate"
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

// ViewOf adds the token's part to a record; nil: it has none.
func ViewOf(r *journal.Record) *Record {
	if r == nil {
		return nil
	}
	procedure := r.Procedures[model.ProcedureToken]
	if procedure == nil {
		return nil
	}
	v := &Record{Record: r, Memory: procedure.Memory.(*token.Memory)}
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

// codec encodes and decodes the records of the harness's engines.
func (h *Harness) codec() journal.Codec {
	if h.Rolls != nil {
		return RolloverCodec
	}
	return Codec
}

// storedContent is the connection's record as it is stored.
func (h *Harness) storedContent() []byte {
	content, _, _ := h.Store.Load(h.Connection.Key())
	return content
}

// operationKinds are the operations' kinds by the names of their calls.
func (h *Harness) operationKinds() map[string]journal.OperationKind {
	if h.Rolls != nil {
		return map[string]journal.OperationKind{
			"graph.create_certificate": certificate.OperationCreate, "graph.activate_certificate": certificate.OperationActivate,
			"aws.import_certificate": certificate.OperationImport, "aws.delete_certificate": certificate.OperationDelete,
		}
	}
	return map[string]journal.OperationKind{
		"aws.create": token.OperationCreate, "aws.delete": token.OperationDelete, "graph.put": token.OperationPut,
		"graph.start": token.OperationStart, "graph.canary": token.OperationCanary,
	}
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
