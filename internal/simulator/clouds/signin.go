package clouds

import (
	"fmt"
	"net/http"
	"slices"
	"time"
)

// AddRegistration makes an application to sign in by, with consent to the roles and
// one client secret that expires.
func (entra *Entra) AddRegistration(tenantID string, actor Actor, expires time.Time, roles ...string) (AppRegistration, error) {
	t, err := entra.tenantFor(Caller{}, WriteApplications, tenantID)
	if err != nil {
		return AppRegistration{}, err
	}
	secret := AppSecret{KeyID: entra.newID(), DisplayName: "secret", Value: entra.newID() + "~" + entra.newID()[:8], Starts: entra.at, Expires: expires}
	secret.Hint = secret.Value[:3]
	r := &AppRegistration{
		ObjectID: entra.newID(), ClientID: entra.newID(), DisplayName: string(actor), Actor: actor, Roles: roles, Secrets: []AppSecret{secret},
	}
	t.registrations = append(t.registrations, r)
	return r.view(0), nil
}

// ChangeRegistration lets an operator edit a registration: consent, credentials.
func (entra *Entra) ChangeRegistration(tenantID, clientID string, change func(*AppRegistration)) error {
	r, err := entra.registrationFor(tenantID, clientID)
	if err != nil {
		return err
	}
	change(r)
	return nil
}

// Registration returns an application as the sign-in endpoint knows it: to verify
// certificates and federated tokens, and to fill a token's roles. Its errors are
// AADSTS errors.
func (entra *Entra) Registration(tenantID, clientID string) (AppRegistration, error) {
	r, err := entra.registrationFor(tenantID, clientID)
	if err != nil {
		return AppRegistration{}, err
	}
	return r.view(0), nil
}

// SignIn checks a client secret.
// https://learn.microsoft.com/entra/identity-platform/reference-error-codes
func (entra *Entra) SignIn(tenantID, clientID, secret string) (AppRegistration, error) {
	r, err := entra.registrationFor(tenantID, clientID)
	if err != nil {
		return AppRegistration{}, err
	}
	at := slices.IndexFunc(r.Secrets, func(s AppSecret) bool { return s.Value == secret })
	switch {
	case at < 0:
		return AppRegistration{}, aadsts(http.StatusUnauthorized, "AADSTS7000215", "Invalid client secret provided. Ensure the secret being sent in the request is the client secret value, not the client secret ID, for a secret added to app '%s'.", clientID)
	case !entra.at.Before(r.Secrets[at].Expires):
		return AppRegistration{}, aadsts(http.StatusUnauthorized, "AADSTS7000222", "The provided client secret keys for app '%s' are expired.", clientID)
	}
	return r.view(0), nil
}

// OwnCredentials reads an app registration as Graph shows it to an application that
// may read applications: the secrets without their values.
func (entra *Entra) OwnCredentials(c Caller, tenantID, clientID string) (AppRegistration, error) {
	t, err := entra.tenantFor(c, ReadApplications, tenantID)
	if err != nil {
		return AppRegistration{}, err
	}
	r := t.registration(clientID)
	if r == nil {
		return AppRegistration{}, notFound(ServiceGraph, "Resource '%s' does not exist or one of its queried reference-property objects are not present.", clientID)
	}
	view := r.view(entra.skew.Entra)
	for i := range view.Secrets {
		view.Secrets[i].Value = ""
	}
	return view, nil
}

func (entra *Entra) registrationFor(tenantID, clientID string) (*AppRegistration, error) {
	entra.Advance()
	t := entra.tenant(tenantID)
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
