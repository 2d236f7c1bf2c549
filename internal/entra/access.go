package entra

import (
	"context"
	"strings"

	"entra-aws-exporter/internal/model"
)

// The ids of Graph's roles that let an identity write an application: one that it owns, or
// any. They are the same in every tenant.
// https://learn.microsoft.com/graph/permissions-reference
const (
	writeOwnedRole = "18a4783c-866b-4cc7-a460-3d5e5662c884" // Application.ReadWrite.OwnedBy
	writeAllRole   = "1bfefb4e-e0b5-418b-a88f-73c46d2cc8e9" // Application.ReadWrite.All
)

// WriteAccess is what the exporter's identity may write of the application that signs users in.
type WriteAccess struct {
	Known            bool // false: Entra cannot tell, as for a managed identity of the system
	All              bool // it may write every application
	Owned            bool // it may write those that it owns
	OwnsApplication  bool
	OwnsRegistration bool // of the application
}

// WriteAccess reads by which permission and ownership the exporter may write the
// application. Nothing is written.
func (a *Application) WriteAccess(ctx context.Context) (WriteAccess, error) {
	client := a.tenant.clientID
	if client == "" {
		client = a.tenant.credential.ManagedIdentityClientID
	}
	if client == "" {
		return WriteAccess{}, nil
	}
	access := WriteAccess{Known: true}
	call := apiCall{op: "reading the exporter's own permissions", permission: readApplications}
	roles, _, err := getList[struct{ AppRoleID string }](ctx, a.tenant.graph, call, "/servicePrincipals(appId='{client}')/appRoleAssignments", parameters{"client": client})
	if err != nil {
		return WriteAccess{}, err
	}
	for _, role := range roles {
		access.All = access.All || role != nil && strings.EqualFold(role.AppRoleID, writeAllRole)
		access.Owned = access.Owned || role != nil && strings.EqualFold(role.AppRoleID, writeOwnedRole)
	}
	principal, err := a.discovery.samlPrincipalID(ctx)
	if err != nil {
		return WriteAccess{}, err
	}
	appID, err := a.samlAppID(ctx)
	if err != nil {
		return WriteAccess{}, err
	}
	if access.OwnsApplication, err = a.isOwnedBy(ctx, client, "/servicePrincipals/{id}/owners", principal); err != nil {
		return WriteAccess{}, err
	}
	access.OwnsRegistration, err = a.isOwnedBy(ctx, client, "/applications(appId='{id}')/owners", appID)
	if model.ReasonOf(err) == model.ReasonNotFound { // it is registered in another tenant
		err = nil
	}
	return access, err
}

// isOwnedBy tells whether a client is among the owners that a path lists. They may be people.
func (a *Application) isOwnedBy(ctx context.Context, client, path, id string) (bool, error) {
	call := apiCall{op: "reading the application's owners", permission: readApplications, sensitive: true}
	owners, _, err := getList[struct{ AppID string }](ctx, a.tenant.graph, call, path, parameters{"id": id})
	for _, owner := range owners {
		if owner != nil && strings.EqualFold(owner.AppID, client) {
			return true, nil
		}
	}
	return false, err
}
