package policy

import (
	"strings"

	"entra-aws-exporter/internal/model"
)

// Remediation returns the next command for an operator who has looked at what the
// message names.
func Remediation(kind model.Procedure, reason model.BlockedReason, connection string) string {
	if own, found := certificateRemediations()[reason]; found && kind == model.ProcedureCertificate {
		return ForConnection(own, connection)
	}
	return ForConnection(remediations()[reason], connection)
}

// ForConnection names the connection in a remediation.
func ForConnection(command, connection string) string {
	return strings.ReplaceAll(command, "CONNECTION", connection)
}

// remediations are the next commands by reason, of a token or of either kind. CONNECTION stands for the connection's name.
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
		model.BlockedPermission:             "grant what this names (doctor CONNECTION tries the other permissions), then rotation reset CONNECTION",
		model.BlockedOwnCredentialExpiring:  "renew the exporter's own Entra credential, then rotation reset CONNECTION",
		model.BlockedTokenStoreUnwritable:   "make the state writable (doctor CONNECTION tries it), then rotation reset CONNECTION",
		model.BlockedTokenValueLost:         "replace the token by hand (docs/rotation.md; if both slots are taken, first delete the old token at AWS, and at the end the one whose value is lost), then rotation adopt CONNECTION --in-use ID",
		model.BlockedJournalUnreadable:      "restore the file from a backup, then rotation show CONNECTION; or move it away and restart, then rotation adopt CONNECTION --in-use ID, with the token that Entra holds",
		model.BlockedStateRestored:          "compare the tokens and certificates at AWS with rotation show CONNECTION, then rotation adopt CONNECTION --in-use ID, with the token that Entra holds",
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

// certificateRemediations are those of a certificate alone.
func certificateRemediations() map[model.BlockedReason]string {
	return map[model.BlockedReason]string{
		model.BlockedActiveUnknown:      "make the certificate active in Entra that signs now, then rotation reset CONNECTION",
		model.BlockedActiveExpired:      "make the certificate active in Entra that signs now, then rotation reset CONNECTION; if there is none, add one in Entra, then rotation start CONNECTION --certificate SHA256 and make it active",
		model.BlockedActiveExpiring:     "rotation reset CONNECTION, then rotation start CONNECTION --kind certificate --force, while nobody relies on sign-in",
		model.BlockedActiveNotTrusted:   "upload the certificate that Entra signs with at AWS, then rotation reset CONNECTION",
		model.BlockedSignerNotTrusted:   "rotation start CONNECTION --certificate SHA256, with the certificate that the message names",
		model.BlockedCertificatesFull:   "rotation start CONNECTION --kind certificate --retire-certificate SHA256, with an expired one that Entra does not have; or remove one at AWS that Entra does not sign with, then rotation reset CONNECTION",
		model.BlockedForeignCertificate: "find out who made it; rotation adopt CONNECTION to accept what is there, or rotation start CONNECTION --certificate SHA256 to roll over to it",
		model.BlockedCreateAmbiguous:    "find out in Entra's audit log which one the exporter made, remove the others with this subject, then rotation reset CONNECTION",
		model.BlockedImportRefused:      "upload the new certificate at AWS by hand, or set saml.rollover.certificate_use, then rotation reset CONNECTION",
		model.BlockedActivationFailed:   "make the new certificate active in Entra by hand, then rotation reset CONNECTION",
		model.BlockedActivationReverted: "find out who made the other one active (Terraform?), then rotation reset CONNECTION; or rotation adopt CONNECTION to leave it so",
		model.BlockedSignInFailing:      "read the failures in CloudTrail and in Entra's sign-in log, then rotation reset CONNECTION",
		model.BlockedNotPrimaryRegion:   "set aws.region to the primary region of the instance, then rotation reset CONNECTION",
		model.BlockedWrongSSOMode:       "set saml.service_principal_id to the application that signs users in to AWS, then rotation reset CONNECTION",
		model.BlockedPolicyRefused:      "change the app management policy of the tenant, then rotation reset CONNECTION; or make a certificate by hand, then rotation start CONNECTION --certificate SHA256",
		model.BlockedNationalCloud:      "add a certificate in Entra by hand and leave it inactive, then rotation start CONNECTION --certificate SHA256",
		model.BlockedWrongTarget:        "leave one identity provider enabled at AWS, or correct identity_store_id in the config, then rotation reset CONNECTION",
		model.BlockedBindingChanged:     "doctor CONNECTION, then rotation adopt CONNECTION",
		model.BlockedDeleteRefused:      "delete the old certificate at AWS by hand, then rotation reset CONNECTION",
		model.BlockedAPIChanged:         "doctor CONNECTION; update the exporter, then rotation reset CONNECTION; or roll the certificate over by hand (docs/rollover.md), then rotation adopt CONNECTION",
		model.BlockedConnectionRemoved:  "put the connection back into the config, then rotation reset CONNECTION; or finish by hand (docs/rollover.md), then rotation adopt CONNECTION",
	}
}
