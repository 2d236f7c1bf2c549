package simulator

import (
	"bytes"
	"crypto/sha1"
	"encoding/base64"
	"encoding/json"
	"strconv"
	"time"

	"entra-aws-exporter/internal/simulator/clouds"
)

// addTokenSigningCertificate makes a SAML certificate on a service principal.
// https://learn.microsoft.com/graph/api/serviceprincipal-addtokensigningcertificate
func addTokenSigningCertificate(c *call) (response, error) {
	var request struct {
		DisplayName string    `json:"displayName"`
		EndDateTime time.Time `json:"endDateTime"`
	}
	if err := c.decode(&request); err != nil {
		return response{}, err
	}
	added, err := mutate(c, func(m *clouds.Model) (clouds.SigningCertificate, error) {
		return m.AddTokenSigningCertificate(c.caller, c.tenant(), c.path.PathValue("id"), request.DisplayName, request.EndDateTime)
	})
	if err != nil {
		return response{}, err
	}
	thumbprint := sha1.Sum(added.DER())
	return c.entity("microsoft.graph.selfSignedCertificate", object{
		"customKeyIdentifier": base64.StdEncoding.EncodeToString(thumbprint[:]), "displayName": request.DisplayName,
		"startDateTime": graphTime(added.NotBefore), "endDateTime": graphTime(added.NotAfter),
		"key": base64.StdEncoding.EncodeToString(added.DER()), "keyId": added.SignKeyID, "thumbprint": added.Thumbprint(),
		"type": "AsymmetricX509Cert", "usage": "Verify",
	})
}

// patchServicePrincipal changes which certificate signs, and nothing else of an application.
// https://learn.microsoft.com/graph/api/serviceprincipal-update
func patchServicePrincipal(c *call) (response, error) {
	var request struct {
		Thumbprint *string `json:"preferredTokenSigningKeyThumbprint"`
	}
	decoder := json.NewDecoder(bytes.NewReader(c.body))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(&request); err != nil {
		return response{}, badRequest("This simulator changes preferredTokenSigningKeyThumbprint only: %v", err)
	}
	thumbprint := ""
	if request.Thumbprint != nil {
		thumbprint = *request.Thumbprint
	}
	return mutateOnly(c, func(m *clouds.Model) error {
		return m.PreferSigningCertificate(c.caller, c.tenant(), c.path.PathValue("id"), thumbprint)
	})
}

// listSignIns is the log of interactive sign-ins, newest first.
// https://learn.microsoft.com/graph/api/signin-list
func listSignIns(c *call) (response, error) {
	options, err := c.options(map[string][]string{"appId": {"eq"}, "createdDateTime": {"ge"}}, logPage, logPage)
	if err != nil {
		return response{}, err
	}
	from, err := parsePosition(options.skipToken)
	if err != nil {
		return response{}, err
	}
	appID, after := "", time.Time{}
	for _, f := range options.filter {
		if f.field == "appId" {
			appID = f.value
		} else if after, err = f.time(); err != nil {
			return response{}, err
		}
	}
	if appID == "" {
		return response{}, badRequest("This simulator lists the sign-ins of one appId.")
	}
	list, err := query(c, func(m *clouds.Model) ([]clouds.SignIn, error) { return m.SignInLog(c.caller, c.tenant(), appID, after) })
	if err != nil {
		return response{}, err
	}
	if options.emptyFirst {
		return c.collection("auditLogs/signIns", []object{}, c.nextLink(position{}.token()))
	}
	for n, signIn := range list {
		if signIn.ID == from.ID {
			list = list[n+1:] // a page begins behind the entry that the token names
			break
		}
	}
	next := ""
	if len(list) > options.top {
		list = list[:options.top]
		last := list[len(list)-1]
		next = c.nextLink(position{last.At, last.ID}.token())
	}
	return c.collection("auditLogs/signIns", objects(list, func(s clouds.SignIn) object { return options.selectFrom(signInEntity(appID, s)) }), next)
}

// noSigningKey is Entra's code for a sign-in that it could not sign.
const noSigningKey = 50003

// signInEntity words a sign-in as Entra does; the personal data in it must never leave the
// client.
func signInEntity(appID string, s clouds.SignIn) object {
	code := 0
	if s.Signer == "" {
		code = noSigningKey
	}
	return object{
		"id": s.ID, "createdDateTime": graphTime(s.At), "appId": appID, "appDisplayName": "AWS IAM Identity Center", "clientAppUsed": "Browser",
		"userId": s.ObjectID, "userPrincipalName": s.UserName, "userDisplayName": s.UserName, "ipAddress": "203.0.113.7", "isInteractive": true,
		"status": object{"errorCode": code, "failureReason": "Other.", "additionalDetails": nil},
	}
}

const signInEventSource = "signin.amazonaws.com"

// signInTrailEntity words a sign-in to AWS as CloudTrail does.
// https://docs.aws.amazon.com/singlesignon/latest/userguide/understanding-sign-in-events.html
func signInTrailEntity(e clouds.SignInEvent) object {
	event := object{
		"eventVersion": "1.08", "eventID": e.ID, "requestID": e.ID, "eventSource": signInEventSource, "eventTime": e.At.UTC().Format(time.RFC3339),
		"awsRegion": e.Region, "recipientAccountId": e.Account, "sourceIPAddress": "203.0.113.7", "userAgent": "Mozilla/5.0",
		"readOnly": false, "eventType": "AwsServiceEvent", "managementEvent": true, "eventCategory": "Management", "requestParameters": nil,
	}
	if e.Accepted {
		event["eventName"], event["responseElements"] = clouds.EventSignedIn, nil
		event["userIdentity"] = object{"type": "IdentityCenterUser", "accountId": e.Account, "credentialId": e.ID, "onBehalfOf": object{
			"userId": e.UserID, "identityStoreArn": "arn:aws:identitystore::" + e.Account + ":identitystore/" + e.IdentityStore,
		}}
		event["additionalEventData"] = object{"AuthWorkflowID": e.ID, "CredentialType": "EXTERNAL_IDP", "UserName": e.UserName}
		event["serviceEventDetails"] = object{clouds.EventSignedIn: "Success"}
	} else {
		event["eventName"] = clouds.EventSignInRefused
		event["userIdentity"] = object{"type": "Unknown", "accountId": e.Account, "accessKeyId": "", "principalId": e.Account, "arn": ""}
		event["responseElements"] = object{clouds.EventSignInRefused: "Failure"}
		event["errorMessage"] = "The SAML response of " + e.UserName + " is not valid"
	}
	content, _ := json.Marshal(event) // strings always encode
	return object{
		"EventId": e.ID, "EventName": event["eventName"], "EventTime": epoch(e.At), "EventSource": signInEventSource,
		"ReadOnly": strconv.FormatBool(false), "Resources": []any{}, "Username": e.UserName, "CloudTrailEvent": string(content),
	}
}

// idpWrite is a change on the console's page "Manage SAML 2.0 certificates".
type idpWrite struct {
	idpRequest
	PEM           string `json:"x509CertificateInPEM"`
	Use           string `json:"certificateUse"`
	CertificateID string `json:"certificateId"`
}

func importIDPCertificate(c *call) (response, error) {
	return idpCall(c, mutate, func(m *clouds.Model, r idpWrite) (string, error) {
		return m.ImportIdPCertificate(c.caller, r.IDPID, r.DirectoryID, r.PEM, r.Use)
	}, func(id string) object { return object{"certificateId": id} })
}

func deleteIDPCertificate(c *call) (response, error) {
	return idpCall(c, mutate, func(m *clouds.Model, r idpWrite) (struct{}, error) {
		return struct{}{}, m.DeleteIdPCertificate(c.caller, r.IDPID, r.DirectoryID, r.CertificateID)
	}, func(struct{}) object { return object{} })
}
