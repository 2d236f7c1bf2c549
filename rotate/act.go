package rotate

import (
	"context"
	"time"

	"entra-aws-exporter/internal/model"
)

// callTimeout bounds every call to a cloud. It is shorter than leaseMargin, so an act
// is over before its lease is.
const callTimeout = 20 * time.Second

// intentFresh is how old an intent may be when its call is made. A process that was
// suspended, or waited for its disk, has to look anew first.
const intentFresh = 30 * time.Second

// act is one change to a cloud, as it is written down before and after.
type act struct {
	Number   int               `json:"number"`          // its place in its list, from 1
	Round    int               `json:"round,omitempty"` // how often the rotation had been reset before
	TokenID  string            `json:"token_id,omitempty"`
	Why      string            `json:"why,omitempty"`
	Intent   moment            `json:"intent"`
	Outcome  model.CallOutcome `json:"outcome,omitempty"` // "": the intent was written, what came of it was not
	Answered moment            `json:"answered,omitzero"`
	Unsent   bool              `json:"unsent,omitempty"` // it was too late to make the call
	Error    string            `json:"error,omitempty"`
	Reason   model.Reason      `json:"reason,omitempty"`
	Bad      bool              `json:"bad,omitempty"` // of a PUT: Entra's own test of it was bad to the end of its time
	Mark     time.Time         `json:"mark,omitzero"` // of a start: when the quarantine began that it was to end
}

func (a act) done() bool    { return a.Outcome == model.CallDone }
func (a act) refused() bool { return a.Outcome == model.CallRefused }

// deed is an act to be carried out.
type deed struct {
	list   func(*rotation) *[]act
	act    act
	intend func(*record)                    // what else is to be journalled with the intent
	call   func(context.Context) error      // one call, no retry
	settle func(*record, model.CallOutcome) // what else is to be journalled with the outcome
}

func creates(r *rotation) *[]act  { return &r.Creates }
func puts(r *rotation) *[]act     { return &r.Puts }
func starts(r *rotation) *[]act   { return &r.Starts }
func canaries(r *rotation) *[]act { return &r.Canary }
func deletes(r *rotation) *[]act  { return &r.Deletes }

// carryOut changes a cloud: intent, lease, one call, outcome. The call has a context of
// its own, so that neither a request that ended nor a stop cuts it off; a stop waits
// for it and for its record. The error is the journal's; what the cloud said is in the act.
func (r *run) carryOut(ctx context.Context, d deed) (act, error) {
	if err := ctx.Err(); err != nil {
		return d.act, err
	}
	a := d.act
	a.Number, a.Round, a.Intent = len(*d.list(r.rotation()))+1, r.rotation().Round, r.moment()
	err := r.writeIf(ctx, func(rec *record) error {
		if err := rec.mayAct(); err != nil {
			return err
		}
		*d.list(rec.Rotation) = append((*d.list(rec.Rotation))[:a.Number-1], a)
		if d.intend != nil {
			d.intend(rec)
		}
		return nil
	})
	if err != nil {
		return a, err
	}
	if err := r.ensureLease(ctx); err != nil {
		return a, err
	}
	if a.Unsent = time.Since(a.Intent.Local) > intentFresh; a.Unsent {
		err = &model.Error{Reason: model.ReasonOther, Op: "acting", Unsent: true, Detail: "what it rests on has grown old meanwhile"}
	} else {
		callCtx, cancel := context.WithTimeout(context.WithoutCancel(ctx), callTimeout)
		err = d.call(callCtx)
		cancel()
	}
	a.Outcome, a.Answered = model.CallOutcomeOf(err), r.moment()
	if err != nil {
		a.Error, a.Reason = err.Error(), model.ReasonOf(err)
	}
	return a, r.writeOutcome(ctx, func(rec *record) {
		(*d.list(rec.Rotation))[a.Number-1] = a
		if d.settle != nil {
			d.settle(rec, a.Outcome)
		}
	})
}

// resolve writes down what is known by now of an act whose outcome was unknown.
func (r *run) resolve(ctx context.Context, list func(*rotation) *[]act, number int, outcome model.CallOutcome, settle func(*record)) error {
	return r.write(ctx, func(rec *record) {
		(*list(rec.Rotation))[number-1].Outcome = outcome
		if settle != nil {
			settle(rec)
		}
	})
}
