package simulator

import (
	"crypto/sha1"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"strings"

	"entra-aws-exporter/internal/simulator/clouds"
)

const directoryPage, directoryPageDefault = 999, 100

func listServicePrincipals(c *call) (response, error) {
	options, err := c.options(map[string][]string{
		"applicationTemplateId": {"eq"}, "appId": {"eq"}, "displayName": {"eq"}, "id": {"eq"},
	}, directoryPageDefault, directoryPage)
	if err != nil {
		return response{}, err
	}
	byTemplate := slices.ContainsFunc(options.filter, func(f condition) bool { return f.field == "applicationTemplateId" })
	advanced := c.r.Header.Get("ConsistencyLevel") == "eventual" && c.r.URL.Query().Get("$count") == "true"
	if byTemplate && !advanced && c.quirks().TemplateFilter == clouds.FilterAdvanced {
		return response{}, unsupportedFilter("applicationTemplateId", "eq")
	}
	all, err := query(c, func(m *clouds.Model) ([]clouds.ServicePrincipal, error) {
		return m.ServicePrincipals(c.caller, c.tenant())
	})
	if err != nil {
		return response{}, err
	}
	found := slices.DeleteFunc(all, func(sp clouds.ServicePrincipal) bool {
		values := map[string]string{"applicationTemplateId": sp.TemplateID, "appId": sp.AppID, "displayName": sp.DisplayName, "id": sp.ObjectID}
		return slices.ContainsFunc(options.filter, func(f condition) bool { return !strings.EqualFold(values[f.field], f.value) })
	})
	return c.offsetPage("servicePrincipals", options, objects(found, func(sp clouds.ServicePrincipal) object {
		return servicePrincipalEntity(sp, false)
	}))
}

// offsetPage cuts a list into pages; the skip token is where the page begins.
func (c *call) offsetPage(kind string, options queryOptions, all []object) (response, error) {
	if options.emptyFirst {
		return c.collection(kind, []object{}, c.nextLink("0"))
	}
	from := 0
	if options.skipToken != "" {
		var err error
		if from, err = strconv.Atoi(options.skipToken); err != nil || from < 0 || from > len(all) {
			return response{}, badRequest("The skip token '%s' is not valid.", options.skipToken)
		}
	}
	to, next := min(from+options.top, len(all)), ""
	if to < len(all) {
		next = c.nextLink(strconv.Itoa(to))
	}
	return c.collection(kind, objects(all[from:to], options.selectFrom), next)
}

func getServicePrincipal(c *call) (response, error) {
	options, err := c.options(nil, 0, 0)
	if err != nil {
		return response{}, err
	}
	sp, err := c.namedPrincipal()
	if err != nil {
		return response{}, err
	}
	// The DER of a certificate comes only if nothing else is asked for.
	withKeys := slices.Equal(options.selected, []string{"keyCredentials"})
	if c.quirks().SigningCertificates == clouds.CertificatesHexOnly {
		withKeys = false
		for n := range sp.Certificates { // base64 of these bytes is the hex text
			sp.Certificates[n].CustomKeyIdentifier, _ = base64.StdEncoding.DecodeString(sp.Certificates[n].Thumbprint())
		}
	}
	return c.entity("servicePrincipals/$entity", options.selectFrom(servicePrincipalEntity(sp, withKeys)))
}

// namedPrincipal is the service principal that the path names, by its id or its appId.
func (c *call) namedPrincipal() (clouds.ServicePrincipal, error) {
	id := c.path.PathValue("id")
	appID, byAppID := strings.CutPrefix(id, alternateKey)
	return query(c, func(m *clouds.Model) (clouds.ServicePrincipal, error) {
		if !byAppID {
			return m.ServicePrincipal(c.caller, c.tenant(), id)
		}
		all, err := m.ServicePrincipals(c.caller, c.tenant())
		at := slices.IndexFunc(all, func(sp clouds.ServicePrincipal) bool { return sp.AppID == appID })
		switch {
		case at >= 0:
			return all[at], nil
		case err != nil:
			return clouds.ServicePrincipal{}, err
		}
		return clouds.ServicePrincipal{}, clouds.NewError(clouds.ServiceGraph, http.StatusNotFound, "Request_ResourceNotFound", "Resource '"+appID+"' does not exist or one of its queried reference-property objects are not present.")
	})
}

// listOwners lists who owns a service principal.
// https://learn.microsoft.com/graph/api/serviceprincipal-list-owners
func listOwners(c *call) (response, error) {
	sp, err := c.namedPrincipal()
	return c.owners(sp.Owners, err)
}

// listRegistrationOwners lists who owns the app registration of a service principal.
// https://learn.microsoft.com/graph/api/application-list-owners
func listRegistrationOwners(c *call) (response, error) {
	sp, err := c.namedPrincipal()
	return c.owners(sp.RegistrationOwners, err)
}

// owners words the owners, a person first.
func (c *call) owners(clients []string, err error) (response, error) {
	if err != nil {
		return response{}, err
	}
	entities := []object{{"@odata.type": "#microsoft.graph.user", "id": "00000000-0000-4000-8000-000000000001", "userPrincipalName": "owner@corp.example"}}
	for _, client := range clients {
		entities = append(entities, object{"@odata.type": "#microsoft.graph.servicePrincipal", "id": client, "appId": client})
	}
	return c.collection("directoryObjects", entities, "")
}

// listRoleAssignments lists the permissions of an application that signs in.
// https://learn.microsoft.com/graph/api/serviceprincipal-list-approleassignments
func listRoleAssignments(c *call) (response, error) {
	client := strings.TrimPrefix(c.path.PathValue("id"), alternateKey)
	registration, err := query(c, func(m *clouds.Model) (clouds.AppRegistration, error) {
		return m.OwnCredentials(c.caller, c.tenant(), client)
	})
	if err != nil {
		return response{}, err
	}
	return c.collection("appRoleAssignments", objects(registration.Roles, func(role string) object {
		return object{"id": role, "appRoleId": roleID(role), "principalId": client, "principalType": "ServicePrincipal", "resourceDisplayName": "Microsoft Graph"}
	}), "")
}

// roleID is the id of one of Graph's roles. Only those that write applications have their
// real one.
// https://learn.microsoft.com/graph/permissions-reference
func roleID(role string) string {
	switch role {
	case clouds.RoleApplicationOwned:
		return "18a4783c-866b-4cc7-a460-3d5e5662c884"
	case clouds.RoleApplicationWrite:
		return "1bfefb4e-e0b5-418b-a88f-73c46d2cc8e9"
	default:
		sum := sha256.Sum256([]byte(role))
		return clouds.UUID(sum[:16])
	}
}

func servicePrincipalEntity(sp clouds.ServicePrincipal, withKeys bool) object {
	var preferred, mode any
	if active := sp.ActiveThumbprint(); active != "" {
		preferred = active
	}
	if sp.SSOMode != "" {
		mode = sp.SSOMode
	}
	keys, passwords := signingCredentials(sp.Certificates, withKeys)
	return object{
		"id": sp.ObjectID, "appId": sp.AppID, "displayName": sp.DisplayName, "appDisplayName": sp.DisplayName,
		"applicationTemplateId": sp.TemplateID, "accountEnabled": true, "deletedDateTime": nil,
		"servicePrincipalNames": append([]string{sp.AppID}, sp.EntityIDs...), "tags": append([]string{}, sp.Tags...),
		"replyUrls": []string{}, "notificationEmailAddresses": append([]string{}, sp.Notified...),
		"preferredTokenSigningKeyThumbprint": preferred, "preferredSingleSignOnMode": mode,
		"keyCredentials": keys, "passwordCredentials": passwords,
	}
}

// signingCredentials shows each SAML certificate as Graph does: a private and a public
// key credential and a password, held together by customKeyIdentifier.
func signingCredentials(certificates []clouds.SigningCertificate, withKeys bool) (keys, passwords []object) {
	keys, passwords = []object{}, []object{}
	for _, certificate := range certificates {
		custom := certificate.CustomKeyIdentifier
		if custom == nil {
			thumbprint := sha1.Sum(certificate.DER())
			custom = thumbprint[:]
		}
		credential := func(keyID string, more object) object {
			entity := object{
				"customKeyIdentifier": base64.StdEncoding.EncodeToString(custom), "keyId": keyID,
				"startDateTime": graphTime(certificate.NotBefore), "endDateTime": graphTime(certificate.NotAfter),
			}
			maps.Copy(entity, more)
			return entity
		}
		key := func(keyID, kind, usage string) object {
			return credential(keyID, object{"type": kind, "usage": usage, "displayName": certificate.Subject(), "key": nil})
		}
		if !certificate.NoSign {
			keys = append(keys, key(certificate.SignKeyID, "X509CertAndPassword", "Sign"))
			passwords = append(passwords, credential(certificate.SignKeyID, object{"displayName": nil, "hint": nil, "secretText": nil}))
		}
		verify := key(certificate.VerifyKeyID, "AsymmetricX509Cert", "Verify")
		if withKeys {
			verify["key"] = base64.StdEncoding.EncodeToString(certificate.DER())
		}
		keys = append(keys, verify)
	}
	return keys, passwords
}

func listApplications(c *call) (response, error) {
	options, err := c.options(map[string][]string{"appId": {"eq"}}, directoryPageDefault, directoryPage)
	if err != nil {
		return response{}, err
	}
	if len(options.filter) != 1 {
		return response{}, badRequest("This simulator lists applications by appId only.")
	}
	registration, err := query(c, func(m *clouds.Model) (clouds.AppRegistration, error) {
		return m.OwnCredentials(c.caller, c.tenant(), options.filter[0].value)
	})
	if refused, isError := err.(*clouds.Error); isError && refused.Status == http.StatusNotFound { //nolint:errorlint // the model's own
		return c.collection("applications", []object{}, "")
	}
	if err != nil {
		return response{}, err
	}
	return c.collection("applications", []object{options.selectFrom(applicationEntity(registration))}, "")
}

func applicationEntity(r clouds.AppRegistration) object {
	return object{
		"id": r.ObjectID, "appId": r.ClientID, "displayName": r.DisplayName, "identifierUris": []string{}, "signInAudience": "AzureADMyOrg",
		"passwordCredentials": objects(r.Secrets, func(secret clouds.AppSecret) object {
			return object{
				"keyId": secret.KeyID, "displayName": secret.DisplayName, "hint": secret.Hint, "secretText": nil, "customKeyIdentifier": nil,
				"startDateTime": graphTime(secret.Starts), "endDateTime": graphTime(secret.Expires),
			}
		}),
		"keyCredentials": objects(r.Certificates, func(certificate clouds.AppCertificate) object {
			thumbprint := sha1.Sum(certificate.DER)
			return object{
				"keyId": certificate.KeyID, "displayName": "CN=exporter", "type": "AsymmetricX509Cert", "usage": "Verify", "key": nil,
				"customKeyIdentifier": strings.ToUpper(hex.EncodeToString(thumbprint[:])),
				"startDateTime":       graphTime(certificate.Starts), "endDateTime": graphTime(certificate.Expires),
			}
		}),
	}
}
