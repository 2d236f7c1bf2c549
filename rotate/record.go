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

	"entra-aws-exporter/internal/model"
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
	Kind       string        `json:"kind"`
	Schema     int           `json:"schema"`
	Sequence   uint64        `json:"sequence"` // grows with every write, so that an older copy put back shows
	Updated    time.Time     `json:"updated"`
	Binding    model.Binding `json:"binding"`
	Connection string        `json:"connection"` // what the config called it last
	Lease      lease         `json:"lease,omitzero"`

	Tokens        map[string]model.Token `json:"tokens,omitempty"` // accounted for: seen when the plan or a person knew what each was for
	InUse         string                 `json:"in_use,omitempty"` // the token id that Entra was switched to, or was proven to hold
	SavedAt       []time.Time            `json:"saved_at,omitempty"`
	ForeignChange time.Time              `json:"foreign_change,omitzero"` // somebody else changed Entra's credentials then (Graph's clock)
	Trust         *trust                 `json:"trust,omitempty"`

	Budget        budget                   `json:"budget"`
	Attempts      int                      `json:"attempts,omitempty"` // failed since the last success or reset
	LastEnd       time.Time                `json:"last_end,omitzero"`
	LastSuccess   time.Time                `json:"last_success,omitzero"`
	Endings       map[model.Outcome]uint64 `json:"outcomes,omitempty"`
	TokensCreated uint64                   `json:"tokens_created,omitempty"`

	Held     time.Time `json:"held,omitzero"`     // a person said: stop acting; zero: nobody did
	Restored string    `json:"restored,omitzero"` // why this record may be older than the clouds; "": it is not

	Rotation *rotation              `json:"rotation,omitempty"` // the open or blocked one
	History  []model.RotationRecord `json:"history,omitempty"`  // ended ones, oldest first
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
		return nil, fmt.Errorf("%w: %w", errUnreadable, cmp.Or(foreign(content), errors.New("foreign: it does not say what it is")))
	}
	if r.Binding.Key() != key {
		return nil, fmt.Errorf("%w: foreign: it belongs to the binding %s, not to %s", errUnreadable, r.Binding.Key(), key)
	}
	if r.Tokens == nil { // no token was listed
		r.Tokens = map[string]model.Token{}
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
	_ = json.Unmarshal(content, &head) // what can be read of it
	switch {
	case head.Kind == "":
		return nil
	case head.Kind != recordKind:
		return fmt.Errorf("foreign: its kind is %q, not %q", head.Kind, recordKind)
	case head.Schema != recordSchema:
		return fmt.Errorf("its schema is %d, this program knows %d", head.Schema, recordSchema)
	default:
		return nil
	}
}

// newRecord is the record of a binding about which nothing is remembered.
func newRecord(binding model.Binding, connection string) *record {
	return &record{
		Kind: recordKind, Schema: recordSchema, Binding: binding, Connection: connection,
		Tokens: map[string]model.Token{}, Endings: map[model.Outcome]uint64{},
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
func (r *record) account(tokens []model.Token) {
	r.Tokens = map[string]model.Token{}
	for _, token := range tokens {
		r.Tokens[token.ID] = token
	}
}

// unaccounted lists the tokens that nobody has accounted for.
func (r *record) unaccounted(tokens []model.Token) []model.Token {
	return slices.DeleteFunc(slices.Clone(tokens), func(token model.Token) bool {
		_, known := r.Tokens[token.ID]
		return known
	})
}

// again lets a blocked rotation go on after a person has looked: from the test of the
// new token if there is one, never back to before a PUT. What was done stays done.
func (r *record) again(at time.Time) {
	rot := r.Rotation
	was := rot.Phase
	rot.Blocked, rot.Waiting, rot.Abort, rot.Standing = nil, notWaiting, "", time.Time{}
	rot.Round++
	rot.Renewed, rot.Rescues = 0, 0
	switch {
	case rot.creating(), rot.NewToken == nil && rot.putAttempted():
		rot.Phase = model.PhaseCreate
	case rot.NewToken == nil:
		rot.Phase = model.PhasePlan
	default:
		rot.Phase, rot.Tests, rot.Proof = model.PhaseTest, tests{}, proof{}
		if rot.putAttempted() {
			rot.Want = putSwitch
		}
	}
	if rot.Phase != was {
		rot.Phases = append(rot.Phases, passage{rot.Phase, moment{Local: at}})
	}
}

// historyLength is how many ended rotations are remembered.
const historyLength = 20

// close ends the rotation and counts how.
func (r *record) close(ending model.Outcome, reason string, at time.Time) {
	idle := reason == notDue && r.Rotation.Trigger == TriggerOperator
	r.count(ending)
	r.remember(ending, reason, at)
	if !idle { // a person who asked a day too early must not keep the alert waiting
		r.LastEnd = at
	}
}

// remember moves the rotation into the history.
func (r *record) remember(ending model.Outcome, reason string, at time.Time) {
	ended := r.history(at)
	ended.Outcome, ended.Reason = ending, reason
	r.History = append(r.History, ended)
	r.History = r.History[max(0, len(r.History)-historyLength):]
	r.Rotation = nil
}

func (r *record) count(ending model.Outcome) {
	if r.Endings == nil {
		r.Endings = map[model.Outcome]uint64{}
	}
	r.Endings[ending]++
}

// history shows the open rotation as history does; at is when it ended, zero: it has not.
func (r *record) history(at time.Time) model.RotationRecord {
	rot := r.Rotation
	shown := model.RotationRecord{
		Connection: r.Connection, ID: rot.ID, Trigger: rot.Trigger, Started: rot.Started.Local, Ended: at,
		Phase: rot.Phase, NewTokenID: rot.newID(), Proof: rot.Proof.Level, Steps: slices.Clone(rot.Steps),
	}
	if rot.Blocked != nil {
		shown.Outcome, shown.Reason = model.OutcomeBlocked, string(rot.Blocked.Reason)
	}
	for _, token := range rot.old() {
		if shown.OldTokenID == "" || token.Role == model.RoleInUse {
			shown.OldTokenID = token.ID
		}
	}
	return shown
}

// endings returns a copy of the counters with every ending present.
func (r *record) endings() map[model.Outcome]uint64 {
	counts := map[model.Outcome]uint64{model.OutcomeDone: 0, model.OutcomeAborted: 0, model.OutcomeBlocked: 0}
	maps.Copy(counts, r.Endings)
	return counts
}
