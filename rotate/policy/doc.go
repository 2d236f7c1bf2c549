// Package policy decides, without any call, what a rotation may do: when it is due
// (policy.go), how often tokens may be created (ratelimit.go), which token is in use
// (roles.go), what CloudTrail proves (cloudtrail.go), and when a new rotation may start
// (start.go). remediation.go holds the next command for each blocked reason.
//
// Everything here is a pure function of its arguments, with a table test beside it.
package policy
