package simulator

import (
	"crypto/sha1"
	"encoding/base64"
	"encoding/hex"
	"net/http"
	"slices"
	"strconv"
	"strings"

	"entra-aws-exporter/internal/simulator/clouds"
)

// directoryPage is how many directory objects come on a page at most, and by default.
const directoryPage, directoryPageDefault = 999, 100

func listServicePrincipals(c *call) (answer, error) {
	options, err := c.queryOptions(map[string][]string{
		"applicationTemplateId": {"eq"}, "appId": {"eq"}, "displayName": {"eq"}, "id": {"eq"},
	}, directoryPageDefault, directoryPage)
	if err != nil {
		return answer{}, err
	}
	all, err := read(c, func(w *clouds.Model) ([]clouds.ServicePrincipal, error) {
		return w.ServicePrincipals(c.caller, c.tenant(), "")
	})
	if err != nil {
		return answer{}, err
	}
	var found []map[string]any
	for _, sp := range all {
		values := map[string]string{"applicationTemplateId": sp.TemplateID, "appId": sp.AppID, "displayName": sp.DisplayName, "id": sp.ObjectID}
		matches := true
		for _, condition := range options.filter {
			matches = matches && strings.EqualFold(values[condition.field], condition.value)
		}
		if matches {
			found = append(found, options.selectFrom(c.servicePrincipal(sp, false)))
		}
	}
	return c.offsetPage("servicePrincipals", found, options)
}

// offsetPage cuts a list into pages; the skip token is where the page begins.
func (c *call) offsetPage(kind string, all []map[string]any, o options) (answer, error) {
	from := 0
	if o.skipToken != "" {
		var err error
		if from, err = strconv.Atoi(o.skipToken); err != nil || from < 0 || from > len(all) {
			return answer{}, badRequest("The skip token '%s' is not valid.", o.skipToken)
		}
	}
	to, next := min(from+o.top, len(all)), ""
	if to < len(all) {
		next = c.nextLink(strconv.Itoa(to))
	}
	return c.collection(kind, all[from:to], next)
}

func getServicePrincipal(c *call) (answer, error) {
	options, err := c.queryOptions(nil, 0, 0)
	if err != nil {
		return answer{}, err
	}
	sp, err := c.findServicePrincipal()
	if err != nil {
		return answer{}, err
	}
	// The DER of a certificate comes only if nothing else is asked for.
	withKeys := slices.Equal(options.selected, []string{"keyCredentials"})
	return c.entity("servicePrincipals/$entity", options.selectFrom(c.servicePrincipal(sp, withKeys)))
}

// findServicePrincipal takes an object id, or the alternate key appId.
func (c *call) findServicePrincipal() (clouds.ServicePrincipal, error) {
	id := c.path.PathValue("id")
	appID, byAppID := strings.CutPrefix(id, alternateKey)
	return read(c, func(w *clouds.Model) (clouds.ServicePrincipal, error) {
		if !byAppID {
			return w.ServicePrincipal(c.caller, c.tenant(), id)
		}
		all, err := w.ServicePrincipals(c.caller, c.tenant(), "")
		for _, sp := range all {
			if sp.AppID == appID {
				return sp, nil
			}
		}
		if err != nil {
			return clouds.ServicePrincipal{}, err
		}
		return clouds.ServicePrincipal{}, noResource(appID)
	})
}

func noResource(id string) *clouds.Error {
	return &clouds.Error{
		Service: clouds.ServiceGraph, Status: http.StatusNotFound, Code: "Request_ResourceNotFound",
		Message: "Resource '" + id + "' does not exist or one of its queried reference-property objects are not present.",
	}
}

// patchServicePrincipal activates another signing certificate, as a person would.
func patchServicePrincipal(c *call) (answer, error) {
	var body struct {
		Thumbprint *string   `json:"preferredTokenSigningKeyThumbprint"`
		Notified   *[]string `json:"notificationEmailAddresses"`
	}
	if err := c.decode(&body); err != nil {
		return answer{}, err
	}
	id := c.path.PathValue("id")
	return done(act(c, func(w *clouds.Model) (struct{}, error) {
		if body.Thumbprint != nil {
			if err := w.SetPreferred(c.caller, c.tenant(), id, *body.Thumbprint); err != nil {
				return struct{}{}, err
			}
		}
		if body.Notified != nil {
			return nothing(w.ChangeApplication(c.tenant(), id, func(sp *clouds.ServicePrincipal) { sp.Notified = *body.Notified }))
		}
		return struct{}{}, nil
	}))
}

func (c *call) servicePrincipal(sp clouds.ServicePrincipal, withKeys bool) map[string]any {
	var preferred any
	if sp.Preferred != nil {
		preferred = sp.Preferred.Thumbprint()
	}
	keys, passwords := signingCredentials(sp.Certificates, withKeys)
	return map[string]any{
		"id": sp.ObjectID, "appId": sp.AppID, "displayName": sp.DisplayName, "appDisplayName": sp.DisplayName,
		"applicationTemplateId": sp.TemplateID, "accountEnabled": true, "deletedDateTime": nil,
		"appOwnerOrganizationId": c.tenant(), "appRoleAssignmentRequired": true,
		"servicePrincipalType": "Application", "preferredSingleSignOnMode": "saml", "signInAudience": "AzureADMyOrg",
		"servicePrincipalNames": append([]string{sp.AppID}, sp.EntityIDs...), "tags": notNil(sp.Tags),
		"replyUrls": []string{}, "notificationEmailAddresses": notNil(sp.Notified),
		"preferredTokenSigningKeyThumbprint": preferred,
		"keyCredentials":                     keys, "passwordCredentials": passwords,
	}
}

// signingCredentials shows each SAML certificate as Graph does: a private and a public
// key credential and a password, held together by customKeyIdentifier.
func signingCredentials(certificates []clouds.SigningCertificate, withKeys bool) (keys, passwords []map[string]any) {
	keys, passwords = []map[string]any{}, []map[string]any{}
	for _, certificate := range certificates {
		custom := certificate.CustomKeyIdentifier
		if custom == nil {
			thumbprint := sha1.Sum(certificate.DER())
			custom = thumbprint[:]
		}
		credential := func(keyID, kind, usage string) map[string]any {
			return map[string]any{
				"customKeyIdentifier": base64.StdEncoding.EncodeToString(custom), "keyId": keyID, "type": kind, "usage": usage,
				"displayName": "CN=Microsoft Azure Federated SSO Certificate", "key": nil,
				"startDateTime": graphTime(certificate.NotBefore()), "endDateTime": graphTime(certificate.NotAfter()),
			}
		}
		if !certificate.NoSign {
			keys = append(keys, credential(certificate.SignKeyID, "X509CertAndPassword", "Sign"))
			passwords = append(passwords, map[string]any{
				"customKeyIdentifier": base64.StdEncoding.EncodeToString(custom), "keyId": certificate.SignKeyID,
				"displayName": nil, "hint": nil, "secretText": nil,
				"startDateTime": graphTime(certificate.NotBefore()), "endDateTime": graphTime(certificate.NotAfter()),
			})
		}
		verify := credential(certificate.VerifyKeyID, "AsymmetricX509Cert", "Verify")
		if withKeys {
			verify["key"] = base64.StdEncoding.EncodeToString(certificate.DER())
		}
		keys = append(keys, verify)
	}
	return keys, passwords
}

func listApplications(c *call) (answer, error) {
	options, err := c.queryOptions(map[string][]string{"appId": {"eq"}}, directoryPageDefault, directoryPage)
	if err != nil {
		return answer{}, err
	}
	if len(options.filter) != 1 {
		return answer{}, badRequest("This simulator lists applications by appId only.")
	}
	registration, err := c.registration(options.filter[0].value)
	if refused, isError := err.(*clouds.Error); isError && refused.Status == http.StatusNotFound { //nolint:errorlint // the world's own
		return c.collection("applications", nil, "")
	}
	if err != nil {
		return answer{}, err
	}
	return c.collection("applications", []map[string]any{options.selectFrom(application(registration))}, "")
}

func getApplication(c *call) (answer, error) {
	options, err := c.queryOptions(nil, 0, 0)
	if err != nil {
		return answer{}, err
	}
	appID, byAppID := strings.CutPrefix(c.path.PathValue("id"), alternateKey)
	if !byAppID {
		return answer{}, noResource(c.path.PathValue("id"))
	}
	registration, err := c.registration(appID)
	if err != nil {
		return answer{}, err
	}
	return c.entity("applications/$entity", options.selectFrom(application(registration)))
}

func (c *call) registration(appID string) (clouds.AppRegistration, error) {
	return read(c, func(w *clouds.Model) (clouds.AppRegistration, error) {
		return w.OwnCredentials(c.caller, c.tenant(), appID)
	})
}

func application(r clouds.AppRegistration) map[string]any {
	passwords, keys := make([]map[string]any, 0, len(r.Secrets)), make([]map[string]any, 0, len(r.Certificates))
	for _, secret := range r.Secrets {
		passwords = append(passwords, map[string]any{
			"keyId": secret.KeyID, "displayName": secret.DisplayName, "hint": secret.Hint, "secretText": nil, "customKeyIdentifier": nil,
			"startDateTime": graphTime(secret.Starts), "endDateTime": graphTime(secret.Expires),
		})
	}
	for _, certificate := range r.Certificates {
		thumbprint := sha1.Sum(certificate.DER)
		keys = append(keys, map[string]any{
			"keyId": certificate.KeyID, "displayName": "CN=exporter", "type": "AsymmetricX509Cert", "usage": "Verify", "key": nil,
			"customKeyIdentifier": strings.ToUpper(hex.EncodeToString(thumbprint[:])),
			"startDateTime":       graphTime(certificate.Starts), "endDateTime": graphTime(certificate.Expires),
		})
	}
	return map[string]any{
		"id": r.ObjectID, "appId": r.ClientID, "displayName": r.DisplayName, "identifierUris": []string{},
		"signInAudience": "AzureADMyOrg", "passwordCredentials": passwords, "keyCredentials": keys,
	}
}

func notNil(list []string) []string {
	if list == nil {
		return []string{}
	}
	return list
}
