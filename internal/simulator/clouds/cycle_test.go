package clouds

import (
	"slices"
	"strings"
	"testing"
	"time"

	"entra-aws-exporter/internal/model"
)

// nextCycle lets time pass until the next cycle has begun and ended.
func (s *harness) nextCycle() {
	s.t.Helper()
	s.Advance()
	j := s.jobs[0]
	if j.nextCycle.IsZero() {
		s.t.Fatal("there is no next cycle")
	}
	s.time = j.nextCycle.Add(cycleLength)
	s.Advance()
}

func (s *harness) addUser(name string) string {
	s.t.Helper()
	id, err := s.AddUser(ActorOperator, s.EntraTenantID, s.ServicePrincipalID, name)
	s.must(err)
	return id
}

func (s *harness) hasUser(name string) bool {
	s.t.Helper()
	s.Advance()
	return s.instances[0].directory.byName[name] != nil
}

// breakToken lets an operator save a value that no token has.
func (s *harness) breakToken() {
	s.t.Helper()
	s.must(s.SaveValue(ActorOperator, s.EntraTenantID, s.ServicePrincipalID, "mistyped"))
}

func (s *harness) saveNewToken() {
	s.t.Helper()
	s.must(s.SaveToken(ActorOperator, s.EntraTenantID, s.ServicePrincipalID, s.TokenIDs[0]))
}

func (s *harness) start() {
	s.t.Helper()
	s.must(s.StartJob(CallerFor(ActorOperator), s.EntraTenantID, s.ServicePrincipalID, s.JobID))
}

func TestCyclesExportWhatChanged(t *testing.T) {
	s := newHarness(t, Healthy("corp"))
	s.addUser("ada@example.com")
	s.nextCycle()
	job := s.job()
	if job.LastCycle.State != model.CycleSucceeded || job.LastCycle.Entries[model.EntriesExported] != 1 || job.LastExport.Began != job.LastCycle.Began || !s.hasUser("ada@example.com") {
		t.Errorf("after a creation: %+v", job.LastCycle)
	}
	if job.Synchronized["User"] != 4 || job.Interval != 40*time.Minute || *job.ConsecutiveFailures != 0 {
		t.Errorf("job %+v", job)
	}
	first := job.LastCycle.Began

	s.nextCycle()
	job = s.job()
	if job.LastCycle.Entries[model.EntriesExported] != 0 || !job.LastExport.Began.Equal(first) || !job.LastCycle.Began.Equal(first.Add(40*time.Minute)) || job.LastCycle.Ended.Sub(job.LastCycle.Began) != cycleLength {
		t.Errorf("the empty cycle after it: %+v", job.LastCycle)
	}
	ada := s.jobs[0].scope[3]
	ada.DisplayName, ada.todo = "Countess", "update"
	s.nextCycle()
	if user := s.instances[0].directory.byName["ada@example.com"]; user.DisplayName != "Countess" || !user.Active {
		t.Errorf("after an update: %+v", user)
	}
	var actions []string
	for note := range EntriesOf[Annotation](s.Model) {
		if action, _, exported := strings.Cut(note.Text, " exported by "); exported {
			actions = append(actions, action)
		}
	}
	if !slices.Equal(actions, []string{"create", "update"}) {
		t.Errorf("exported %v", actions)
	}
}

func TestWrongTokenQuarantineFixRecovery(t *testing.T) {
	s := newHarness(t, Healthy("corp"))
	s.addUser("ada@example.com")
	s.breakToken()
	s.nextCycle()
	job := s.job()
	began := job.LastCycle.Began
	if job.Status != model.JobQuarantine || job.LastCycle.State != model.CycleFailed || s.hasUser("ada@example.com") {
		t.Fatalf("with a wrong token: %s, %+v", job.Status, job.LastCycle)
	}
	want := model.Quarantine{
		Reason: "EncounteredQuarantineException", ErrorCode: "SystemForCrossDomainIdentityManagementCredentialValidationFailure",
		CurrentBegan: began, SeriesBegan: began, NextAttempt: began.Add(6 * time.Hour),
	}
	if *job.Quarantine != want || !job.Quarantine.Credentials() {
		t.Errorf("quarantine %+v, want %+v", *job.Quarantine, want)
	}
	for attempt, wait := range []time.Duration{18, 42, 66, 90} { // hours after the beginning
		s.time = job.Quarantine.NextAttempt
		job = s.job()
		if want := began.Add(wait * time.Hour); !job.Quarantine.NextAttempt.Equal(want) || !job.Quarantine.SeriesBegan.Equal(began) || *job.ConsecutiveFailures != int64(attempt+2) {
			t.Errorf("retry %d: next attempt %s, want %s; %d failures", attempt, job.Quarantine.NextAttempt, want, *job.ConsecutiveFailures)
		}
	}
	s.saveNewToken()
	if s.job().Status != model.JobQuarantine {
		t.Error("the fix alone must not lift the quarantine")
	}
	s.nextCycle()
	job = s.job()
	if job.Status != model.JobActive || job.Quarantine != nil || *job.ConsecutiveFailures != 0 || !s.hasUser("ada@example.com") {
		t.Errorf("after the next attempt: %s, quarantine %+v", job.Status, job.Quarantine)
	}
	last := job.LastCycle.Began
	s.nextCycle()
	if got := s.job().LastCycle.Began.Sub(last); got != CyclePeriod {
		t.Errorf("the cycle after the recovery came after %s", got)
	}
	failures := 0
	for note := range EntriesOf[Annotation](s.Model) {
		if strings.HasPrefix(note.Text, "SCIM refused ") {
			failures++
		}
	}
	if failures != 5 {
		t.Errorf("%d SCIM failures recorded, want 5", failures)
	}
}

func TestRecoveryNeedsStart(t *testing.T) {
	s := newHarness(t, Quarantined("corp"), "recovery=needs_start")
	token := s.create(ActorOperator)
	s.must(s.SaveToken(ActorOperator, s.EntraTenantID, s.ServicePrincipalID, token.ID))
	s.nextCycle()
	job := s.job()
	if job.Status != model.JobQuarantine || job.LastCycle.State != model.CycleSucceeded {
		t.Fatalf("after a good retry: %s, %s", job.Status, job.LastCycle.State)
	}
	s.start()
	s.advance(cycleLength)
	if job := s.job(); job.Status != model.JobActive || job.Quarantine != nil || !job.LastCycle.Began.Equal(s.time.Add(-cycleLength)) {
		t.Errorf("after start: %s, %+v, last cycle %+v", job.Status, job.Quarantine, job.LastCycle)
	}
}

func TestStartWithABadTokenContinuesTheSeries(t *testing.T) {
	s := newHarness(t, Quarantined("corp"))
	before := s.job()
	s.advance(time.Hour)
	s.start()
	after := s.job()
	if !after.Quarantine.SeriesBegan.Equal(before.Quarantine.SeriesBegan) || !after.Quarantine.CurrentBegan.Equal(s.time) || !after.Quarantine.NextAttempt.Equal(s.time.Add(6*time.Hour)) {
		t.Errorf("quarantine %+v after %+v", after.Quarantine, before.Quarantine)
	}
}

func TestQuarantineAfterThree(t *testing.T) {
	s := newHarness(t, Healthy("corp"), "quarantine_after=3")
	s.breakToken()
	for n := int64(1); n <= 3; n++ {
		s.nextCycle()
		job := s.job()
		if want := n == 3; (job.Status == model.JobQuarantine) != want || *job.ConsecutiveFailures != n {
			t.Errorf("after %d failures: %s, count %d", n, job.Status, *job.ConsecutiveFailures)
		}
	}
}

func TestDisabledAfter28Days(t *testing.T) {
	s := newHarness(t, Healthy("corp"))
	s.breakToken()
	s.nextCycle()
	began := s.job().Quarantine.SeriesBegan
	s.time = began.Add(28*24*time.Hour - time.Second)
	if job := s.job(); job.Schedule != model.ScheduleActive {
		t.Errorf("a second before: %s", job.Schedule)
	}
	s.advance(time.Second)
	job := s.job()
	if job.Schedule != model.ScheduleDisabled || job.Status != model.JobQuarantine || job.Interval != 0 || !job.Quarantine.NextAttempt.IsZero() {
		t.Errorf("after 28 days: %s, %s, interval %s, next attempt %s", job.Schedule, job.Status, job.Interval, job.Quarantine.NextAttempt)
	}
	last := job.LastCycle.Began
	s.saveNewToken()
	s.advance(100 * 24 * time.Hour)
	if got := s.job(); !got.LastCycle.Began.Equal(last) {
		t.Error("a disabled job still works")
	}
	s.start()
	s.advance(cycleLength)
	if job := s.job(); job.Status != model.JobActive || job.Schedule != model.ScheduleActive || job.LastCycle.State != model.CycleSucceeded {
		t.Errorf("after an operator's start: %s %s", job.Status, job.Schedule)
	}
	for start := range EntriesOf[Start](s.Model) {
		if start.Actor != ActorOperator || start.StoppedBy != ActorTime || start.Schedule != model.ScheduleDisabled {
			t.Errorf("recorded %+v", start)
		}
	}
}

func TestPausedJobDoesNothing(t *testing.T) {
	for name, stop := range map[model.ScheduleState]func(*harness) error{
		model.SchedulePaused: func(s *harness) error {
			return s.StopJob(CallerFor(ActorOperator), s.EntraTenantID, s.ServicePrincipalID, s.JobID, model.SchedulePaused)
		},
		model.ScheduleDisabled: func(s *harness) error {
			return s.StopJob(CallerFor(ActorOperator), s.EntraTenantID, s.ServicePrincipalID, s.JobID, model.ScheduleDisabled)
		},
	} {
		s := newHarness(t, Healthy("corp"))
		s.addUser("ada@example.com")
		s.time = s.NextDue().Add(time.Second) // in the middle of a cycle
		s.must(stop(s))
		before := s.job().LastCycle.Began
		s.advance(72 * time.Hour)
		job := s.job()
		if job.Status != model.JobPaused || job.Schedule != name || !job.LastCycle.Began.Equal(before) || s.hasUser("ada@example.com") || !s.NextDue().IsZero() && s.NextDue().Before(s.time) {
			t.Errorf("%s: %s %s, last cycle %+v", name, job.Status, job.Schedule, job.LastCycle)
		}
		s.start()
		s.advance(cycleLength)
		if !s.hasUser("ada@example.com") {
			t.Errorf("%s: what was pending is lost after start", name)
		}
		for start := range EntriesOf[Start](s.Model) {
			if start.StoppedBy != ActorOperator {
				t.Errorf("recorded %+v", start)
			}
		}
	}
}

func TestFailingUser(t *testing.T) {
	s := newHarness(t, Healthy("corp"), "failing_user=one")
	s.addUser("ada@example.com")
	before := s.job().LastSuccess.Began
	for n := range 10 {
		s.nextCycle()
		job := s.job()
		if job.LastCycle.State != model.CycleEntryLevelErrors || job.LastCycle.Entries[model.EntriesEscrowed] != 1 || job.Status != model.JobActive || !job.LastSuccess.Began.Equal(before) {
			t.Errorf("cycle %d: %+v, %s", n, job.LastCycle, job.Status)
		}
	}
	if !s.hasUser("ada@example.com") || s.hasUser(failingUser.UserName) {
		t.Error("the others must go through, the unfit one must not")
	}
	entries, err := s.ProvisioningLog(CallerFor(ActorExporter), s.EntraTenantID, LogFilter{Status: "failure", Before: s.time.Add(-20 * time.Minute)})
	s.must(err)
	if len(entries) != 9 || entries[0].ErrorCategory != "nonServiceFailure" || entries[0].Action != "create" {
		t.Errorf("%d failures in the log: %+v", len(entries), entries)
	}
}

func TestEmptyCycles(t *testing.T) {
	for value, want := range map[string]model.JobStatus{EmptyCalls: model.JobQuarantine, EmptySilent: model.JobActive} {
		s := newHarness(t, Healthy("corp"), "empty_cycles="+value)
		s.breakToken()
		s.nextCycle()
		if got := s.job().Status; got != want {
			t.Errorf("empty_cycles=%s with a wrong token: %s, want %s", value, got, want)
		}
		s.addUser("ada@example.com")
		s.nextCycle()
		if got := s.job().Status; got != model.JobQuarantine {
			t.Errorf("empty_cycles=%s with a change to export: %s", value, got)
		}
	}
}

func TestEngineReads(t *testing.T) {
	for _, test := range []struct {
		quirk string
		// the token by which a user is exported when another is saved in the middle of
		// the cycle, in the next cycle, and in the one after that (80 minutes later)
		during, next, later string
	}{
		{ReadsPerCall, "new", "new", "new"},
		{ReadsPerCycle, "old", "new", "new"},
		{ReadsHourly, "old", "old", "new"},
	} {
		s := newHarness(t, Healthy("corp"), "engine_reads="+test.quirk, "cloudtrail_delay=0s")
		token := s.create(ActorOperator)
		names := map[string]string{}
		for _, name := range []string{s.TokenIDs[0], token.ID} {
			names[s.tokenByID(name).accessKeyID] = map[bool]string{true: "old", false: "new"}[name == s.TokenIDs[0]]
		}
		exporter := func(user string) string {
			s.addUser(user)
			s.nextCycle()
			events, err := s.LookupEvents(CallerFor(ActorExporter), TrailFilter{})
			s.must(err)
			if events[0].EventName != "CreateUser" {
				t.Fatalf("the last call was %s", events[0].EventName)
			}
			return names[events[0].AccessKeyID]
		}
		s.Schedule(s.NextDue().Add(time.Minute), func(w *Model) {
			s.must(w.SaveToken(ActorOperator, s.EntraTenantID, s.ServicePrincipalID, token.ID))
		})
		for n, want := range []string{test.during, test.next, test.later} {
			if got := exporter("user-" + string(rune('a'+n))); got != want {
				t.Errorf("engine_reads=%s, cycle %d: exported with the %s token, want the %s", test.quirk, n, got, want)
			}
		}
	}
}

// TestQuarantineForOperator has quarantines that no attempt of Entra's own lifts.
func TestQuarantineForOperator(t *testing.T) {
	for reason, users := range map[string]int{"TooManyDeletes": 0, "QuarantinedOnDemand": 3, "EncounteredEscrowProportionThreshold": 3} {
		s := newHarness(t, Healthy("corp"))
		s.must(s.Quarantine(s.EntraTenantID, s.ServicePrincipalID, s.JobID, reason))
		job := s.job()
		if job.Quarantine.Reason != reason || job.Quarantine.Credentials() {
			t.Fatalf("quarantine %+v", job.Quarantine)
		}
		s.advance(5 * 24 * time.Hour)
		if got := s.job(); got.Status != model.JobQuarantine || len(s.instances[0].directory.users) != 3 {
			t.Errorf("%s did not wait for an operator: %s, %d users", reason, got.Status, len(s.instances[0].directory.users))
		}
		s.start()
		s.advance(cycleLength)
		if s.job().Status != model.JobActive || len(s.instances[0].directory.users) != users {
			t.Errorf("%s: after start: %s, %d users, want %d", reason, s.job().Status, len(s.instances[0].directory.users), users)
		}
		for start := range EntriesOf[Start](s.Model) {
			if start.Quarantine == nil || start.Quarantine.Reason != reason {
				t.Errorf("recorded %+v", start)
			}
		}
	}
}

func TestRestart(t *testing.T) {
	s := newHarness(t, Healthy("corp"))
	restart := func(scope string) int64 {
		s.must(s.RestartJob(CallerFor(ActorOperator), s.EntraTenantID, s.ServicePrincipalID, s.JobID, scope))
		s.advance(cycleLength)
		return s.job().LastCycle.Entries[model.EntriesExported]
	}
	if n := restart("QuarantineState"); n != 0 {
		t.Errorf("QuarantineState provisioned %d users again", n)
	}
	if n := restart("Full"); n != 3 {
		t.Errorf("Full provisioned %d users again, want 3", n)
	}
}

func TestProvisionOnDemand(t *testing.T) {
	s := newHarness(t, Healthy("corp"), "engine_reads=hourly", "deleted_lag=0s", "log_delay=0s")
	s.nextCycle() // the engine still uses the old token
	canary := s.addUser("canary@example.com")
	token := s.create(ActorOperator)
	s.must(s.put(ActorOperator, token.Value))
	provision := func() LogEntry {
		t.Helper()
		got, err := s.ProvisionOnDemand(CallerFor(ActorExporter), s.EntraTenantID, s.ServicePrincipalID, s.JobID, s.job().RuleID, canary)
		s.must(err)
		return got
	}
	if got := provision(); got.Status != "success" || got.Action != "create" || got.SourceName != "canary@example.com" || !s.hasUser("canary@example.com") {
		t.Errorf("first: %+v", got)
	}
	if got := provision(); got.Status != "success" || got.Action != "update" {
		t.Errorf("second: %+v", got)
	}
	s.delete(ActorOperator, s.TokenIDs[0])
	if got := provision(); got.Status != "success" {
		t.Errorf("it must read the saved token afresh: %+v", got)
	}
	s.nextCycle()
	if got := s.job().Status; got != model.JobQuarantine {
		t.Errorf("the engine's own token is dead, yet the job is %s", got)
	}
	s.delete(ActorOperator, token.ID)
	if got := provision(); got.Status != "failure" || got.ErrorCode != CodeFailure {
		t.Errorf("with a deleted token: %+v", got)
	}
	_, err := s.ProvisionOnDemand(CallerFor(ActorExporter), s.EntraTenantID, s.ServicePrincipalID, s.JobID, s.job().RuleID, "nobody")
	if status(err) != 404 {
		t.Errorf("nobody: %v", err)
	}
	_, err = s.ProvisionOnDemand(CallerFor(ActorExporter), s.EntraTenantID, s.ServicePrincipalID, s.JobID, "wrong", canary)
	if code(err) != "InvalidRuleId" {
		t.Errorf("wrong rule: %v", err)
	}
}

func TestStartEndsTheSeries(t *testing.T) {
	s := newHarness(t, Healthy("corp"))
	s.breakToken()
	s.nextCycle()
	first := s.job().Quarantine.SeriesBegan
	s.time = first.Add(27 * 24 * time.Hour)
	s.saveNewToken()
	s.start()
	s.time = first.Add(29 * 24 * time.Hour) // the 28 days would be over
	if job := s.job(); job.Schedule != model.ScheduleActive || job.Status != model.JobActive {
		t.Errorf("after a good start: %s %s", job.Status, job.Schedule)
	}
	s.breakToken()
	s.nextCycle()
	if q := s.job().Quarantine; !q.SeriesBegan.Equal(q.CurrentBegan) || !q.SeriesBegan.After(first) {
		t.Errorf("a recovery lies between, yet the series continues: %+v", q)
	}
}

func TestRetriesAreNeverSilent(t *testing.T) {
	s := newHarness(t, Quarantined("corp"), "empty_cycles=silent")
	s.nextCycle()
	if job := s.job(); job.Status != model.JobQuarantine || job.LastCycle.State != model.CycleFailed {
		t.Errorf("a retry with a dead token: %s, %s", job.Status, job.LastCycle.State)
	}
}

func TestSwitchingEngineReads(t *testing.T) {
	s := newHarness(t, Healthy("corp"), "engine_reads=hourly", "deleted_lag=0s")
	s.nextCycle()
	token := s.create(ActorOperator)
	s.must(s.put(ActorOperator, token.Value))
	s.must(s.SetQuirk("engine_reads", ReadsPerCall))
	s.nextCycle()
	if holding, _ := s.EntraState(s.ServicePrincipalID); holding.Cached != (HeldToken{}) {
		t.Errorf("the engine reads per call and still holds %+v", holding.Cached)
	}
}
