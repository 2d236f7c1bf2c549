package token

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"entra-aws-exporter/internal/model"
	"entra-aws-exporter/rotate"
	"entra-aws-exporter/rotate/journal"
	"entra-aws-exporter/rotate/policy"
)

// The operations of a token's rotation.
const (
	OperationCreate journal.OperationKind = "create"
	OperationPut    journal.OperationKind = "put"
	OperationStart  journal.OperationKind = "start"
	OperationCanary journal.OperationKind = "canary"
	OperationDelete journal.OperationKind = "delete"
)

// Memory is what is remembered of a binding's tokens between rotations.
type Memory struct {
	KnownTokens      map[string]model.Token `json:"known_tokens,omitempty"` // by id: seen when the plan or an operator knew what each is for
	InUse            string                 `json:"in_use,omitempty"`       // the token id that Entra was switched to, or was proven to hold
	OwnSaves         []time.Time            `json:"own_saves,omitempty"`    // when we saved credentials to Entra (Graph's clock)
	ThirdPartyChange time.Time              `json:"third_party_change,omitzero"`
	Trust            *Trust                 `json:"trust,omitempty"`
	RateLimit        policy.RateLimit       `json:"rate_limit"`
	TokensCreated    uint64                 `json:"tokens_created,omitempty"`
}

// Trust says that a rotation of this binding became exclusive with this set of secret keys.
type Trust struct {
	At   time.Time `json:"at"`
	Keys []string  `json:"keys"`
}

// Progress is what is written down of one rotation.
type Progress struct {
	Issuer      model.Issuer `json:"issuer"`
	RetireToken string       `json:"retire_token,omitempty"` // an operator named this token as unused

	Plan            Plan         `json:"plan"`
	NewToken        *model.Token `json:"new_token,omitempty"`
	StoreEntry      string       `json:"store_entry,omitempty"`       // the token store's entry for the new token's value
	OperatorToken   string       `json:"operator_token,omitempty"`    // the id of a token that an operator created
	ShownToOperator bool         `json:"shown_to_operator,omitempty"` // an operator may have entered the new token in Entra

	Trial         Trial     `json:"trial,omitzero"`
	PendingPut    string    `json:"pending_put,omitempty"` // why the token must be saved to Entra (again)
	FailedPut     int       `json:"failed_put,omitempty"`  // the number of the save whose test failed to the end of its time
	Recoveries    int       `json:"recoveries,omitempty"`
	ProofRestarts int       `json:"proof_restarts,omitempty"`
	Proof         Proof     `json:"proof"`
	JobStopped    time.Time `json:"job_stopped,omitzero"` // since when the job is stopped; zero: it runs
}

// Plan is what was found before anything was changed.
type Plan struct {
	Tokens          []PlannedToken `json:"tokens,omitempty"`
	Keys            []string       `json:"keys,omitempty"`              // of Entra's provisioning credentials
	ControlFailed   bool           `json:"control_failed,omitempty"`    // an inline test with garbage failed, so inline tests are evidence
	SavedTestFailed bool           `json:"saved_test_failed,omitempty"` // Entra's saved token was refused; an inline test that ignores its values fails then, too
	Trusted         bool           `json:"trusted,omitempty"`
	DueSince        time.Time      `json:"due_since,omitzero"` // the first reading that said so
	DueReason       string         `json:"due_reason,omitempty"`
	Repair          bool           `json:"repair,omitempty"`           // Entra's saved token does not work, whatever its dates
	TestFailedSince time.Time      `json:"test_failed_since,omitzero"` // since when Entra's own test fails
}

// PlannedToken is a token that was there before.
type PlannedToken struct {
	model.Token
	Role     model.TokenRole `json:"role"`
	Evidence string          `json:"evidence,omitempty"`
}

// Trial is the test of the new token before the switch.
type Trial struct {
	Began       time.Time          `json:"began,omitzero"`
	Passed      journal.Timestamps `json:"passed,omitzero"`
	LastFinding string             `json:"last_finding,omitempty"` // the last one that was not good
}

// Proof is the evidence that Entra uses the new token.
type Proof struct {
	Level        model.ProofLevel     `json:"level,omitempty"`
	Put          int                  `json:"put,omitempty"` // the number of the save that was found stored
	Stored       journal.Timestamps   `json:"stored,omitzero"`
	Used         journal.Timestamps   `json:"used,omitzero"`
	Strong       bool                 `json:"strong,omitempty"` // something was provisioned
	Attributed   journal.Timestamps   `json:"attributed,omitzero"`
	AttributedBy string               `json:"attributed_by,omitempty"` // cloudtrail | circumstance
	Probes       []journal.Timestamps `json:"probes,omitempty"`        // our own calls with the new value, for CloudTrail
	Gone         journal.Timestamps   `json:"gone,omitzero"`           // every old token was missing in two lists
	Propagated   journal.Timestamps   `json:"propagated,omitzero"`     // AWS refuses the old tokens everywhere
	Exclusive    journal.Timestamps   `json:"exclusive,omitzero"`
	Waited       time.Duration        `json:"waited,omitempty"` // for use, while the job ran
}

// raise sets the level, unless it is higher already.
func (p *Proof) raise(level model.ProofLevel) {
	if !p.Level.AtLeast(level) {
		p.Level = level
	}
}

// Types registers this package's parts of a record.
func Types() journal.Types {
	return journal.Types{
		NewMemory:   func() journal.Memory { return &Memory{KnownTokens: map[string]model.Token{}} },
		NewProgress: func() journal.Progress { return &Progress{} },
	}
}

// Inventory implements journal.Memory.
func (m *Memory) Inventory() string { return inventoryOf(m.knownTokens()) }

// knownTokens lists the known tokens, oldest first.
func (m *Memory) knownTokens() []model.Token {
	tokens := make([]model.Token, 0, len(m.KnownTokens))
	for _, token := range m.KnownTokens {
		tokens = append(tokens, token)
	}
	slices.SortFunc(tokens, func(a, b model.Token) int { return a.Created.Compare(b.Created) })
	return tokens
}

// setKnownTokens makes these and no other tokens the known ones.
func (m *Memory) setKnownTokens(tokens []model.Token) {
	m.KnownTokens = map[string]model.Token{}
	for _, token := range tokens {
		m.KnownTokens[token.ID] = token
	}
}

// maxOwnSaves bounds how many of our own saves are remembered.
const maxOwnSaves = 20

// addOwnSave notes that a change of Entra's credentials at this time is ours.
func (m *Memory) addOwnSave(at time.Time) {
	m.OwnSaves = append(m.OwnSaves, at)
	m.OwnSaves = m.OwnSaves[max(0, len(m.OwnSaves)-maxOwnSaves):]
}

// evidence is what the memory knows about the tokens while no rotation is open.
func (m *Memory) evidence() policy.Evidence {
	return policy.Evidence{Known: m.KnownTokens, InUse: m.InUse, ThirdPartyChange: m.ThirdPartyChange}
}

// Check implements journal.Progress.
func (p *Progress) Check(r *journal.Rotation) error {
	if r.Phase != model.PhasePlan && r.Phase != model.PhaseCreate && p.NewToken == nil {
		return fmt.Errorf("phase %s without a new token", r.Phase)
	}
	return nil
}

// Describe implements journal.Progress.
func (p *Progress) Describe(shown *model.RotationRecord) {
	shown.NewTokenID, shown.Proof = p.newID(), p.Proof.Level
	for _, token := range p.oldTokens() {
		if shown.OldTokenID == "" || token.Role == model.RoleInUse {
			shown.OldTokenID = token.ID
		}
	}
}

// oldTokens lists the planned tokens that must be gone at the end.
func (p *Progress) oldTokens() []PlannedToken {
	return slices.DeleteFunc(slices.Clone(p.Plan.Tokens), func(old PlannedToken) bool {
		return p.NewToken != nil && old.ID == p.NewToken.ID
	})
}

// newID returns the id of the new token; "" as long as there is none.
func (p *Progress) newID() string {
	if p == nil || p.NewToken == nil {
		return ""
	}
	return p.NewToken.ID
}

// record is the journal's record together with what this package keeps in it.
type record struct {
	*journal.Record
	*Memory
	Rotation *rotation // nil: none is open
}

// rotation is the journal's rotation together with what this package keeps in it.
type rotation struct {
	*journal.Rotation
	*Progress
}

func recordOf(r *journal.Record) *record {
	memory, _ := r.Procedures[model.ProcedureToken].Memory.(*Memory)
	return &record{Record: r, Memory: memory, Rotation: rotationOf(r.Rotation)}
}

// rotationOf returns nil if no rotation of a token is open.
func rotationOf(r *journal.Rotation) *rotation {
	if r == nil {
		return nil
	}
	progress, ok := r.Progress.(*Progress)
	if !ok {
		return nil
	}
	return &rotation{r, progress}
}

// evidence is what the journal knows about the tokens.
func (r *record) evidence() policy.Evidence {
	evidence := r.Memory.evidence()
	if r.Rotation != nil {
		evidence.NewToken, evidence.PutAttempted, evidence.Proof = r.Rotation.newID(), r.Rotation.putAttempted(), r.Rotation.Proof.Level
	}
	return evidence
}

// unknownTokens lists the tokens whose purpose is not known.
func (r *record) unknownTokens(tokens []model.Token) []model.Token {
	return r.Memory.evidence().UnknownTokens(tokens)
}

// setCreated makes a token that was created the rotation's new one.
func (r *record) setCreated(token model.Token) {
	r.Rotation.NewToken = &token
	r.KnownTokens[token.ID] = token
	r.TokensCreated++
	r.lastCreation().Resolved = true
}

func (r *record) lastCreation() *policy.CallWindow {
	return &r.RateLimit.Creations[len(r.RateLimit.Creations)-1]
}

// putAttempted tells whether saving to Entra was ever tried.
func (r *rotation) putAttempted() bool { return len(r.Operations[OperationPut]) > 0 }

// mayBeInUse tells whether Entra may hold the new token, by our save or an operator's:
// there is no undo any more.
func (r *rotation) mayBeInUse() bool { return r.putAttempted() || r.ShownToOperator }

// creating tells whether a token was requested and the outcome is unknown.
func (r *rotation) creating() bool {
	last, requested := r.LastOperation(OperationCreate)
	return requested && last.Pending()
}

// created tells whether this rotation created the token.
func (r *rotation) created(id string) bool {
	return r.NewToken != nil && r.NewToken.ID == id && r.OperatorToken != id && len(r.Operations[OperationCreate]) > 0
}

// approved tells whether an operator has approved the deletion of the token.
func (r *rotation) approved(id string) bool { return r.Approval != nil && r.Approval.Target == id }

// resolvableByRetireToken tells whether the rotation is blocked by nothing but the
// question which of two tokens is unused: an operator who names one answers it.
func (r *rotation) resolvableByRetireToken() bool {
	return r != nil && r.Blocked != nil && r.Blocked.Reason == model.BlockedTwoTokens && !r.hasCreated()
}

// hasCreated tells whether anything was created that a reset must keep.
func (r *rotation) hasCreated() bool { return r.NewToken != nil || r.creating() || r.putAttempted() }

// lastPut returns the latest attempt to save; false when there was none.
func (r *rotation) lastPut() (journal.Operation, bool) { return r.LastOperation(OperationPut) }

// savedSinceStored tells whether something may have been saved after what was found stored last.
func (r *rotation) savedSinceStored() bool {
	return slices.ContainsFunc(r.Operations[OperationPut], func(put journal.Operation) bool {
		return put.Number > r.Proof.Put && !put.Refused()
	})
}

// refusedDeletions lists the deletions of a token that were refused for good since the last
// reset.
func (r *rotation) refusedDeletions(id string) []journal.Operation {
	var refused []journal.Operation
	for _, o := range r.Operations[OperationDelete] {
		if o.Target == id && o.RefusedForGood() && o.ResetCount == r.ResetCount {
			refused = append(refused, o)
		}
	}
	return refused
}

// failedPuts lists the attempts to save for a reason since the last save that was done and
// the last reset.
func (r *rotation) failedPuts(why string) []journal.Operation {
	var failed []journal.Operation
	for _, put := range r.Operations[OperationPut] {
		switch {
		case put.Done() || put.ResetCount != r.ResetCount:
			failed = nil
		case put.Why == why:
			failed = append(failed, put)
		}
	}
	return failed
}

// putsFailedInARow counts the attempts to save since the last one that was answered 2xx.
func (r *rotation) putsFailedInARow() int {
	failed := 0
	for _, put := range r.Operations[OperationPut] {
		if failed++; put.Done() || put.ResetCount != r.ResetCount {
			failed = 0
		}
	}
	return failed
}

// recovered tells whether a recovery was needed, which means that Entra lost a save.
func (r *rotation) recovered() bool {
	return slices.ContainsFunc(r.Operations[OperationPut], func(put journal.Operation) bool { return put.Why == PutRecovery })
}

// deletionRequested returns the first deletion of a token that may have taken effect.
func (r *rotation) deletionRequested(id string) (journal.Operation, bool) {
	for _, o := range r.Operations[OperationDelete] {
		if o.Target == id && !o.Refused() {
			return o, true
		}
	}
	return journal.Operation{}, false
}

// deletionConfirmed returns the last deletion of a token that AWS has confirmed; zero: none.
func (r *rotation) deletionConfirmed(id string) journal.Operation {
	for _, o := range slices.Backward(r.Operations[OperationDelete]) {
		if o.Target == id && o.Done() {
			return o
		}
	}
	return journal.Operation{}
}

// oldDeletionRequested tells whether the deletion of an old token was ever requested: then
// what Entra holds, if it is not the new token, may be dead.
func (r *rotation) oldDeletionRequested() bool {
	return slices.ContainsFunc(r.oldTokens(), func(old PlannedToken) bool {
		_, requested := r.deletionRequested(old.ID)
		return requested
	})
}

// deletedSince is when the last old token was deleted, or found gone.
func (r *rotation) deletedSince() time.Time {
	since := r.Proof.Gone.Local
	for _, deletion := range r.Operations[OperationDelete] {
		if deletion.Intent.Local.After(since) {
			since = deletion.Intent.Local
		}
	}
	return since
}

// resumeAfterReset lets a blocked rotation continue after an operator has looked: from the
// test of the new token if there is one, never back to before a save. What was done stays
// done.
func (r *rotation) resumeAfterReset(at time.Time) {
	was := r.Phase
	r.Blocked, r.Waiting, r.Abort, r.JobStopped = nil, "", "", time.Time{}
	r.ResetCount++
	r.ProofRestarts, r.Recoveries = 0, 0
	switch {
	case r.creating(), r.NewToken == nil && r.putAttempted():
		r.Phase = model.PhaseCreate
	case r.NewToken == nil:
		r.Phase = model.PhasePlan
	default:
		r.Phase, r.Trial, r.Proof = model.PhaseTest, Trial{}, Proof{}
		if r.putAttempted() {
			r.PendingPut = PutInitial
		}
	}
	if r.Phase != was {
		r.Phases = append(r.Phases, journal.PhaseEntry{Phase: r.Phase, At: journal.Timestamps{Local: at}})
	}
}

func tokensOf(planned []PlannedToken) []model.Token {
	tokens := make([]model.Token, len(planned))
	for i, p := range planned {
		tokens[i] = p.Token
	}
	return tokens
}

func idsOf(planned []PlannedToken) []string {
	names := make([]string, len(planned))
	for i, p := range planned {
		names[i] = p.ID
	}
	return names
}

// formatToken names a token with its dates, as every message does.
func formatToken(token model.Token) string {
	return fmt.Sprintf("%s (created %s, expires %s)", token.ID, rotate.FormatTime(token.Created), rotate.FormatTime(token.Expires))
}

func formatTokens(tokens []model.Token) string {
	names := make([]string, len(tokens))
	for i, token := range tokens {
		names[i] = formatToken(token)
	}
	switch len(names) {
	case 0:
		return "none"
	case 1:
		return names[0]
	default:
		return strings.Join(names[:len(names)-1], ", ") + " and " + names[len(names)-1]
	}
}

func formatIDs(tokens []model.Token) string {
	names := make([]string, len(tokens))
	for i, token := range tokens {
		names[i] = "token " + token.ID
	}
	return strings.Join(names, " and ")
}

func inventoryOf(tokens []model.Token) string { return "tokens: " + formatTokens(tokens) }
