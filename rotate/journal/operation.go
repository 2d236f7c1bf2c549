package journal

import (
	"slices"

	"entra-aws-exporter/internal/model"
)

// OperationKind says what an operation changes. The kinds belong to the procedures.
type OperationKind string

// Operation is the write-ahead entry of one call that changes AWS or Entra: the intent
// is written before the call, the outcome after it.
type Operation struct {
	Number     int               `json:"number"`                // its position among those of its kind, from 1
	ResetCount int               `json:"reset_count,omitempty"` // how often the rotation had been reset before
	Target     string            `json:"target,omitempty"`      // what it acts on, such as a token id
	Why        string            `json:"why,omitempty"`
	Intent     Timestamps        `json:"intent"`
	Outcome    model.CallOutcome `json:"outcome,omitempty"` // "": the intent was written, the outcome was not
	Answered   Timestamps        `json:"answered,omitzero"`
	Unsent     bool              `json:"unsent,omitempty"` // the preconditions were stale, so the call was not made
	Unread     bool              `json:"unread,omitempty"` // a reading right before the call failed, so the call was not made
	Error      string            `json:"error,omitempty"`
	Reason     model.Reason      `json:"reason,omitempty"`
}

// Done tells whether the call certainly took effect.
func (o Operation) Done() bool { return o.Outcome == model.CallDone }

// Refused tells whether the call certainly had no effect.
func (o Operation) Refused() bool { return o.Outcome == model.CallRefused }

// RefusedForGood tells whether the call was refused by an answer that waiting does not
// change. Throttling passes, and so does what kept the call from being made or from
// reaching the service.
func (o Operation) RefusedForGood() bool { return o.Refused() && !o.Unsent && !o.passes() }

// RefusedInPassing tells whether the call was refused for what passes.
func (o Operation) RefusedInPassing() bool { return o.Refused() && !o.Unsent && o.passes() }

func (o Operation) passes() bool {
	return o.Unread || slices.Contains([]model.Reason{model.ReasonThrottled, model.ReasonTimeout, model.ReasonNetwork}, o.Reason)
}

// Pending tells whether the call may have taken effect.
func (o Operation) Pending() bool { return !o.Done() && !o.Refused() }

// LastOperation returns the latest operation of a kind; false when there was none.
func (r *Rotation) LastOperation(kind OperationKind) (Operation, bool) {
	operations := r.Operations[kind]
	if len(operations) == 0 {
		return Operation{}, false
	}
	return operations[len(operations)-1], true
}

// SetOperation writes an operation at its number: a new one at the end, or one that is
// there already.
func (r *Rotation) SetOperation(kind OperationKind, operation Operation) {
	if r.Operations == nil {
		r.Operations = map[OperationKind][]Operation{}
	}
	operations := r.Operations[kind]
	if operation.Number > len(operations) {
		r.Operations[kind] = append(operations, operation)
		return
	}
	operations[operation.Number-1] = operation
}
