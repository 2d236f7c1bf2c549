// Package world is both clouds as one deterministic state machine: AWS IAM Identity
// Center with its SCIM access tokens on the one side, Microsoft Entra ID with its
// provisioning engine on the other, and between them the only thing that matters:
// which token Entra holds, and whether AWS accepts it.
//
// It has no network, no goroutine and no clock of its own. Time is an injected
// function; what fell due since the last call (a cycle, a retry, a token's expiry, a
// lag that is over) is processed in time order by Advance, which every method calls
// first. The same seed and the same calls at the same times give the same world, down
// to the ids and the token values, so any run can be repeated. Where the behaviour of
// the real clouds is unconfirmed or contested, Quirks choose it.
//
// A World is not locked: the caller serialises. Methods return copies, except for the
// bytes of certificates and the maps inside a Job, which nobody may write.
//
// Who acts is part of every call (Caller, Actor), because the truth that the World
// records for oracles names the culprit of every gap, deletion and start.
package clouds
