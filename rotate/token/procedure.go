// Package token is the procedure that rotates the SCIM access token of a connection
// without an outage: a new token at AWS, tests, the switch in Entra, proof that
// provisioning uses it, and only then the deletion of the old one.
//
// Read record.go (what is written down), procedure.go (what it needs of AWS and Entra, and
// what the engine asks of it) and session.go (the table of phases) first. Then the phases
// in their order: plan.go, create.go, test.go, switch.go, resume.go, verify.go, retire.go,
// confirm.go; undo.go takes a new token back. They stand on recovery.go (Entra gets a
// working token again), save.go (saving a token to Entra), guard.go (the one way to a
// deletion), proof.go (the levels of proof), observe.go (reading AWS and Entra) and
// store.go (token values).
//
// The order of operations and records is the product: docs/rotation.md describes it,
// docs/rotation-proof.md says how it is proven.
package token

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"time"

	"entra-aws-exporter/internal/model"
	"entra-aws-exporter/rotate"
	"entra-aws-exporter/rotate/journal"
	"entra-aws-exporter/rotate/policy"
)

// The interfaces below are all that a rotation needs of AWS and Entra. Every method makes
// its calls under ctx and returns errors classified as *model.Error; model.CallOutcomeOf
// tells from the error of an operation whether it may have taken effect.

// Tokens are the SCIM access tokens of one provisioning tenant at AWS.
type Tokens interface {
	// ListTokens returns the tokens and AWS's clock.
	ListTokens(ctx context.Context) (model.TokenList, error)
	// CreateToken requests a new token exactly once, without any retry.
	CreateToken(ctx context.Context) (model.IssuedToken, error)
	// DeleteToken deletes the token with this id, exactly once, without any retry.
	DeleteToken(ctx context.Context, tokenID string) error
}

// SCIM is AWS's SCIM endpoint, called with a token's value.
type SCIM interface {
	// ProbeToken makes one cheap authenticated call. A status other than 2xx is an
	// answer, not an error; an error means that there was none.
	ProbeToken(ctx context.Context, value model.Secret) (model.Probe, error)
	// HasUser reports whether a user with this userName exists.
	HasUser(ctx context.Context, value model.Secret, userName string) (bool, error)
}

// CloudTrail is the log of the calls to the SCIM endpoint.
type CloudTrail interface {
	// CallsSince lists the logged calls to the bound provisioning tenant, oldest first.
	CallsSince(ctx context.Context, since time.Time) ([]model.SCIMCall, error)
}

// Provisioning is Entra's side: one application's provisioning job and credentials.
type Provisioning interface {
	// Job reads the job and Graph's clock.
	Job(ctx context.Context) (model.Job, error)
	// Credentials reads the provisioning credentials; secret values come masked.
	Credentials(ctx context.Context) ([]model.Credential, error)
	// SaveCredentials replaces the provisioning credentials, exactly once, without any retry.
	SaveCredentials(ctx context.Context, credentials []model.Credential) error
	// TestConnection makes Entra call the SCIM endpoint: with these credentials, or with
	// the saved ones if inline is nil. The error says why a test did not pass.
	TestConnection(ctx context.Context, inline []model.Credential) (model.TestResult, error)
	// StartJob starts the job, exactly once, without any retry.
	StartJob(ctx context.Context) error
	// Exports counts the successful entries of the provisioning log for this job since then.
	Exports(ctx context.Context, since time.Time) (int, error)
	// ProvisionUser provisions one user on demand and returns its userName at AWS.
	ProvisionUser(ctx context.Context, userObjectID string) (userName string, err error)
	// Application reads what the plan checks of the application itself.
	Application(ctx context.Context) (model.Application, error)
}

// Options are what the procedure of one connection works with.
type Options struct {
	Connection   string // its name
	Policy       policy.Token
	Tokens       Tokens
	SCIM         SCIM
	CloudTrail   CloudTrail // nil: it is not read
	Provisioning Provisioning
	// Resolve asks AWS and Entra what the connection resolves to now.
	Resolve   func(ctx context.Context) (model.Binding, error)
	TenantURL string // the Tenant URL to save when Entra hides its own; "": AWS's SCIM endpoint
	Store     Store
}

// Procedure rotates the SCIM access token of one connection. It implements rotate.Procedure.
type Procedure struct{ options Options }

// New makes the procedure of one connection.
func New(options Options) *Procedure { return &Procedure{options} }

// Kind implements rotate.Procedure.
func (p *Procedure) Kind() model.Procedure { return model.ProcedureToken }

// Policy implements rotate.Procedure.
func (p *Procedure) Policy() policy.Policy { return p.options.Policy.Policy }

// Ready implements rotate.Procedure.
func (p *Procedure) Ready(snapshot model.Snapshot) error {
	if p.options.Policy.Issuer == model.IssuerOperator {
		return rotate.NotStarted(model.DecisionDisabled, "rotation.issuer is operator: create a token at AWS, then rotation start %s --token-stdin --token-id ID", p.options.Connection)
	}
	if snapshot.Tokens == nil || !snapshot.Binding.Complete() {
		return rotate.NotStarted(model.DecisionNotDue, "its tokens were not read yet")
	}
	return nil
}

// Due implements rotate.Procedure.
func (p *Procedure) Due(snapshot model.Snapshot, r *journal.Record, now time.Time) time.Time {
	var due time.Time
	if snapshot.Tokens != nil {
		current := ""
		for id, role := range roles(snapshot, r, now) {
			if role == model.RoleInUse {
				current = id
			}
		}
		if token, ok := policy.ActiveToken(*snapshot.Tokens, current, now); ok {
			due = p.options.Policy.DueAt(token)
		}
	}
	if p.Repairs(snapshot, r) {
		detected := snapshot.Job.Quarantine.CurrentBegan
		if detected.After(now) { // by Graph's clock
			detected = now
		}
		if due.IsZero() || detected.Before(due) {
			due = detected
		}
	}
	return due
}

// Repairs implements rotate.Procedure: only a working token ends a quarantine for its
// credentials. A quarantine that began before the last success belongs to that rotation,
// and is still ending.
func (p *Procedure) Repairs(snapshot model.Snapshot, r *journal.Record) bool {
	if snapshot.Job == nil || snapshot.Job.Quarantine == nil {
		return false
	}
	q := *snapshot.Job.Quarantine
	if !q.Credentials() && (q.Cause() == model.QuarantineOther || !tokensRefused(snapshot)) {
		return false
	}
	return r == nil || q.CurrentBegan.After(r.Procedures[model.ProcedureToken].LastSuccess.Add(policy.ClockSlack))
}

// tokensRefused tells whether the last poll shows that AWS refuses what Entra holds, whatever
// Entra calls it: no listed token is valid any more, or the one in use answers 401.
func tokensRefused(snapshot model.Snapshot) bool {
	if snapshot.Probe != nil && snapshot.Probe.StatusCode == http.StatusUnauthorized {
		return true
	}
	if snapshot.Tokens == nil || len(snapshot.Tokens.Tokens) == 0 {
		return false
	}
	at := time.Now().Add(-policy.ExpiryGrace)
	return !slices.ContainsFunc(snapshot.Tokens.Tokens, func(t model.Token) bool { return !t.Expired(at) })
}

// Inventory implements rotate.Procedure.
func (p *Procedure) Inventory(snapshot model.Snapshot, r *journal.Record) string {
	switch {
	case snapshot.Tokens != nil:
		return inventoryOf(snapshot.Tokens.Tokens)
	case r != nil:
		return recordOf(r).Memory.Inventory()
	default:
		return inventoryOf(nil)
	}
}

// Describe implements rotate.Procedure.
func (p *Procedure) Describe(status *model.RotationStatus, snapshot model.Snapshot, r *journal.Record, now time.Time) {
	status.Issuer = p.options.Policy.Issuer
	status.Roles = roles(snapshot, r, now)
	if r == nil {
		return
	}
	known := recordOf(r)
	status.TokensCreated = known.TokensCreated
	rot := known.Rotation
	if rot == nil {
		return
	}
	status.Proof = rot.Proof.Level
	if rot.Waiting != model.WaitingApproval {
		return
	}
	for _, old := range rot.oldTokens() {
		if old.ID == rot.Asked {
			status.Message = approvalMessage(r.Connection, rot, old.Token)
		}
	}
}

// roles says what each token of the last poll is for.
func roles(snapshot model.Snapshot, r *journal.Record, now time.Time) map[string]model.TokenRole {
	if snapshot.Tokens == nil {
		return nil
	}
	var evidence policy.Evidence
	if r != nil {
		evidence = recordOf(r).evidence()
	}
	expired := func(t model.Token) bool { return t.Expired(now.Add(-policy.ExpiryGrace)) }
	return evidence.Roles(snapshot.Tokens.Tokens, expired, snapshot.Job)
}

// CheckAbort implements rotate.Procedure.
func (p *Procedure) CheckAbort(r *journal.Rotation) error {
	if rot := rotationOf(r); rot.mayBeInUse() {
		return fmt.Errorf("token %s may be in use already, so the rotation cannot be aborted; hold pauses it", rot.newID())
	}
	return nil
}

// AbortPhase implements rotate.Procedure.
func (p *Procedure) AbortPhase(r *journal.Rotation) (model.Phase, bool) {
	rot := rotationOf(r)
	switch {
	case rot.mayBeInUse() || rot.creating():
		return "", false
	case rot.NewToken != nil:
		return model.PhaseUndo, true
	default:
		return model.PhaseIdle, true
	}
}

// Remainder implements rotate.Procedure: undo has taken back what was made.
func (p *Procedure) Remainder(*journal.Rotation) string { return "" }

// Reset implements rotate.Procedure.
func (p *Procedure) Reset(r *journal.Record, at time.Time) bool {
	rot := rotationOf(r.Rotation)
	if !rot.hasCreated() {
		return false
	}
	rot.resumeAfterReset(at)
	return true
}

// CheckApproval implements rotate.Procedure.
func (p *Procedure) CheckApproval(r *journal.Rotation, tokenID string) error {
	rot := rotationOf(r)
	switch {
	case !slices.Contains(idsOf(rot.oldTokens()), tokenID):
		return fmt.Errorf("token %s is not one that this rotation wants to delete; those are: %s", tokenID, formatTokens(tokensOf(rot.oldTokens())))
	case !rot.Proof.Level.AtLeast(model.ProofUsed):
		return fmt.Errorf("nothing shows yet that Entra uses the new token (phase %s): approve once the rotation asks for it", rot.Phase)
	default:
		return nil
	}
}

// Changing implements rotate.Procedure.
func (p *Procedure) Changing(r *journal.Rotation) bool {
	switch rot := rotationOf(r); rot.Phase {
	case model.PhaseCreate, model.PhaseTest, model.PhaseSwitch:
		return !rot.Plan.Repair && rot.Recoveries == 0
	default:
		return false
	}
}

// Run implements rotate.Procedure.
func (p *Procedure) Run(s *rotate.Session) rotate.Runner { return runner{observer{p.session(s)}} }

// runner implements rotate.Runner.
type runner struct{ observer }

// RunPhase implements rotate.Runner.
func (r runner) RunPhase(ctx context.Context, phase model.Phase) (model.Phase, error) {
	next, err := r.runPhase(ctx, phase)
	switch {
	case errors.Is(err, errValueLost):
		return "", asBlocked(err)
	case model.ReasonOf(err) == model.ReasonAuth: // a sign-in fails by a wrong clock, too
		if _, failed := r.listTokens(ctx); failed == nil && r.AWS.Known {
			err = cmp.Or(r.checkClock(), err)
		}
	}
	return next, err
}

func (r runner) runPhase(ctx context.Context, phase model.Phase) (model.Phase, error) {
	if err := r.stopAfterRollback(); err != nil {
		return "", err
	}
	switch phase {
	case model.PhasePlan:
		return planPhase(r).run(ctx)
	case model.PhaseCreate:
		return createPhase(r).run(ctx)
	case model.PhaseTest:
		return testPhase(r).run(ctx)
	case model.PhaseSwitch:
		return switchPhase(r).run(ctx)
	case model.PhaseResume:
		return resumePhase(r).run(ctx)
	case model.PhaseVerify:
		return verifyPhase(r).run(ctx)
	case model.PhaseRetire:
		return retirePhase(r).run(ctx)
	case model.PhaseConfirm:
		return confirmPhase(r).run(ctx)
	case model.PhaseUndo:
		return undoPhase(r).run(ctx)
	default:
		return "", rotate.BlockedNow(model.BlockedJournalUnreadable, "the journal is in the unknown phase %q", phase)
	}
}

// BeforeBlock implements rotate.Runner: whatever a rotation stops for, Entra must not be
// left with a token that AWS refuses. It gets another one, or the reason says so.
func (r runner) BeforeBlock(ctx context.Context, found *rotate.BlockedError) (model.Phase, error) {
	switch found.Reason {
	case model.BlockedEntraHoldsDeadToken: // there was no other
		return "", nil
	case model.BlockedStateRestored, model.BlockedJournalUnreadable, model.BlockedBindingChanged, model.BlockedWrongTarget:
		return "", nil // what is known may be about another state, or another connection
	default:
		return recovery(r).beforeBlock(ctx, found)
	}
}

// Inventory implements rotate.Runner: the tokens that AWS listed last, or that the
// journal knows, and the new one.
func (r runner) Inventory() string {
	tokens := slices.Clone(r.listed)
	if tokens == nil {
		tokens = r.record().knownTokens()
	}
	if token := r.rotation().NewToken; token != nil && !slices.ContainsFunc(tokens, func(t model.Token) bool { return t.ID == token.ID }) {
		tokens = append(tokens, *token)
	}
	slices.SortFunc(tokens, func(a, b model.Token) int { return a.Created.Compare(b.Created) })
	return inventoryOf(tokens)
}

// stopAfterRollback stops a rotation that has saved another token again: what Entra uses
// from then on proves nothing about the new one, not even after a crash.
func (r runner) stopAfterRollback() error {
	last, tried := r.rotation().lastPut()
	if !tried || last.Why != PutRollback || !last.Done() || last.ResetCount != r.rotation().ResetCount {
		return nil
	}
	return rotate.BlockedNow(model.BlockedNewTokenRejected, "token %s did not work in Entra, so token %s was saved again", r.rotation().newID(), last.Target)
}

// DryRun implements rotate.Procedure.
func (p *Procedure) DryRun(ctx context.Context, s *rotate.Session, options any) error {
	plan := planPhase{observer{p.session(s)}}
	found, err := plan.preflight(ctx)
	if err != nil {
		return fmt.Errorf("connection %s: a rotation would not start: %w", p.options.Connection, err)
	}
	plan.describe(found, startOptions(options))
	return nil
}

func (p *Procedure) session(s *rotate.Session) *session {
	return &session{Session: s, options: p.options, tokens: p.tokenStore(s.BindingKey())}
}

func (p *Procedure) tokenStore(bindingKey string) tokenStore {
	return tokenStore{p.options.Store, bindingKey}
}

// asBlocked is rotate.AsBlocked, with this package's own errors.
func asBlocked(err error) *rotate.BlockedError {
	if errors.Is(err, errValueLost) {
		return &rotate.BlockedError{Reason: model.BlockedTokenValueLost, Detail: err.Error()}
	}
	return rotate.AsBlocked(err)
}
