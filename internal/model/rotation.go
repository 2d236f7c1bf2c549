package model

import (
	"slices"
	"time"
)

// Procedure is a kind of rotation: what is rotated.
type Procedure string

// The procedures.
const (
	ProcedureToken       Procedure = "scim_token"       // rotates the SCIM access token
	ProcedureCertificate Procedure = "saml_certificate" // rolls the SAML signing certificate over
)

// RotationMode says what a request to rotate may do.
type RotationMode string

// The modes of a rotation.
const (
	RotationDisabled RotationMode = "disabled"
	RotationDryRun   RotationMode = "dry_run"
	RotationEnabled  RotationMode = "enabled"
)

// Trigger says what starts a rotation.
type Trigger string

// The triggers of a rotation.
const (
	TriggerAlert    Trigger = "alert"    // the webhook, when an alert calls it
	TriggerDue      Trigger = "due"      // the exporter itself, or a scheduled command
	TriggerOperator Trigger = "operator" // a command
)

// Issuer says who creates the new token.
type Issuer string

// The issuers of a token.
const (
	IssuerConsoleAPI Issuer = "console_api"
	IssuerOperator   Issuer = "operator"
)

// Approval says who allows the deletion of the old token.
type Approval string

// The values of Approval.
const (
	ApprovalFirst  Approval = "first"  // an operator, until one rotation of the connection is proven
	ApprovalAlways Approval = "always" // an operator, each time
	ApprovalNever  Approval = "never"  // the exporter; no operator is asked
)

// Phase is the step that a rotation is in. It is a metric label.
type Phase string

// The phases of both procedures; docs/rotation.md explains each.
const (
	PhaseIdle     Phase = "idle"
	PhasePlan     Phase = "plan"
	PhaseCreate   Phase = "create"
	PhaseTest     Phase = "test"
	PhaseSwitch   Phase = "switch"
	PhaseResume   Phase = "resume"
	PhaseImport   Phase = "import"
	PhaseSettle   Phase = "settle"
	PhaseActivate Phase = "activate"
	PhaseVerify   Phase = "verify"
	PhaseRetire   Phase = "retire"
	PhaseConfirm  Phase = "confirm"
	PhaseUndo     Phase = "undo"
	PhaseBlocked  Phase = "blocked"
)

// Phases lists the closed set.
func Phases() []Phase {
	return []Phase{
		PhaseIdle, PhasePlan, PhaseCreate, PhaseTest, PhaseSwitch, PhaseResume, PhaseImport, PhaseSettle, PhaseActivate,
		PhaseVerify, PhaseRetire, PhaseConfirm, PhaseUndo, PhaseBlocked,
	}
}

// PhasesOf lists the phases of one procedure in the order in which a rotation passes them.
func PhasesOf(kind Procedure) []Phase {
	if kind == ProcedureCertificate {
		return []Phase{
			PhaseIdle, PhasePlan, PhaseCreate, PhaseImport, PhaseSettle, PhaseActivate,
			PhaseVerify, PhaseRetire, PhaseConfirm, PhaseBlocked,
		}
	}
	return []Phase{
		PhaseIdle, PhasePlan, PhaseCreate, PhaseTest, PhaseSwitch, PhaseResume,
		PhaseVerify, PhaseRetire, PhaseConfirm, PhaseUndo, PhaseBlocked,
	}
}

// ProofLevel says how certain it is that Entra uses the new token.
type ProofLevel string

// The levels of proof, weakest first; each includes the ones before it.
const (
	ProofNone       ProofLevel = ""
	ProofStored     ProofLevel = "stored"
	ProofUsed       ProofLevel = "used"
	ProofAttributed ProofLevel = "attributed"
	ProofExclusive  ProofLevel = "exclusive"
)

// AtLeast reports whether the level is the other one or stronger. A level that is not
// one of the above is weaker than each of them.
func (l ProofLevel) AtLeast(other ProofLevel) bool { return l.rank() >= other.rank() }

func (l ProofLevel) rank() int {
	return slices.Index([]ProofLevel{ProofNone, ProofStored, ProofUsed, ProofAttributed, ProofExclusive}, l)
}

// Outcome is how a rotation ended.
type Outcome string

// The outcomes of a rotation.
const (
	OutcomeDone    Outcome = "done"
	OutcomeAborted Outcome = "aborted"
	OutcomeBlocked Outcome = "blocked"
)

// Outcomes lists the closed set.
func Outcomes() []Outcome { return []Outcome{OutcomeDone, OutcomeAborted, OutcomeBlocked} }

// RotationStatus is what the metrics and pages show of a connection's rotations of one kind.
type RotationStatus struct {
	Mode          RotationMode
	Issuer        Issuer
	Phase         Phase
	Due           time.Time // zero: not known
	Started       time.Time // zero: none is running
	LastSuccess   time.Time // zero: never
	Proof         ProofLevel
	Blocked       BlockedReason // "": not blocked
	Waiting       WaitingReason // "": not waiting
	Message       string        // for an operator: why it is blocked or waits, and the next command
	Outcomes      map[Outcome]uint64
	TokensCreated uint64
	Roles         map[string]TokenRole // by token id
}

// Off reports whether nothing is to show: it does not rotate, and never did.
func (s RotationStatus) Off() bool {
	for _, count := range s.Outcomes { // holds every outcome, with 0 for those that never happened
		if count > 0 {
			return false
		}
	}
	return s.Mode == RotationDisabled && s.Started.IsZero() && s.TokensCreated == 0
}

// InUse returns the id of the token that is known to be in use.
func (s RotationStatus) InUse() (string, bool) {
	for id, role := range s.Roles {
		if role == RoleInUse {
			return id, true
		}
	}
	return "", false
}

// RotationRecord is one rotation as the history shows it.
type RotationRecord struct {
	Connection     string         `json:"connection"`
	ID             string         `json:"id"`
	Kind           Procedure      `json:"kind,omitempty"` // "": of a token
	Trigger        Trigger        `json:"trigger"`
	Started        time.Time      `json:"started"`
	Ended          time.Time      `json:"ended,omitzero"`
	Phase          Phase          `json:"phase"`
	Outcome        Outcome        `json:"outcome,omitempty"` // "": still running
	Reason         string         `json:"reason,omitempty"`
	OldTokenID     string         `json:"old_token_id,omitempty"`
	NewTokenID     string         `json:"new_token_id,omitempty"`
	OldCertificate string         `json:"old_certificate,omitempty"` // its SHA-256 fingerprint
	NewCertificate string         `json:"new_certificate,omitempty"`
	Proof          ProofLevel     `json:"proof,omitempty"`
	Steps          []RotationStep `json:"steps"`
}

// RotationStep is one line of a rotation's history.
type RotationStep struct {
	At    time.Time `json:"at"`
	Phase Phase     `json:"phase"`
	Text  string    `json:"text"`
}
