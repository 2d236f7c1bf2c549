package entra

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"entra-aws-exporter/internal/model"
)

// readings are all calls to Graph, writes included.
var readings = []struct {
	name string
	read func(context.Context, *Application) error
}{
	{"binding", func(ctx context.Context, a *Application) error {
		_, err := a.tenant.Application(ApplicationOptions{}).Binding(ctx)
		return err
	}},
	{"job", func(ctx context.Context, a *Application) error { _, err := a.Job(ctx); return err }},
	{"secrets", func(ctx context.Context, a *Application) error { _, err := a.Credentials(ctx); return err }},
	{"certificates", func(ctx context.Context, a *Application) error { _, err := a.SigningCertificates(ctx); return err }},
	{"application", func(ctx context.Context, a *Application) error { _, err := a.Application(ctx); return err }},
	{"own credentials", func(ctx context.Context, a *Application) error { _, err := a.tenant.AppCredentials(ctx); return err }},
	{"log", func(ctx context.Context, a *Application) error { _, err := a.Exports(ctx, time.Time{}); return err }},
	{"canary", func(ctx context.Context, a *Application) error { _, err := a.ProvisionUser(ctx, "user"); return err }},
	{"test", func(ctx context.Context, a *Application) error { _, err := a.TestConnection(ctx, nil); return err }},
	{"start", func(ctx context.Context, a *Application) error { return a.StartJob(ctx) }},
	{"sign-ins", func(ctx context.Context, a *Application) error { _, err := a.SignIns(ctx, time.Now()); return err }},
	{"create certificate", func(ctx context.Context, a *Application) error {
		issued, err := a.CreateCertificate(ctx, "CN=new", time.Now())
		if err == nil && (model.Thumbprint(issued.DER) != issued.Thumbprint || issued.Subject != "CN=new") {
			panic(fmt.Sprintf("made up: %+v", issued))
		}
		return err
	}},
	{"activate certificate", func(ctx context.Context, a *Application) error {
		return a.ActivateCertificate(ctx, "0123456789ABCDEF0123456789ABCDEF01234567")
	}},
	{"save", func(ctx context.Context, a *Application) error { return a.SaveCredentials(ctx, nil) }},
}

// FuzzGraph sends any answer to any reading: whatever it is, the reading ends with a
// result or with a classified error, and does not crash.
func FuzzGraph(f *testing.F) {
	for i, body := range []string{
		`{"value":[{"id":"j","templateId":"aWSSingleSignon"}],"@odata.nextLink":"https://graph.test/v1.0/x"}`,
		healthyJob,
		`{"value":[null,{"key":"SyncNotificationSettings","value":"{\"Enabled\":true}"}]}`,
		`{"keyCredentials":[{"usage":"Sign","customKeyIdentifier":"AAAA"},{"usage":"Verify","customKeyIdentifier":"AAAA","key":"AAAA"}]}`,
		`{"appId":"x","servicePrincipalNames":["x",null]}`,
		`{"value":[{"passwordCredentials":[null,{"keyId":"x","endDateTime":"2027-01-01T00:00:00Z"}]}]}`,
		`{"value":[null,{"id":"1","activityDateTime":"2026-03-01T10:00:00Z","provisioningStatusInfo":{"status":"failure","errorInformation":{"errorCode":"x"}}}]}`,
		`{"synchronizationRules":[{"id":"x","objectMappings":[{"sourceObjectName":"User"}]}],"key":"k","value":"{\"statusInfo\":{\"status\":\"Failure\"}}"}`,
		`{"error":{"code":"UnknownError","message":"{\"error\":{\"code\":\"CredentialValidation\",\"message\":null}}"}}`,
		`<html>`,
		`{"error":null}`,
		`{"value":[null,{"createdDateTime":"2026-03-01T10:00:00Z","userId":"u","status":{"errorCode":0}},{"status":{"errorCode":50003}}]}`,
		`{"displayName":"CN=new","key":"AAAA","keyId":"k","thumbprint":"2FDE1F2B38C1EC9BD5B1BD5F8A8EF3B6B2BF9B0B","startDateTime":"2026-03-01T10:00:00Z","endDateTime":"2029-03-01T10:00:00Z"}`,
	} {
		f.Add(byte(i), uint16(200), "application/json", []byte(body))
		f.Add(byte(i), uint16(400), "application/json", []byte(body))
	}
	f.Fuzz(func(t *testing.T, which byte, status uint16, kind string, body []byte) {
		if status < 200 || status > 599 || status == http.StatusTooManyRequests {
			return
		}
		reading := readings[int(which)%len(readings)]
		synctest.Test(t, func(t *testing.T) {
			m := newMicrosoft(t)
			answer := func(w http.ResponseWriter, _ *http.Request) {
				w.Header().Set("Content-Type", kind)
				w.WriteHeader(int(status))
				_, _ = w.Write(body)
			}
			for _, path := range []string{
				principalsURL, jobsURL, jobURL, secretsURL, principalURL, "/v1.0/auditLogs/provisioning",
				"/v1.0/auditLogs/directoryAudits", "/v1.0/auditLogs/signIns", "/v1.0/applications", jobURL + "/schema", "/v1.0/users/user",
			} {
				m.serve["GET "+path] = answer
			}
			m.serve["POST "+jobURL+"/provisionOnDemand"] = answer
			m.serve["POST "+jobURL+"/validateCredentials"] = answer
			m.serve["POST "+jobURL+"/start"] = answer
			m.serve["PUT "+secretsURL] = answer
			m.serve["POST "+principalURL+"/addTokenSigningCertificate"] = answer
			m.serve["PATCH "+principalURL] = answer
			err := reading.read(within(t, time.Hour), m.application())
			if err == nil && status > 299 {
				t.Errorf("%s: %d taken for an answer", reading.name, status)
			}
			if err != nil && (!classified(err) || strings.Contains(err.Error(), "panicked")) {
				t.Errorf("%s: %v", reading.name, err)
			}
		})
	})
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
			if certificate.Thumbprint != model.Thumbprint(certificate.DER) || certificate.NotAfter.IsZero() {
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
		code, message := graphError(body)
		if code != "" && !codePattern.MatchString(code) {
			t.Errorf("code %q", code)
		}
		if strings.ContainsAny(message, "\n@") && mailPattern.MatchString(message) || strings.Contains(message, "\n") {
			t.Errorf("message %q", message)
		}
	})
}
