package clouds

import (
	"encoding/json"
	"errors"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"entra-aws-exporter/internal/model"
)

// harness is a model with one connection and a clock that a test moves.
type harness struct {
	*Model
	Connection
	t    *testing.T
	time time.Time
}

var noon = time.Date(2026, 11, 2, 12, 0, 0, 0, time.UTC)

// newHarness builds a model with a connection and quirks given as NAME=VALUE.
func newHarness(t *testing.T, spec ConnectionSpec, quirks ...string) *harness {
	t.Helper()
	chosen := DefaultQuirks()
	for _, quirk := range quirks {
		name, value, _ := strings.Cut(quirk, "=")
		if err := chosen.Set(name, value); err != nil {
			t.Fatal(err)
		}
	}
	s := &harness{t: t, time: noon}
	s.Model = New(Options{Now: func() time.Time { return s.time }, Seed: 7, Quirks: &chosen})
	s.Connection = s.Add(spec)
	return s
}

func (s *harness) advance(d time.Duration) { s.time = s.time.Add(d) }

func (s *harness) job() Job {
	s.t.Helper()
	job, err := s.Job(CallerFor(ActorExporter), s.EntraTenantID, s.ServicePrincipalID, s.JobID)
	s.must(err)
	return job
}

func (s *harness) must(err error) {
	s.t.Helper()
	if err != nil {
		s.t.Fatal(err)
	}
}

func (s *harness) create(actor Actor) BearerToken {
	s.t.Helper()
	token, err := s.CreateBearerToken(CallerFor(actor), s.IdentityStoreID, s.ProvisioningTenantID)
	s.must(err)
	return token
}

func (s *harness) delete(actor Actor, tokenID string) {
	s.t.Helper()
	s.must(s.DeleteBearerToken(CallerFor(actor), s.IdentityStoreID, s.ProvisioningTenantID, tokenID))
}

// put saves a token as a careful client does: everything clear sent back, the Tenant
// URL beside it.
func (s *harness) put(actor Actor, value string) error {
	s.t.Helper()
	list, err := s.Secrets(CallerFor(actor), s.EntraTenantID, s.ServicePrincipalID)
	s.must(err)
	var payload []Secret
	for _, secret := range list {
		switch {
		case secret.Key == model.CredentialKeySecretToken:
			secret.Value = value
		case secret.Key == model.CredentialKeyBaseAddress && secret.Value == Masked:
			secret.Value = s.SCIMEndpoint
		}
		if secret.Value != Masked {
			payload = append(payload, secret)
		}
	}
	return s.PutSecrets(CallerFor(actor), s.EntraTenantID, s.ServicePrincipalID, payload)
}

func (s *harness) testSaved() error {
	return s.TestConnection(CallerFor(ActorExporter), s.EntraTenantID, s.ServicePrincipalID, s.JobID, nil)
}

func (s *harness) probe(value string) int {
	s.t.Helper()
	return status(s.ServiceProviderConfig(SCIMCall{Tenant: s.ProvisioningTenantID, Token: value}))
}

// status returns the HTTP status of an answer.
func status(err error) int {
	var refusal *Error
	switch {
	case err == nil:
		return 200
	case errors.As(err, &refusal):
		return refusal.Status
	default:
		return -1
	}
}

func code(err error) string {
	var refusal *Error
	if errors.As(err, &refusal) {
		return refusal.Code
	}
	return ""
}

func wantText(t *testing.T, err error, want string) {
	t.Helper()
	got := "<nil>"
	if err != nil {
		got = err.Error()
	}
	if got != want {
		t.Errorf("error\n got: %s\nwant: %s", got, want)
	}
}

// runBusyDay is a manual rotation with quirks and faults, for the tests of determinism.
func runBusyDay(s *harness, pass func(time.Duration)) string {
	pass(7 * time.Minute)
	token := s.create(ActorOperator)
	pass(3 * time.Minute)
	s.must(s.put(ActorOperator, token.Value))
	_, err := s.AddUser(ActorOperator, s.EntraTenantID, s.ServicePrincipalID, "ada@example.com")
	s.must(err)
	pass(2 * time.Hour)
	s.delete(ActorOperator, s.TokenIDs[0])
	pass(90 * time.Minute)
	s.must(s.SaveToken(ActorTerraform, s.EntraTenantID, s.ServicePrincipalID, s.TokenIDs[0]))
	pass(9 * time.Hour)
	s.must(s.SaveToken(ActorOperator, s.EntraTenantID, s.ServicePrincipalID, token.ID))
	pass(30 * time.Hour)
	s.probe(token.Value)
	var text strings.Builder
	s.must(s.WriteTimeline(&text))
	return text.String()
}

// observable is all that a caller can read: two models with equal answers behave alike.
func (s *harness) observable() string {
	s.t.Helper()
	s.SetSkew(Skew{})
	caller := CallerFor(ActorExporter)
	events, err := s.LookupEvents(caller, TrailFilter{})
	s.must(err)
	entries, err := s.ProvisioningLog(caller, s.EntraTenantID, LogFilter{})
	s.must(err)
	audits, err := s.DirectoryAudits(caller, s.EntraTenantID, s.ServicePrincipalID, time.Time{})
	s.must(err)
	var text strings.Builder
	for _, part := range []any{
		s.list(), s.job(), s.secrets(), events, entries, audits,
		s.Outages(), s.NextDue(), s.random(),
	} {
		content, err := json.MarshalIndent(part, "", " ")
		s.must(err)
		text.Write(append(content, '\n'))
	}
	return text.String()
}

func TestSameSeedSameTimeline(t *testing.T) {
	quirks := []string{"failing_user=one", "deleted_lag=5m", "engine_reads=hourly", "new_lag=20s"}
	first := newHarness(t, Healthy("corp"), quirks...)
	text := runBusyDay(first, first.advance)
	for _, want := range []string{"quarantine of", "saved in", "create exported", "entry_level_errors"} {
		if !strings.Contains(text, want) {
			t.Fatalf("the timeline lacks %q in\n%s", want, text)
		}
	}

	state := first.observable()
	again := newHarness(t, Healthy("corp"), quirks...)
	if diff := cmp.Diff(text, runBusyDay(again, again.advance)); diff != "" {
		t.Errorf("another timeline from the same seed (-first +again):\n%s", diff)
	}
	if diff := cmp.Diff(state, again.observable()); diff != "" {
		t.Errorf("another state from the same seed (-first +again):\n%s", diff)
	}
	if strings.Contains(text, first.TokenValue(first.TokenIDs[0])) {
		t.Error("the timeline holds a token's value")
	}

	// Looking more often must change nothing: everything due happens at its own time.
	often := newHarness(t, Healthy("corp"), quirks...)
	random := rand.New(rand.NewPCG(1, 2))
	got := runBusyDay(often, func(d time.Duration) {
		for d > 0 {
			step := min(d, time.Duration(random.Int64N(int64(20*time.Minute))))
			often.advance(step)
			often.Advance()
			d -= step
		}
	})
	if diff := cmp.Diff(text, got); diff != "" {
		t.Errorf("frequent calls of Advance changed the timeline (-seldom +often):\n%s", diff)
	}
	if diff := cmp.Diff(state, often.observable()); diff != "" {
		t.Errorf("frequent calls of Advance changed the state (-seldom +often):\n%s", diff)
	}
}

func TestSeedsDiffer(t *testing.T) {
	offsets := map[time.Time]bool{}
	for seed := range uint64(20) {
		w := New(Options{Now: func() time.Time { return noon }, Seed: seed})
		w.Add(Healthy("corp"))
		due := w.NextDue()
		if due.Before(noon) || due.After(noon.Add(CyclePeriod)) {
			t.Errorf("seed %d: the first cycle begins %s after the start", seed, due.Sub(noon))
		}
		offsets[due] = true
	}
	if len(offsets) < 20 {
		t.Errorf("only %d different beginnings from 20 seeds", len(offsets))
	}
}

func TestScheduleKeepsTheOrderOfTime(t *testing.T) {
	s := newHarness(t, Healthy("corp"))
	var order []string
	s.Schedule(noon.Add(2*time.Hour), func(w *Model) { order = append(order, "late "+w.at.Format("15:04")) })
	s.Schedule(noon.Add(time.Hour), func(w *Model) {
		order = append(order, "early "+w.at.Format("15:04"))
		w.Schedule(noon.Add(90*time.Minute), func(w *Model) { order = append(order, "nested "+w.at.Format("15:04")) })
		w.Annotate(ActorOperator, "was here")
	})
	s.advance(3 * time.Hour)
	s.Advance()
	if want := []string{"early 13:00", "nested 13:30", "late 14:00"}; !slices.Equal(order, want) {
		t.Errorf("order %v, want %v", order, want)
	}
	var previous time.Time
	for _, record := range s.Timeline() {
		if at := record.Stamped().At; at.Before(previous) {
			t.Errorf("%s (%s) is told after %s", record, at, previous)
		} else {
			previous = at
		}
	}
}

func TestTimeNeverGoesBack(t *testing.T) {
	s := newHarness(t, Healthy("corp"))
	s.advance(time.Hour)
	s.Advance()
	s.advance(-48 * time.Hour)
	if got := s.create(ActorOperator).Created; !got.Equal(noon.Add(time.Hour)) {
		t.Errorf("created %s, want %s", got, noon.Add(time.Hour))
	}
}

func TestSkewShowsInAnswersOnly(t *testing.T) {
	s := newHarness(t, Healthy("corp"))
	s.SetSkew(Skew{AWS: 48 * time.Hour, Entra: -5 * time.Minute})
	if token := s.create(ActorOperator); !token.Created.Equal(noon.Add(48*time.Hour)) || token.Expires.Sub(token.Created) != TokenLifetime {
		t.Errorf("token created %s, expires %s", token.Created, token.Expires)
	}
	if got := s.job().Date; !got.Equal(noon.Add(-5 * time.Minute)) {
		t.Errorf("Graph's clock shows %s", got)
	}
	if !s.AWSNow().Equal(noon.Add(48*time.Hour)) || !s.EntraNow().Equal(noon.Add(-5*time.Minute)) {
		t.Error("the clocks do not show the skew")
	}
	if len(s.Outages()) != 0 {
		t.Errorf("a wrong clock made outages: %v", s.Outages())
	}
}

func TestSpeed(t *testing.T) {
	s := newHarness(t, Healthy("corp"))
	before := s.NextDue().Sub(noon)
	s.must(s.SetSpeed(60))
	if got := s.NextDue().Sub(noon); got != time.Duration(float64(before)/60) {
		t.Errorf("the next cycle comes after %s, want %s", got, before/60)
	}
	s.advance(time.Hour)
	s.Advance()
	cycles := 0
	for range EntriesOf[CycleEnded](s.Model) {
		cycles++
	}
	if cycles < 88 || cycles > 90 {
		t.Errorf("%d cycles in an hour at 60 times the speed, want 89 or 90 (40 minutes are 40 seconds)", cycles)
	}
	s.must(s.AddLogEntry(s.EntraTenantID, s.ServicePrincipalID, s.JobID, LogEntry{Action: "delete", Status: "warning"}))
	s.advance(5 * time.Second) // the default of log_delay, 60 times as fast
	if entries, _ := s.ProvisioningLog(CallerFor(ActorExporter), s.EntraTenantID, LogFilter{Status: "warning"}); len(entries) != 1 {
		t.Errorf("%d entries in the log after its delay", len(entries))
	}
	for _, speed := range []float64{0.5, 0, -1} {
		if s.SetSpeed(speed) == nil {
			t.Errorf("speed %v was taken", speed)
		}
	}
}

func BenchmarkNewModel(b *testing.B) {
	quirks := DefaultQuirks()
	for range b.N {
		w := New(Options{Now: func() time.Time { return noon }, Quirks: &quirks})
		w.Add(Healthy("corp"))
	}
}

func BenchmarkDay(b *testing.B) {
	quirks := DefaultQuirks()
	for range b.N {
		now := noon
		w := New(Options{Now: func() time.Time { return now }, Quirks: &quirks})
		w.Add(Healthy("corp"))
		now = now.Add(24 * time.Hour)
		w.Advance()
	}
}
