package simulator_test

import (
	"encoding/json"
	"io"
	"net/http"
	"runtime"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"entra-aws-exporter/internal/simulator"
	"entra-aws-exporter/internal/simulator/clouds"
)

// readLog follows a log to its end, as slowly as Graph wants, and returns the ids.
func (l *harness) readLog(path string) (ids []string, times []string) {
	l.t.Helper()
	for next := "https://graph.microsoft.com/v1.0" + path; next != ""; {
		request := l.request(http.MethodGet, next, "")
		request.Header.Set("Authorization", "Bearer "+l.accessToken())
		answer := l.do(request)
		if answer.status == http.StatusTooManyRequests {
			time.Sleep(time.Second)
			continue
		}
		if answer.status != http.StatusOK {
			l.t.Fatalf("%s: %d %s", next, answer.status, answer.body)
		}
		for _, entry := range answer.at("value").([]any) {
			ids = append(ids, entry.(map[string]any)["id"].(string))
			times = append(times, entry.(map[string]any)["activityDateTime"].(string))
		}
		next, _ = answer.at("@odata.nextLink").(string)
	}
	return ids, times
}

func distinct(ids []string) int {
	sorted := slices.Sorted(slices.Values(ids))
	return len(slices.Compact(sorted))
}

func TestProvisioningLog(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newHarness(t).checkingContract()
		c := l.Connection
		start := time.Now()
		for i := range 25 {
			l.With(func(w *clouds.Model) {
				status := map[bool]string{true: "success", false: "failure"}[i%5 > 0]
				entry := clouds.LogEntry{Action: "update", Status: status, CycleID: "c"}
				if status == "failure" {
					entry.ErrorCode, entry.ErrorCategory = "DuplicateTargetEntries", "failure"
				}
				if err := w.AddLogEntry(c.EntraTenantID, c.ServicePrincipalID, c.JobID, entry); err != nil {
					t.Fatal(err)
				}
			})
			time.Sleep(time.Second)
		}
		if ids, _ := l.readLog(query("/auditLogs/provisioning", "$filter", "jobId eq '"+c.JobID+"'")); len(ids) >= 25 {
			t.Errorf("%d entries at once, some appear late", len(ids))
		}
		time.Sleep(10 * time.Minute)
		ids, times := l.readLog(query("/auditLogs/provisioning", "$top", "10", "$orderby", "activityDateTime", "$filter", "servicePrincipal/id eq '"+c.ServicePrincipalID+"'"))
		if len(ids) != 25 || distinct(ids) != 25 || !slices.IsSorted(times) {
			t.Errorf("%d entries, %d distinct, sorted %v", len(ids), distinct(ids), slices.IsSorted(times))
		}
		descending, _ := l.readLog(query("/auditLogs/provisioning", "$top", "7"))
		slices.Reverse(descending)
		if !slices.Equal(ids, descending[len(descending)-25:]) {
			t.Error("backwards it is another log")
		}
		bounds := "activityDateTime gt " + start.Add(4500*time.Millisecond).UTC().Format(time.RFC3339Nano) + " and activityDateTime lt " + start.Add(10*time.Second).UTC().Format(time.RFC3339Nano)
		if between, _ := l.readLog(query("/auditLogs/provisioning", "$filter", bounds)); len(between) != 5 {
			t.Errorf("%d entries between", len(between))
		}
		if failures, _ := l.readLog(query("/auditLogs/provisioning", "$filter", "provisioningStatusInfo/status eq 'failure'")); len(failures) != 5 {
			t.Errorf("%d failures", len(failures))
		}
		time.Sleep(time.Minute)
		if answer := l.graph(http.MethodGet, query("/auditLogs/provisioning", "$filter", "activityDateTime ge 2026-01-01T00:00:00Z"), ""); answer.status != http.StatusBadRequest {
			t.Errorf("an undocumented operator: %d", answer.status)
		}
	})
}

func TestDirectoryAudits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newHarness(t, clouds.Healthy("one"), clouds.Healthy("two")).checkingContract()
		c := l.Connection
		l.With(func(w *clouds.Model) {
			for _, connection := range l.Credentials.Connections {
				if err := w.SaveValue(clouds.ActorOperator, c.EntraTenantID, connection.ServicePrincipalID, "mistyped"); err != nil {
					t.Fatal(err)
				}
			}
		})
		time.Sleep(10 * time.Minute)
		filter := "activityDisplayName eq '" + clouds.AuditActivity + "' and targetResources/any(t:t/id eq '" + c.ServicePrincipalID + "')"
		answer := l.graph(http.MethodGet, query("/auditLogs/directoryAudits", "$filter", filter, "$orderby", "activityDateTime desc"), "")
		if answer.at("value", 0, "targetResources", 0, "id") != c.ServicePrincipalID || answer.at("value", 1) != nil {
			t.Errorf("%d %s", answer.status, answer.body)
		}
		later := "activityDateTime ge " + time.Now().UTC().Format(time.RFC3339)
		if answer = l.graph(http.MethodGet, query("/auditLogs/directoryAudits", "$filter", later), ""); len(answer.at("value").([]any)) != 0 {
			t.Errorf("later: %s", answer.body)
		}
	})
}

// TestLongLog reads a long log in pages of a thousand; neither side may hold it.
func TestLongLog(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newHarness(t)
		c := l.Connection
		const count = 100_000
		bulk := simulator.BulkEvents{
			TenantID: c.EntraTenantID, ServicePrincipalID: c.ServicePrincipalID, JobID: c.JobID,
			Count: count, From: time.Now().Add(-20 * 24 * time.Hour), Every: simulator.Duration(time.Second),
		}
		if err := l.AddBulkEvents(bulk); err != nil {
			t.Fatal(err)
		}
		token, signed := l.accessToken(), time.Now()
		read, failures, highest := 0, 0, uint64(0)
		last := ""
		for next := query("https://graph.microsoft.com/v1.0/auditLogs/provisioning", "$top", "1000", "$orderby", "activityDateTime"); next != ""; {
			if time.Since(signed) > 50*time.Minute {
				token, signed = l.accessToken(), time.Now()
			}
			request := l.request(http.MethodGet, next, "")
			request.Header.Set("Authorization", "Bearer "+token)
			response, err := l.client.Do(request)
			if err != nil {
				t.Fatal(err)
			}
			if response.StatusCode == http.StatusTooManyRequests {
				_, _ = io.Copy(io.Discard, response.Body)
				_ = response.Body.Close()
				time.Sleep(2 * time.Second)
				continue
			}
			var page struct {
				Next  string `json:"@odata.nextLink"`
				Value []struct {
					ID                     string
					ProvisioningStatusInfo struct{ Status string }
				}
			}
			if err := json.NewDecoder(response.Body).Decode(&page); err != nil {
				t.Fatal(err)
			}
			_ = response.Body.Close()
			for _, entry := range page.Value {
				if entry.ID <= last {
					t.Fatalf("%s after %s", entry.ID, last)
				}
				last = entry.ID
				read++
				if entry.ProvisioningStatusInfo.Status == "failure" {
					failures++
				}
			}
			if read%25_000 == 0 {
				var memory runtime.MemStats
				runtime.GC()
				runtime.ReadMemStats(&memory)
				highest = max(highest, memory.HeapAlloc)
			}
			next = page.Next
		}
		if read != count || failures != count/20 {
			t.Errorf("read %d entries, %d failures", read, failures)
		}
		if highest > 32<<20 {
			t.Errorf("%d MB on the heap", highest>>20)
		}
	})
}

func TestBulkEventsWithoutTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newHarness(t)
		c := l.Connection
		err := l.AddBulkEvents(simulator.BulkEvents{TenantID: c.EntraTenantID, ServicePrincipalID: c.ServicePrincipalID, JobID: c.JobID, Count: 25, From: time.Now()})
		if err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Second)
		for _, order := range []string{"activityDateTime", "activityDateTime desc"} {
			ids, _ := l.readLog(query("/auditLogs/provisioning", "$top", "10", "$orderby", order, "$filter", "jobId eq '"+c.JobID+"'"))
			if len(ids) != 25 || distinct(ids) != 25 {
				t.Errorf("%s: %d entries, %d distinct", order, len(ids), distinct(ids))
			}
		}
	})
}
