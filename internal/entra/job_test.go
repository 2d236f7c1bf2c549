package entra

import (
	"net/http"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"entra-aws-exporter/internal/model"
)

const healthyJob = `{
	"id": "` + jobID + `", "templateId": "aWSSingleSignon",
	"schedule": {"expiration": null, "interval": "PT40M", "state": "Active"},
	"status": {
		"code": "Active", "countSuccessiveCompleteFailures": 0, "escrowsPruned": false,
		"steadyStateFirstAchievedTime": "2026-01-02T03:04:05Z", "steadyStateLastAchievedTime": "0001-01-01T00:00:00Z",
		"quarantine": null, "troubleshootingUrl": null, "progress": [null],
		"lastExecution": {"activityIdentifier": "x", "countEntitled": 50, "countEntitledForProvisioning": 50, "countEscrowed": 1, "countEscrowedRaw": 1,
			"countExported": 2, "countExports": 2, "countImported": 7, "countImportedDeltas": 0, "countImportedReferenceDeltas": 0,
			"error": null, "state": "EntryLevelErrors", "timeBegan": "2026-03-01T10:00:00.5Z", "timeEnded": "2026-03-01T10:01:00Z"},
		"lastSuccessfulExecution": {"countEntitled": 50, "countExported": 0, "state": "Succeeded", "timeBegan": "2026-03-01T09:20:00Z", "timeEnded": "2026-03-01T09:21:00Z"},
		"lastSuccessfulExecutionWithExports": null,
		"synchronizedEntryCountByType": [{"key": "User", "value": 48}, null, {"key": "Group", "value": 3}, {"key": null, "value": 1}, {"key": "Odd", "value": -1}]
	}
}`

func at(text string) time.Time {
	t, err := time.Parse(time.RFC3339Nano, text)
	if err != nil {
		panic(err)
	}
	return t
}

func ptr[T any](v T) *T { return &v }

func TestJob(t *testing.T) {
	for name, test := range map[string]struct {
		body string
		want model.Job
	}{
		"healthy": {healthyJob, model.Job{
			TemplateID: "aWSSingleSignon", Status: model.JobActive, Schedule: model.ScheduleActive, Interval: 40 * time.Minute,
			LastCycle: &model.Cycle{
				Began: at("2026-03-01T10:00:00.5Z"), Ended: at("2026-03-01T10:01:00Z"), State: model.CycleEntryLevelErrors,
				Entries: map[model.EntryKind]int64{model.EntriesImported: 7, model.EntriesExported: 2, model.EntriesEscrowed: 1, model.EntriesEntitled: 50},
			},
			LastSuccess:         &model.Cycle{Began: at("2026-03-01T09:20:00Z"), Ended: at("2026-03-01T09:21:00Z"), State: model.CycleSucceeded, Entries: map[model.EntryKind]int64{model.EntriesEntitled: 50, model.EntriesExported: 0}},
			ConsecutiveFailures: ptr(int64(0)),
			Synchronized:        map[string]int64{"User": 48, "Group": 3},
		}},
		"quarantine": {`{"schedule":{"interval":"PT40M","state":"Active"},"status":{"code":"Quarantine","countSuccessiveCompleteFailures":12,
			"quarantine":{"reason":"EncounteredQuarantineException","currentBegan":"2026-02-02T00:00:00Z","seriesBegan":"2026-02-01T00:00:00Z",
			"seriesCount":3,"nextAttempt":"2026-02-03T00:00:00Z","error":{"code":"SystemForCrossDomainIdentityManagementCredentialValidationFailure","message":"m","tenantActionable":true}},
			"lastExecution":{"state":"Failed","timeBegan":"2026-02-02T00:00:00Z","timeEnded":"2026-02-02T00:00:01Z","error":{"code":"a sentence about Ann","message":"m"}}}}`,
			model.Job{
				Status: model.JobQuarantine, Schedule: model.ScheduleActive, Interval: 40 * time.Minute, ConsecutiveFailures: ptr(int64(12)),
				Quarantine: &model.Quarantine{
					Reason: model.QuarantineReasonException, ErrorCode: model.QuarantineCodeBadCredentials,
					CurrentBegan: at("2026-02-02T00:00:00Z"), SeriesBegan: at("2026-02-01T00:00:00Z"), NextAttempt: at("2026-02-03T00:00:00Z"),
				},
				LastCycle: &model.Cycle{Began: at("2026-02-02T00:00:00Z"), Ended: at("2026-02-02T00:00:01Z"), State: model.CycleFailed, ErrorCode: "other"},
			}},
		"a disabled job's huge interval": {`{"schedule":{"interval":"P10675199DT2H48M5.4775807S","state":"Disabled"},"status":{"code":"Paused"}}`,
			model.Job{Status: model.JobPaused, Schedule: model.ScheduleDisabled}},
		"a huge interval that calls itself active": {`{"schedule":{"interval":"P10675199DT2H48M5.4775807S","state":"Active"},"status":{"code":"Active"}}`,
			model.Job{Status: model.JobActive, Schedule: model.ScheduleActive}},
		"unknown enums": {`{"schedule":{"state":"Sleeping"},"status":{"code":"Dreaming","quarantine":{"reason":"Bored","currentBegan":"2026-02-02T00:00:00Z"},
			"lastExecution":{"state":"Shrugged","timeBegan":"2026-02-02T00:00:00Z"}}}`,
			model.Job{
				Status: model.JobUnknown, Schedule: model.ScheduleUnknown,
				Quarantine: &model.Quarantine{Reason: "unknown", CurrentBegan: at("2026-02-02T00:00:00Z")},
				LastCycle:  &model.Cycle{Began: at("2026-02-02T00:00:00Z"), State: model.CycleUnknown},
			}},
		"zero dates": {`{"schedule":null,"status":{"code":"NotRun","quarantine":{"currentBegan":"0001-01-01T00:00:00Z"},
			"lastExecution":{"timeBegan":"0001-01-01T00:00:00Z","timeEnded":"0001-01-01T00:00:00Z","state":"Succeeded","countExported":-5},
			"lastSuccessfulExecution":{"timeBegan":"2026-02-02T00:00:00Z","timeEnded":"0001-01-01T00:00:00Z","state":"Succeeded","countExported":-5}}}`,
			model.Job{
				Status: model.JobNotRun, Schedule: model.ScheduleUnknown,
				LastSuccess: &model.Cycle{Began: at("2026-02-02T00:00:00Z"), State: model.CycleSucceeded},
			}},
		"no status": {`{"id":"any","schedule":{"interval":"PT40M","state":"Active"},"status":null}`,
			model.Job{Status: model.JobUnknown, Schedule: model.ScheduleActive, Interval: 40 * time.Minute}},
		"nothing but a status": {`{"status":{}}`, model.Job{Status: model.JobUnknown, Schedule: model.ScheduleUnknown}},
	} {
		t.Run(name, func(t *testing.T) {
			m := newMicrosoft(t)
			m.serve["GET "+jobURL] = func(w http.ResponseWriter, _ *http.Request) {
				w.Header().Set("Date", "Sun, 01 Mar 2026 10:02:03 GMT")
				answerJSON(w, 200, test.body)
			}
			m.serve["GET "+secretsURL] = always(403, `{}`)
			got, err := m.application().Job(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			test.want.ID, test.want.Date = jobID, at("2026-03-01T10:02:03Z")
			if diff := cmp.Diff(test.want, got, cmpopts.EquateEmpty()); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestNotification(t *testing.T) {
	for name, test := range map[string]struct {
		answer http.HandlerFunc
		want   *bool
	}{
		"on":                 {always(200, `{"value":[{"key":"SyncNotificationSettings","value":"{\"Enabled\":true,\"Recipients\":\"ann@example.com\"}"}]}`), ptr(true)},
		"beside a hole":      {always(200, `{"value":[null,{"key":"SecretToken","value":"*"}]}`), nil},
		"on, for nobody":     {always(200, `{"value":[{"key":"SyncNotificationSettings","value":"{\"Enabled\":true,\"Recipients\":\" \"}"}]}`), ptr(false)},
		"off":                {always(200, `{"value":[{"key":"SyncNotificationSettings","value":"{\"Enabled\":false,\"Recipients\":\"ann@example.com\"}"}]}`), ptr(false)},
		"never set up":       {always(200, `{"value":[{"key":"SecretToken","value":"*"}]}`), ptr(false)},
		"masked":             {always(200, `{"value":[{"key":"SyncNotificationSettings","value":"*"}]}`), nil},
		"of another shape":   {always(200, `{"value":[{"key":"SyncNotificationSettings","value":"yes"}]}`), nil},
		"without permission": {always(403, `{}`), nil},
		"gone":               {always(404, ``), nil},
		"hanging":            {hanging, nil},
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, func(t *testing.T) {
				var lines logLines
				m := newMicrosoft(t)
				m.serve["GET "+jobURL] = always(200, healthyJob)
				m.serve["GET "+secretsURL] = test.answer
				job, err := m.application(logTo(&lines)).Job(t.Context())
				if err != nil {
					t.Fatal(err)
				}
				if diff := cmp.Diff(test.want, job.NotificationEnabled); diff != "" {
					t.Error(diff)
				}
				if lines.count("ann@") > 0 {
					t.Error("a recipient left the client")
				}
			})
		})
	}
}
