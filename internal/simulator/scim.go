package simulator

import (
	"encoding/json"
	"net/http"
	"regexp"
	"strconv"
	"strings"

	"entra-aws-exporter/internal/simulator/clouds"
)

const (
	scimContentType = "application/scim+json"
	userSchema      = "urn:ietf:params:scim:schemas:core:2.0:User"
)

// scimOperations are the operations of AWS's SCIM endpoint that the exporter calls.
// Entra's engine writes to the model directly.
// https://docs.aws.amazon.com/singlesignon/latest/developerguide/supported-apis.html
func scimOperations() map[string]operation {
	const base = "/{tenant}/scim/v2"
	return map[string]operation{
		"GET " + base + "/ServiceProviderConfig": {name: "SCIM GET ServiceProviderConfig", serve: serviceProviderConfig},
		"GET " + base + "/Users":                 {name: "SCIM GET Users", serve: listUsers},
	}
}

func scimCall(c *call) clouds.SCIMCall {
	token, _ := strings.CutPrefix(c.r.Header.Get("Authorization"), "Bearer ")
	return clouds.SCIMCall{Tenant: c.path.PathValue("tenant"), Token: token, UserAgent: c.r.UserAgent()}
}

// scimError words an error as AWS does: "schema" in the singular, the status as text.
func scimError(c *call, err *clouds.Error) response {
	schema := []string{"urn:ietf:params:scim:api:messages:2.0:Error"}
	result := jsonResponse(err.Status, scimContentType, object{
		"schema": schema, "schemas": schema,
		"detail": err.Message, "status": strconv.Itoa(err.Status), "timeStamp": c.now().UTC().Format("2006-01-02 15:04:05.000"),
	})
	result.header.Set("X-Amzn-Errortype", err.Code)
	return result
}

func serviceProviderConfig(c *call) (response, error) {
	if _, err := query(c, func(m *clouds.Model) (struct{}, error) { return struct{}{}, m.ServiceProviderConfig(scimCall(c)) }); err != nil {
		return response{}, err
	}
	return jsonResponse(http.StatusOK, scimContentType, object{
		"schemas": []string{"urn:ietf:params:scim:schemas:core:2.0:ServiceProviderConfig"},
		"filter":  object{"supported": true, "maxResults": 50},
	}), nil
}

// userNameFilter is the one filter that is asked for; its value is a JSON string.
var userNameFilter = regexp.MustCompile(`^userName eq ("(?:[^"\\]|\\.)*")$`)

func listUsers(c *call) (response, error) {
	var name string
	filter := c.r.URL.Query().Get("filter")
	if m := userNameFilter.FindStringSubmatch(filter); m == nil || json.Unmarshal([]byte(m[1]), &name) != nil {
		return response{}, clouds.NewError(clouds.ServiceSCIM, http.StatusBadRequest, "ValidationException", "This simulator looks users up by userName, not by "+filter)
	}
	users, err := query(c, func(m *clouds.Model) ([]clouds.User, error) { return m.UserNamed(scimCall(c), name) })
	if err != nil {
		return response{}, err
	}
	return jsonResponse(http.StatusOK, scimContentType, object{
		"schemas":      []string{"urn:ietf:params:scim:api:messages:2.0:ListResponse"},
		"totalResults": len(users), "itemsPerPage": len(users), "startIndex": 1, "Resources": objects(users, userEntity),
	}), nil
}

func userEntity(u clouds.User) object {
	return object{
		"schemas": []string{userSchema}, "id": u.ID, "externalId": u.ExternalID, "userName": u.UserName, "displayName": u.DisplayName, "active": u.Active,
	}
}
