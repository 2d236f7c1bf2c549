// Package model holds the types of the domain, named as Microsoft and AWS name them, and
// the closed sets of values that metric labels can have.
//
// The clients of AWS and Entra return these types, the poller keeps them, the collector and
// the pages show them, and the rotation decides on them. So none of those packages needs to
// know another. It depends on the standard library only; imports_test.go holds that, and
// what every other package may import.
//
// Reading order: binding.go (what a connection resolves to), snapshot.go (what is known of
// a connection) with its parts token.go, job.go, event.go and certificate.go, errors.go
// (why a read or a call failed), failure.go (for how long), rotation.go and blocked.go (the
// state of a rotation), application.go (what a rotation reads and writes in Entra),
// secret.go, cloud.go.
package model
