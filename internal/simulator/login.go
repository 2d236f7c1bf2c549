package simulator

import (
	"bytes"
	"encoding/base64"
	"encoding/xml"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"text/template"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"entra-aws-exporter/internal/simulator/clouds"
)

const accessTokenLife = time.Hour

const graphAppID = "00000003-0000-0000-c000-000000000000"

const loginContentType = "application/json; charset=utf-8"

// loginOperations are the sign-in endpoint's, all below /{tenant}.
// https://learn.microsoft.com/entra/identity-platform/v2-oauth2-client-creds-grant-flow
func loginOperations() map[string]operation {
	return map[string]operation{
		"GET /{tenant}/v2.0/.well-known/openid-configuration":             {name: "GET openid-configuration", serve: openIDConfiguration},
		"GET /common/discovery/instance":                                  {name: "GET instance", serve: instanceDiscovery},
		"POST /{tenant}/oauth2/v2.0/token":                                {name: "POST token", serve: signIn},
		"GET /{tenant}/federationmetadata/2007-06/federationmetadata.xml": {name: "GET federationmetadata", serve: federationMetadata},
	}
}

// base is where the client found this endpoint, in front of the tenant.
func (c *call) base() string {
	if strings.HasPrefix(c.r.URL.Path, loginPrefix+"/") {
		return "https://" + c.r.Host + loginPrefix
	}
	return "https://" + c.r.Host
}

func openIDConfiguration(c *call) (response, error) {
	tenant := c.path.PathValue("tenant")
	if err := c.requireTenant(tenant); err != nil {
		return response{}, err
	}
	root := c.base() + "/" + tenant
	return jsonResponse(http.StatusOK, loginContentType, map[string]any{
		"issuer":                 root + "/v2.0",
		"authorization_endpoint": root + "/oauth2/v2.0/authorize",
		"token_endpoint":         root + "/oauth2/v2.0/token",
		"jwks_uri":               root + "/discovery/v2.0/keys",
		"tenant_region_scope":    "EU",
		"cloud_instance_name":    "microsoftonline.com",
		"msgraph_host":           "graph.microsoft.com",
	}), nil
}

// instanceDiscovery tells a client that validates its authority that this host is one.
func instanceDiscovery(c *call) (response, error) {
	authority, err := url.Parse(c.r.URL.Query().Get("authorization_endpoint"))
	if err != nil || authority.Host == "" {
		return response{}, invalidLogin("AADSTS900144", "The request must contain the following parameter: 'authorization_endpoint'.")
	}
	tenant, _, _ := strings.Cut(strings.TrimPrefix(authority.Path, "/"), "/")
	return jsonResponse(http.StatusOK, loginContentType, map[string]any{
		"tenant_discovery_endpoint": "https://" + authority.Host + "/" + tenant + "/v2.0/.well-known/openid-configuration",
		"api-version":               "1.1",
		"metadata": []map[string]any{{
			"preferred_network": authority.Host, "preferred_cache": authority.Host, "aliases": []string{authority.Host},
		}},
	}), nil
}

func (c *call) requireTenant(tenant string) error {
	_, err := query(c, func(m *clouds.Model) (clouds.AppRegistration, error) { return m.Registration(tenant, "") })
	if refused, isError := err.(*clouds.Error); isError && refused.Code == "AADSTS90002" { //nolint:errorlint // the model's own
		return err
	}
	return nil // the empty client does not exist, but the tenant does
}

func signIn(c *call) (response, error) {
	form, err := url.ParseQuery(string(c.body))
	if err != nil {
		return response{}, invalidLogin("AADSTS900144", "The request body is not a form.")
	}
	tenant := c.path.PathValue("tenant")
	if err := c.requireTenant(tenant); err != nil {
		return response{}, err
	}
	for _, name := range []string{"grant_type", "client_id", "scope"} {
		if form.Get(name) == "" {
			return response{}, invalidLogin("AADSTS900144", "The request body must contain the following parameter: '%s'.", name)
		}
	}
	if form.Get("grant_type") != "client_credentials" {
		return response{}, invalidLogin("AADSTS70003", "The app requested an unsupported grant type '%s'.", form.Get("grant_type"))
	}
	registration, err := c.authenticate(tenant, form)
	if err != nil {
		return response{}, err
	}
	resource, err := c.resource(form.Get("scope"))
	if err != nil {
		return response{}, err
	}
	content := claims{RegisteredClaims: lifetime(c.now(), accessTokenLife), AppID: registration.ClientID, TenantID: tenant, Roles: registration.Roles}
	content.Audience, content.Issuer, content.Subject, content.ID = jwt.ClaimStrings{resource}, stsIssuer(tenant), registration.ObjectID, c.sim.newID()
	token, err := c.sim.keys.accessToken(content)
	if err != nil {
		return response{}, err
	}
	return jsonResponse(http.StatusOK, loginContentType, map[string]any{
		"token_type": "Bearer", "expires_in": int(accessTokenLife / time.Second),
		"ext_expires_in": int(accessTokenLife / time.Second), "access_token": token,
	}), nil
}

func stsIssuer(tenant string) string { return "https://sts.windows.net/" + tenant + "/" }

// resource checks a scope and returns the resource it names: Graph, by one of its own
// names or by where this simulator serves it.
func (c *call) resource(scope string) (string, error) {
	// MSAL adds its own scopes to the one asked for.
	asked := slices.DeleteFunc(strings.Fields(scope), func(name string) bool {
		return slices.Contains([]string{"openid", "profile", "offline_access"}, name)
	})
	name, isDefault := strings.CutSuffix(strings.Join(asked, " "), "/.default")
	if !isDefault {
		return "", invalidLogin("AADSTS1002012",
			"The provided value for scope %s is not valid. Client credential flows must have a scope value with /.default suffixed to the resource identifier (application ID URI).", scope)
	}
	if !c.isGraph(name) {
		return "", invalidLogin("AADSTS500011",
			"The resource principal named %s was not found in the tenant named %s. This can happen if the application has not been installed by the administrator of the tenant or consented to by any user in the tenant.",
			name, c.path.PathValue("tenant"))
	}
	return name, nil
}

func (c *call) isGraph(resource string) bool {
	resource = strings.TrimSuffix(resource, "/")
	if resource == graphAppID || routePath(strings.TrimPrefix(resource, "https://"), "") == graphPrefix {
		return true
	}
	root := strings.TrimSuffix(resource, graphPrefix)
	return root == "https://"+c.r.Host || (root == c.sim.url && root != "")
}

// oauthErrors are the OAuth errors of Entra's own; the others are invalid_client.
var oauthErrors = map[string]string{
	"AADSTS90002": "invalid_request", "AADSTS900144": "invalid_request", "AADSTS50027": "invalid_request",
	"AADSTS700016": "unauthorized_client", "AADSTS70003": "unsupported_grant_type",
	"AADSTS1002012": "invalid_scope", "AADSTS500011": "invalid_resource",
}

func invalidLogin(code, format string, args ...any) *clouds.Error {
	status := http.StatusBadRequest
	if oauthErrors[code] == "" {
		status = http.StatusUnauthorized
	}
	return clouds.NewError(clouds.ServiceLogin, status, code, fmt.Sprintf(format, args...))
}

// loginError words an error as Entra does: every failed sign-in has an AADSTS number.
// https://learn.microsoft.com/entra/identity-platform/reference-error-codes
func loginError(c *call, err *clouds.Error) response {
	number, parseErr := strconv.Atoi(strings.TrimPrefix(err.Code, "AADSTS"))
	oauth := oauthErrors[err.Code]
	switch {
	case parseErr != nil || err.Status >= http.StatusInternalServerError:
		oauth = "server_error"
	case oauth == "":
		oauth = "invalid_client"
	}
	correlation := c.r.Header.Get("Client-Request-Id")
	if correlation == "" {
		correlation = c.id
	}
	at := c.now().UTC().Format("2006-01-02 15:04:05Z")
	body := map[string]any{
		"error": oauth, "timestamp": at, "trace_id": c.id, "correlation_id": correlation,
		"error_description": fmt.Sprintf("%s: %s Trace ID: %s Correlation ID: %s Timestamp: %s", err.Code, err.Message, c.id, correlation, at),
	}
	if parseErr == nil {
		body["error_codes"] = []int{number}
		body["error_uri"] = c.base() + "/error?code=" + strconv.Itoa(number)
	}
	return jsonResponse(err.Status, loginContentType, body)
}

// metadataTemplate has the parts of federation metadata that say how a tenant signs.
// Entra lists the same certificates in two role descriptors and does not mark the
// active one.
// https://learn.microsoft.com/entra/identity-platform/federation-metadata
var metadataTemplate = template.Must(template.New("metadata").Parse(xml.Header +
	`<EntityDescriptor xmlns="urn:oasis:names:tc:SAML:2.0:metadata" ID="_{{.ID}}" entityID="{{.Issuer}}">` +
	`<RoleDescriptor xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance" xmlns:fed="http://docs.oasis-open.org/wsfed/federation/200706" xsi:type="fed:SecurityTokenServiceType" protocolSupportEnumeration="http://docs.oasis-open.org/wsfed/federation/200706">{{template "keys" .}}</RoleDescriptor>` +
	`<IDPSSODescriptor protocolSupportEnumeration="urn:oasis:names:tc:SAML:2.0:protocol">{{template "keys" .}}</IDPSSODescriptor></EntityDescriptor>` +
	`{{define "keys"}}{{range .Keys}}<KeyDescriptor use="signing"><KeyInfo xmlns="http://www.w3.org/2000/09/xmldsig#"><X509Data><X509Certificate>{{.}}</X509Certificate></X509Data></KeyInfo></KeyDescriptor>{{end}}{{end}}`))

func federationMetadata(c *call) (response, error) {
	tenant := c.path.PathValue("tenant")
	if err := c.requireTenant(tenant); err != nil {
		return response{}, err
	}
	appID := c.r.URL.Query().Get("appid")
	applications, err := query(c, func(m *clouds.Model) ([]clouds.ServicePrincipal, error) {
		return m.ServicePrincipals(clouds.CallerFor(clouds.ActorSetup), tenant)
	})
	if err != nil {
		return response{}, err
	}
	at := slices.IndexFunc(applications, func(sp clouds.ServicePrincipal) bool { return sp.AppID == appID })
	if at < 0 {
		return response{}, invalidLogin("AADSTS700016", "Application with identifier '%s' was not found in the directory '%s'.", appID, tenant)
	}
	var keys []string
	for _, certificate := range applications[at].Certificates {
		keys = append(keys, base64.StdEncoding.EncodeToString(certificate.DER()))
	}
	var page bytes.Buffer
	if err := metadataTemplate.Execute(&page, object{"ID": c.id, "Issuer": stsIssuer(tenant), "Keys": keys}); err != nil {
		return response{}, err
	}
	return response{status: http.StatusOK, header: http.Header{"Content-Type": {"application/samlmetadata+xml"}}, body: page.Bytes()}, nil
}
