package simulator_test

import (
	"net/http"
)

// scim calls the connection's SCIM endpoint with the token that Entra has saved.
func (l *lab) scim(method, path, body string) reply {
	l.t.Helper()
	return l.scimWith(l.access.Values[l.connection.Name], method, path, body)
}

func (l *lab) scimWith(token, method, path, body string) reply {
	l.t.Helper()
	request := l.request(method, l.connection.SCIMEndpoint+path, body)
	request.Header.Set("Authorization", "Bearer "+token)
	request.Header.Set("Accept", "application/scim+json")
	request.Header.Set("User-Agent", "test")
	if body != "" {
		request.Header.Set("Content-Type", "application/scim+json")
	}
	return l.do(request)
}

var _ = http.MethodGet
