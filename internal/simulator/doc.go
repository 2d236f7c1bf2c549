// Package simulator speaks the wire protocols of both clouds, on one port, on top of a
// simulated world: Entra's sign-in endpoint and federation metadata, Microsoft Graph,
// the AWS services that read and write SCIM access tokens, AWS's SCIM endpoint, and a
// control API to interfere. The real SDKs must not be able to tell it from the clouds,
// so signatures, tokens, permissions and throttles are really checked.
//
// A request is routed by the first element of its path, or by its host name if that
// is one of the clouds' own: over Transport a client needs no endpoint configured.
// docs/simulator.md describes the endpoints, the faults and the control API.
package simulator
