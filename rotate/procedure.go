package rotate

import (
	"context"
	"time"

	"entra-aws-exporter/internal/model"
	"entra-aws-exporter/rotate/journal"
	"entra-aws-exporter/rotate/policy"
)

// Procedure is one kind of rotation of one connection: what is rotated, and how.
type Procedure interface {
	Kind() model.Procedure
	Policy() policy.Policy

	// Ready refuses, by NotStarted, what an alert cannot start by what was polled.
	Ready(snapshot model.Snapshot) error
	// Due returns when a rotation is, or was, due; zero: that is not known. record may be nil.
	Due(snapshot model.Snapshot, record *journal.Record, now time.Time) time.Time
	// Repairs tells whether the last poll shows a fault that only a rotation can repair.
	Repairs(snapshot model.Snapshot, record *journal.Record) bool

	// CheckStart refuses an operator's start that the configuration or the last poll forbids.
	CheckStart(snapshot model.Snapshot, options any) error
	// Resolves tells whether a start with these options answers what blocked the rotation,
	// so that another one may take its place.
	Resolves(rotation *journal.Rotation, options any) bool
	// PrepareStart stores what the options bring along, before the rotation is written down.
	PrepareStart(ctx context.Context, bindingKey string, options any) error
	// NewProgress is what a rotation begins with. options is nil if an alert starts it.
	NewProgress(snapshot model.Snapshot, options any) (progress journal.Progress, forced bool)

	// Changing tells whether the rotation is between the creation of something new and the
	// proof that it is stored. Only a few rotations of a process are so at a time; a repair
	// never waits, so it is not counted.
	Changing(rotation *journal.Rotation) bool

	// Run makes the runner of one rotation.
	Run(session *Session) Runner
	// DryRun reads everything that a rotation would read, and logs what it would do.
	DryRun(ctx context.Context, session *Session, options any) error

	// CheckAbort refuses an abort when Entra may depend on what the rotation made.
	CheckAbort(rotation *journal.Rotation) error
	// AbortPhase is the phase that takes back what the rotation made; PhaseIdle: there is
	// nothing to take back. False: the rotation cannot be aborted, or not now.
	AbortPhase(rotation *journal.Rotation) (model.Phase, bool)
	// Remainder says what an abort leaves behind that somebody should know; "": nothing.
	Remainder(rotation *journal.Rotation) string
	// Reset lets a blocked rotation continue after an operator has looked. False: nothing
	// was made yet, so it ends instead.
	Reset(record *journal.Record, at time.Time) bool
	// CheckApproval refuses an approval that the rotation cannot use.
	CheckApproval(rotation *journal.Rotation, target string) error
	// Adopt reads AWS and Entra and returns the edit that takes their state for right.
	// inUse names what Entra uses. The edit refuses to guess it.
	Adopt(ctx context.Context, inUse string) (func(*journal.Record) error, error)
	// Rebind takes along what a blocked rotation must not lose when its connection is
	// bound to something else. It returns an edit of the new binding's record.
	Rebind(ctx context.Context, from *journal.Record, toKey string) (func(to *journal.Record), error)

	// Inventory lists what there is to rotate, for messages: "tokens: …". record may be nil.
	Inventory(snapshot model.Snapshot, record *journal.Record) string
	// Describe adds the procedure's own part to the status. record may be nil.
	Describe(status *model.RotationStatus, snapshot model.Snapshot, record *journal.Record, now time.Time)
}

// Runner runs the phases of one rotation.
type Runner interface {
	// RunPhase does what is left to do in the phase, and names the next one. It may be
	// called any number of times. PhaseIdle: the rotation has ended. An error that is no
	// BlockedError is waited out, and the phase run again.
	RunPhase(ctx context.Context, phase model.Phase) (model.Phase, error)
	// BeforeBlock is called when the rotation is about to be blocked. It names the phase
	// that must come first, because what is left behind would not work; "": none. A
	// BlockedError replaces the one that was found.
	BeforeBlock(ctx context.Context, found *BlockedError) (model.Phase, error)
	// Inventory lists what AWS listed last, for messages.
	Inventory() string
}

// Connection is one connection that can be rotated.
type Connection struct {
	Name string
	// Resolve asks AWS and Entra what the connection resolves to now.
	Resolve    func(ctx context.Context) (model.Binding, error)
	Procedures []Procedure
}

// procedure returns the connection's procedure of a kind; false: it has none.
func (c Connection) procedure(kind model.Procedure) (Procedure, bool) {
	for _, p := range c.Procedures {
		if p.Kind() == kind {
			return p, true
		}
	}
	return nil, false
}
