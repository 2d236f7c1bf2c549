package simulator

import (
	"net/http"
	"slices"
	"strconv"
	"time"

	"entra-aws-exporter/internal/simulator/clouds"
)

// ManagedIdentity is an application that signs in from an Azure machine, without any
// credential of its own.
type ManagedIdentity struct{ TenantID, ClientID string }

// AddManagedIdentity gives the simulated Azure machine an identity; the first one is
// system-assigned.
func (s *Simulator) AddManagedIdentity(identity ManagedIdentity) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.identities = append(s.identities, identity)
}

// managedIdentity answers as Azure's instance metadata service.
// https://learn.microsoft.com/entra/identity/managed-identities-azure-resources/how-to-use-vm-token
func managedIdentity(c *call) (answer, error) {
	query := c.r.URL.Query()
	if c.r.Header.Get("Metadata") != "true" {
		return answer{}, &clouds.Error{Status: http.StatusBadRequest, Code: "invalid_request", Message: "Required metadata header not specified"}
	}
	identity, found := c.sim.identity(query.Get("client_id"))
	if !found {
		return answer{}, &clouds.Error{Status: http.StatusBadRequest, Code: "invalid_request", Message: "Identity not found"}
	}
	resource := query.Get("resource")
	if !c.isGraph(resource) {
		return answer{}, &clouds.Error{
			Status: http.StatusBadRequest, Code: "invalid_resource",
			Message: "AADSTS500011: The resource principal named " + resource + " was not found in the tenant named " + identity.TenantID + ".",
		}
	}
	registration, err := read(c, func(w *clouds.Model) (clouds.AppRegistration, error) {
		return w.Registration(identity.TenantID, identity.ClientID)
	})
	if err != nil {
		return answer{}, err
	}
	token, err := c.issue(identity.TenantID, resource, registration)
	if err != nil {
		return answer{}, err
	}
	seconds := func(t time.Time) string { return strconv.FormatInt(t.Unix(), 10) }
	life := strconv.Itoa(int(accessTokenLife / time.Second))
	return asJSON(http.StatusOK, "application/json; charset=utf-8", map[string]string{
		"access_token": token, "client_id": registration.ClientID, "token_type": "Bearer", "resource": resource,
		"expires_in": life, "ext_expires_in": life, "not_before": seconds(c.now()), "expires_on": seconds(c.now().Add(accessTokenLife)),
	}), nil
}

func (s *Simulator) identity(clientID string) (ManagedIdentity, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	at := slices.IndexFunc(s.identities, func(i ManagedIdentity) bool { return clientID == "" || i.ClientID == clientID })
	if at < 0 {
		return ManagedIdentity{}, false
	}
	return s.identities[at], true
}

func metadataServiceError(_ *call, err *clouds.Error) answer {
	return asJSON(err.Status, "application/json; charset=utf-8", map[string]string{"error": err.Code, "error_description": err.Message})
}
