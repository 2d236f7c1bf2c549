package entra

import (
	"context"
	"encoding/json"
	"maps"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"entra-aws-exporter/internal/cloudhttp"
	"entra-aws-exporter/internal/model"
)

// TestEveryValueReplaced takes a good answer of each kind and replaces each of its
// values, one at a time, by one of every other kind. A reading may fail or do without;
// it may not crash, nor return a number or a time that was not sent.
func TestEveryValueReplaced(t *testing.T) {
	replacements := []string{`null`, `7`, `-7`, `1e300`, `""`, `"x"`, `true`, `[]`, `{}`, `[null]`, `{"a":null}`, `[[]]`, `"0001-01-01T00:00:00Z"`}
	directory := `{"value":[{"activityDateTime":"2026-02-01T00:00:00Z","activityDisplayName":"` + credentialActivity + `","targetResources":[{"id":"` + principal + `"}]}]}`
	variants := 0
	for name, test := range map[string]struct {
		path, body string
		read       func(context.Context, *Application) error
	}{
		"job": {jobURL, strings.Replace(healthyJob, `"quarantine": null`, `"quarantine": {"reason":"TooManyDeletes","currentBegan":"2026-02-02T00:00:00Z",
			"seriesBegan":"2026-02-01T00:00:00Z","seriesCount":3,"nextAttempt":"2026-02-03T00:00:00Z","error":{"code":"c","message":"m","tenantActionable":true}}`, 1),
			func(ctx context.Context, a *Application) error {
				job, err := a.Job(ctx)
				checkJob(t, job)
				return err
			}},
		"applications": {principalsURL, `{"value":[{"id":"a","displayName":"b"}],"@odata.nextLink":"x"}`, func(ctx context.Context, a *Application) error {
			_, err := a.tenant.discoverApplication(ctx)
			return err
		}},
		"jobs": {jobsURL, `{"value":[{"id":"a","templateId":"aWSSingleSignon","schedule":{"state":"Active"}}]}`, func(ctx context.Context, a *Application) error {
			_, err := a.discovery.discoverJob(ctx, principal)
			return err
		}},
		"application": {principalURL, `{"id":"x","appId":"a","servicePrincipalNames":["b"],"preferredTokenSigningKeyThumbprint":"AA","notificationEmailAddresses":["c"],
			"keyCredentials":[{"customKeyIdentifier":"AAAA","key":"AAAA","keyId":"00000000-0000-0000-0000-000000000001","usage":"Sign","startDateTime":"2026-02-01T00:00:00Z","endDateTime":"2027-02-01T00:00:00Z"},
			{"customKeyIdentifier":"AAAA","key":"AAAA","keyId":"00000000-0000-0000-0000-000000000001","usage":"Verify","startDateTime":"2026-02-01T00:00:00Z","endDateTime":"2027-02-01T00:00:00Z"}]}`,
			func(ctx context.Context, a *Application) error { _, err := a.SigningCertificates(ctx); return err }},
		"secrets": {secretsURL, `{"value":[{"key":"SyncNotificationSettings","value":"{}"}]}`, func(ctx context.Context, a *Application) error { _, err := a.Credentials(ctx); return err }},
		"own":     {"/v1.0/applications", `{"value":[{"passwordCredentials":[{"keyId":"a","endDateTime":"2027-01-01T00:00:00Z"}],"keyCredentials":[]}]}`, func(ctx context.Context, a *Application) error { _, err := a.tenant.AppCredentials(ctx); return err }},
		"audits":  {"/v1.0/auditLogs/directoryAudits", directory, func(ctx context.Context, a *Application) error { a.credentialsChanged(ctx); return nil }},
		"log": {"/v1.0/auditLogs/provisioning", `{"value":[{"id":"1","activityDateTime":"2026-03-01T10:00:00Z","jobId":"j","provisioningAction":"update","servicePrincipal":{"id":"s"},
			"provisioningStatusInfo":{"status":"failure","errorInformation":{"errorCode":"c","errorCategory":"failure"}}}]}`,
			func(ctx context.Context, a *Application) error { _, err := a.Exports(ctx, time.Time{}); return err }},
		"schema": {jobURL + "/schema", userSchema, func(ctx context.Context, a *Application) error {
			_, err := a.userRule(ctx, parameters{"id": principal, "job": jobID})
			return err
		}},
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, func(t *testing.T) {
				m := newMicrosoft(t)
				a := m.application()
				for _, body := range replaced(t, test.body, replacements) {
					variants++
					m.serve["GET "+test.path] = always(200, body)
					if err := test.read(t.Context(), a); err != nil && (!classified(err) || strings.Contains(err.Error(), "panicked")) {
						t.Errorf("%v\nof %s", err, body)
					}
				}
			})
		})
	}
	t.Logf("%d answers", variants)
}

func checkJob(t *testing.T, job model.Job) {
	t.Helper()
	if job.Interval < 0 || job.Interval > longestInterval {
		t.Errorf("interval %s", job.Interval)
	}
	for _, cycle := range []*model.Cycle{job.LastCycle, job.LastSuccess, job.LastExport} {
		if cycle == nil {
			continue
		}
		negative := slices.ContainsFunc(slices.Collect(maps.Values(cycle.Entries)), func(entries int64) bool { return entries < 0 })
		if negative || cycle.Began.Year() == 1 && !cycle.Began.IsZero() {
			t.Errorf("cycle %+v", *cycle)
		}
	}
}

// replaced returns the document once per value and replacement.
func replaced(t *testing.T, document string, replacements []string) []string {
	t.Helper()
	var root any
	if err := json.Unmarshal([]byte(document), &root); err != nil {
		t.Fatal(err)
	}
	var variants []string
	var walk func(node any, put func(any))
	walk = func(node any, put func(any)) {
		for _, replacement := range replacements {
			put(json.RawMessage(replacement))
			encoded, err := json.Marshal(root)
			if err != nil {
				t.Fatal(err)
			}
			variants = append(variants, string(encoded))
		}
		put(node)
		switch node := node.(type) {
		case map[string]any:
			for key, child := range node {
				walk(child, func(v any) { node[key] = v })
			}
		case []any:
			for i, child := range node {
				walk(child, func(v any) { node[i] = v })
			}
		}
	}
	walk(root, func(v any) { root = v })
	return variants
}

func TestSDKPanicIsAnError(t *testing.T) {
	m := newMicrosoft(t)
	_, err := m.tenant().graph.do(t.Context(), apiCall{op: "reading"}, func(ctx context.Context) error {
		cloudhttp.ExchangeOf(ctx).Sent, cloudhttp.ExchangeOf(ctx).Status, cloudhttp.ExchangeOf(ctx).ContentType = true, http.StatusOK, "application/json"
		panic("index out of range")
	})
	wantError(t, err, "reading: invalid_response: unreadable response, HTTP status 200 with application/json: the Graph SDK panicked: index out of range")
}
