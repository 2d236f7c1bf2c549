package simulator

import (
	"encoding/json"
	"fmt"
	"net/http"
	"regexp"
	"strconv"
	"strings"
	"time"

	"entra-aws-exporter/internal/simulator/clouds"
)

// scimPrefix is where AWS's SCIM endpoints begin on this host; the rest of the path is
// theirs: /TENANT/scim/v2.
const scimPrefix = "/scim"

const (
	scimContentType = "application/scim+json"
	listSchema      = "urn:ietf:params:scim:api:messages:2.0:ListResponse"
	userSchema      = "urn:ietf:params:scim:schemas:core:2.0:User"
	groupSchema     = "urn:ietf:params:scim:schemas:core:2.0:Group"
)

// scimOperations are AWS's SCIM 2.0 implementation's.
// https://docs.aws.amazon.com/singlesignon/latest/developerguide/supported-apis.html
func (s *Simulator) scimOperations() map[string]operation {
	const base = "/{tenant}/scim/v2"
	return map[string]operation{
		"GET " + base + "/ServiceProviderConfig": {name: "SCIM GET ServiceProviderConfig", serve: serviceProviderConfig},
		"GET " + base + "/ResourceTypes":         {name: "SCIM GET ResourceTypes", serve: resourceTypes},
		"GET " + base + "/Users":                 {name: "SCIM GET Users", serve: listUsers},
		"POST " + base + "/Users":                {name: "SCIM POST Users", serve: createUser},
		"GET " + base + "/Users/{id}":            {name: "SCIM GET User", serve: scimUser},
		"PUT " + base + "/Users/{id}":            {name: "SCIM PUT User", serve: replaceUser},
		"PATCH " + base + "/Users/{id}":          {name: "SCIM PATCH User", serve: patchUser},
		"DELETE " + base + "/Users/{id}":         {name: "SCIM DELETE User", serve: deleteUser},
		"GET " + base + "/Groups":                {name: "SCIM GET Groups", serve: listGroups},
		"POST " + base + "/Groups":               {name: "SCIM POST Groups", serve: createGroup},
		"GET " + base + "/Groups/{id}":           {name: "SCIM GET Group", serve: scimGroup},
		"PATCH " + base + "/Groups/{id}":         {name: "SCIM PATCH Group", serve: patchGroup},
		"DELETE " + base + "/Groups/{id}":        {name: "SCIM DELETE Group", serve: deleteGroup},
	}
}

// scimCall is the frame of a call for the world, which checks the bearer token.
func (c *call) scimCall() clouds.SCIMCall {
	token, _ := strings.CutPrefix(c.r.Header.Get("Authorization"), "Bearer ")
	return clouds.SCIMCall{Tenant: c.path.PathValue("tenant"), Token: token, UserAgent: c.r.UserAgent()}
}

// scimError words an error as AWS does: "schema" in the singular, the status as text.
func scimError(c *call, err *clouds.Error) answer {
	result := asJSON(err.Status, scimContentType, map[string]any{
		"schema": []string{"urn:ietf:params:scim:api:messages:2.0:Error"}, "schemas": []string{"urn:ietf:params:scim:api:messages:2.0:Error"},
		"detail": err.Message, "status": strconv.Itoa(err.Status), "timeStamp": c.now().UTC().Format("2006-01-02 15:04:05.000"),
	})
	result.header.Set("X-Amzn-Errortype", err.Code)
	return result
}

func asSCIM(status int, body any) (answer, error) { return asJSON(status, scimContentType, body), nil }

func serviceProviderConfig(c *call) (answer, error) {
	if _, err := read(c, func(w *clouds.Model) (struct{}, error) { return nothing(w.ServiceProviderConfig(c.scimCall())) }); err != nil {
		return answer{}, err
	}
	no, yes := map[string]any{"supported": false}, map[string]any{"supported": true}
	return asSCIM(http.StatusOK, map[string]any{
		"schemas":          []string{"urn:ietf:params:scim:schemas:core:2.0:ServiceProviderConfig"},
		"documentationUri": "https://docs.aws.amazon.com/singlesignon/latest/userguide/manage-your-identity-source-idp.html",
		"authenticationSchemes": []map[string]any{{
			"type": "oauthbearertoken", "name": "OAuth Bearer Token", "primary": true,
			"description": "Authentication scheme using the OAuth Bearer Token Standard",
			"specUri":     "https://www.rfc-editor.org/info/rfc6750", "documentationUri": "https://docs.aws.amazon.com/singlesignon/latest/userguide/provision-automatically.html",
		}},
		"patch": yes, "changePassword": no, "sort": no, "etag": no,
		"bulk":   map[string]any{"supported": false, "maxOperations": 1, "maxPayloadSize": 1048576},
		"filter": map[string]any{"supported": true, "maxResults": clouds.MaxSCIMResults},
	})
}

func resourceTypes(c *call) (answer, error) {
	if _, err := read(c, func(w *clouds.Model) (struct{}, error) { return nothing(w.ServiceProviderConfig(c.scimCall())) }); err != nil {
		return answer{}, err
	}
	kind := func(name, schema string) map[string]any {
		return map[string]any{
			"schemas": []string{"urn:ietf:params:scim:schemas:core:2.0:ResourceType"},
			"id":      name, "name": name, "endpoint": "/" + name + "s", "schema": schema,
		}
	}
	return asSCIM(http.StatusOK, scimList([]map[string]any{kind("User", userSchema), kind("Group", groupSchema)}, 2, 1))
}

func scimList(resources []map[string]any, total, start int) map[string]any {
	if resources == nil {
		resources = []map[string]any{}
	}
	return map[string]any{
		"schemas": []string{listSchema}, "totalResults": total, "itemsPerPage": len(resources), "startIndex": max(start, 1), "Resources": resources,
	}
}

var scimComparison = regexp.MustCompile(`^\s*([A-Za-z.]+)\s+(?i:(eq))\s+("(?:[^"\\]|\\.)*")\s*`)

// scimFilter reads what AWS supports: "attribute eq value", joined by "and".
func scimFilter(filter string) ([]clouds.Match, error) {
	var matches []clouds.Match
	for rest := filter; rest != ""; {
		m := scimComparison.FindStringSubmatch(rest)
		if m == nil {
			return nil, badFilter("Filter %q is not supported: use eq, joined by and.", filter)
		}
		var value string
		if err := json.Unmarshal([]byte(m[3]), &value); err != nil {
			return nil, badFilter("Filter %q has a malformed value.", filter)
		}
		matches = append(matches, clouds.Match{Attribute: m[1], Value: value})
		rest = rest[len(m[0]):]
		if rest == "" {
			break
		}
		if len(rest) < 4 || !strings.EqualFold(rest[:4], "and ") || strings.TrimSpace(rest[4:]) == "" {
			return nil, badFilter("Filter %q is not supported: use eq, joined by and.", filter)
		}
		rest = rest[4:]
	}
	return matches, nil
}

func badFilter(format string, args ...any) *clouds.Error {
	return &clouds.Error{Service: clouds.ServiceSCIM, Status: http.StatusBadRequest, Code: "ValidationException", Message: fmt.Sprintf(format, args...)}
}

// page reads startIndex, count and filter of a list.
func (c *call) page() (matches []clouds.Match, start, count int, err error) {
	query := c.r.URL.Query()
	for name, into := range map[string]*int{"startIndex": &start, "count": &count} {
		if text := query.Get(name); text != "" {
			if *into, err = strconv.Atoi(text); err != nil {
				return nil, 0, 0, badFilter("%s must be a number.", name)
			}
		}
	}
	matches, err = scimFilter(query.Get("filter"))
	return matches, start, count, err
}

// patch reads the operations of a PATCH request, with or without a path.
// https://www.rfc-editor.org/rfc/rfc7644#section-3.5.2
func (c *call) patch() ([]clouds.Change, error) {
	var body struct {
		Operations []struct {
			Op    string          `json:"op"`
			Path  string          `json:"path"`
			Value json.RawMessage `json:"value"`
		}
	}
	if err := c.decode(&body); err != nil {
		return nil, err
	}
	var changes []clouds.Change
	for _, operation := range body.Operations {
		if operation.Path != "" {
			change, err := scimChange(operation.Op, operation.Path, operation.Value)
			if err != nil {
				return nil, err
			}
			changes = append(changes, change)
			continue
		}
		var attributes map[string]json.RawMessage
		if err := json.Unmarshal(operation.Value, &attributes); err != nil {
			return nil, badFilter("An operation without a path needs an object as its value.")
		}
		for path, value := range attributes {
			change, err := scimChange(operation.Op, path, value)
			if err != nil {
				return nil, err
			}
			changes = append(changes, change)
		}
	}
	return changes, nil
}

var oneMember = regexp.MustCompile(`^members\[value eq "([^"]*)"\]$`)

func scimChange(op, path string, raw json.RawMessage) (clouds.Change, error) {
	change := clouds.Change{Op: strings.ToLower(op), Path: path}
	if m := oneMember.FindStringSubmatch(path); m != nil {
		change.Path, change.Value = "members", []string{m[1]}
		return change, nil
	}
	if path == "members" && len(raw) > 0 {
		var members []struct{ Value string }
		if err := json.Unmarshal(raw, &members); err != nil {
			return change, badFilter("members must be a list of values.")
		}
		ids := []string{}
		for _, member := range members {
			ids = append(ids, member.Value)
		}
		change.Value = ids
		return change, nil
	}
	if len(raw) > 0 {
		if err := json.Unmarshal(raw, &change.Value); err != nil {
			return change, badFilter("The value of %s is no JSON.", path)
		}
	}
	return change, nil
}

func scimMeta(kind string, created, modified time.Time) map[string]any {
	return map[string]any{
		"resourceType": kind, "created": created.UTC().Format(time.RFC3339), "lastModified": modified.UTC().Format(time.RFC3339),
	}
}
