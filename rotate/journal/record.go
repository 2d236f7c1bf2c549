package journal

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"entra-aws-exporter/internal/model"
)

// Record is all that is remembered of one binding. It holds no token values and no
// personal data. A record that was published is never changed in place.
type Record struct {
	Kind       string        `json:"kind"`
	Schema     int           `json:"schema"`
	Sequence   uint64        `json:"sequence"` // grows with every write, so that a restored older copy shows
	Updated    time.Time     `json:"updated"`
	Binding    model.Binding `json:"binding"`
	Connection string        `json:"connection"` // the connection's name in the configuration when it was written last
	Lease      Lease         `json:"lease,omitzero"`

	OnHold   time.Time `json:"on_hold,omitzero"`  // an operator paused the rotations then; zero: they may run
	Restored string    `json:"restored,omitzero"` // why the record may be older than AWS and Entra; "": it is not

	Procedures map[model.Procedure]*Procedure `json:"procedures"`
	Rotation   *Rotation                      `json:"rotation,omitempty"` // the open or blocked one
	History    []model.RotationRecord         `json:"history,omitempty"`  // ended ones, oldest first
}

// Procedure is what is remembered of a binding's rotations of one kind.
type Procedure struct {
	Attempts    int                      `json:"attempts,omitempty"` // failed rotations since the last success or reset
	LastEnd     time.Time                `json:"last_end,omitzero"`
	LastSuccess time.Time                `json:"last_success,omitzero"`
	Outcomes    map[model.Outcome]uint64 `json:"outcomes,omitempty"`
	Memory      any                      `json:"memory"` // the procedure's own
}

// Rotation is one rotation, from its trigger to its outcome.
type Rotation struct {
	ID      string          `json:"id"`
	Kind    model.Procedure `json:"kind"`
	Trigger model.Trigger   `json:"trigger"`
	Forced  bool            `json:"forced,omitempty"` // start even if it is not due

	Phase   model.Phase  `json:"phase"`
	Started Timestamps   `json:"started"`
	Phases  []PhaseEntry `json:"phases,omitempty"`

	Operations map[OperationKind][]Operation `json:"operations,omitempty"`
	ResetCount int                           `json:"reset_count,omitempty"` // how often an operator reset it
	JournalGap time.Duration                 `json:"journal_gap,omitempty"` // the longest time without a journal entry since the last creation was requested

	Asked    string               `json:"asked,omitempty"` // the target whose deletion an operator is asked to approve
	Approval *Approval            `json:"approval,omitempty"`
	Abort    string               `json:"abort,omitempty"` // why it must be aborted; "": it need not
	Waiting  model.WaitingReason  `json:"waiting,omitempty"`
	Blocked  *Block               `json:"blocked,omitempty"`
	Failures Failures             `json:"failures,omitzero"` // what keeps it from going on
	Steps    []model.RotationStep `json:"steps,omitempty"`

	Progress Progress `json:"progress"` // the procedure's own
}

// Failures is what has failed since a phase last succeeded.
type Failures struct {
	model.FailureStreak
	Store bool `json:"store,omitempty"` // the store failed, not AWS or Entra
}

// Timestamps is one point in time on the three clocks involved; zero: not known.
type Timestamps struct {
	Local time.Time `json:"local"`
	AWS   time.Time `json:"aws,omitzero"`
	Graph time.Time `json:"graph,omitzero"`
}

// PhaseEntry is when a phase was entered.
type PhaseEntry struct {
	Phase model.Phase `json:"phase"`
	At    Timestamps  `json:"at"`
}

// Approval is an operator's approval of the deletion of one target.
type Approval struct {
	Target string    `json:"target"`
	At     time.Time `json:"at"`
}

// Block is why a rotation stopped until an operator acts.
type Block struct {
	Reason  model.BlockedReason `json:"reason"`
	Message string              `json:"message"`
	At      time.Time           `json:"at"`
}

// The kind and schema of a record. Records of another kind or schema are left alone.
const (
	recordKind   = "entra-aws-exporter/rotation"
	recordSchema = 2
)

const (
	// historyLength is how many ended rotations are remembered.
	historyLength = 20
	// maxSteps bounds the steps of one rotation.
	maxSteps = 200
	// maxStepBytes bounds the steps of the open rotation, and those of the ended ones
	// together. So a record fits into an item of DynamoDB, whatever the errors in it say.
	maxStepBytes = 128 << 10
)

// AppendSteps adds steps. If there are too many, the oldest are left out.
func (r *Rotation) AppendSteps(steps []model.RotationStep) {
	all := append(r.Steps, steps...)
	r.Steps, _ = newestSteps(all[max(0, len(all)-maxSteps):], maxStepBytes)
}

// newestSteps leaves the oldest steps out that do not fit into so many bytes of a record.
func newestSteps(steps []model.RotationStep, bytes int) (fitting []model.RotationStep, left int) {
	for i, step := range slices.Backward(steps) {
		encoded, err := json.Marshal(step)
		if err != nil || len(encoded) >= bytes {
			return steps[i+1:], 0
		}
		bytes -= len(encoded) + 1
	}
	return steps, bytes
}

// SetPhase moves on to another phase.
func (r *Rotation) SetPhase(phase model.Phase, at Timestamps) {
	r.Phase, r.Waiting = phase, ""
	r.Phases = append(r.Phases, PhaseEntry{phase, at})
}

// Finish moves the open rotation into the history and counts its outcome.
func (r *Record) Finish(outcome model.Outcome, reason string, at time.Time) {
	r.CountOutcome(outcome)
	r.Archive(outcome, reason, at)
}

// Archive moves the open rotation into the history without counting it: it was counted
// when it was blocked.
func (r *Record) Archive(outcome model.Outcome, reason string, at time.Time) {
	ended := r.Describe(at)
	ended.Outcome, ended.Reason = outcome, reason
	r.History = append(r.History, ended)
	r.History = r.History[max(0, len(r.History)-historyLength):]
	left := maxStepBytes
	for i := range slices.Backward(r.History) {
		r.History[i].Steps, left = newestSteps(r.History[i].Steps, left)
	}
	r.Rotation = nil
}

// Inventory lists what the record knows to exist of what its open rotation, or else any
// procedure, rotates.
func (r *Record) Inventory() string {
	if r.Rotation != nil {
		return r.Procedures[r.Rotation.Kind].inventory()
	}
	var inventories []string
	for _, kind := range slices.Sorted(maps.Keys(r.Procedures)) {
		inventories = append(inventories, r.Procedures[kind].inventory())
	}
	return strings.Join(inventories, "; ")
}

func (p *Procedure) inventory() string {
	memory, ok := p.Memory.(Memory)
	if !ok {
		return ""
	}
	return memory.Inventory()
}

// Block stops the open rotation until an operator acts.
func (r *Record) Block(reason model.BlockedReason, message string, at time.Time) {
	r.Rotation.Waiting = ""
	r.Rotation.Blocked = &Block{Reason: reason, Message: message, At: at}
	r.CountOutcome(model.OutcomeBlocked)
}

// CountOutcome counts an outcome of the open rotation's procedure.
func (r *Record) CountOutcome(outcome model.Outcome) {
	procedure := r.Procedures[r.Rotation.Kind]
	if procedure.Outcomes == nil {
		procedure.Outcomes = map[model.Outcome]uint64{}
	}
	procedure.Outcomes[outcome]++
}

// AllOutcomes returns a copy of the counters with every outcome present.
func (p *Procedure) AllOutcomes() map[model.Outcome]uint64 {
	counts := map[model.Outcome]uint64{}
	for _, outcome := range model.Outcomes() {
		counts[outcome] = 0
	}
	if p != nil {
		maps.Copy(counts, p.Outcomes)
	}
	return counts
}

// Describe shows the open rotation as the history does; ended is zero while it runs.
func (r *Record) Describe(ended time.Time) model.RotationRecord {
	rotation := r.Rotation
	described := model.RotationRecord{
		Connection: r.Connection, ID: rotation.ID, Kind: rotation.Kind, Trigger: rotation.Trigger,
		Started: rotation.Started.Local, Ended: ended, Phase: rotation.Phase, Steps: slices.Clone(rotation.Steps),
	}
	if rotation.Blocked != nil {
		described.Outcome, described.Reason = model.OutcomeBlocked, string(rotation.Blocked.Reason)
	}
	rotation.Progress.Describe(&described)
	return described
}

// Active tells whether a rotation is under way and not blocked.
func (r *Record) Active() bool { return r != nil && r.Rotation != nil && r.Rotation.Blocked == nil }

// IsBlocked tells whether a rotation waits for an operator.
func (r *Record) IsBlocked() bool { return r != nil && r.Rotation != nil && r.Rotation.Blocked != nil }

// check refuses what no version of this program writes.
func (r *Rotation) check() error {
	if r.ID == "" || !slices.Contains(model.Phases(), r.Phase) || r.Phase == model.PhaseIdle || r.Phase == model.PhaseBlocked {
		return fmt.Errorf("rotation %q in phase %q", r.ID, r.Phase)
	}
	for kind, operations := range r.Operations {
		for i, operation := range operations {
			if operation.Number != i+1 {
				return fmt.Errorf("%s operation %d is at position %d", kind, operation.Number, i+1)
			}
		}
	}
	if r.Progress == nil {
		return fmt.Errorf("rotation %s has no progress, or is of the unknown kind %q", r.ID, r.Kind)
	}
	return r.Progress.Check(r)
}
