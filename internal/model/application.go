package model

import (
	"fmt"
	"slices"
	"strings"
	"time"
)

// Application is what a rotation checks of an Entra application before it starts.
type Application struct {
	EntityIDs           []string  // its SAML identifiers
	CredentialExpires   time.Time // the earliest expiry of the exporter's own credentials; zero: not readable
	CredentialsChanged  time.Time // the latest change of the provisioning credentials in the audit log; zero: none, or not readable
	CredentialsReadable bool      // whether the audit log could be read
}

// CheckTarget returns an error if the SAML identifiers of an application name other identity
// stores than this one: https://REGION.signin.aws.amazon.com/platform/saml/d-1234567890.
// Readings, doctor and rotations ask it, so that none takes another instance for the connection's.
func CheckTarget(entityIDs []string, identityStoreID string) error {
	var stores []string
	for _, id := range entityIDs {
		_, store, isAWS := strings.Cut(id, "/platform/saml/")
		if store, _, _ = strings.Cut(store, "#"); isAWS && strings.HasPrefix(store, "d-") { // "#2": another application has the same
			stores = append(stores, store)
		}
	}
	if len(stores) == 0 || slices.Contains(stores, identityStoreID) {
		return nil
	}
	return &Error{
		Reason: ReasonWrongTarget, Op: "comparing the application with the identity store",
		Detail: fmt.Sprintf("the application's SAML entity id ends in %s, the connection's identity store is %s", strings.Join(stores, " and "), identityStoreID),
		Advice: "correct service_principal_id, aws.identity_store_id or the AWS credentials",
	}
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
