package clouds

import (
	"fmt"
	"net/http"
)

// Service is the API that refused a call.
type Service string

// The services.
const (
	ServiceTokens     Service = "identitystore" // the console's token service
	ServiceSCIM       Service = "scim"
	ServiceSSOAdmin   Service = "sso"
	ServiceSTS        Service = "sts"
	ServiceCloudTrail Service = "cloudtrail"
	ServiceAppsAuth   Service = "appsauth" // the console's IdP certificates
	ServiceGraph      Service = "graph"
	ServiceLogin      Service = "login" // Entra's sign-in endpoint
)

// Error is a refusal as the service words it.
type Error struct {
	Service Service
	Status  int    // HTTP status
	Code    string // "AccessDeniedException", "Request_ResourceNotFound", "AADSTS7000215"
	Message string
	// Nested: Graph's synchronization API wraps this error as a JSON string into the
	// message of an outer error whose code is "UnknownError".
	Nested bool
}

// Error implements error.
func (e *Error) Error() string {
	return fmt.Sprintf("%s: %d %s: %s", e.Service, e.Status, e.Code, e.Message)
}

func notFound(service Service, format string, args ...any) *Error {
	code := map[Service]string{
		ServiceGraph: "Request_ResourceNotFound", ServiceSCIM: "ResourceNotFoundException",
	}[service]
	if code == "" {
		code = "ResourceNotFoundException"
	}
	status := http.StatusBadRequest
	if service == ServiceGraph || service == ServiceSCIM {
		status = http.StatusNotFound
	}
	return &Error{Service: service, Status: status, Code: code, Message: fmt.Sprintf(format, args...)}
}

func invalid(service Service, format string, args ...any) *Error {
	code := "ValidationException"
	if service == ServiceGraph {
		code = "Request_BadRequest"
	}
	return &Error{Service: service, Status: http.StatusBadRequest, Code: code, Message: fmt.Sprintf(format, args...)}
}
