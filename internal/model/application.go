package model

import "time"

// Application is what a rotation checks of an Entra application before it starts.
type Application struct {
	EntityIDs           []string  // its SAML identifiers
	CredentialExpires   time.Time // the earliest expiry of the exporter's own credentials; zero: not readable
	CredentialsChanged  time.Time // the latest change of the provisioning credentials in the audit log; zero: none, or not readable
	CredentialsReadable bool      // whether the audit log could be read
}

// Credential is one key and value of an Entra application's provisioning credentials.
// Every value is a secret: those that Graph does not mask hold mail addresses.
type Credential struct {
	Key   string
	Value Secret
}

// Masked reports whether Graph masked the value. A masked value must never be sent back.
func (c Credential) Masked() bool { return c.Value.Reveal() == "*" }

// The keys of an application's provisioning credentials. They are case-sensitive.
// https://learn.microsoft.com/graph/api/resources/synchronization-synchronizationsecretkeystringvaluepair
const (
	CredentialKeyBaseAddress          = "BaseAddress"
	CredentialKeySecretToken          = "SecretToken"
	CredentialKeyNotificationSettings = "SyncNotificationSettings"
	CredentialKeySyncAll              = "SyncAll"
)

// TestResult is the result of Entra's "Test connection" (validateCredentials).
type TestResult string

// The results of a connection test.
const (
	TestPassed      TestResult = "passed"      // Entra reached the endpoint, which accepted the token
	TestFailed      TestResult = "failed"      // Entra did not reach the endpoint, or it refused the token
	TestUnavailable TestResult = "unavailable" // the test did not take place
)
