package simulator

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"time"

	"entra-aws-exporter/internal/simulator/clouds"
)

const graphContentType = "application/json;odata.metadata=minimal;odata.streaming=true;IEEE754Compatible=false;charset=utf-8"

// graphPrefix is where Graph begins on this host.
const graphPrefix = "/graph"

// graphOperations are Microsoft Graph's, below /v1.0.
func (s *Simulator) graphOperations() map[string]operation {
	const (
		principal = "/servicePrincipals/{id}"
		sync      = principal + "/synchronization"
		job       = sync + "/jobs/{job}"
	)
	return map[string]operation{
		"GET /applications":        {name: "GET applications", serve: listApplications},
		"GET /applications/{id}":   {name: "GET application", serve: getApplication},
		"GET /servicePrincipals":   {name: "GET servicePrincipals", serve: listServicePrincipals},
		"GET " + principal:         {name: "GET servicePrincipal", serve: getServicePrincipal},
		"PATCH " + principal:       {name: "PATCH servicePrincipal", serve: patchServicePrincipal},
		"GET " + sync + "/jobs":    {name: "GET jobs", serve: listJobs},
		"GET " + job:               {name: "GET job", serve: getJob},
		"GET " + job + "/schema":   {name: "GET schema", serve: getSchema},
		"POST " + job + "/start":   {name: "POST start", serve: startJob},
		"POST " + job + "/pause":   {name: "POST pause", serve: pauseJob},
		"POST " + job + "/restart": {name: "POST restart", serve: restartJob},

		"POST " + job + "/validateCredentials":       {name: "POST validateCredentials", serve: validateCredentials},
		"POST " + sync + "/jobs/validateCredentials": {name: "POST validateCredentials", serve: validateCredentials},
		"POST " + job + "/provisionOnDemand":         {name: "POST provisionOnDemand", serve: provisionOnDemand},

		"GET " + sync + "/secrets":       {name: "GET secrets", serve: getSecrets},
		"PUT " + sync + "/secrets":       {name: "PUT secrets", serve: putSecrets},
		"GET /users/{id}":                {name: "GET user", serve: getUser},
		"GET /auditLogs/provisioning":    {name: "GET provisioning", serve: listProvisioning},
		"GET /auditLogs/directoryAudits": {name: "GET directoryAudits", serve: listDirectoryAudits},
		"GET /auditLogs/directoryaudits": {name: "GET directoryAudits", serve: listDirectoryAudits},
	}
}

// graphCaller checks the access token and returns who calls.
func (c *call) graphCaller() (clouds.Caller, *clouds.Error) {
	token, isBearer := strings.CutPrefix(c.r.Header.Get("Authorization"), "Bearer ")
	if !isBearer || token == "" {
		return clouds.Caller{}, unauthenticated("Access token is empty.")
	}
	claims, err := c.sim.keys.readAccessToken(token)
	switch now := c.now(); {
	case err != nil:
		return clouds.Caller{}, unauthenticated("IDX14100: JWT is not well formed, or its signature is invalid.")
	case now.Unix() >= claims.Expires:
		return clouds.Caller{}, unauthenticated("Lifetime validation failed, the token is expired.")
	case now.Add(5*time.Minute).Unix() < claims.NotBefore:
		return clouds.Caller{}, unauthenticated("Lifetime validation failed, the token is not yet valid.")
	case len(claims.Audience) != 1 || !c.isGraph(claims.Audience[0]):
		return clouds.Caller{}, unauthenticated("Access token validation failure. Invalid audience.")
	}
	registration, err := read(c, func(w *clouds.Model) (clouds.AppRegistration, error) {
		return w.Registration(claims.TenantID, claims.AppID)
	})
	if err != nil {
		return clouds.Caller{}, unauthenticated("The identity of the calling application could not be established.")
	}
	return clouds.Caller{Actor: registration.Actor, Tenant: claims.TenantID, ClientID: claims.AppID}, nil
}

func unauthenticated(message string) *clouds.Error {
	return &clouds.Error{Service: clouds.ServiceGraph, Status: http.StatusUnauthorized, Code: "InvalidAuthenticationToken", Message: message}
}

// graphError words an error as Graph does; the synchronization API wraps its own.
// https://learn.microsoft.com/graph/errors
func graphError(c *call, err *clouds.Error) answer {
	code, message := err.Code, any(err.Message)
	if code == "SerializationException" {
		code = "BadRequest"
	}
	inner := map[string]string{
		"date": c.now().UTC().Format("2006-01-02T15:04:05"), "request-id": c.id, "client-request-id": c.id,
	}
	bodies := c.sim.mannersNow().errorBodies
	if bodies == ErrorBodiesEmpty {
		return asJSON(err.Status, graphContentType, struct{}{})
	}
	if bodies == ErrorBodiesNullMessage {
		message = nil
	}
	if err.Nested {
		wrapped, _ := json.Marshal(map[string]any{"error": map[string]any{ // strings always encode
			"code": code, "message": message, "innerError": map[string]any{"code": code, "details": []any{}, "message": message, "target": nil},
		}})
		code, message = "UnknownError", string(wrapped)
	}
	result := asJSON(err.Status, graphContentType, map[string]any{"error": map[string]any{"code": code, "message": message, "innerError": inner}})
	if err.Status == http.StatusUnauthorized {
		result.header.Set("WWW-Authenticate", `Bearer realm="", authorization_uri="https://login.microsoftonline.com/common/oauth2/authorize", client_id="00000003-0000-0000-c000-000000000000"`)
	}
	return result
}

// limited refuses a call beyond Graph's limit for a kind of call, per application and
// tenant.
func (c *call) limited(kind string, serve func() (answer, error)) (answer, error) {
	const limit, window = 5, 10 * time.Second
	key := strings.Join([]string{kind, c.caller.Tenant, c.caller.ClientID}, " ")
	if left := c.sim.throttle(key, limit, window, c.now()); left > 0 {
		result := graphError(c, &clouds.Error{
			Status: http.StatusTooManyRequests, Code: "TooManyRequests",
			Message: "This request is throttled. Please try again after the value specified in the Retry-After header. CorrelationId: " + c.id,
		})
		result.header.Set("Retry-After", c.retryAfter(left))
		return result, nil
	}
	return serve()
}

// entity is an answer with one entity; kind is its place in the metadata document.
func (c *call) entity(kind string, body map[string]any) (answer, error) {
	body["@odata.context"] = c.context(kind)
	return asJSON(http.StatusOK, graphContentType, body), nil
}

// collection is an answer with a page of entities.
func (c *call) collection(kind string, page []map[string]any, nextLink string) (answer, error) {
	if page == nil {
		page = []map[string]any{}
	}
	body := map[string]any{"@odata.context": c.context(kind), "value": page}
	if nextLink != "" {
		body["@odata.nextLink"] = nextLink
	}
	return asJSON(http.StatusOK, graphContentType, body), nil
}

func (c *call) context(kind string) string {
	root, _, _ := strings.Cut(c.r.URL.Path, "/v1.0/")
	return fmt.Sprintf("https://%s%s/v1.0/$metadata#%s", c.r.Host, root, kind)
}

// done is the answer of an action.
func done(_ struct{}, err error) (answer, error) { return answer{status: http.StatusNoContent}, err }

// nothing adapts an act without a result.
func nothing(err error) (struct{}, error) { return struct{}{}, err }

// graphTime words a time as Graph does; a zero time is the year 1.
func graphTime(t time.Time) string { return t.UTC().Format("2006-01-02T15:04:05.9999999Z") }

// tenant is the tenant of the access token.
func (c *call) tenant() string { return c.caller.Tenant }
