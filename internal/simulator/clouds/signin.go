package clouds

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"
)

// STS is the keys that sign in to AWS, and the roles that they may assume.
type STS struct {
	*core
	principals map[string]Principal // by access key id
	roles      map[string]Role      // by ARN
}

// Principal is a pair of AWS keys, for the verification of signatures.
type Principal struct {
	AccessKeyID, SecretAccessKey string
	SessionToken                 string // "" for long-lived keys
	Account                      string
	ARN                          string
	Actor                        Actor
	Expires                      time.Time // zero: never
}

// Role can be assumed.
type Role struct {
	ARN        string
	Account    string
	ExternalID string // "" asks for none
	Actor      Actor  // who one is after having assumed it
}

// AddPrincipal makes AWS keys for an actor of an account.
func (sts *STS) AddPrincipal(account string, actor Actor) Principal {
	sts.Advance()
	p := Principal{
		AccessKeyID: sts.accessKeyID("AKIA"), SecretAccessKey: sts.newID() + "+" + sts.newID()[:3],
		Account: account, ARN: fmt.Sprintf("arn:aws:iam::%s:user/%s", account, actor), Actor: actor,
	}
	sts.principals[p.AccessKeyID] = p
	return p
}

// AddRole makes a role that every principal may assume.
func (sts *STS) AddRole(role Role) {
	sts.Advance()
	sts.roles[role.ARN] = role
}

// Principal finds AWS keys by their access key id.
func (sts *STS) Principal(accessKeyID string) (Principal, error) {
	sts.Advance()
	p, ok := sts.principals[accessKeyID]
	switch {
	case !ok:
		return Principal{}, NewError(ServiceSTS, http.StatusForbidden, "UnrecognizedClientException", "The security token included in the request is invalid.")
	case !p.Expires.IsZero() && !sts.at.Before(p.Expires):
		return Principal{}, NewError(ServiceSTS, http.StatusForbidden, "ExpiredTokenException", "The security token included in the request is expired")
	}
	return p, nil
}

// AssumeRole gives temporary keys of a role for an hour.
func (sts *STS) AssumeRole(c Caller, arn, externalID string) (Principal, error) {
	sts.Advance()
	if err := sts.allowAWS(c, ServiceSTS, AssumeRoleAction); err != nil {
		return Principal{}, err
	}
	role, ok := sts.roles[arn]
	if !ok || role.ExternalID != externalID {
		return Principal{}, NewError(ServiceSTS, http.StatusForbidden, "AccessDenied", fmt.Sprintf("User is not authorized to perform: sts:AssumeRole on resource: %s", arn))
	}
	p := Principal{
		AccessKeyID: sts.accessKeyID("ASIA"), SecretAccessKey: sts.newID() + "+" + sts.newID()[:3], SessionToken: sts.newID() + sts.newID(),
		Account: role.Account, Actor: role.Actor, Expires: sts.at.Add(time.Hour),
		ARN: strings.Replace(strings.Replace(arn, ":role/", ":assumed-role/", 1), ":iam:", ":sts:", 1) + "/session",
	}
	sts.principals[p.AccessKeyID] = p
	return p, nil
}

// MayGetWebIdentityToken checks the permission for STS's GetWebIdentityToken; the token
// itself is a matter of the protocol.
func (sts *STS) MayGetWebIdentityToken(c Caller) error {
	sts.Advance()
	return sts.allowAWS(c, ServiceSTS, GetWebIdentityTokenAction)
}

// AppRegistrations is the applications that sign in to Entra's tenants.
type AppRegistrations struct {
	*core
	entra *Entra
}

// AppRegistration is an application that signs in, with its own credentials.
type AppRegistration struct {
	ObjectID     string
	ClientID     string
	DisplayName  string
	Actor        Actor    // who signs in by it
	Roles        []string // consented application permissions
	Secrets      []AppSecret
	Certificates []AppCertificate
	Federated    []FederatedCredential
}

// AppSecret is a client secret.
type AppSecret struct {
	KeyID, DisplayName, Hint string
	Value                    string // the real API never shows it again
	Starts, Expires          time.Time
}

// AppCertificate is a certificate to sign in with.
type AppCertificate struct {
	KeyID           string
	DER             []byte
	Starts, Expires time.Time
}

// FederatedCredential lets tokens of another issuer sign in.
type FederatedCredential struct{ Issuer, Subject, Audience string }

// AddRegistration makes an application to sign in by, with consent to the roles and
// one client secret that expires.
func (apps *AppRegistrations) AddRegistration(tenantID string, actor Actor, expires time.Time, roles ...string) (AppRegistration, error) {
	t, err := apps.entra.tenantFor(Caller{}, WriteApplications, tenantID)
	if err != nil {
		return AppRegistration{}, err
	}
	secret := AppSecret{KeyID: apps.newID(), DisplayName: "secret", Value: apps.newID() + "~" + apps.newID()[:8], Starts: apps.at, Expires: expires}
	secret.Hint = secret.Value[:3]
	r := &AppRegistration{
		ObjectID: apps.newID(), ClientID: apps.newID(), DisplayName: string(actor), Actor: actor, Roles: roles, Secrets: []AppSecret{secret},
	}
	t.registrations = append(t.registrations, r)
	return r.view(0), nil
}

// ChangeRegistration lets an operator edit a registration: consent, credentials.
func (apps *AppRegistrations) ChangeRegistration(tenantID, clientID string, change func(*AppRegistration)) error {
	r, err := apps.registrationFor(tenantID, clientID)
	if err != nil {
		return err
	}
	change(r)
	return nil
}

// Registration returns an application as the sign-in endpoint knows it: to verify
// certificates and federated tokens, and to fill a token's roles. Its errors are
// AADSTS errors.
func (apps *AppRegistrations) Registration(tenantID, clientID string) (AppRegistration, error) {
	r, err := apps.registrationFor(tenantID, clientID)
	if err != nil {
		return AppRegistration{}, err
	}
	return r.view(0), nil
}

// SignIn checks a client secret.
// https://learn.microsoft.com/entra/identity-platform/reference-error-codes
func (apps *AppRegistrations) SignIn(tenantID, clientID, secret string) (AppRegistration, error) {
	r, err := apps.registrationFor(tenantID, clientID)
	if err != nil {
		return AppRegistration{}, err
	}
	at := slices.IndexFunc(r.Secrets, func(s AppSecret) bool { return s.Value == secret })
	switch {
	case at < 0:
		return AppRegistration{}, aadsts(http.StatusUnauthorized, "AADSTS7000215", "Invalid client secret provided. Ensure the secret being sent in the request is the client secret value, not the client secret ID, for a secret added to app '%s'.", clientID)
	case !apps.at.Before(r.Secrets[at].Expires):
		return AppRegistration{}, aadsts(http.StatusUnauthorized, "AADSTS7000222", "The provided client secret keys for app '%s' are expired.", clientID)
	}
	return r.view(0), nil
}

// OwnCredentials reads an app registration as Graph shows it to an application that
// may read applications: the secrets without their values.
func (apps *AppRegistrations) OwnCredentials(c Caller, tenantID, clientID string) (AppRegistration, error) {
	t, err := apps.entra.tenantFor(c, ReadApplications, tenantID)
	if err != nil {
		return AppRegistration{}, err
	}
	r := t.registration(clientID)
	if r == nil {
		return AppRegistration{}, notFound(ServiceGraph, "Resource '%s' does not exist or one of its queried reference-property objects are not present.", clientID)
	}
	view := r.view(apps.skew.Entra)
	for i := range view.Secrets {
		view.Secrets[i].Value = ""
	}
	return view, nil
}

func (apps *AppRegistrations) registrationFor(tenantID, clientID string) (*AppRegistration, error) {
	apps.Advance()
	t := apps.entra.tenant(tenantID)
	if t == nil {
		return nil, aadsts(http.StatusBadRequest, "AADSTS90002", "Tenant '%s' not found. Check to make sure you have the correct tenant ID and are signing into the correct cloud.", tenantID)
	}
	r := t.registration(clientID)
	if r == nil {
		return nil, aadsts(http.StatusBadRequest, "AADSTS700016", "Application with identifier '%s' was not found in the directory '%s'.", clientID, tenantID)
	}
	return r, nil
}

func aadsts(status int, code, format string, args ...any) *Error {
	return NewError(ServiceLogin, status, code, fmt.Sprintf(format, args...))
}

func (r *AppRegistration) view(skew time.Duration) AppRegistration {
	view := *r
	view.Roles, view.Federated = slices.Clone(r.Roles), slices.Clone(r.Federated)
	view.Secrets, view.Certificates = slices.Clone(r.Secrets), slices.Clone(r.Certificates)
	for i := range view.Secrets {
		view.Secrets[i].Starts, view.Secrets[i].Expires = addSkew(view.Secrets[i].Starts, skew), addSkew(view.Secrets[i].Expires, skew)
	}
	return view
}
