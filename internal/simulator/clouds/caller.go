package clouds

import (
	"fmt"
	"maps"
	"net/http"
	"slices"
)

// Actor is who does something.
type Actor string

// The actors that the Model itself knows; a caller may name others.
const (
	ActorExporter  Actor = "exporter"
	ActorOperator  Actor = "operator"
	ActorTerraform Actor = "terraform"
	ActorEngine    Actor = "engine" // Entra's provisioning engine
	ActorEntra     Actor = "entra"  // what Entra does by itself to certificates
	ActorTime      Actor = "time"   // an expiry, the 28 days of a quarantine
	ActorSetup     Actor = "setup"  // what was so at the start
)

// Caller is who makes a call, and with what reach.
type Caller struct {
	Actor Actor
	// Account is the AWS account of the credentials, Region that of the endpoint called.
	// Empty: no restriction.
	Account, Region string
	// Tenant is the Entra tenant of the access token, ClientID the application that it
	// was issued to; its consented permissions are checked. Empty: no restriction.
	Tenant, ClientID string
}

// CallerFor is a caller that may do everything everywhere, unless Deny says otherwise.
func CallerFor(actor Actor) Caller { return Caller{Actor: actor} }

// Action is what can be denied: the IAM action on AWS's side, the kind of access on Graph's.
type Action string

// The actions.
const (
	ListInstancesAction           Action = "sso:ListInstances"
	ListProvisioningTenantsAction Action = "sso-directory:ListProvisioningTenants"
	ListBearerTokensAction        Action = "sso-directory:ListBearerTokens"
	CreateBearerTokenAction       Action = "sso-directory:CreateBearerToken"
	DeleteBearerTokenAction       Action = "sso-directory:DeleteBearerToken"
	ListIdPConfigurationsAction   Action = "sso-directory:ListExternalIdPConfigurationsForDirectory" //nolint:revive // IdP is AWS's own spelling
	ListIdPCertificatesAction     Action = "sso-directory:ListExternalIdPCertificates"               //nolint:revive // IdP is AWS's own spelling
	ImportIdPCertificateAction    Action = "sso-directory:ImportExternalIdPCertificate"              //nolint:revive // IdP is AWS's own spelling
	DeleteIdPCertificateAction    Action = "sso-directory:DeleteExternalIdPCertificate"              //nolint:revive // IdP is AWS's own spelling
	LookupEventsAction            Action = "cloudtrail:LookupEvents"
	AssumeRoleAction              Action = "sts:AssumeRole"
	GetWebIdentityTokenAction     Action = "sts:GetWebIdentityToken"
	CreateSecretAction            Action = "secretsmanager:CreateSecret"
	GetSecretValueAction          Action = "secretsmanager:GetSecretValue"
	DeleteSecretAction            Action = "secretsmanager:DeleteSecret"
	DecryptAction                 Action = "kms:Decrypt" // of a store, or a secret, with a customer managed key
	GenerateDataKeyAction         Action = "kms:GenerateDataKey"

	ReadApplications     Action = "applications.read" // service principals and app registrations
	WriteApplications    Action = "applications.write"
	ReadSynchronization  Action = "synchronization.read"
	WriteSynchronization Action = "synchronization.write"
	ReadProvisioningLog  Action = "provisioningLog.read"
	ReadDirectoryAudits  Action = "directoryAudits.read"
	ReadSignInLog        Action = "signIns.read"
)

// Denial is how a call is refused.
type Denial string

// The denials. Graph knows only one: a missing permission.
const (
	DenyMissing Denial = "missing" // no policy allows it
	DenySCP     Denial = "scp"     // an explicit deny in a service control policy
	DenyKMS     Denial = "kms"     // the customer managed key does not let the caller decrypt
	// DenyKMSReason is the same, and only the error's Reason tells.
	DenyKMSReason Denial = "kms_reason"
)

type denialKey struct {
	actor  Actor
	action Action
}

// Deny refuses an action to an actor from now on; Allow takes it back.
func (c *core) Deny(actor Actor, action Action, how Denial) {
	c.Advance()
	c.denials[denialKey{actor, action}] = how
}

// Allow ends a Deny.
func (c *core) Allow(actor Actor, action Action) {
	c.Advance()
	delete(c.denials, denialKey{actor, action})
}

// AllowOnly lets an actor do these actions at AWS and no others from now on.
func (c *core) AllowOnly(actor Actor, actions ...Action) {
	c.Advance()
	c.allowed[actor] = actions
}

// Needed lists the permissions that the calls of an actor needed, granted or not: IAM
// actions, and for each call of Graph the least permission that the actor has.
func (c *core) Needed(actor Actor) []string {
	return slices.Sorted(maps.Keys(c.needed[actor]))
}

// need notes a permission for Needed.
func (c *core) need(actor Actor, permission string) {
	if c.needed[actor] == nil {
		c.needed[actor] = map[string]bool{}
	}
	c.needed[actor][permission] = true
}

// allowAWS checks the permission for a call to one of AWS's services.
func (c *core) allowAWS(caller Caller, service Service, action Action) error {
	c.need(caller.Actor, string(action))
	allowed, restricted := c.allowed[caller.Actor]
	how, denied := c.denials[denialKey{caller.Actor, action}]
	if !denied && (!restricted || slices.Contains(allowed, action)) {
		return nil
	}
	account := caller.Account
	if account == "" {
		account = "111111111111"
	}
	message := fmt.Sprintf("User: arn:aws:sts::%s:assumed-role/%s/session is not authorized to perform: %s", account, caller.Actor, action)
	switch how {
	case DenySCP:
		message += " with an explicit deny in a service control policy"
	case DenyKMSReason:
		refused := NewError(service, http.StatusBadRequest, "AccessDeniedException", "You do not have sufficient access to perform this action.")
		refused.Reason = "KMS_ACCESS_DENIED"
		return refused
	case DenyKMS:
		message = fmt.Sprintf("User: arn:aws:sts::%s:assumed-role/%s/session is not authorized to perform: kms:Decrypt on the resource associated with this ciphertext because no identity-based policy allows the kms:Decrypt action", account, caller.Actor)
	default:
		message += fmt.Sprintf(" because no identity-based policy allows the %s action", action)
	}
	return NewError(service, http.StatusBadRequest, "AccessDeniedException", message)
}

// DescribeIdentityStoreAction is what DescribeStore checks.
const DescribeIdentityStoreAction Action = "identitystore:DescribeIdentityStore"

// Service is the API that refused a call.
type Service string

// The services.
const (
	ServiceTokens     Service = "identitystore" // the console's token service
	ServiceSCIM       Service = "scim"
	ServiceSSOAdmin   Service = "sso"
	ServiceSTS        Service = "sts"
	ServiceCloudTrail Service = "cloudtrail"
	ServiceAppsAuth   Service = "appsauth" // the console's IdP certificates
	ServiceGraph      Service = "graph"
	ServiceLogin      Service = "login" // Entra's sign-in endpoint
)

// Error is a refusal as the service words it.
type Error struct {
	Service Service
	Status  int    // HTTP status
	Code    string // "AccessDeniedException", "Request_ResourceNotFound", "AADSTS7000215"
	Message string
	Reason  string // of AWS's, "KMS_ACCESS_DENIED"; "" when it gives none
	// Nested: Graph's synchronization API wraps this error as a JSON string into the
	// message of an outer error whose code is "UnknownError".
	Nested bool
}

func (e *Error) Error() string {
	return fmt.Sprintf("%s: %d %s: %s", e.Service, e.Status, e.Code, e.Message)
}

// NewError is a refusal. The service is only for the text of the error.
func NewError(service Service, status int, code, message string) *Error {
	return &Error{Service: service, Status: status, Code: code, Message: message}
}

func notFound(service Service, format string, args ...any) *Error {
	status, code := http.StatusBadRequest, "ResourceNotFoundException"
	if service == ServiceGraph {
		status, code = http.StatusNotFound, "Request_ResourceNotFound"
	}
	return NewError(service, status, code, fmt.Sprintf(format, args...))
}
