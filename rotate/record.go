package rotate

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"entra-aws-exporter/internal/bridge"
)

// The kind and schema of a record; a program that meets another one keeps its hands off.
const (
	recordKind   = "entra-aws-exporter/rotation"
	recordSchema = 1
)

// errUnreadable: the record is there, but this program cannot tell what it says.
var errUnreadable = errors.New("the journal cannot be read")

// record is all that is remembered of one binding. It holds no token values and no
// personal data. Once published it is never changed in place.
type record struct {
	Kind       string         `json:"kind"`
	Schema     int            `json:"schema"`
	Sequence   uint64         `json:"sequence"` // grows with every write, so that an older copy put back shows
	Updated    time.Time      `json:"updated"`
	Binding    bridge.Binding `json:"binding"`
	Connection string         `json:"connection"` // what the config called it last
	Lease      lease          `json:"lease,omitzero"`

	Tokens        map[string]bridge.Token `json:"tokens,omitempty"` // accounted for: seen when the plan or a person knew what each was for
	InUse         string                  `json:"in_use,omitempty"` // the token id that Entra was switched to, or was proven to hold
	SavedAt       []time.Time             `json:"saved_at,omitempty"`
	ForeignChange time.Time               `json:"foreign_change,omitzero"` // somebody else changed Entra's credentials then (Graph's clock)
	Trust         *trust                  `json:"trust,omitempty"`

	Budget        budget                   `json:"budget"`
	Attempts      int                      `json:"attempts,omitempty"` // failed since the last success or reset
	LastEnd       time.Time                `json:"last_end,omitzero"`
	LastSuccess   time.Time                `json:"last_success,omitzero"`
	Endings       map[bridge.Ending]uint64 `json:"endings,omitempty"`
	TokensCreated uint64                   `json:"tokens_created,omitempty"`

	Held     time.Time `json:"held,omitzero"`     // a person said: stop acting; zero: nobody did
	Restored string    `json:"restored,omitzero"` // why this record may be older than the clouds; "": it is not

	Rotation *rotation               `json:"rotation,omitempty"` // the open or blocked one
	History  []bridge.RotationRecord `json:"history,omitempty"`  // ended ones, oldest first
}

// trust: a rotation of this binding reached exclusive with this set of secret keys.
type trust struct {
	At   time.Time `json:"at"`
	Keys []string  `json:"keys"`
}

// budget lists when tokens were asked for and rescues begun, by AWS's clock. Nothing
// but time empties it.
type budget struct {
	Creates []window    `json:"creates,omitempty"`
	Rescues []time.Time `json:"rescues,omitempty"`
}

// window is the span, by AWS's clock, in which a create call can have taken effect.
type window struct {
	From  time.Time `json:"from"`
	To    time.Time `json:"to"`
	Known bool      `json:"known,omitempty"` // what became of the call
}

// rotation is one rotation from its trigger to its end.
type rotation struct {
	ID      string        `json:"id"`
	Trigger string        `json:"trigger"`
	Forced  bool          `json:"forced,omitempty"` // start even though it is not due
	Issuer  bridge.Issuer `json:"issuer"`
	Retire  string        `json:"retire,omitempty"` // a person named this token as unused

	Phase   bridge.Phase `json:"phase"`
	Started moment       `json:"started"`
	Phases  []passage    `json:"phases,omitempty"`

	Plan     plan          `json:"plan"`
	NewToken *bridge.Token `json:"new_token,omitempty"`
	Entry    string        `json:"entry,omitempty"`   // the vault entry that holds, or will hold, its value
	Offered  string        `json:"offered,omitempty"` // a token that an operator made, by id
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
	Approval *approval `json:"approval,omitempty"`
	Abort    string    `json:"abort,omitempty"` // why it is to be given up; "": it is not
	Waiting  Waiting   `json:"waiting,omitempty"`
	Standing time.Time `json:"standing,omitzero"` // since when the job stands still; zero: it runs
	Blocked  *block    `json:"blocked,omitempty"`

	Steps []bridge.RotationStep `json:"steps,omitempty"`
}

// moment is one point in time on the three clocks involved; zero: not known.
type moment struct {
	Local time.Time `json:"local"`
	AWS   time.Time `json:"aws,omitzero"`
	Graph time.Time `json:"graph,omitzero"`
}

// passage is when a phase was entered.
type passage struct {
	Phase bridge.Phase `json:"phase"`
	At    moment       `json:"at"`
}

// plan is what was found before anything was changed.
type plan struct {
	Tokens   []planned `json:"tokens,omitempty"`
	Keys     []string  `json:"keys,omitempty"`    // of Entra's provisioning credentials
	Control  bool      `json:"control,omitempty"` // an inline test with garbage failed, so inline tests are evidence
	Trusted  bool      `json:"trusted,omitempty"`
	DueSince time.Time `json:"due_since,omitzero"` // the first reading that said so
	Due      string    `json:"due,omitempty"`      // why it is due
	BadSince time.Time `json:"bad_since,omitzero"` // Entra's own test fails
}

// planned is a token that was there before.
type planned struct {
	bridge.Token
	Role     bridge.TokenRole `json:"role"`
	Evidence string           `json:"evidence,omitempty"`
}

// tests are the trials of the new token before it is switched to.
type tests struct {
	Began  time.Time `json:"began,omitzero"`
	Passed moment    `json:"passed,omitzero"`
	Last   string    `json:"last,omitempty"` // the last finding that was not good
}

// proof is what speaks for the new token being the one in use.
type proof struct {
	Level      bridge.ProofLevel `json:"level,omitempty"`
	Put        int               `json:"put,omitempty"` // the PUT that was found stored, by number
	Stored     moment            `json:"stored,omitzero"`
	Used       moment            `json:"used,omitzero"`
	Strong     bool              `json:"strong,omitempty"` // something really was provisioned
	Attributed moment            `json:"attributed,omitzero"`
	How        string            `json:"how,omitempty"`    // log | circumstance
	Probes     []moment          `json:"probes,omitempty"` // our own calls with the new value, to be found in AWS's log
	Gone       moment            `json:"gone,omitzero"`    // every old token was missing in two lists
	Settled    moment            `json:"settled,omitzero"` // and is refused everywhere
	Exclusive  moment            `json:"exclusive,omitzero"`
	Ran        time.Duration     `json:"ran,omitempty"` // how long was waited for it while the job ran
}

// approval is a person's leave to delete one token.
type approval struct {
	TokenID string    `json:"token_id"`
	At      time.Time `json:"at"`
}

// block is why a rotation stopped until a person acts.
type block struct {
	Reason   Blocked   `json:"reason"`
	Sentence string    `json:"sentence"`
	At       time.Time `json:"at"`
}

// PUT attempted is the point of no undo.
func (r *rotation) putAttempted() bool { return len(r.Puts) > 0 }

// old lists the planned tokens that are to be gone at the end.
func (r *rotation) old() []planned {
	return slices.DeleteFunc(slices.Clone(r.Plan.Tokens), func(p planned) bool {
		return r.NewToken != nil && p.ID == r.NewToken.ID
	})
}

func tokensOf(list []planned) []bridge.Token {
	tokens := make([]bridge.Token, len(list))
	for i, p := range list {
		tokens[i] = p.Token
	}
	return tokens
}

// newID returns the id of the new token; "" as long as there is none.
func (r *rotation) newID() string {
	if r.NewToken == nil {
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

// encode writes the record as it is stored.
func (r *record) encode() ([]byte, error) {
	content, err := json.Marshal(r)
	if err != nil {
		return nil, fmt.Errorf("encoding the journal of %s: %w", r.Connection, err)
	}
	return content, nil
}

// decodeRecord reads what encode wrote for this key; anything else is errUnreadable,
// and left as it is.
func decodeRecord(content []byte, key string) (*record, error) {
	var r record
	decoder := json.NewDecoder(bytes.NewReader(content))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(&r); err != nil {
		return nil, fmt.Errorf("%w: %w", errUnreadable, cmp.Or(foreign(content), fmt.Errorf("corrupt: %w", err)))
	}
	if r.Kind != recordKind || r.Schema != recordSchema {
		return nil, fmt.Errorf("%w: %w", errUnreadable, foreign(content))
	}
	if r.Binding.Key() != key {
		return nil, fmt.Errorf("%w: foreign: it belongs to the binding %s, not to %s", errUnreadable, r.Binding.Key(), key)
	}
	if r.Rotation != nil {
		if err := r.Rotation.check(); err != nil {
			return nil, fmt.Errorf("%w: corrupt: %w", errUnreadable, err)
		}
	}
	return &r, nil
}

// foreign tells what else the content is, if it says so; nil otherwise.
func foreign(content []byte) error {
	var head struct {
		Kind   string `json:"kind"`
		Schema int    `json:"schema"`
	}
	switch err := json.Unmarshal(content, &head); {
	case err != nil:
		return nil
	case head.Kind != recordKind:
		return fmt.Errorf("foreign: its kind is %q, not %q", head.Kind, recordKind)
	case head.Schema != recordSchema:
		return fmt.Errorf("its schema is %d, this program knows %d", head.Schema, recordSchema)
	default:
		return nil
	}
}

// check refuses what no version of this program writes.
func (r *rotation) check() error {
	if r.ID == "" || !slices.Contains(bridge.Phases(), r.Phase) || r.Phase == bridge.PhaseIdle || r.Phase == bridge.PhaseBlocked {
		return fmt.Errorf("rotation %q in phase %q", r.ID, r.Phase)
	}
	for _, list := range [][]act{r.Creates, r.Puts, r.Starts, r.Canary, r.Deletes} {
		for i, a := range list {
			if a.Number != i+1 {
				return fmt.Errorf("act %d stands at place %d", a.Number, i+1)
			}
		}
	}
	if after := r.Phase != bridge.PhasePlan && r.Phase != bridge.PhaseCreate; after && r.NewToken == nil {
		return fmt.Errorf("phase %s without a new token", r.Phase)
	}
	return nil
}

// newRecord is the record of a binding about which nothing is remembered.
func newRecord(binding bridge.Binding, connection string) *record {
	return &record{
		Kind: recordKind, Schema: recordSchema, Binding: binding, Connection: connection,
		Tokens: map[string]bridge.Token{}, Endings: map[bridge.Ending]uint64{},
	}
}

// clone returns a deep copy that may be changed.
func (r *record) clone() (*record, error) {
	content, err := r.encode()
	if err != nil {
		return nil, err
	}
	return decodeRecord(content, r.Binding.Key())
}

// account makes these and no other tokens the ones that are known.
func (r *record) account(tokens []bridge.Token) {
	r.Tokens = map[string]bridge.Token{}
	for _, token := range tokens {
		r.Tokens[token.ID] = token
	}
}

// unaccounted lists the tokens that nobody has accounted for.
func (r *record) unaccounted(tokens []bridge.Token) []bridge.Token {
	return slices.DeleteFunc(slices.Clone(tokens), func(token bridge.Token) bool {
		_, known := r.Tokens[token.ID]
		return known
	})
}

// again lets a blocked rotation go on after a person has looked: from the test of the
// new token if there is one, never back to before a PUT. What was done stays done.
func (r *record) again() {
	rot := r.Rotation
	rot.Blocked, rot.Waiting, rot.Abort, rot.Standing = nil, notWaiting, "", time.Time{}
	rot.Round++
	rot.Renewed, rot.Rescues = 0, 0
	switch {
	case rot.creating(), rot.NewToken == nil && rot.putAttempted():
		rot.Phase = bridge.PhaseCreate
	case rot.NewToken == nil:
		rot.Phase = bridge.PhasePlan
	default:
		rot.Phase, rot.Tests, rot.Proof = bridge.PhaseTest, tests{}, proof{}
		if rot.putAttempted() {
			rot.Want = putSwitch
		}
	}
}

// historyLength is how many ended rotations are remembered.
const historyLength = 20

// close ends the rotation and counts how.
func (r *record) close(ending bridge.Ending, reason string, at time.Time) {
	r.count(ending)
	r.remember(ending, reason, at)
	r.LastEnd = at
}

// remember moves the rotation into the history.
func (r *record) remember(ending bridge.Ending, reason string, at time.Time) {
	ended := r.history(at)
	ended.Ending, ended.Reason = ending, reason
	r.History = append(r.History, ended)
	r.History = r.History[max(0, len(r.History)-historyLength):]
	r.Rotation = nil
}

func (r *record) count(ending bridge.Ending) {
	if r.Endings == nil {
		r.Endings = map[bridge.Ending]uint64{}
	}
	r.Endings[ending]++
}

// history shows the open rotation as history does; at is when it ended, zero: it has not.
func (r *record) history(at time.Time) bridge.RotationRecord {
	rot := r.Rotation
	shown := bridge.RotationRecord{
		Connection: r.Connection, ID: rot.ID, Trigger: rot.Trigger, Started: rot.Started.Local, Ended: at,
		Phase: rot.Phase, NewTokenID: rot.newID(), Proof: rot.Proof.Level, Steps: slices.Clone(rot.Steps),
	}
	if rot.Blocked != nil {
		shown.Ending, shown.Reason = bridge.EndingBlocked, string(rot.Blocked.Reason)
	}
	for _, token := range rot.old() {
		if shown.OldTokenID == "" || token.Role == bridge.RoleInUse {
			shown.OldTokenID = token.ID
		}
	}
	return shown
}

// endings returns a copy of the counters with every ending present.
func (r *record) endings() map[bridge.Ending]uint64 {
	counts := map[bridge.Ending]uint64{bridge.EndingDone: 0, bridge.EndingAborted: 0, bridge.EndingBlocked: 0}
	maps.Copy(counts, r.Endings)
	return counts
}
