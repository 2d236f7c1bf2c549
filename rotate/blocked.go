package rotate

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"entra-aws-exporter/internal/model"
)

// Blocked is why a rotation stopped until a person acts. The set is closed: it is a
// metric label, and docs/rotation.md has a chapter for each.
type Blocked = model.BlockedReason

// The reasons for being blocked.
const (
	TwoTokens              Blocked = "two_tokens"
	OrphanToken            Blocked = "orphan_token"
	ForeignToken           Blocked = "foreign_token"
	NewTokenRejected       Blocked = "new_token_rejected"
	EndpointRefusesEntra   Blocked = "endpoint_refuses_entra"
	SwitchFailed           Blocked = "switch_failed"
	SwitchReverted         Blocked = "switch_reverted"
	StorageLimit           Blocked = "storage_limit"
	UnknownSecretKeys      Blocked = "unknown_secret_keys"
	WrongTarget            Blocked = "wrong_target"
	BindingChanged         Blocked = "binding_changed"
	JobStopped             Blocked = "job_stopped"
	QuarantineOther        Blocked = "quarantine_other"
	ProofTimeout           Blocked = "proof_timeout"
	ProofContradicted      Blocked = "proof_contradicted"
	EntraHoldsDeadToken    Blocked = "entra_holds_dead_token" //nolint:gosec // a word, not a secret
	CredentialsOverwritten Blocked = "credentials_overwritten"
	DeleteRefused          Blocked = "delete_refused"
	Permission             Blocked = "permission"
	OwnCredentialExpiring  Blocked = "own_credential_expiring" //nolint:gosec // a word, not a secret
	TokenStoreUnwritable   Blocked = "token_store_unwritable"
	TokenValueLost         Blocked = "token_value_lost"
	JournalUnreadable      Blocked = "journal_unreadable"
	StateRestored          Blocked = "state_restored"
	StoreUnsafe            Blocked = "store_unsafe"
	Clock                  Blocked = "clock"
	APIChanged             Blocked = "api_changed"
	LifetimeTooShort       Blocked = "lifetime_too_short"
	AttemptsExhausted      Blocked = "attempts_exhausted"
	BudgetExhausted        Blocked = "budget_exhausted"
	ConnectionRemoved      Blocked = "connection_removed"
	FleetHalt              Blocked = "fleet_halt"
)

// next is the command that a person may give once they have read what to look at. In
// each, CONNECTION stands for the connection's name.
//
//nolint:gochecknoglobals // a table, never written
var next = map[Blocked]string{
	TwoTokens:              "rotation start CONNECTION --retire-token ID, naming the token that Entra does not use; or delete that one at AWS, then rotation adopt CONNECTION",
	OrphanToken:            "delete the orphan at AWS, then rotation reset CONNECTION",
	ForeignToken:           "delete the token that nobody uses at AWS and then rotation reset CONNECTION, or rotation adopt CONNECTION",
	NewTokenRejected:       "rotation reset CONNECTION once AWS accepts the token",
	EndpointRefusesEntra:   "let Entra's addresses reach the SCIM endpoint, then rotation reset CONNECTION",
	SwitchFailed:           "test the connection in Entra, then rotation reset CONNECTION",
	SwitchReverted:         "find out who writes the application's credentials, then rotation reset CONNECTION",
	StorageLimit:           "make room (move sign-in to an application of its own), then rotation reset CONNECTION",
	UnknownSecretKeys:      "remove the key in Entra or finish by hand (docs/rotation.md), then rotation adopt CONNECTION",
	WrongTarget:            "correct service_principal_id or identity_store_id in the config, then rotation reset CONNECTION",
	BindingChanged:         "doctor CONNECTION, then rotation adopt CONNECTION",
	JobStopped:             "start the provisioning job in Entra, then rotation reset CONNECTION",
	QuarantineOther:        "resolve the quarantine in Entra, then rotation reset CONNECTION",
	ProofTimeout:           "look at the provisioning log in Entra, then rotation reset CONNECTION",
	ProofContradicted:      "enter the new token in Entra by hand (rotation show-token CONNECTION), then rotation reset CONNECTION",
	EntraHoldsDeadToken:    "enter the new token in Entra by hand now (rotation show-token CONNECTION), then rotation adopt CONNECTION",
	CredentialsOverwritten: "stop whoever writes the old token (Terraform?), then rotation reset CONNECTION",
	DeleteRefused:          "delete the old token at AWS by hand, then rotation reset CONNECTION",
	Permission:             "doctor CONNECTION, grant what it names, then rotation reset CONNECTION",
	OwnCredentialExpiring:  "renew the exporter's own Entra credential, then rotation reset CONNECTION",
	TokenStoreUnwritable:   "make the state directory writable, then rotation reset CONNECTION",
	TokenValueLost:         "enter a new token in Entra by hand (docs/rotation.md), then rotation adopt CONNECTION",
	JournalUnreadable:      "restore the file from a backup or move it away, then rotation adopt CONNECTION",
	StateRestored:          "compare the tokens at AWS with rotation show CONNECTION, then rotation adopt CONNECTION",
	StoreUnsafe:            "put state.directory on a local file system, then restart",
	Clock:                  "set this machine's clock, then rotation reset CONNECTION",
	APIChanged:             "doctor CONNECTION, and rotate by hand (docs/rotation.md) until the exporter is updated",
	LifetimeTooShort:       "shorten verify_timeout and retire_after, then rotation reset CONNECTION",
	AttemptsExhausted:      "rotation show CONNECTION, then rotation reset CONNECTION",
	BudgetExhausted:        "wait, then rotation reset CONNECTION",
	ConnectionRemoved:      "put the connection back into the config, or finish by hand (docs/rotation.md), then rotation adopt CONNECTION",
	FleetHalt:              "resolve the blocked connections, then rotation reset each of them",
}

// BlockedReasons lists the closed set in the order of the documentation.
func BlockedReasons() []Blocked {
	return []Blocked{
		TwoTokens, OrphanToken, ForeignToken, NewTokenRejected, EndpointRefusesEntra, SwitchFailed, SwitchReverted,
		StorageLimit, UnknownSecretKeys, WrongTarget, BindingChanged, JobStopped, QuarantineOther, ProofTimeout,
		ProofContradicted, EntraHoldsDeadToken, CredentialsOverwritten, DeleteRefused, Permission,
		OwnCredentialExpiring, TokenStoreUnwritable, TokenValueLost, JournalUnreadable, StateRestored, StoreUnsafe, Clock,
		APIChanged, LifetimeTooShort, AttemptsExhausted, BudgetExhausted, ConnectionRemoved, FleetHalt,
	}
}

// sentence is what the person on call reads.
func sentence(connection string, phase model.Phase, reason Blocked, detail string, tokens []model.Token) string {
	return sentenceWith(connection, phase, reason, detail, tokens, next[reason])
}

// sentenceWith is sentence with another command than is usual for the reason.
func sentenceWith(connection string, phase model.Phase, reason Blocked, detail string, tokens []model.Token, command string) string {
	return fmt.Sprintf("%s is blocked in phase %s (%s): %s; tokens: %s; next: %s.",
		connection, phase, reason, detail, datedAll(tokens), strings.ReplaceAll(command, "CONNECTION", connection))
}

// What a person may do where the reason alone does not tell.
const (
	nextWithoutToken = "generate a token at AWS by hand now (if both slots are taken, first delete one by its id, an expired one if there is), " + //nolint:gosec // words, not a secret
		"enter it in Entra, then rotation adopt CONNECTION --in-use ID"
	nextByHand = "replace the token that Entra uses by hand (docs/rotation.md), then rotation adopt CONNECTION --in-use ID"
	nextSignIn = "renew the sign-in that this names, at Entra or at AWS (doctor CONNECTION tries both), then rotation reset CONNECTION"
)

// impasse is the error by which a phase says that it needs a person. The engine asks
// the phase again before it believes it, so a single bad answer never blocks.
type impasse struct {
	reason Blocked
	detail string
	next   string // the command, if it is not the reason's
	slow   bool   // may pass by itself: must last an hour to be believed
	sure   bool   // asking again could only do harm
}

func (e *impasse) Error() string { return string(e.reason) + ": " + e.detail }

// blocked is the impasse for a reason. The sentence lists the tokens with their dates, so
// the detail names them by their ids.
func blocked(reason Blocked, format string, args ...any) error {
	return &impasse{reason: reason, detail: fmt.Sprintf(format, args...)}
}

// surely is an impasse that must not be looked at twice.
func surely(reason Blocked, format string, args ...any) error {
	return &impasse{reason: reason, detail: fmt.Sprintf(format, args...), sure: true}
}

// doubted is an impasse that may pass by itself.
func doubted(reason Blocked, format string, args ...any) error {
	return &impasse{reason: reason, detail: fmt.Sprintf(format, args...), slow: true}
}

// withoutToken is the impasse of an Entra that holds a dead token when there is none whose
// value could be entered.
func withoutToken(format string, args ...any) error {
	return &impasse{reason: EntraHoldsDeadToken, detail: fmt.Sprintf(format, args...), next: nextWithoutToken}
}

// impasseOf returns the impasse that an error amounts to; nil when waiting may help for ever.
func impasseOf(err error) *impasse {
	var stuck *impasse
	switch {
	case errors.As(err, &stuck):
		return stuck
	case errors.Is(err, errValueLost):
		return &impasse{reason: TokenValueLost, detail: err.Error()}
	}
	reason, known := map[model.Reason]Blocked{
		model.ReasonPermission:      Permission,
		model.ReasonLicence:         Permission,
		model.ReasonAuth:            OwnCredentialExpiring,
		model.ReasonAPIChanged:      APIChanged,
		model.ReasonInvalidResponse: APIChanged,
		model.ReasonNotFound:        BindingChanged,
		model.ReasonAmbiguous:       BindingChanged,
	}[model.ReasonOf(err)]
	if !known {
		return nil
	}
	stuck = &impasse{reason: reason, detail: err.Error(), slow: true}
	if reason == OwnCredentialExpiring { // it may be either cloud's
		stuck.next = nextSignIn
	}
	return stuck
}

// Waiting is why a rotation waits. All but approval and held pass by themselves.
type Waiting = model.WaitingReason

// The reasons for waiting.
const (
	JobStoppedBriefly Waiting = "job_stopped_briefly"
	QuarantineRetry   Waiting = "quarantine_retry"
	ProofPending      Waiting = "proof_pending"
	RetireWait        Waiting = "retire_wait"
	Settling          Waiting = "settling"
	StoreUnavailable  Waiting = "store_unavailable"
	ApprovalNeeded    Waiting = "approval"
	Held              Waiting = "held"
	notWaiting        Waiting = ""
)

// WaitingReasons lists the closed set.
func WaitingReasons() []Waiting {
	return []Waiting{
		JobStoppedBriefly, QuarantineRetry, ProofPending, RetireWait, Settling, StoreUnavailable, ApprovalNeeded, Held,
	}
}

// dated names a token with its dates, as every sentence does.
func dated(token model.Token) string {
	return fmt.Sprintf("%s (created %s, expires %s)", token.ID, day(token.Created), day(token.Expires))
}

func idsOf(tokens []model.Token) string {
	names := make([]string, len(tokens))
	for i, token := range tokens {
		names[i] = "token " + token.ID
	}
	return strings.Join(names, " and ")
}

func datedAll(tokens []model.Token) string {
	names := make([]string, len(tokens))
	for i, token := range tokens {
		names[i] = dated(token)
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

func day(t time.Time) string {
	if t.IsZero() {
		return "unknown"
	}
	return t.UTC().Format("2006-01-02 15:04 UTC")
}
