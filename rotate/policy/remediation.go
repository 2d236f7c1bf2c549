package policy

import (
	"strings"

	"entra-aws-exporter/internal/model"
)

// Remediation returns the next command for an operator who has looked at what the
// message names.
func Remediation(reason model.BlockedReason, connection string) string {
	return ForConnection(remediations()[reason], connection)
}

// ForConnection names the connection in a remediation.
func ForConnection(command, connection string) string {
	return strings.ReplaceAll(command, "CONNECTION", connection)
}

// remediations are the next commands by reason. CONNECTION stands for the connection's name.
func remediations() map[model.BlockedReason]string {
	return map[model.BlockedReason]string{
		model.BlockedTwoTokens:              "rotation start CONNECTION --retire-token ID, with the token that Entra does not use; or delete that token at AWS, then rotation adopt CONNECTION",
		model.BlockedOrphanToken:            "delete the orphan at AWS, then rotation reset CONNECTION",
		model.BlockedForeignToken:           "find out which token Entra was given, delete the other one at AWS, then rotation adopt CONNECTION --in-use ID, with the token that Entra holds",
		model.BlockedNewTokenRejected:       "rotation reset CONNECTION if AWS accepts the token again; else delete it at AWS, then rotation adopt CONNECTION --in-use ID, with the token that Entra holds",
		model.BlockedEndpointRefusesEntra:   "allow Entra's addresses at the SCIM endpoint, then rotation reset CONNECTION",
		model.BlockedSwitchFailed:           "test the connection in Entra, then rotation reset CONNECTION",
		model.BlockedSwitchReverted:         "find out who writes the application's credentials, then rotation reset CONNECTION",
		model.BlockedStorageLimit:           "make room (move sign-in to an application of its own), then rotation reset CONNECTION",
		model.BlockedUnknownSecretKeys:      "remove the key in Entra, then rotation reset CONNECTION; or replace the token by hand (docs/rotation.md), then rotation adopt CONNECTION --in-use ID",
		model.BlockedWrongTarget:            "correct service_principal_id, identity_store_id or tenant_url in the config, then rotation reset CONNECTION",
		model.BlockedBindingChanged:         "doctor CONNECTION, then rotation adopt CONNECTION --in-use ID, with the token that Entra holds",
		model.BlockedJobStopped:             "start the provisioning job in Entra, then rotation reset CONNECTION",
		model.BlockedQuarantineOther:        "resolve the quarantine in Entra, then rotation reset CONNECTION",
		model.BlockedProofTimeout:           "read the provisioning log in Entra, correct what it shows or raise verify_timeout, then rotation reset CONNECTION",
		model.BlockedProofContradicted:      "enter the new token in Entra by hand (rotation show-token CONNECTION), then rotation reset CONNECTION",
		model.BlockedEntraHoldsDeadToken:    "enter the new token in Entra by hand now (rotation show-token CONNECTION), then rotation adopt CONNECTION --in-use ID",
		model.BlockedCredentialsOverwritten: "stop whatever writes the old token (Terraform?), then rotation reset CONNECTION",
		model.BlockedDeleteRefused:          "delete the old token at AWS by hand, then rotation reset CONNECTION",
		model.BlockedPermission:             "doctor CONNECTION, grant what it names, then rotation reset CONNECTION",
		model.BlockedOwnCredentialExpiring:  "renew the exporter's own Entra credential, then rotation reset CONNECTION",
		model.BlockedTokenStoreUnwritable:   "make the state directory writable, then rotation reset CONNECTION",
		model.BlockedTokenValueLost:         "replace the token by hand (docs/rotation.md; if both slots are taken, first delete the old token at AWS, and at the end the one whose value is lost), then rotation adopt CONNECTION --in-use ID",
		model.BlockedJournalUnreadable:      "restore the file from a backup, then rotation show CONNECTION; or move it away and restart, then rotation adopt CONNECTION --in-use ID, with the token that Entra holds",
		model.BlockedStateRestored:          "compare the tokens at AWS with rotation show CONNECTION, then rotation adopt CONNECTION --in-use ID, with the token that Entra holds",
		model.BlockedStoreUnsafe:            "put state.directory on a local file system, restart, then rotation reset CONNECTION",
		model.BlockedClock:                  "set this machine's clock, then rotation reset CONNECTION",
		model.BlockedAPIChanged:             "doctor CONNECTION; update the exporter, then rotation reset CONNECTION; or replace the token by hand (docs/rotation.md), then rotation adopt CONNECTION --in-use ID",
		model.BlockedLifetimeTooShort:       "shorten verify_timeout and retire_after, then rotation reset CONNECTION",
		model.BlockedAttemptsExhausted:      "rotation show CONNECTION, then rotation reset CONNECTION",
		model.BlockedBudgetExhausted:        "wait, then rotation reset CONNECTION",
		model.BlockedConnectionRemoved:      "put the connection back into the config, then rotation reset CONNECTION; or finish by hand (docs/rotation.md), then rotation adopt CONNECTION",
		model.BlockedFleetHalt:              "resolve the blocked connections, then rotation reset each of them",
	}
}
