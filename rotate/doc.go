// Package rotate runs rotations: it starts them, keeps them going over crashes and
// failures, stops them until an operator acts, and tells where they stand. It knows no
// token and no certificate: what is rotated, and in which phases, is a Procedure.
//
// # Where to begin
//
// Read procedure.go (what the engine asks of a procedure), engine.go (who runs what),
// start.go (an alert or an operator starts a rotation), session.go (one rotation from
// phase to phase), operation.go (one call that changes AWS or Entra), retry.go (what an
// error means), commands.go (an operator decides) and status.go (what is shown). registry.go
// knows what each connection is bound to, limits.go what may run at the same time.
//
// The rooms: rotate/journal keeps the durable record, rotate/policy decides without any
// call, rotate/webhook turns Alertmanager's payload into decisions, rotate/token is the
// procedure for the SCIM access token, rotate/certificate that for the SAML certificate.
//
// # The states of a rotation
//
//	idle ── alert or operator ──> plan ──> create ──> test ──> switch ──> resume ──> verify ──> retire ──> confirm ──> done
//	                               │         │          │        │^          ^         ││          ││         │
//	                               │         │          v        ││          │         ││          ││         │
//	                               │         │        undo       │└─ save again ───────┘└──────────┘│         │
//	                               v         v          v        │                                  └─────────┤
//	                            aborted   aborted    aborted     └──────────── recovery ──────────────────────┘
//
// From each phase a rotation can become blocked, after a recovery if it would leave behind
// what does not work: an operator then resets, adopts or aborts it. An abort leads to undo,
// also from switch, until the first attempt to save the new token. After it there is no undo.
//
// # The guard
//
// Every deletion passes one function, guard.authorize in rotate/token. Its conditions:
//
//	G1  two equal lists              observer.stableTokens, deletePermit.stale
//	G2  the planned binding          observer.checkBinding
//	G3  id and date as journalled    guard.matchJournal
//	G4  another valid token stays    guard.requireOtherValidToken
//	G5  the lease is held            Session.Execute (ensureLease)
//	G6  our clock is right           observer.checkClock
//	G7  the reason's own conditions  guard.checkUndo, checkExpired, checkOrphan, checkNamed, checkRetire
//	G8  the intent is durable        Session.Execute
package rotate
