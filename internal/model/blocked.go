package model

// BlockedReason says why a rotation stopped until an operator acts. It is a metric
// label, and docs/rotation-reasons.md has a section for each.
type BlockedReason string

// The reasons for being blocked.
const (
	BlockedTwoTokens              BlockedReason = "two_tokens"
	BlockedOrphanToken            BlockedReason = "orphan_token"
	BlockedForeignToken           BlockedReason = "foreign_token"
	BlockedNewTokenRejected       BlockedReason = "new_token_rejected"
	BlockedEndpointRefusesEntra   BlockedReason = "endpoint_refuses_entra"
	BlockedSwitchFailed           BlockedReason = "switch_failed"
	BlockedSwitchReverted         BlockedReason = "switch_reverted"
	BlockedStorageLimit           BlockedReason = "storage_limit"
	BlockedUnknownSecretKeys      BlockedReason = "unknown_secret_keys"
	BlockedWrongTarget            BlockedReason = "wrong_target"
	BlockedBindingChanged         BlockedReason = "binding_changed"
	BlockedJobStopped             BlockedReason = "job_stopped"
	BlockedQuarantineOther        BlockedReason = "quarantine_other"
	BlockedProofTimeout           BlockedReason = "proof_timeout"
	BlockedProofContradicted      BlockedReason = "proof_contradicted"
	BlockedEntraHoldsDeadToken    BlockedReason = "entra_holds_dead_token" //nolint:gosec // a word, not a secret
	BlockedCredentialsOverwritten BlockedReason = "credentials_overwritten"
	BlockedDeleteRefused          BlockedReason = "delete_refused"
	BlockedPermission             BlockedReason = "permission"
	BlockedOwnCredentialExpiring  BlockedReason = "own_credential_expiring" //nolint:gosec // a word, not a secret
	BlockedTokenStoreUnwritable   BlockedReason = "token_store_unwritable"  //nolint:gosec // a word, not a secret
	BlockedTokenValueLost         BlockedReason = "token_value_lost"
	BlockedJournalUnreadable      BlockedReason = "journal_unreadable"
	BlockedStateRestored          BlockedReason = "state_restored"
	BlockedStoreUnsafe            BlockedReason = "store_unsafe"
	BlockedClock                  BlockedReason = "clock"
	BlockedAPIChanged             BlockedReason = "api_changed"
	BlockedLifetimeTooShort       BlockedReason = "lifetime_too_short"
	BlockedAttemptsExhausted      BlockedReason = "attempts_exhausted"
	BlockedBudgetExhausted        BlockedReason = "budget_exhausted"
	BlockedConnectionRemoved      BlockedReason = "connection_removed"
	BlockedFleetHalt              BlockedReason = "fleet_halt"

	// Those of a certificate's rollover alone.
	BlockedActiveUnknown      BlockedReason = "active_unknown"
	BlockedActiveExpired      BlockedReason = "active_expired"
	BlockedActiveExpiring     BlockedReason = "active_expiring"
	BlockedActiveNotTrusted   BlockedReason = "active_not_trusted"
	BlockedSignerNotTrusted   BlockedReason = "signer_not_trusted"
	BlockedCertificatesFull   BlockedReason = "aws_certificates_full"
	BlockedForeignCertificate BlockedReason = "foreign_certificate"
	BlockedCreateAmbiguous    BlockedReason = "create_ambiguous"
	BlockedImportRefused      BlockedReason = "import_refused"
	BlockedActivationFailed   BlockedReason = "activation_failed"
	BlockedActivationReverted BlockedReason = "activation_reverted"
	BlockedSignInFailing      BlockedReason = "sign_in_failing"
	BlockedNotPrimaryRegion   BlockedReason = "not_primary_region"
	BlockedWrongSSOMode       BlockedReason = "wrong_sso_mode"
	BlockedPolicyRefused      BlockedReason = "policy_refused"
	BlockedNationalCloud      BlockedReason = "national_cloud"

	// BlockedAmbiguous is shown where no rotation may start, because another connection
	// has the same application or identity store. No rotation ever stops for it, so
	// BlockedReasons does not list it.
	BlockedAmbiguous BlockedReason = "ambiguous"
)

// BlockedReasons lists why a rotation can stop, in the order of the documentation.
func BlockedReasons() []BlockedReason {
	return append(BlockedReasonsOf(ProcedureToken), certificateReasons()...)
}

// BlockedReasonsOf lists why a rotation of this kind can stop.
func BlockedReasonsOf(kind Procedure) []BlockedReason {
	if kind == ProcedureCertificate {
		return append(certificateReasons(), BlockedWrongTarget, BlockedBindingChanged, BlockedDeleteRefused, BlockedPermission,
			BlockedOwnCredentialExpiring, BlockedJournalUnreadable, BlockedStateRestored, BlockedStoreUnsafe, BlockedClock,
			BlockedAPIChanged, BlockedAttemptsExhausted, BlockedBudgetExhausted, BlockedConnectionRemoved, BlockedFleetHalt)
	}
	return []BlockedReason{
		BlockedTwoTokens, BlockedOrphanToken, BlockedForeignToken, BlockedNewTokenRejected, BlockedEndpointRefusesEntra,
		BlockedSwitchFailed, BlockedSwitchReverted, BlockedStorageLimit, BlockedUnknownSecretKeys, BlockedWrongTarget,
		BlockedBindingChanged, BlockedJobStopped, BlockedQuarantineOther, BlockedProofTimeout, BlockedProofContradicted,
		BlockedEntraHoldsDeadToken, BlockedCredentialsOverwritten, BlockedDeleteRefused, BlockedPermission,
		BlockedOwnCredentialExpiring, BlockedTokenStoreUnwritable, BlockedTokenValueLost, BlockedJournalUnreadable,
		BlockedStateRestored, BlockedStoreUnsafe, BlockedClock, BlockedAPIChanged, BlockedLifetimeTooShort,
		BlockedAttemptsExhausted, BlockedBudgetExhausted, BlockedConnectionRemoved, BlockedFleetHalt,
	}
}

// certificateReasons are those that only a certificate's rollover has.
func certificateReasons() []BlockedReason {
	return []BlockedReason{
		BlockedActiveUnknown, BlockedActiveExpired, BlockedActiveExpiring, BlockedActiveNotTrusted, BlockedSignerNotTrusted,
		BlockedCertificatesFull, BlockedForeignCertificate, BlockedCreateAmbiguous, BlockedImportRefused,
		BlockedActivationFailed, BlockedActivationReverted, BlockedSignInFailing, BlockedNotPrimaryRegion,
		BlockedWrongSSOMode, BlockedPolicyRefused, BlockedNationalCloud,
	}
}

// WaitingReason says why a rotation waits. It is a metric label. A rotation continues
// by itself, except from WaitingApproval and WaitingOnHold.
type WaitingReason string

// The reasons for waiting; "" while a rotation does not wait.
const (
	WaitingJobStoppedBriefly WaitingReason = "job_stopped_briefly"
	WaitingQuarantineRetry   WaitingReason = "quarantine_retry"
	WaitingProofPending      WaitingReason = "proof_pending"
	WaitingRetireWait        WaitingReason = "retire_wait"
	WaitingSettling          WaitingReason = "settling" // until AWS refuses the deleted token everywhere
	WaitingStoreUnavailable  WaitingReason = "store_unavailable"
	WaitingApproval          WaitingReason = "approval" // an operator approves the deletion
	WaitingOnHold            WaitingReason = "held"     // an operator releases the connection
)

// WaitingReasons lists the closed set.
func WaitingReasons() []WaitingReason {
	return []WaitingReason{
		WaitingJobStoppedBriefly, WaitingQuarantineRetry, WaitingProofPending, WaitingRetireWait,
		WaitingSettling, WaitingStoreUnavailable, WaitingApproval, WaitingOnHold,
	}
}

// Decision says what became of a request to start a rotation. It is a metric label of
// the webhook's alerts.
type Decision string

// The decisions.
const (
	DecisionStarted           Decision = "started"
	DecisionDryRun            Decision = "dry_run"
	DecisionAlreadyRunning    Decision = "already_running"
	DecisionCooldown          Decision = "cooldown"
	DecisionNotDue            Decision = "not_due"
	DecisionDisabled          Decision = "disabled"
	DecisionBlocked           Decision = "blocked"
	DecisionResolved          Decision = "resolved"
	DecisionUnmatched         Decision = "unmatched"
	DecisionUnknownConnection Decision = "unknown_connection"
)

// Decisions lists the closed set in the order of the documentation.
func Decisions() []Decision {
	return []Decision{
		DecisionStarted, DecisionDryRun, DecisionAlreadyRunning, DecisionCooldown, DecisionNotDue, DecisionDisabled,
		DecisionBlocked, DecisionResolved, DecisionUnmatched, DecisionUnknownConnection,
	}
}
