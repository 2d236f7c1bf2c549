package entra

import (
	"errors"
	"fmt"
	"net/http"
	"runtime"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"entra-aws-exporter/internal/model"
)

const logURL = "GET /v1.0/auditLogs/provisioning"

func TestEvents(t *testing.T) {
	m := newMicrosoft(t)
	m.serve[logURL] = always(200, `{"value":[
		{"id":"1","activityDateTime":"2026-03-01T10:00:00Z","jobId":"`+strings.ToUpper(jobID)+`","cycleId":"c","provisioningAction":"stagedDelete",
			"provisioningStatusInfo":{"status":"success","errorInformation":null},"servicePrincipal":{"id":"`+principal+`","displayName":"AWS"},
			"sourceIdentity":{"displayName":"Ann"},"targetIdentity":null,"modifiedProperties":[null,{"displayName":"userName","newValue":"ann"}],"provisioningSteps":null},
		null,
		{"id":"2","activityDateTime":"2026-03-01T10:00:01Z","provisioningAction":"create","provisioningStatusInfo":{"status":"failure",
			"errorInformation":{"errorCode":" EntryConflict ","errorCategory":"nonServiceFailure","reason":"Ann exists"}}},
		{"id":"3","activityDateTime":"2026-03-01T10:00:02Z","provisioningAction":"somethingNew","provisioningStatusInfo":{"status":"somethingNew",
			"errorInformation":{"errorCode":"ann@example.com is not there","errorCategory":"somethingNew"}}},
		{"id":"4","activityDateTime":"2026-03-01T10:00:03Z","provisioningAction":null,"provisioningStatusInfo":null,"servicePrincipal":null},
		{"id":"5","activityDateTime":"0001-01-01T00:00:00Z"},
		{"id":null,"activityDateTime":"2026-03-01T10:00:00Z"}
	]}`)
	var got []model.Event
	err := m.tenant().Events(t.Context(), at("2026-03-01T09:59:59.999Z"), at("2026-03-02T00:00:00+02:00"), func(e model.Event) error {
		got = append(got, e)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	want := []model.Event{
		{ID: "1", At: at("2026-03-01T10:00:00Z"), JobID: strings.ToUpper(jobID), CycleID: "c", ServicePrincipalID: principal, Action: "staged_delete", Status: "success"},
		{ID: "2", At: at("2026-03-01T10:00:01Z"), Action: "create", Status: "failure", ErrorCategory: "non_service_failure", ErrorCode: "EntryConflict"},
		{ID: "3", At: at("2026-03-01T10:00:02Z"), Action: "other", Status: "unknown", ErrorCategory: "something_new", ErrorCode: "other"},
		{ID: "4", At: at("2026-03-01T10:00:03Z"), Action: "other", Status: "unknown"},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	query := m.seen[0].URL.Query()
	if query.Get("$filter") != "activityDateTime gt 2026-03-01T09:59:59.999Z and activityDateTime lt 2026-03-01T22:00:00.000Z" || query.Get("$orderby") != "activityDateTime" {
		t.Errorf("asked %s", m.seen[0].URL.RawQuery)
	}
}

func TestEveryActionAndStatusIsKnown(t *testing.T) {
	known := map[string]bool{}
	for _, word := range append(model.EventActions(), model.EventStatuses()...) {
		known[word] = true
	}
	for _, word := range []string{"other", "create", "delete", "disable", "update", "stagedDelete", "unknownFutureValue", "success", "failure", "skipped", "warning"} {
		m := newMicrosoft(t)
		m.serve[logURL] = always(200, `{"value":[{"id":"1","activityDateTime":"2026-03-01T10:00:00Z","provisioningAction":"`+word+`","provisioningStatusInfo":{"status":"`+word+`"}}]}`)
		err := m.tenant().Events(t.Context(), time.Time{}, time.Time{}, func(e model.Event) error {
			if !known[e.Action] || !known[e.Status] {
				t.Errorf("%s became %s, %s", word, e.Action, e.Status)
			}
			return nil
		})
		if err != nil {
			t.Error(err)
		}
	}
}

func TestEventsErrors(t *testing.T) {
	page := func(next string) http.HandlerFunc {
		return always(200, `{"value":[{"id":"1","activityDateTime":"2026-03-01T10:00:00Z"}],"@odata.nextLink":"`+next+`"}`)
	}
	for name, test := range map[string]struct {
		answer http.HandlerFunc
		cloud  model.Cloud
		want   string
	}{
		"permission": {always(403, `{"error":{"code":"Authentication_MSGraphPermissionMissing","message":"ann"}}`), "",
			"reading the provisioning log: permission: 403 Authentication_MSGraphPermissionMissing " +
				"(grant the application permission ProvisioningLog.Read.All (AuditLog.Read.All in older tenants) with admin consent, see deploy/permissions/entra.md)"},
		"licence": {always(403, `{"error":{"code":"Authentication_RequestFromNonPremiumTenantOrB2CTenant","message":"m"}}`), "",
			"reading the provisioning log: licence: 403 Authentication_RequestFromNonPremiumTenantOrB2CTenant (the tenant needs Microsoft Entra ID P1 or P2 for this)"},
		"China": {nil, model.CloudChina, "reading the provisioning log: not_found: Microsoft Graph in China has no provisioning log (set intervals.events: 0)"},
		"a page elsewhere": {page("https://elsewhere.test/v1.0/auditLogs/provisioning?x"), "",
			"reading the provisioning log: invalid_response: the next page is the same one, or lies outside of Graph"},
		"a page without end": {page("https://graph.test/v1.0/auditLogs/provisioning?again"), "",
			"reading the provisioning log: invalid_response: the next page is the same one, or lies outside of Graph"},
		"an odd page": {always(200, `{"value":null}`), "", "reading the provisioning log: invalid_response: a list without its value"},
		"a bad page":  {always(200, `{"value":[{"activityDateTime":"Ann"}]}`), "", "reading the provisioning log: invalid_response: unreadable response, HTTP status 200 with application/json"},
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, func(t *testing.T) {
				m := newMicrosoft(t)
				m.serve[logURL] = test.answer
				tenant := m.tenant(func(o *TenantOptions) { o.Cloud = test.cloud })
				wantError(t, tenant.Events(t.Context(), time.Time{}, time.Time{}, func(model.Event) error { return nil }), test.want)
				if len(m.calls()) > 2 {
					t.Errorf("asked %v", m.calls())
				}
			})
		})
	}
}

func TestVisitErrorEndsTheRead(t *testing.T) {
	m := newMicrosoft(t)
	m.serve[logURL] = always(200, `{"value":[{"id":"1","activityDateTime":"2026-03-01T10:00:00Z"}],"@odata.nextLink":"https://graph.test/v1.0/auditLogs/provisioning?2"}`)
	full := errors.New("full")
	if err := m.tenant().Events(t.Context(), time.Time{}, time.Time{}, func(model.Event) error { return full }); !errors.Is(err, full) || len(m.calls()) != 1 {
		t.Errorf("%v, asked %v", err, m.calls())
	}
}

// TestBacklogEndsAtDeadline: a caller that reads in parts learns from the deadline
// that the part was too large.
func TestBacklogEndsAtDeadline(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		m := newMicrosoft(t)
		pages := 0
		m.serve[logURL] = func(w http.ResponseWriter, _ *http.Request) {
			pages++
			answerJSON(w, 200, fmt.Sprintf(`{"value":[],"@odata.nextLink":"https://graph.test/v1.0/auditLogs/provisioning?%d"}`, pages))
		}
		ctx := within(t, time.Minute)
		err := m.tenant().Events(ctx, time.Time{}, time.Time{}, nil)
		wantError(t, err, "reading the provisioning log: throttled: the audit logs hold more than 5 requests in 10 seconds can read before the deadline")
		if ctx.Err() == nil || pages != 29 {
			t.Errorf("%d pages, context %v", pages, ctx.Err())
		}
	})
}

// TestMillionEvents reads them in pages of a thousand and checks the memory.
func TestMillionEvents(t *testing.T) {
	if testing.Short() {
		t.Skip("a million events take a while")
	}
	const pages, perPage = 1000, 1000
	inBubble(t, func(t *testing.T) {
		m := newMicrosoft(t)
		m.serve[logURL] = func(w http.ResponseWriter, r *http.Request) {
			page, _ := strconv.Atoi(r.URL.Query().Get("page"))
			var body strings.Builder
			body.WriteString(`{"value":[`)
			for i := range perPage {
				if i > 0 {
					body.WriteByte(',')
				}
				fmt.Fprintf(&body, `{"id":"%d","activityDateTime":"2026-03-01T10:00:00Z","provisioningAction":"update","provisioningStatusInfo":{"status":"success"}}`, page*perPage+i)
			}
			body.WriteByte(']')
			if page+1 < pages {
				fmt.Fprintf(&body, `,"@odata.nextLink":"https://graph.test/v1.0/auditLogs/provisioning?page=%d"`, page+1)
			}
			body.WriteByte('}')
			m.mu.Lock()
			m.asked, m.seen, m.bodies = nil, nil, nil // what a test keeps is not what the client needs
			m.mu.Unlock()
			answerJSON(w, 200, body.String())
		}
		var seen, first, last uint64
		err := m.tenant().Events(t.Context(), time.Time{}, time.Time{}, func(model.Event) error {
			if seen++; seen == 10*perPage {
				first = heap()
			}
			return nil
		})
		last = heap()
		if err != nil || seen != pages*perPage {
			t.Fatalf("%d events, %v", seen, err)
		}
		if last > first+8<<20 {
			t.Errorf("%d bytes after ten pages, %d after %d", first, last, pages)
		}
	})
}

func heap() uint64 {
	runtime.GC()
	var stats runtime.MemStats
	runtime.ReadMemStats(&stats)
	return stats.HeapAlloc
}

func TestExports(t *testing.T) {
	m := newMicrosoft(t)
	since := at("2026-03-01T10:00:00Z")
	entry := func(id, when, job, action, status string) string {
		return fmt.Sprintf(`{"id":"%s","activityDateTime":"%s","jobId":"%s","provisioningAction":"%s","provisioningStatusInfo":{"status":"%s"}}`, id, when, job, action, status)
	}
	m.serve[logURL] = always(200, `{"value":[`+strings.Join([]string{
		entry("1", "2026-03-01T10:00:01Z", strings.ToUpper(jobID), "create", "success"),
		entry("2", "2026-03-01T10:00:02Z", jobID, "update", "success"),
		entry("3", "2026-03-01T10:00:00Z", jobID, "update", "success"),
		entry("4", "2026-03-01T10:00:03Z", jobID, "update", "failure"),
		entry("5", "2026-03-01T10:00:03Z", jobID, "update", "skipped"),
		entry("6", "2026-03-01T10:00:03Z", "another", "update", "success"),
		entry("7", "2026-03-01T10:00:03Z", jobID, "other", "success"),
	}, ",")+`]}`)
	got, err := m.application().Exports(t.Context(), since)
	if got != 2 || err != nil {
		t.Errorf("%d exports, %v", got, err)
	}
	want := "activityDateTime gt 2026-03-01T10:00:00.000Z and servicePrincipal/id eq '" + principal + "'"
	if filter := m.seen[0].URL.Query().Get("$filter"); filter != want {
		t.Errorf("asked for %s", filter)
	}
}
