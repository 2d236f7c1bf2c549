package app

import (
	"io"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"entra-aws-exporter/internal/model"
	"entra-aws-exporter/internal/redact"
	"entra-aws-exporter/internal/state"
	rotationharness "entra-aws-exporter/test/harness"
)

// roundTripper is a function as a transport.
type roundTripper func(*http.Request) (*http.Response, error)

// RoundTrip implements http.RoundTripper.
func (f roundTripper) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

// What a request holds is hidden before it is sent, and the request stays as it is.
func TestSentValuesAreKnown(t *testing.T) {
	values := map[string]string{}
	for _, name := range []string{"bearer", "session", "client_secret", "client_assertion", "WebIdentityToken"} {
		values[name] = "the-value-of-the-" + name
	}
	form := url.Values{"client_secret": {values["client_secret"]}, "client_assertion": {values["client_assertion"]}, "WebIdentityToken": {values["WebIdentityToken"]}}.Encode()
	redactor := &redact.Redactor{}
	transport := sentValues{redactor, roundTripper(func(r *http.Request) (*http.Response, error) {
		for name, value := range values {
			if redactor.Text(value) != "(value)" {
				t.Errorf("the %s is not known when it is sent", name)
			}
		}
		if body, err := io.ReadAll(r.Body); err != nil || string(body) != form {
			t.Errorf("sent %q %v", body, err)
		}
		return nil, http.ErrNotSupported
	})}
	request, err := http.NewRequest(http.MethodPost, "https://login.example/token", strings.NewReader(form))
	if err != nil {
		t.Fatal(err)
	}
	request.Header.Set("Content-Type", "application/x-www-form-urlencoded; charset=utf-8")
	request.Header.Set("Authorization", "Bearer "+values["bearer"])
	request.Header.Set("X-Amz-Security-Token", values["session"])
	if _, err := transport.RoundTrip(request); err == nil {
		t.Error("there was no call")
	}
}

// What the token store holds is hidden from the start, and what is written, at once.
func TestStoredValuesAreKnown(t *testing.T) {
	directory, err := state.Open(t.TempDir(), state.Options{})
	if err != nil {
		t.Fatal(err)
	}
	const stored, written = "the-value-that-is-stored", "another-value-is-written"
	if _, err := directory.Journal().Save(t.Context(), "binding", []byte("{}"), ""); err != nil {
		t.Fatal(err)
	}
	if err := directory.Tokens().Write(t.Context(), "binding/1", rotationharness.StoredEntry("binding", "1", stored)); err != nil {
		t.Fatal(err)
	}
	options := NewOptions(nil, nil, nil)
	options.Logger = discardLogger()
	service := options.newRotationService(directoryStore(directory), 1, func(string) (model.Snapshot, bool) { return model.Snapshot{}, false }, nil)
	if text := options.redactor.Text("a " + stored); text != "a (value)" {
		t.Errorf("stored: %s", text)
	}
	if err := service.tokens.Write(t.Context(), "binding/2", rotationharness.StoredEntry("binding", "2", written)); err != nil {
		t.Fatal(err)
	}
	if text := options.redactor.Text("a " + written); text != "a (value)" {
		t.Errorf("written: %s", text)
	}
}
