package entra

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/time/rate"

	"entra-aws-exporter/internal/cloudhttp"
	"entra-aws-exporter/internal/model"
	"entra-aws-exporter/internal/poller"
)

// BenchmarkProvisioningLog reads a million entries as the exporter does, from the HTTP
// response to the counters. Its floor is encoding/json, which decodes each page from
// memory into the fields that are needed, right before the exporter gets the same page.
func BenchmarkProvisioningLog(b *testing.B) {
	const pages = 1000
	for b.Loop() {
		m := newMicrosoft(b)
		log := &largeLog{microsoft: m, pages: pages, begin: time.Now().Add(-24 * time.Hour)}
		tenant := m.tenant()
		var err error
		tenant.graph, err = newGraphClient(tenant.graph.root, tenant.signIn,
			&throttle{reports: rate.NewLimiter(rate.Inf, 1)}, cloudhttp.Options{Transport: log}.WithDefaults())
		if err != nil {
			b.Fatal(err)
		}
		source := poller.Events(time.Hour, tenant.Events, log, "corp", poller.Replica{ID: "a"}, slog.New(slog.DiscardHandler))
		log.began = time.Now()
		result, err := source.Read(b.Context(), []model.Snapshot{{Connection: "corp", Binding: model.Binding{ServicePrincipalID: principal}}})
		log.exporter = append(log.exporter, time.Since(log.began))
		if err != nil {
			b.Fatal(err)
		}
		snapshot := model.Snapshot{Connection: "corp"}
		result.Apply(&snapshot)
		if counted := snapshot.Events.Events[model.EventKey{Action: "update", Status: "success"}]; counted != pages*logPageSize {
			b.Fatalf("counted %d of %d", counted, pages*logPageSize)
		}
		log.report(b)
	}
}

// largeLog serves pages of a log, and measures what happens between two of them.
type largeLog struct {
	*microsoft
	pages       int
	begin       time.Time
	floor       []time.Duration // per page
	exporter    []time.Duration // per page, the first one with the sign-in
	began       time.Time
	early, late uint64 // bytes in use after ten pages, and after the last one
}

func (l *largeLog) RoundTrip(request *http.Request) (*http.Response, error) {
	if !strings.HasSuffix(request.URL.Path, "/auditLogs/provisioning") {
		return l.microsoft.RoundTrip(request)
	}
	page := len(l.floor)
	if page > 0 {
		l.exporter = append(l.exporter, time.Since(l.began))
	}
	switch page {
	case 10:
		l.early = heap()
	case l.pages - 1:
		l.late = heap()
	}
	content := l.page(page)
	began := time.Now()
	var needed struct {
		Value    []logEntry
		NextLink string `json:"@odata.nextLink"`
	}
	if err := json.Unmarshal(content, &needed); err != nil || len(needed.Value) != logPageSize {
		return nil, fmt.Errorf("%d entries, %w", len(needed.Value), err)
	}
	l.floor = append(l.floor, time.Since(began))
	l.began = time.Now()
	return &http.Response{
		StatusCode: http.StatusOK, Header: http.Header{"Content-Type": {"application/json"}}, ContentLength: -1, // it was compressed
		Body: io.NopCloser(bytes.NewReader(content)), Request: request,
	}, nil
}

// page is one page of entries as long as those of Graph.
func (l *largeLog) page(number int) []byte {
	var content bytes.Buffer
	content.WriteString(`{"@odata.context":"https://graph.test/v1.0/$metadata#auditLogs/provisioning",`)
	if number+1 < l.pages {
		fmt.Fprintf(&content, `"@odata.nextLink":"https://graph.test/v1.0/auditLogs/provisioning?$skiptoken=%d",`, number+1)
	}
	content.WriteString(`"value":[`)
	for i := range logPageSize {
		if i > 0 {
			content.WriteByte(',')
		}
		entry := number*logPageSize + i
		fmt.Fprintf(&content, largeEntry, entry, l.begin.Add(time.Duration(entry)*80*time.Millisecond).UTC().Format(time.RFC3339), entry, entry, entry, entry)
	}
	content.WriteString("]}")
	return content.Bytes()
}

// Load implements poller.EventStore: the log was last read a day ago.
func (l *largeLog) Load(context.Context, string) ([]byte, string, error) {
	content, err := json.Marshal(map[string]any{"schema": 1, "newest": l.begin})
	return content, "1", err
}

// Save implements poller.EventStore.
func (l *largeLog) Save(context.Context, string, []byte, string) (string, error) { return "2", nil }

// report prints the median of ten parts, so that a busy moment of the machine does not count.
func (l *largeLog) report(b *testing.B) {
	var floors, ratios []float64
	for at := 0; at < l.pages; at += l.pages / 10 {
		floor, exporter := time.Duration(0), time.Duration(0)
		for page := at; page < at+l.pages/10; page++ {
			floor, exporter = floor+l.floor[page], exporter+l.exporter[page]
		}
		floors, ratios = append(floors, floor.Seconds()*10), append(ratios, exporter.Seconds()/floor.Seconds())
	}
	slices.Sort(floors)
	slices.Sort(ratios)
	b.ReportMetric(floors[5]*ratios[5], "exporter-s")
	b.ReportMetric(floors[5], "floor-s")
	b.ReportMetric(ratios[5], "ratio")
	b.ReportMetric((float64(l.late)-float64(l.early))/1024, "grown-KiB")
}

const largeEntry = `{"id":"%08d-1c2f-4b0a-9d3e-2f6a5b7c8d90","activityDateTime":"%s","tenantId":"11111111-1111-1111-1111-111111111111",` +
	`"jobId":"aWSSingleSignon.11111111111111111111111111111111.44444444-4444-4444-4444-444444444444","cycleId":"44576n58-v14b-70fj-8404-3d22tt46ed93",` +
	`"changeId":"eaad2f8b-e6e3-409b-83bd-e4e2e57177d5","provisioningAction":"update","durationInMilliseconds":2785,` +
	`"statusInfo":{"@odata.type":"#microsoft.graph.statusDetails","status":"success"},"provisioningStatusInfo":{"status":"success","errorInformation":null},` +
	`"sourceSystem":{"id":"0404601d-a9c0-4ec7-bbcd-02660120d8c9","displayName":"Azure Active Directory","details":{}},` +
	`"targetSystem":{"id":"cd22f60b-5f2d-1adg-adb4-76ef31db996b","displayName":"AWS IAM Identity Center","details":{"ApplicationId":"f2764360-e0ec-5676-711e-cd6fc0d4dd61","ServicePrincipalId":"33333333-3333-3333-3333-333333333333","ServicePrincipalDisplayName":"AWS IAM Identity Center"}},` +
	`"initiatedBy":{"id":"","displayName":"Azure AD Provisioning Service","initiatorType":"system"},` +
	`"servicePrincipal":{"id":"33333333-3333-3333-3333-333333333333","displayName":"AWS IAM Identity Center"},` +
	`"sourceIdentity":{"id":"5e6c9fae-ab4d-5239-8ad0-174391d110eb","displayName":"Person %d","identityType":"User","details":{"userPrincipalName":"person-%d@contoso.example","odatatype":"User"}},` +
	`"targetIdentity":{"id":"90670c2e50-9f2b3e54-2c34-4ad5-a5f0-6e1c9ac5f4b5","displayName":"","identityType":"User","details":{}},` +
	`"provisioningSteps":[` +
	`{"name":"EntryImport","provisioningStepType":"import","status":"success","description":"Received User 'person-%d@contoso.example' change of type (Update) from Microsoft Entra ID","details":{"objectId":"5e6c9fae-ab4d-5239-8ad0-174391d110eb","accountEnabled":"True","displayName":"Person","givenName":"Person","surname":"Example","mailNickname":"person","userPrincipalName":"person@contoso.example","IsSoftDeleted":"False","appRoleAssignments":"User"}},` +
	`{"name":"EntrySynchronizationScoping","provisioningStepType":"scoping","status":"success","description":"Determine if User in scope by evaluating against each scoping filter","details":{"Active in the source system":"True","Assigned to the application":"True","User has the required role":"True","Scoping filter evaluation passed":"True","ScopeEvaluationResult":"{}"}},` +
	`{"name":"EntryMatch","provisioningStepType":"matching","status":"success","description":"Found matching User object in AWS IAM Identity Center by searching on userName","details":{"matchedIdentity":"90670c2e50-9f2b3e54-2c34-4ad5-a5f0-6e1c9ac5f4b5"}},` +
	`{"name":"EntryExport","provisioningStepType":"export","status":"success","description":"User 'person-%d@contoso.example' was updated in AWS IAM Identity Center","details":{"ReportableIdentifier":"person@contoso.example"}}],` +
	`"modifiedProperties":[{"displayName":"displayName","oldValue":null,"newValue":"Person"},{"displayName":"title","oldValue":"Engineer","newValue":"Lead engineer"},` +
	`{"displayName":"addresses[type eq \"work\"].locality","oldValue":null,"newValue":"Berlin"},{"displayName":"urn:ietf:params:scim:schemas:extension:enterprise:2.0:User:department","oldValue":null,"newValue":"Platform"}]}`
