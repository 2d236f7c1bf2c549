package rotate

import (
	"fmt"
	"slices"
	"time"

	"entra-aws-exporter/internal/model"
)

// rotation is one rotation from its trigger to its end.
type rotation struct {
	ID      string       `json:"id"`
	Trigger string       `json:"trigger"`
	Forced  bool         `json:"forced,omitempty"` // start even though it is not due
	Issuer  model.Issuer `json:"issuer"`
	Retire  string       `json:"retire,omitempty"` // a person named this token as unused

	Phase   model.Phase `json:"phase"`
	Started moment      `json:"started"`
	Phases  []passage   `json:"phases,omitempty"`

	Plan     plan          `json:"plan"`
	NewToken *model.Token  `json:"new_token,omitempty"`
	Entry    string        `json:"entry,omitempty"`   // the vault entry that holds, or will hold, its value
	Offered  string        `json:"offered,omitempty"` // a token that an operator made, by id
	Exposed  bool          `json:"exposed,omitempty"` // a person may have entered the new token in Entra
	Silence  time.Duration `json:"silence,omitempty"` // the longest time without a journal entry since the create

	Creates []act  `json:"creates,omitempty"`
	Tests   tests  `json:"tests,omitzero"`
	Puts    []act  `json:"puts,omitempty"`
	Starts  []act  `json:"starts,omitempty"`
	Canary  []act  `json:"canary,omitempty"`
	Deletes []act  `json:"deletes,omitempty"`
	Round   int    `json:"round,omitempty"` // how often a person reset it; acts are counted per round
	Want    string `json:"want,omitempty"`  // why the token is to be saved to Entra (again)
	Rescues int    `json:"rescues,omitempty"`
	Renewed int    `json:"renewed,omitempty"` // how often a failed proof was begun anew

	Proof    proof     `json:"proof"`
	Asked    string    `json:"asked,omitempty"` // the token for whose deletion a person's leave is asked
	Approval *approval `json:"approval,omitempty"`
	Abort    string    `json:"abort,omitempty"` // why it is to be given up; "": it is not
	Waiting  Waiting   `json:"waiting,omitempty"`
	Standing time.Time `json:"standing,omitzero"` // since when the job stands still; zero: it runs
	Blocked  *block    `json:"blocked,omitempty"`
	Failing  streak    `json:"failing,omitzero"` // what keeps it from getting on; zero: nothing

	Steps []model.RotationStep `json:"steps,omitempty"`
}

// moment is one point in time on the three clocks involved; zero: not known.
type moment struct {
	Local time.Time `json:"local"`
	AWS   time.Time `json:"aws,omitzero"`
	Graph time.Time `json:"graph,omitzero"`
}

// passage is when a phase was entered.
type passage struct {
	Phase model.Phase `json:"phase"`
	At    moment      `json:"at"`
}

// pass moves on to another phase.
func (r *rotation) pass(to model.Phase, at moment) {
	r.Phase, r.Waiting = to, notWaiting
	r.Phases = append(r.Phases, passage{to, at})
}

// plan is what was found before anything was changed.
type plan struct {
	Tokens   []planned `json:"tokens,omitempty"`
	Keys     []string  `json:"keys,omitempty"`    // of Entra's provisioning credentials
	Control  bool      `json:"control,omitempty"` // an inline test with garbage failed, so inline tests are evidence
	Dead     bool      `json:"dead,omitempty"`    // what Entra had saved was refused; an inline test that ignores its values fails then, too
	Trusted  bool      `json:"trusted,omitempty"`
	DueSince time.Time `json:"due_since,omitzero"` // the first reading that said so
	Due      string    `json:"due,omitempty"`      // why it is due
	BadSince time.Time `json:"bad_since,omitzero"` // Entra's own test fails
}

// planned is a token that was there before.
type planned struct {
	model.Token
	Role     model.TokenRole `json:"role"`
	Evidence string          `json:"evidence,omitempty"`
}

// tests are the trials of the new token before it is switched to.
type tests struct {
	Began  time.Time `json:"began,omitzero"`
	Passed moment    `json:"passed,omitzero"`
	Last   string    `json:"last,omitempty"` // the last finding that was not good
}

// proof is what speaks for the new token being the one in use.
type proof struct {
	Level      model.ProofLevel `json:"level,omitempty"`
	Put        int              `json:"put,omitempty"` // the PUT that was found stored, by number
	Stored     moment           `json:"stored,omitzero"`
	Used       moment           `json:"used,omitzero"`
	Strong     bool             `json:"strong,omitempty"` // something really was provisioned
	Attributed moment           `json:"attributed,omitzero"`
	How        string           `json:"how,omitempty"`    // log | circumstance
	Probes     []moment         `json:"probes,omitempty"` // our own calls with the new value, to be found in AWS's log
	Gone       moment           `json:"gone,omitzero"`    // every old token was missing in two lists
	Settled    moment           `json:"settled,omitzero"` // and is refused everywhere
	Exclusive  moment           `json:"exclusive,omitzero"`
	Ran        time.Duration    `json:"ran,omitempty"` // how long was waited for it while the job ran
}

// approval is a person's leave to delete one token.
type approval struct {
	TokenID string    `json:"token_id"`
	At      time.Time `json:"at"`
}

// block is why a rotation stopped until a person acts.
type block struct {
	Reason   Blocked   `json:"reason"`
	Sentence string    `json:"message"`
	At       time.Time `json:"at"`
}

// putAttempted tells whether saving to Entra was ever tried.
func (r *rotation) putAttempted() bool { return len(r.Puts) > 0 }

// outOfHand tells whether Entra may hold the new token, by our hand or by a person's:
// the point of no undo.
func (r *rotation) outOfHand() bool { return r.putAttempted() || r.Exposed }

// approved tells whether a person has given leave to delete the token, and for the proof
// that there is now: what was said before it was begun anew was said of another save.
func (r *rotation) approved(id string) bool {
	return r.Approval != nil && r.Approval.TokenID == id && !r.Approval.At.Before(r.Proof.Used.Local)
}

// settledByNaming tells whether the rotation is blocked by nothing but the question which
// of two tokens is unused, so that a person who names one settles it.
func (r *rotation) settledByNaming() bool {
	return r != nil && r.Blocked != nil && r.Blocked.Reason == TwoTokens && r.NewToken == nil && !r.creating() && !r.putAttempted()
}

// old lists the planned tokens that are to be gone at the end.
func (r *rotation) old() []planned {
	return slices.DeleteFunc(slices.Clone(r.Plan.Tokens), func(p planned) bool {
		return r.NewToken != nil && p.ID == r.NewToken.ID
	})
}

func tokensOf(list []planned) []model.Token {
	tokens := make([]model.Token, len(list))
	for i, p := range list {
		tokens[i] = p.Token
	}
	return tokens
}

// newID returns the id of the new token; "" as long as there is none.
func (r *rotation) newID() string {
	if r == nil || r.NewToken == nil {
		return ""
	}
	return r.NewToken.ID
}

// creating tells whether a token was asked for and it is not known what came of it.
func (r *rotation) creating() bool {
	return len(r.Creates) > 0 && !r.Creates[len(r.Creates)-1].done() && !r.Creates[len(r.Creates)-1].refused()
}

// lastPut returns the latest attempt to save; false when there was none.
func (r *rotation) lastPut() (act, bool) {
	if len(r.Puts) == 0 {
		return act{}, false
	}
	return r.Puts[len(r.Puts)-1], true
}

// check refuses what no version of this program writes.
func (r *rotation) check() error {
	if r.ID == "" || !slices.Contains(model.Phases(), r.Phase) || r.Phase == model.PhaseIdle || r.Phase == model.PhaseBlocked {
		return fmt.Errorf("rotation %q in phase %q", r.ID, r.Phase)
	}
	for _, list := range [][]act{r.Creates, r.Puts, r.Starts, r.Canary, r.Deletes} {
		for i, a := range list {
			if a.Number != i+1 {
				return fmt.Errorf("act %d stands at place %d", a.Number, i+1)
			}
		}
	}
	if after := r.Phase != model.PhasePlan && r.Phase != model.PhaseCreate; after && r.NewToken == nil {
		return fmt.Errorf("phase %s without a new token", r.Phase)
	}
	return nil
}
