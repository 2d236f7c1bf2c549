package simulator

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"entra-aws-exporter/internal/simulator/clouds"
)

const graphContentType = "application/json;odata.metadata=minimal;odata.streaming=true;IEEE754Compatible=false;charset=utf-8"

func graphOperations() map[string]operation {
	const (
		sync = "/servicePrincipals/{id}/synchronization"
		job  = sync + "/jobs/{job}"
	)
	return map[string]operation{
		"GET /applications":                                       {name: "GET applications", serve: listApplications},
		"GET /applications/{id}/owners":                           {name: "GET application owners", serve: listRegistrationOwners},
		"GET /servicePrincipals/{id}/owners":                      {name: "GET owners", serve: listOwners},
		"GET /servicePrincipals/{id}/appRoleAssignments":          {name: "GET appRoleAssignments", serve: listRoleAssignments},
		"GET /servicePrincipals":                                  {name: "GET servicePrincipals", serve: listServicePrincipals},
		"GET /servicePrincipals/{id}":                             {name: "GET servicePrincipal", serve: getServicePrincipal},
		"PATCH /servicePrincipals/{id}":                           {name: "PATCH servicePrincipal", serve: patchServicePrincipal},
		"POST /servicePrincipals/{id}/addTokenSigningCertificate": {name: "POST addTokenSigningCertificate", serve: addTokenSigningCertificate},
		"GET " + sync + "/jobs":                                   {name: "GET jobs", serve: listJobs},
		"GET " + job:                                              {name: "GET job", serve: getJob},
		"GET " + job + "/schema":                                  {name: "GET schema", serve: getSchema},
		"POST " + job + "/start":                                  {name: "POST start", serve: startJob},
		"POST " + job + "/validateCredentials":                    {name: "POST validateCredentials", serve: validateCredentials},
		"POST " + job + "/provisionOnDemand":                      {name: "POST provisionOnDemand", limit: "provisionOnDemand", serve: provisionOnDemand},
		"GET " + sync + "/secrets":                                {name: "GET secrets", serve: getSecrets},
		"PUT " + sync + "/secrets":                                {name: "PUT secrets", serve: putSecrets},
		"GET /auditLogs/provisioning":                             {name: "GET provisioning", limit: "reports", serve: listProvisioning},
		"GET /auditLogs/directoryAudits":                          {name: "GET directoryAudits", limit: "reports", serve: listDirectoryAudits},
		"GET /auditLogs/signIns":                                  {name: "GET signIns", limit: "reports", serve: listSignIns},
	}
}

func (c *call) authenticateGraph() *clouds.Error {
	refuse := func(message string) *clouds.Error {
		return clouds.NewError(clouds.ServiceGraph, http.StatusUnauthorized, "InvalidAuthenticationToken", message)
	}
	token, isBearer := strings.CutPrefix(c.r.Header.Get("Authorization"), "Bearer ")
	if !isBearer || token == "" {
		return refuse("Access token is empty.")
	}
	content, err := c.sim.keys.readAccessToken(token)
	switch now := c.now(); {
	case err != nil:
		return refuse("IDX14100: JWT is not well formed, or its signature is invalid.")
	case !now.Before(content.ExpiresAt.Time):
		return refuse("Lifetime validation failed, the token is expired.")
	case now.Add(clockTolerance).Before(content.NotBefore.Time):
		return refuse("Lifetime validation failed, the token is not yet valid.")
	case len(content.Audience) != 1 || !c.isGraph(content.Audience[0]):
		return refuse("Access token validation failure. Invalid audience.")
	}
	registration, err := query(c, func(m *clouds.Model) (clouds.AppRegistration, error) {
		return m.Registration(content.TenantID, content.AppID)
	})
	if err != nil {
		return refuse("The identity of the calling application could not be established.")
	}
	c.caller = clouds.Caller{Actor: registration.Actor, Tenant: content.TenantID, ClientID: content.AppID}
	return nil
}

// graphError words an error as Graph does; the synchronization API wraps its own.
// https://learn.microsoft.com/graph/errors
func graphError(c *call, err *clouds.Error) response {
	code, message := err.Code, any(err.Message)
	if code == "SerializationException" {
		code = "BadRequest"
	}
	switch c.quirks().ErrorBodies {
	case clouds.BodiesEmpty:
		return jsonResponse(err.Status, graphContentType, struct{}{})
	case clouds.BodiesNullMessage:
		message = nil
	}
	if err.Nested {
		wrapped, _ := json.Marshal(object{"error": object{ // strings always encode
			"code": code, "message": message, "innerError": object{"code": code, "details": []any{}, "message": message, "target": nil},
		}})
		code, message = "UnknownError", string(wrapped)
	}
	result := jsonResponse(err.Status, graphContentType, object{"error": object{"code": code, "message": message, "innerError": map[string]string{
		"date": c.now().UTC().Format("2006-01-02T15:04:05"), "request-id": c.id, "client-request-id": c.id,
	}}})
	if err.Status == http.StatusUnauthorized {
		result.header.Set("WWW-Authenticate", `Bearer realm="", authorization_uri="https://login.microsoftonline.com/common/oauth2/authorize", client_id="00000003-0000-0000-c000-000000000000"`)
	}
	return result
}

func badRequest(format string, args ...any) *clouds.Error {
	return clouds.NewError(clouds.ServiceGraph, http.StatusBadRequest, "BadRequest", fmt.Sprintf(format, args...))
}

// throttled refuses a call beyond Graph's limit for a kind of call, per application and
// tenant.
func (c *call) throttled() (response, bool) {
	const limit, window = 5, 10 * time.Second
	left := c.sim.throttle(strings.Join([]string{c.limit, c.caller.Tenant, c.caller.ClientID}, " "), limit, window, c.now())
	if left == 0 {
		return response{}, false
	}
	result := graphError(c, clouds.NewError(clouds.ServiceGraph, http.StatusTooManyRequests, "TooManyRequests",
		"This request is throttled. Please try again after the value specified in the Retry-After header. CorrelationId: "+c.id))
	retryAfter := strconv.Itoa(int((left + time.Second - 1) / time.Second))
	if c.quirks().RetryAfter == clouds.RetryAfterDate {
		retryAfter = c.now().Add(left).UTC().Format(http.TimeFormat)
	}
	result.header.Set("Retry-After", retryAfter)
	return result, true
}

func (c *call) entity(kind string, body object) (response, error) {
	body["@odata.context"] = c.context(kind)
	return jsonResponse(http.StatusOK, graphContentType, body), nil
}

func (c *call) collection(kind string, page []object, nextLink string) (response, error) {
	body := object{"value": page}
	if nextLink != "" {
		body["@odata.nextLink"] = nextLink
	}
	return c.entity(kind, body)
}

func (c *call) context(kind string) string {
	root, _, _ := strings.Cut(c.r.URL.Path, "/v1.0/")
	return fmt.Sprintf("https://%s%s/v1.0/$metadata#%s", c.r.Host, root, kind)
}

// graphTime words a time as Graph does; a zero time is the year 1.
func graphTime(t time.Time) string { return t.UTC().Format("2006-01-02T15:04:05.9999999Z") }

func (c *call) tenant() string { return c.caller.Tenant }

// condition is one "field operator value" of a $filter; several are joined by "and".
type condition struct {
	field    string // "servicePrincipal/id"; "targetResources/any/id" of a lambda
	operator string // eq | gt | ge | lt | le
	value    string // without quotes
}

func (c condition) time() (time.Time, error) {
	at, err := time.Parse(time.RFC3339Nano, c.value)
	if err != nil {
		return at, badRequest("Invalid filter clause: '%s' is not a literal of type Edm.DateTimeOffset.", c.value)
	}
	return at, nil
}

var (
	lambda     = regexp.MustCompile(`^([A-Za-z]+)/any\(\s*([a-z]+)\s*:\s*([a-z]+)/([A-Za-z]+) (eq) ('(?:[^']|'')*')\s*\)`)
	comparison = regexp.MustCompile(`^([A-Za-z/]+) (eq|gt|ge|lt|le) ('(?:[^']|'')*'|[0-9A-Za-z:.+-]+)`)
)

// parseFilter reads the part of OData's $filter that Graph's audit logs and
// directory objects are asked with here. Anything else is refused as unsupported.
// https://learn.microsoft.com/graph/filter-query-parameter
func parseFilter(filter string, supported map[string][]string) ([]condition, error) {
	var conditions []condition
	rest := strings.TrimSpace(filter)
	for joined := rest != ""; joined; {
		var parsed condition
		var matched string
		if m := lambda.FindStringSubmatch(rest); m != nil && m[2] == m[3] {
			matched, parsed = m[0], condition{m[1] + "/any/" + m[4], m[5], unquote(m[6])}
		} else if m := comparison.FindStringSubmatch(rest); m != nil {
			matched, parsed = m[0], condition{m[1], m[2], unquote(m[3])}
		} else {
			return nil, badRequest("Invalid filter clause: syntax error at '%s'.", rest)
		}
		if !slices.Contains(supported[parsed.field], parsed.operator) {
			return nil, unsupportedFilter(parsed.field, parsed.operator)
		}
		conditions = append(conditions, parsed)
		rest = strings.TrimSpace(rest[len(matched):])
		if rest, joined = strings.CutPrefix(rest, "and "); !joined && rest != "" {
			return nil, badRequest("Invalid filter clause: syntax error at '%s'.", rest)
		}
		rest = strings.TrimSpace(rest)
	}
	return conditions, nil
}

func unsupportedFilter(field, operator string) *clouds.Error {
	return clouds.NewError(clouds.ServiceGraph, http.StatusBadRequest, "Request_UnsupportedQuery", fmt.Sprintf("Unsupported or invalid query filter clause specified for property '%s': operator '%s'.", field, operator))
}

// unquote reads a literal: a string in single quotes, or anything else as it is.
func unquote(literal string) string {
	if text, quoted := strings.CutPrefix(literal, "'"); quoted {
		return strings.ReplaceAll(strings.TrimSuffix(text, "'"), "''", "'")
	}
	return literal
}

type queryOptions struct {
	filter    []condition
	selected  []string // empty: everything
	top       int
	order     string // "activityDateTime desc"; "" none asked for
	skipToken string

	emptyFirst bool // the page has no entries, and a next link
}

const smallPage = 2

// options reads the OData options of a request, with what may be filtered by which operators.
func (c *call) options(filters map[string][]string, topDefault, topMax int) (queryOptions, error) {
	parameters := c.r.URL.Query()
	for name := range parameters {
		if !slices.Contains([]string{"$filter", "$select", "$top", "$orderby", "$skiptoken", "$count"}, name) && strings.HasPrefix(name, "$") {
			return queryOptions{}, badRequest("The query parameter '%s' is not supported.", name)
		}
	}
	o := queryOptions{top: topDefault, order: parameters.Get("$orderby"), skipToken: parameters.Get("$skiptoken")}
	var err error
	if o.filter, err = parseFilter(parameters.Get("$filter"), filters); err != nil {
		return o, err
	}
	if text := parameters.Get("$top"); text != "" {
		o.top, err = strconv.Atoi(text)
		if err != nil || o.top < 1 || o.top > topMax {
			return o, badRequest("Invalid page size specified: '%s'. Must be between 1 and %d inclusive.", text, topMax)
		}
	}
	switch pages := c.quirks().ListPages; {
	case pages == clouds.PagesEmptyFirst:
		o.emptyFirst = o.skipToken == ""
	case pages == clouds.PagesSmall:
		o.top = min(o.top, smallPage)
	case pages == clouds.PagesSecondRefused && o.skipToken != "":
		return o, badRequest("The skip token is not valid.")
	}
	if text := parameters.Get("$select"); text != "" {
		for name := range strings.SplitSeq(text, ",") {
			o.selected = append(o.selected, strings.TrimSpace(name))
		}
	}
	return o, nil
}

func (o queryOptions) selectFrom(entity object) object {
	if len(o.selected) == 0 {
		return entity
	}
	kept := object{}
	for _, name := range o.selected {
		if value, found := entity[name]; found {
			kept[name] = value
		}
	}
	return kept
}

func (c *call) nextLink(skipToken string) string {
	parameters := c.r.URL.Query()
	parameters.Set("$skiptoken", skipToken)
	next := url.URL{Scheme: "https", Host: c.r.Host, Path: c.r.URL.Path, RawQuery: parameters.Encode()}
	return next.String()
}
