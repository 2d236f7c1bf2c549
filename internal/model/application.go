package model

import "time"

// Application is what a rotation checks of an Entra application before it begins.
type Application struct {
	EntityIDs           []string  // its SAML identifiers
	CredentialExpires   time.Time // the earliest expiry of our own credentials; zero: not readable
	CredentialsChanged  time.Time // when the directory audit last saw a change of the provisioning credentials; zero: none seen, or not readable
	CredentialsReadable bool      // whether the audit could be read
}
