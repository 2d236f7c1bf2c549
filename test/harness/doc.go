// Package harness runs scenarios of the rotation on virtual time: an engine, a store, and
// AWS and Entra as the model of internal/simulator/clouds, without HTTP. The tests of
// package rotate use it. It imports no real client.
//
// A scenario says what is there, which call gets which fault, and which action of an
// operator comes before which call. Run follows it until the rotation has ended or is
// blocked. What is wrong afterwards comes from what the model recorded, never from what
// the engine reports.
//
// Read the files in this order:
//
//	scenario.go     Scenario, Run and Result: one test case
//	harness.go      Harness and Process: the calls of an engine, and their faults
//	process.go      a process as the token's clients (AWS, Entra, CloudTrail)
//	store.go        the store, and a process as the engine's stores
//	engine.go       an engine whose only procedure is the token's
//	record.go       a journal record with the token's part
//	actions.go      what operators and other tools do
//	invariants.go   CheckInvariants: I1 to I7 after a scenario
//	observer.go     InvariantObserver: G1 to G8 before each operation
//	groundtruth.go  what the model knows
//
// A rollover of the certificate has the same harness, and files of its own:
//
//	rollover.go            its scenario, and an engine whose only procedure is the certificate's
//	certificates.go        a process as the certificate's clients
//	rolloverinvariants.go  CheckRollover: C1 to C7 after a scenario
//	rolloverobserver.go    C1, C3 and C4 before each operation
//
// The directory wire has the harness of tests that reach the simulator over HTTP.
package harness
