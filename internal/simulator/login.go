package simulator

import (
	"encoding/hex"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"entra-aws-exporter/internal/simulator/clouds"
)

// accessTokenLife is how long an access token of Entra's is valid.
const accessTokenLife = time.Hour

// loginOperations are the sign-in endpoint's, all below /{tenant}.
// https://learn.microsoft.com/entra/identity-platform/v2-oauth2-client-creds-grant-flow
func (s *Simulator) loginOperations() map[string]operation {
	return map[string]operation{
		"GET /{tenant}/v2.0/.well-known/openid-configuration":                   {name: "GET openid-configuration", serve: openIDConfiguration},
		"GET /{tenant}/.well-known/openid-configuration":                        {name: "GET openid-configuration", serve: openIDConfiguration},
		"GET /common/discovery/instance":                                        {name: "GET instance", serve: instanceDiscovery},
		"GET /{tenant}/discovery/v2.0/keys":                                     {name: "GET keys", serve: signingKeySet},
		"POST /{tenant}/oauth2/v2.0/token":                                      {name: "POST token", serve: signIn},
		"GET /{tenant}/federationmetadata/2007-06/federationmetadata.xml":       {name: "GET federationmetadata", serve: federationMetadata},
		"GET /{tenant}/{app}/federationmetadata/2007-06/federationmetadata.xml": {name: "GET federationmetadata", serve: federationMetadata},
	}
}

// base is where the client found this endpoint, in front of the tenant.
func (c *call) base() string {
	if strings.HasPrefix(c.r.URL.Path, loginPrefix+"/") {
		return "https://" + c.r.Host + loginPrefix
	}
	return "https://" + c.r.Host
}

func openIDConfiguration(c *call) (answer, error) {
	tenant := c.path.PathValue("tenant")
	if err := c.knownTenant(tenant); err != nil {
		return answer{}, err
	}
	root := c.base() + "/" + tenant
	return asJSON(http.StatusOK, "application/json; charset=utf-8", map[string]any{
		"issuer":                                root + "/v2.0",
		"authorization_endpoint":                root + "/oauth2/v2.0/authorize",
		"token_endpoint":                        root + "/oauth2/v2.0/token",
		"jwks_uri":                              root + "/discovery/v2.0/keys",
		"device_authorization_endpoint":         root + "/oauth2/v2.0/devicecode",
		"token_endpoint_auth_methods_supported": []string{"client_secret_post", "private_key_jwt", "client_secret_basic", "self_signed_tls_client_auth"},
		"response_types_supported":              []string{"code", "id_token", "code id_token", "id_token token"},
		"id_token_signing_alg_values_supported": []string{"RS256"},
		"subject_types_supported":               []string{"pairwise"},
		"tenant_region_scope":                   "EU",
		"cloud_instance_name":                   "microsoftonline.com",
		"cloud_graph_host_name":                 "graph.windows.net",
		"msgraph_host":                          "graph.microsoft.com",
	}), nil
}

// instanceDiscovery tells a client that validates its authority that this host is one.
func instanceDiscovery(c *call) (answer, error) {
	authority, err := url.Parse(c.r.URL.Query().Get("authorization_endpoint"))
	if err != nil || authority.Host == "" {
		return answer{}, invalidLogin("AADSTS900144", "invalid_request", "The request must contain the following parameter: 'authorization_endpoint'.")
	}
	tenant, _, _ := strings.Cut(strings.TrimPrefix(authority.Path, "/"), "/")
	return asJSON(http.StatusOK, "application/json; charset=utf-8", map[string]any{
		"tenant_discovery_endpoint": "https://" + authority.Host + "/" + tenant + "/v2.0/.well-known/openid-configuration",
		"api-version":               "1.1",
		"metadata": []map[string]any{{
			"preferred_network": authority.Host, "preferred_cache": authority.Host, "aliases": []string{authority.Host},
		}},
	}), nil
}

func signingKeySet(c *call) (answer, error) {
	keys, err := c.sim.keys.jsonWebKeys()
	if err != nil {
		return answer{}, err
	}
	return asJSON(http.StatusOK, "application/json; charset=utf-8", keys), nil
}

// knownTenant refuses a tenant that is not there, as every login endpoint does.
func (c *call) knownTenant(tenant string) error {
	_, err := read(c, func(w *clouds.Model) (clouds.AppRegistration, error) { return w.Registration(tenant, "") })
	if refused, isError := err.(*clouds.Error); isError && refused.Code == "AADSTS90002" { //nolint:errorlint // the world's own
		return err
	}
	return nil // the empty client is not there, but the tenant is
}

// signIn is the token endpoint, for a daemon's client credentials.
func signIn(c *call) (answer, error) {
	form, err := url.ParseQuery(string(c.body))
	if err != nil {
		return answer{}, invalidLogin("AADSTS900144", "invalid_request", "The request body is not a form.")
	}
	tenant := c.path.PathValue("tenant")
	if err := c.knownTenant(tenant); err != nil {
		return answer{}, err
	}
	for _, name := range []string{"grant_type", "client_id", "scope"} {
		if form.Get(name) == "" {
			return answer{}, invalidLogin("AADSTS900144", "invalid_request", "The request body must contain the following parameter: '%s'.", name)
		}
	}
	if form.Get("grant_type") != "client_credentials" {
		return answer{}, invalidLogin("AADSTS70003", "unsupported_grant_type", "The app requested an unsupported grant type '%s'.", form.Get("grant_type"))
	}
	registration, err := c.authenticate(tenant, form)
	if err != nil {
		return answer{}, err
	}
	resource, err := c.resource(form.Get("scope"))
	if err != nil {
		return answer{}, err
	}
	token, err := c.issue(tenant, resource, registration)
	if err != nil {
		return answer{}, err
	}
	return asJSON(http.StatusOK, "application/json; charset=utf-8", map[string]any{
		"token_type": "Bearer", "expires_in": int(accessTokenLife / time.Second),
		"ext_expires_in": int(accessTokenLife / time.Second), "access_token": token,
	}), nil
}

// issue makes an access token for Graph with the application's roles.
func (c *call) issue(tenant, resource string, registration clouds.AppRegistration) (string, error) {
	now := c.now()
	return c.sim.keys.accessToken(claims{
		Audience: audience{resource}, Issuer: "https://sts.windows.net/" + tenant + "/", Subject: registration.ObjectID,
		IssuedAt: now.Unix(), NotBefore: now.Unix(), Expires: now.Add(accessTokenLife).Unix(), ID: c.sim.newID(),
		AppID: registration.ClientID, TenantID: tenant, Roles: registration.Roles,
	})
}

// graphHosts are the roots of Microsoft Graph in the national clouds, and its id.
var graphHosts = map[string]bool{
	"graph.microsoft.com": true, "graph.microsoft.us": true, "dod-graph.microsoft.us": true,
	"microsoftgraph.chinacloudapi.cn": true, "00000003-0000-0000-c000-000000000000": true,
}

// resource checks a scope and returns the resource it names: Graph, by one of its own
// names or by where this simulator serves it.
func (c *call) resource(scope string) (string, error) {
	// MSAL adds its own scopes to the one asked for.
	var asked []string
	for name := range strings.FieldsSeq(scope) {
		if name != "openid" && name != "profile" && name != "offline_access" {
			asked = append(asked, name)
		}
	}
	name, isDefault := strings.CutSuffix(strings.Join(asked, " "), "/.default")
	if !isDefault {
		return "", invalidLogin("AADSTS1002012", "invalid_scope",
			"The provided value for scope %s is not valid. Client credential flows must have a scope value with /.default suffixed to the resource identifier (application ID URI).", scope)
	}
	if !c.isGraph(name) {
		return "", invalidLogin("AADSTS500011", "invalid_resource",
			"The resource principal named %s was not found in the tenant named %s. This can happen if the application has not been installed by the administrator of the tenant or consented to by any user in the tenant.",
			name, c.path.PathValue("tenant"))
	}
	return name, nil
}

// isGraph reports whether a resource is this simulator's Graph.
func (c *call) isGraph(resource string) bool {
	resource = strings.TrimSuffix(resource, "/")
	if graphHosts[strings.TrimPrefix(resource, "https://")] {
		return true
	}
	root := strings.TrimSuffix(resource, graphPrefix)
	return root == "https://"+c.r.Host || (root == c.sim.url && root != "")
}

// invalidLogin is a refusal of the sign-in endpoint's own; the OAuth error comes first
// in the message and is taken off again by loginError.
func invalidLogin(code, oauth, format string, args ...any) *clouds.Error {
	status := http.StatusBadRequest
	if oauth == "invalid_client" {
		status = http.StatusUnauthorized
	}
	return &clouds.Error{Service: clouds.ServiceLogin, Status: status, Code: code, Message: oauth + "|" + fmt.Sprintf(format, args...)}
}

// loginError words an error as Entra does: every failed sign-in has an AADSTS number.
// https://learn.microsoft.com/entra/identity-platform/reference-error-codes
func loginError(c *call, err *clouds.Error) answer {
	oauth, message, has := strings.Cut(err.Message, "|")
	if !has {
		oauth, message = oauthError(err.Code), err.Message
	}
	trace, correlation := c.id, c.r.Header.Get("Client-Request-Id")
	if correlation == "" {
		correlation = c.id
	}
	at := c.now().UTC().Format("2006-01-02 15:04:05Z")
	body := map[string]any{
		"error": oauth, "timestamp": at, "trace_id": trace, "correlation_id": correlation,
		"error_description": fmt.Sprintf("%s: %s Trace ID: %s Correlation ID: %s Timestamp: %s", err.Code, message, trace, correlation, at),
	}
	if number, parseErr := strconv.Atoi(strings.TrimPrefix(err.Code, "AADSTS")); parseErr == nil {
		body["error_codes"] = []int{number}
		body["error_uri"] = c.base() + "/error?code=" + strconv.Itoa(number)
	}
	return asJSON(err.Status, "application/json; charset=utf-8", body)
}

func oauthError(code string) string {
	switch code {
	case "AADSTS90002":
		return "invalid_request"
	case "AADSTS700016":
		return "unauthorized_client"
	case "AADSTS7000215", "AADSTS7000222", "AADSTS700027", "AADSTS700024":
		return "invalid_client"
	default:
		return "server_error"
	}
}

// thumbprintHex is a certificate's hash as Entra prints it.
func thumbprintHex(hash []byte) string { return strings.ToUpper(hex.EncodeToString(hash)) }
