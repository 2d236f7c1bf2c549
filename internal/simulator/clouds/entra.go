package clouds

import (
	"net/http"
	"slices"
	"time"

	"entra-aws-exporter/internal/model"
)

// Entra is tenants with their applications, credentials and logs. Their provisioning is
// Engine, their app registrations AppRegistrations.
type Entra struct {
	*core
	aws     *AWS
	tenants []*entraTenant
	reads   int // of applications
}

// AWSTemplateID is the gallery template of "AWS IAM Identity Center (successor to AWS
// Single Sign-On)"; OldAWSTemplateID that of "AWS Single-Account Access".
const (
	AWSTemplateID    = "21ed01d2-ec13-4e9e-86c1-cd546719ebc4"
	OldAWSTemplateID = "8b1025e4-1dd2-430b-a150-2ef79cd700f5"
)

// SigningCertificate is a SAML certificate on a service principal: a pair of key
// credentials, Sign and Verify, and a password credential.
type SigningCertificate struct {
	*Certificate
	SignKeyID, VerifyKeyID string
	CustomKeyIdentifier    []byte // nil: the thumbprint's bytes, as for those that Entra made
	NoSign                 bool   // the Sign twin is missing
}

// ServicePrincipal is an enterprise application.
type ServicePrincipal struct {
	ObjectID    string
	AppID       string
	DisplayName string
	TemplateID  string
	Tags        []string
	EntityIDs   []string // its SAML identifiers
	SSOMode     string   // preferredSingleSignOnMode
	// Preferred is the certificate it is set to sign with; nil: never set, or Absent.
	Preferred *Certificate
	Absent    string   // the thumbprint it is set to sign with, which no certificate has
	Owners    []string // client ids of the applications that own it
	// RegistrationOwners own the app registration behind it, which making a certificate needs too.
	RegistrationOwners []string
	Certificates       []SigningCertificate
	Notified           []string // notificationEmailAddresses
}

type entraTenant struct {
	id            string
	unlicensed    bool // no P1: no logs
	registrations []*AppRegistration
	applications  []*servicePrincipal
	entries       []LogEntry
	audits        []Audit
}

type servicePrincipal struct {
	ServicePrincipal
	of      *entraTenant
	secrets []Secret
	saved   credential
	savedAt time.Time // of the last PUT that was answered 204, saved or not
	jobs    []*job

	signings []signing // how it signed, oldest first
	desk     signInDesk
}

func (entra *Entra) tenant(id string) *entraTenant {
	for _, t := range entra.tenants {
		if t.id == id {
			return t
		}
	}
	return nil
}

func (t *entraTenant) registration(clientID string) *AppRegistration {
	for _, r := range t.registrations {
		if r.ClientID == clientID {
			return r
		}
	}
	return nil
}

// AddTenant makes an Entra tenant with a P1 licence, unless it is there.
func (entra *Entra) AddTenant(id string) {
	entra.Advance()
	if entra.tenant(id) == nil {
		entra.tenants = append(entra.tenants, &entraTenant{id: id})
	}
}

// SetLicence gives a tenant its P1 licence or takes it away, and the logs with it.
func (entra *Entra) SetLicence(tenantID string, p1 bool) error {
	t, err := entra.tenantFor(Caller{}, ReadApplications, tenantID)
	if err != nil {
		return err
	}
	t.unlicensed = !p1
	return nil
}

// ServicePrincipals lists the applications of a tenant.
func (entra *Entra) ServicePrincipals(c Caller, tenantID string) ([]ServicePrincipal, error) {
	t, err := entra.tenantFor(c, ReadApplications, tenantID)
	if err != nil {
		return nil, err
	}
	var list []ServicePrincipal
	for _, sp := range t.applications {
		list = append(list, entra.applicationView(sp))
	}
	return list, nil
}

// ServicePrincipal gets an application by its object id.
func (entra *Entra) ServicePrincipal(c Caller, tenantID, objectID string) (ServicePrincipal, error) {
	sp, err := entra.application(c, ReadApplications, tenantID, objectID)
	if err != nil {
		return ServicePrincipal{}, err
	}
	return entra.applicationView(sp), nil
}

// ChangeApplication lets an operator edit an application: its identifiers, tags,
// notification addresses, certificates.
func (entra *Entra) ChangeApplication(tenantID, objectID string, change func(*ServicePrincipal)) error {
	sp, err := entra.application(Caller{}, WriteApplications, tenantID, objectID)
	if err != nil {
		return err
	}
	change(&sp.ServicePrincipal)
	entra.noteSigning(sp, ActorOperator)
	return nil
}

// AddApplication makes an AWS application without provisioning, such as one for sign-in only.
func (entra *Entra) AddApplication(tenantID, name string) (ServicePrincipal, error) {
	t, err := entra.tenantFor(Caller{}, WriteApplications, tenantID)
	if err != nil {
		return ServicePrincipal{}, err
	}
	sp := &servicePrincipal{of: t, ServicePrincipal: ServicePrincipal{
		ObjectID: entra.newID(), AppID: entra.newID(), DisplayName: name, TemplateID: AWSTemplateID, SSOMode: model.SingleSignOnSAML,
	}}
	entra.noteSigning(sp, ActorOperator)
	t.applications = append(t.applications, sp)
	return entra.applicationView(sp), nil
}

func (entra *Entra) tenantFor(c Caller, action Action, tenantID string) (*entraTenant, error) {
	entra.Advance()
	t := entra.tenant(tenantID)
	if t == nil || (c.Tenant != "" && c.Tenant != tenantID) {
		return nil, notFound(ServiceGraph, "Tenant '%s' does not exist.", tenantID)
	}
	return t, entra.allowGraph(c, action, nil)
}

func (entra *Entra) application(c Caller, action Action, tenantID, objectID string) (*servicePrincipal, error) {
	t, err := entra.tenantFor(Caller{Tenant: c.Tenant}, action, tenantID)
	if err != nil {
		return nil, err
	}
	for _, sp := range t.applications {
		if sp.ObjectID == objectID {
			return sp, entra.allowGraph(c, action, sp)
		}
	}
	return nil, notFound(ServiceGraph, "Resource '%s' does not exist or one of its queried reference-property objects are not present.", objectID)
}

// applicationView is the application as a replica of the directory shows it. Quirk:
// directory_lag; every second read meets a replica that lags.
func (entra *Entra) applicationView(sp *servicePrincipal) ServicePrincipal {
	view := sp.ServicePrincipal
	if lag := entra.lag(entra.quirks.DirectoryLag); lag > 0 {
		if entra.reads++; entra.reads%2 == 0 {
			seen := sp.signingAt(entra.at.Add(-lag))
			view.SSOMode, view.Preferred, view.Absent, view.Certificates = seen.mode, seen.preferred, seen.absent, seen.certificates
		}
	}
	view.Tags, view.EntityIDs = slices.Clone(view.Tags), slices.Clone(view.EntityIDs)
	view.Notified, view.Certificates = slices.Clone(view.Notified), slices.Clone(view.Certificates)
	view.Owners, view.RegistrationOwners = slices.Clone(view.Owners), slices.Clone(view.RegistrationOwners)
	return view
}

// Graph's application permissions.
// https://learn.microsoft.com/graph/permissions-reference
const (
	RoleApplicationRead     = "Application.Read.All"
	RoleApplicationWrite    = "Application.ReadWrite.All"
	RoleSynchronizationRead = "Synchronization.Read.All"
	RoleSynchronization     = "Synchronization.ReadWrite.All"
	RoleApplicationOwned    = "Application.ReadWrite.OwnedBy" // for an owner of the application
	RoleProvisioningLog     = "ProvisioningLog.Read.All"
	RoleAuditLog            = "AuditLog.Read.All"
)

// sufficientRoles lists the roles of which any one allows an action, the least first.
func sufficientRoles(action Action) []string {
	switch action {
	case ReadApplications:
		return []string{RoleApplicationRead, RoleApplicationWrite}
	case WriteApplications:
		return []string{RoleApplicationOwned, RoleApplicationWrite}
	case ReadSynchronization:
		return []string{RoleSynchronizationRead, RoleSynchronization}
	case WriteSynchronization:
		return []string{RoleApplicationOwned, RoleSynchronization}
	case ReadProvisioningLog:
		return []string{RoleProvisioningLog, RoleAuditLog}
	default:
		return []string{RoleAuditLog}
	}
}

// allowGraph checks the permission for a call that concerns an application; nil: all of
// them, or none.
func (entra *Entra) allowGraph(c Caller, action Action, of *servicePrincipal) error {
	_, refused := entra.denials[denialKey{c.Actor, action}]
	if !refused && c.ClientID != "" {
		tenant := entra.tenant(c.Tenant)
		if tenant == nil {
			return NewError(ServiceGraph, http.StatusUnauthorized, "InvalidAuthenticationToken", "Access token validation failure.")
		}
		registration := tenant.registration(c.ClientID)
		sufficient := sufficientRoles(action)
		held := slices.IndexFunc(sufficient, func(role string) bool {
			return registration != nil && slices.Contains(registration.Roles, role) &&
				(role != RoleApplicationOwned || of != nil && slices.Contains(of.Owners, c.ClientID))
		})
		refused = held < 0
		entra.need(c.Actor, sufficient[max(held, 0)])
	}
	if !refused {
		return nil
	}
	return refusedByGraph()
}

func refusedByGraph() error {
	return NewError(ServiceGraph, http.StatusForbidden, "Authorization_RequestDenied", "Insufficient privileges to complete the operation.")
}

// mayMakeCertificate tells whether a caller who may write an application only as its owner
// also owns its app registration.
// https://registry.terraform.io/providers/hashicorp/azuread/latest/docs/resources/service_principal_token_signing_certificate
func (entra *Entra) mayMakeCertificate(c Caller, sp *servicePrincipal) bool {
	if c.ClientID == "" {
		return true
	}
	registration := entra.tenant(c.Tenant).registration(c.ClientID)
	return registration != nil && slices.Contains(registration.Roles, RoleApplicationWrite) || slices.Contains(sp.RegistrationOwners, c.ClientID)
}
