package entra

import (
	"context"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"entra-aws-exporter/internal/bridge"
)

// FuzzGraph sends any answer to every reading: whatever it is, a reading ends with a
// result or with a classified error, and does not crash.
func FuzzGraph(f *testing.F) {
	f.Add(200, "application/json", []byte(healthyJob))
	f.Add(200, "application/json", []byte(`{"value":[null,{"id":"1","activityDateTime":"2026-03-01T10:00:00Z","provisioningStatusInfo":{"status":"failure","errorInformation":{"errorCode":"x"}}}]}`))
	f.Add(200, "application/json", []byte(`{"value":[{"id":"j","templateId":"aWSSingleSignon"}],"@odata.nextLink":"https://graph.test/v1.0/x"}`))
	f.Add(200, "application/json", []byte(`{"keyCredentials":[{"usage":"Sign","customKeyIdentifier":"AAAA"},{"usage":"Verify","customKeyIdentifier":"AAAA","key":"AAAA"}]}`))
	f.Add(200, "application/json", []byte(`{"synchronizationRules":[{"id":"x","objectMappings":[{"sourceObjectName":"User"}]}],"key":"k","value":"{\"statusInfo\":{\"status\":\"Failure\"}}"}`))
	f.Add(400, "application/json", []byte(`{"error":{"code":"UnknownError","message":"{\"error\":{\"code\":\"CredentialValidation\",\"message\":null}}"}}`))
	f.Add(403, "text/html", []byte(`<html>`))
	f.Add(500, "application/json", []byte(`{"error":null}`))
	f.Fuzz(func(t *testing.T, status int, kind string, body []byte) {
		if status < 200 || status > 599 || status == http.StatusTooManyRequests {
			return
		}
		synctest.Test(t, func(t *testing.T) {
			m := newMicrosoft(t)
			any := func(w http.ResponseWriter, _ *http.Request) {
				w.Header().Set("Content-Type", kind)
				w.WriteHeader(status)
				_, _ = w.Write(body)
			}
			for _, path := range []string{
				principalsURL, jobsURL, jobURL, secretsURL, principalURL, "/v1.0/auditLogs/provisioning",
				"/v1.0/auditLogs/directoryAudits", "/v1.0/applications", jobURL + "/schema", "/v1.0/users/user", metadataURL,
			} {
				m.serve["GET "+path] = any
			}
			m.serve["POST "+jobURL+"/provisionOnDemand"] = any
			m.serve["POST "+jobURL+"/validateCredentials"] = any
			m.serve["POST "+jobURL+"/start"] = any
			m.serve["PUT "+secretsURL] = any
			a := m.application()
			ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
			defer cancel()
			for name, read := range map[string]func() error{
				"binding":      func() error { _, err := a.tenant.Application(ApplicationOptions{}).Binding(ctx); return err },
				"job":          func() error { _, err := a.Job(ctx); return err },
				"secrets":      func() error { _, err := a.Credentials(ctx); return err },
				"certificates": func() error { _, err := a.SigningCertificates(ctx); return err },
				"application":  func() error { _, err := a.Application(ctx); return err },
				"credentials":  func() error { _, err := a.tenant.AppCredentials(ctx); return err },
				"exports":      func() error { _, err := a.Exports(ctx, time.Time{}); return err },
				"canary":       func() error { _, err := a.ProvisionUser(ctx, "user"); return err },
				"test":         func() error { _, err := a.TestConnection(ctx, nil); return err },
				"start":        func() error { return a.StartJob(ctx) },
				"save":         func() error { return a.SaveCredentials(ctx, nil) },
			} {
				err := read()
				if err == nil && status > 299 {
					t.Errorf("%s: %d taken for an answer", name, status)
				}
				if err != nil && (bridge.ReasonOf(err) == "" || !classified(err)) {
					t.Errorf("%s: not classified: %v", name, err)
				}
				if err != nil && strings.Contains(err.Error(), "panicked") {
					t.Errorf("%s: %v", name, err)
				}
			}
		})
	})
}

func classified(err error) bool {
	_, ok := err.(*bridge.Error) //nolint:errorlint // that it is one itself is the point
	return ok
}

// FuzzMetadata reads any document as federation metadata.
func FuzzMetadata(f *testing.F) {
	f.Add([]byte(metadata(selfSigned(f, "x", at("2027-05-01T00:00:00Z"), nil))))
	f.Add([]byte(metadata([]byte("garbage"))))
	f.Add([]byte(`<EntityDescriptor><KeyDescriptor use="signing">`))
	f.Add([]byte(`<!DOCTYPE x [<!ENTITY a "b">]><EntityDescriptor>&a;</EntityDescriptor>`))
	f.Fuzz(func(t *testing.T, content []byte) {
		certificates, _, err := parseMetadata(content)
		if (err == nil) != (len(certificates) > 0) {
			t.Errorf("%d certificates, %v", len(certificates), err)
		}
		for _, certificate := range certificates {
			if certificate.Thumbprint != bridge.Thumbprint(certificate.DER) || certificate.NotAfter.IsZero() {
				t.Errorf("%+v", certificate)
			}
		}
	})
}

// FuzzFailure reads any body as Graph's error.
func FuzzFailure(f *testing.F) {
	f.Add([]byte(`{"error":{"code":"UnknownError","message":"{\"error\":{\"code\":\"X\",\"message\":\"ann@example.com\"}}"}}`))
	f.Add([]byte(`AADSTS90002`))
	f.Fuzz(func(t *testing.T, body []byte) {
		code, message := graphFailure(body)
		if code != "" && !codePattern.MatchString(code) {
			t.Errorf("code %q", code)
		}
		if strings.ContainsAny(message, "\n@") && mailPattern.MatchString(message) || strings.Contains(message, "\n") {
			t.Errorf("message %q", message)
		}
	})
}
