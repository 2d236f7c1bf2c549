package token

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net/http"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"entra-aws-exporter/internal/model"
	"entra-aws-exporter/internal/state"
	"entra-aws-exporter/rotate"
	"entra-aws-exporter/rotate/journal"
	"entra-aws-exporter/rotate/policy"
	"entra-aws-exporter/test/recorddiff"
)

const (
	day  = 24 * time.Hour
	year = 365 * day
	// skew is how far AWS's clock is ahead of ours.
	skew = time.Minute
)

// slowRecords is a journal whose next write takes a while.
type slowRecords struct {
	state.Memory
	next time.Duration
}

func (r *slowRecords) Save(ctx context.Context, key string, content []byte, revision string) (string, error) {
	time.Sleep(r.next)
	r.next = 0
	return r.Memory.Save(ctx, key, content, revision)
}

// scene is what a phase finds at AWS, in Entra, in the token store and in the journal. A
// method that it does not have is one that nothing here has a reason to call.
type scene struct {
	Tokens
	SCIM
	Provisioning
	Store

	t       *testing.T
	at      time.Time // when the guard judges: when it has read the second list
	id      string    // the token to be deleted
	why     deletionReason
	options Options

	list        model.TokenList
	skew        time.Duration
	lists       int  // how many were read
	unstable    bool // no list is like the one before
	noDate      bool
	binding     model.Binding
	slow        time.Duration           // how long the binding takes to be looked up
	values      map[string]string       // by token id: what the token store holds
	entries     map[string]model.Secret // what it was given
	issued      model.IssuedToken       // that AWS creates
	probe       int                     // the status that AWS answers to a value
	probes      map[string]int          // the same, for particular values
	test        model.TestResult        // of what Entra has saved
	tests       map[string]model.TestResult
	job         model.Job
	app         model.Application
	credentials []model.Credential
	calls       []model.SCIMCall // in CloudTrail
	exports     int
	hasUser     bool
	failing     map[string]error  // by call
	then        map[string]func() // what happens right before a call: "test 2" is the second one
	made        []string          // the calls

	records slowRecords
	record  *record // what is journalled
	deleted []string
	steps   []string
	stop    context.CancelFunc // of the process
	stopped time.Duration      // when the process is told to stop; 0: never
	stops   func() bool        // whether it was told
	late    []string           // the calls that it makes then
}

// call notes a call, and returns its error.
func (s *scene) call(format string, args ...any) error {
	name := fmt.Sprintf(format, args...)
	s.made = append(s.made, name)
	if s.stops != nil && s.stops() {
		s.late = append(s.late, name)
	}
	count := 0
	for _, made := range s.made {
		if made == name {
			count++
		}
	}
	if change := s.then[fmt.Sprint(name, " ", count)]; change != nil {
		change()
	}
	return s.failing[name]
}

func (s *scene) ListTokens(context.Context) (model.TokenList, error) {
	err := s.call("list")
	s.lists++
	list := s.list
	list.Tokens = slices.Clone(list.Tokens)
	if s.unstable {
		list.Tokens[0].Expires = list.Tokens[0].Expires.Add(time.Duration(s.lists))
	}
	if !s.noDate {
		list.Date = time.Now().Add(s.skew)
	}
	return list, err
}

func (s *scene) CreateToken(context.Context) (model.IssuedToken, error) {
	return s.issued, s.call("create")
}

func (s *scene) DeleteToken(_ context.Context, id string) error {
	err := s.call("delete %s", id)
	s.deleted = append(s.deleted, id)
	return err
}

func (s *scene) resolve(context.Context) (model.Binding, error) {
	time.Sleep(s.slow)
	return s.binding, s.call("binding")
}

func (s *scene) ProbeToken(_ context.Context, value model.Secret) (model.Probe, error) {
	err := s.call("probe %s", value.Reveal())
	status, particular := s.probes[value.Reveal()]
	switch {
	case value.IsZero():
		s.t.Error("AWS is asked about an empty value")
	case !particular:
		status = s.probe
	}
	probe := model.Probe{StatusCode: status}
	if !s.noDate {
		probe.Date = time.Now().Add(s.skew)
	}
	return probe, err
}

func (s *scene) HasUser(_ context.Context, value model.Secret, name string) (bool, error) {
	return s.hasUser, s.call("user %s with %s", name, value.Reveal())
}

func (s *scene) TestConnection(ctx context.Context, inline []model.Credential) (model.TestResult, error) {
	if inline == nil {
		err := s.call("test")
		return s.test, cmp.Or(ctx.Err(), err)
	}
	value := ""
	for _, c := range inline {
		if c.Key == model.CredentialKeySecretToken {
			value = c.Value.Reveal()
		}
	}
	err := s.call("test %s", value)
	return s.tests[value], err
}

func (s *scene) Job(context.Context) (model.Job, error) {
	err := s.call("job")
	s.job.Date = time.Now()
	return s.job, err
}

func (s *scene) StartJob(context.Context) error { return s.call("start") }

func (s *scene) Credentials(context.Context) ([]model.Credential, error) {
	return s.credentials, s.call("credentials")
}

func (s *scene) SaveCredentials(_ context.Context, sent []model.Credential) error {
	var texts []string
	for _, c := range sent {
		texts = append(texts, c.Key+"="+c.Value.Reveal())
	}
	return s.call("save %s", strings.Join(texts, ","))
}

func (s *scene) Application(context.Context) (model.Application, error) {
	return s.app, s.call("application")
}

func (s *scene) Exports(context.Context, time.Time) (int, error) {
	return s.exports, s.call("exports")
}

func (s *scene) ProvisionUser(_ context.Context, user string) (string, error) {
	return "name", s.call("provision %s", user)
}

func (s *scene) CallsSince(ctx context.Context, since time.Time) ([]model.SCIMCall, error) {
	err := s.call("calls")
	earlier := func(call model.SCIMCall) bool { return call.At.Before(since) }
	return slices.DeleteFunc(slices.Clone(s.calls), earlier), cmp.Or(ctx.Err(), err)
}

func (s *scene) List(_ context.Context, binding string) ([]string, error) {
	keys := slices.AppendSeq(slices.Sorted(maps.Keys(s.values)), maps.Keys(s.entries))
	for i := range keys {
		keys[i] = binding + "/" + keys[i]
	}
	return keys, s.call("values")
}

func (s *scene) Read(_ context.Context, key string) (model.Secret, error) {
	binding, name, _ := strings.Cut(key, "/")
	if entry, written := s.entries[name]; written {
		return entry, s.failing["read "+name]
	}
	return encodeEntry(binding, name, model.NewSecret(s.values[name]))
}

func (s *scene) Reserve(_ context.Context, key string) error {
	_, name, _ := strings.Cut(key, "/")
	return s.call("reserve %s", name)
}

func (s *scene) Write(_ context.Context, key string, entry model.Secret) error {
	_, name, _ := strings.Cut(key, "/")
	err := s.call("write %s", name)
	if err == nil {
		s.entries[name] = entry
	}
	return err
}

func (s *scene) Destroy(_ context.Context, key string) error {
	_, id, _ := strings.Cut(key, "/")
	return s.call("destroy %s", id)
}

func (s *scene) ago(d time.Duration) time.Time { return s.at.Add(-d) }

// aged is the time that is this long ago when the scene begins.
func (s *scene) aged(d time.Duration) journal.Timestamps { return s.timestamps(d + listGap) }

// calledAgo is a call to the SCIM endpoint, by AWS's clock.
func (s *scene) calledAgo(ago time.Duration, accessKey, agent string) model.SCIMCall {
	return model.SCIMCall{At: s.aged(ago).AWS, AccessKeyID: accessKey, UserAgent: agent}
}

func (s *scene) timestamps(ago time.Duration) journal.Timestamps {
	return journal.Timestamps{Local: s.ago(ago), AWS: s.ago(ago - s.skew), Graph: s.ago(ago)}
}

// created is a token that AWS created this long ago.
func (s *scene) created(id string, ago time.Duration) model.Token {
	at := s.ago(ago - s.skew)
	return model.Token{ID: id, Created: at, Expires: at.Add(year)}
}

func (s *scene) plan(tokens ...model.Token) {
	s.record.Rotation.Plan.Tokens = nil
	for _, token := range tokens {
		s.record.Rotation.Plan.Tokens = append(s.record.Rotation.Plan.Tokens, PlannedToken{Token: token})
	}
}

// put is the save that came last.
func (s *scene) put() *journal.Operation {
	return &s.record.Rotation.Operations[OperationPut][0]
}

// newScene is one in which a token may be deleted, for this reason.
func newScene(why deletionReason) *scene {
	s := &scene{at: time.Now().Add(listGap), id: "old", why: why, skew: skew, probe: http.StatusOK, test: model.TestPassed, failing: map[string]error{}, then: map[string]func(){}, values: map[string]string{"new": "new-value"}, entries: map[string]model.Secret{}}
	s.options = Options{Connection: "corp", Policy: policy.Token{Policy: policy.Policy{Approval: model.ApprovalFirst}}, Tokens: s, SCIM: s, Provisioning: s, Store: s, Resolve: s.resolve}
	s.binding = model.Binding{
		IdentityStoreID: "d-1234567890", ProvisioningTenantID: "tenant", SCIMEndpoint: "https://scim.example.com/tenant/scim/v2",
		EntraTenantID: "entra", ServicePrincipalID: "principal", JobID: "job",
	}
	old, other := s.created("old", 300*day), s.created("new", 4*time.Hour)
	s.list = model.TokenList{Tokens: []model.Token{old, other}, Origin: model.OriginConsoleAPI}
	s.job = model.Job{
		Status: model.JobActive, Interval: 40 * time.Minute,
		LastCycle: &model.Cycle{Began: s.ago(10 * time.Minute), Ended: s.ago(9 * time.Minute), State: model.CycleSucceeded},
	}
	s.app.CredentialsReadable = true
	journalled := codec().NewRecord(s.binding, "corp")
	journalled.Rotation = &journal.Rotation{ID: "r", Kind: model.ProcedureToken, Phase: model.PhasePlan, Started: s.timestamps(5 * time.Hour), Progress: &Progress{}}
	s.record = recordOf(journalled)
	s.record.setKnownTokens([]model.Token{old})
	s.plan(old)
	created := []journal.Operation{{Number: 1, Intent: s.timestamps(4 * time.Hour), Outcome: model.CallDone}}
	switch rot := s.record.Rotation; why {
	case deleteExpired:
		s.list.Tokens = []model.Token{s.created("old", year+2*time.Hour)}
		s.plan(s.list.Tokens...)
	case deleteNamed:
		rot.RetireToken = "old"
	case deleteOrphan:
		s.id = "new"
		s.plan(old, other)
		s.record.RateLimit.Creations = []policy.CallWindow{{From: other.Created, To: other.Created}}
	case deleteUndo:
		s.id = "new"
		rot.Phase, rot.NewToken = model.PhaseUndo, &other
		rot.Operations = map[journal.OperationKind][]journal.Operation{OperationCreate: created}
	case deleteRetire:
		rot.Phase, rot.NewToken = model.PhaseRetire, &other
		rot.Operations = map[journal.OperationKind][]journal.Operation{
			OperationCreate: created,
			OperationPut:    {{Number: 1, Target: "new", Why: PutBeforeDelete, Intent: s.timestamps(82 * time.Minute), Outcome: model.CallDone, Answered: s.timestamps(82 * time.Minute)}},
		}
		rot.Proof = Proof{Level: model.ProofUsed, Put: 1, Stored: s.timestamps(80 * time.Minute), Used: s.timestamps(3 * time.Hour)}
		rot.Approval = &journal.Approval{Target: "old"}
	}
	return s
}

// visited is a procedure that does nothing but to use its guard once.
type visited struct {
	*Procedure
	use func(context.Context, guard)
}

func (v visited) Run(s *rotate.Session) rotate.Runner {
	return visitor{runner{observer{v.session(s)}}, v.use}
}

type visitor struct {
	runner
	use func(context.Context, guard)
}

func (v visitor) RunPhase(ctx context.Context, _ model.Phase) (model.Phase, error) {
	v.use(ctx, guard(v.runner))
	return "", rotate.ErrLongWait
}

func (s *scene) entry() *journal.Entry {
	return journal.NewEntry(&s.records, codec(), s.record.Binding.Key())
}

// Step implements rotate.StepObserver.
func (s *scene) Step(_ string, step model.RotationStep) { s.steps = append(s.steps, step.Text) }

// play journals the record, and lets the engine begin the rotation's phase.
func (s *scene) play(t *testing.T, use func(context.Context, guard)) {
	t.Helper()
	s.t = t
	entry := s.entry()
	if _, err := entry.LoadOrCreate(t.Context(), s.record.Binding, "corp"); err != nil {
		t.Fatal(err)
	}
	if _, err := entry.Change(t.Context(), func(r *journal.Record) error { *r = *s.record.Record; return nil }); err != nil {
		t.Fatal(err)
	}
	bound := func(context.Context) (model.Binding, error) { return s.record.Binding, nil }
	engine := rotate.New(rotate.Options{Store: &s.records, Codec: codec(), Holder: "test", Logger: slog.New(slog.DiscardHandler)},
		[]rotate.Connection{{Name: "corp", Resolve: bound, Procedures: []rotate.Procedure{visited{New(s.options), use}}}})
	if _, err := engine.RunToCompletion(t.Context(), "corp", s); !errors.Is(err, rotate.ErrLongWait) {
		t.Fatal(err)
	}
}

// run plays one step, and returns a line with all that came of it: the next phase or the
// error, after how long, what has changed in the journal, what was said, and the calls that
// change something. A dash stands for no phase.
func (s *scene) run(t *testing.T, step func(context.Context, runner) (model.Phase, error)) string {
	t.Helper()
	var line []string
	s.play(t, func(ctx context.Context, g guard) {
		ctx, s.stop = context.WithCancel(ctx)
		defer s.stop()
		s.stops = func() bool { return ctx.Err() != nil }
		if s.stopped > 0 {
			time.AfterFunc(s.stopped, s.stop)
		}
		began, before := time.Now(), g.Record()
		next, err := step(ctx, runner(g))
		line = append(line, recorddiff.Outcome(next, err, time.Since(began)))
		line = append(line, recorddiff.Changes(t, before, g.Record(), model.ProcedureToken, s.skew)...)
	})
	for _, late := range s.late {
		line = append(line, late+" although it was to stop")
	}
	for _, step := range s.steps {
		if !strings.HasPrefix(step, "waiting: ") {
			line = append(line, fmt.Sprintf("%q", step))
		}
	}
	for _, made := range s.made {
		verb, _, _ := strings.Cut(made, " ")
		if slices.Contains([]string{"save", "delete", "destroy", "provision", "start", "create", "write"}, verb) {
			line = append(line, made)
		}
	}
	return strings.Join(line, "; ")
}

// outcome is one line of a table: what a step makes of a scene.
type outcome struct {
	name  string
	spoil func(*scene)
	want  string // as scene.run returns it
}

// testStep plays a step in each scene.
func testStep(t *testing.T, scenes func() *scene, step func(context.Context, runner) (model.Phase, error), outcomes []outcome) {
	t.Helper()
	for _, test := range outcomes {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := scenes()
				test.spoil(s)
				if got := s.run(t, step); got != test.want {
					t.Errorf("\ngot  %s\nwant %s", got, test.want)
				}
			})
		})
	}
}

var errNoAnswer = errors.New("no answer")

// said makes a result that is no phase comparable.
func said(results ...any) model.Phase { return model.Phase(fmt.Sprint(results...)) }

// takeOver gives the lease to another process.
func (s *scene) takeOver() {
	s.t.Helper()
	entry := s.entry()
	if _, err := entry.Load(s.t.Context()); err != nil {
		s.t.Fatal(err)
	}
	_, err := entry.Change(s.t.Context(), func(r *journal.Record) error {
		r.Lease.Holder = "another"
		r.Lease.Epoch++
		return nil
	})
	if err != nil {
		s.t.Fatal(err)
	}
}

// authorize asks the guard for the scene's deletion.
func (s *scene) authorize(t *testing.T) (permit deletePermit, err error) {
	t.Helper()
	s.play(t, func(ctx context.Context, g guard) { permit, err = g.authorize(ctx, s.id, s.why) })
	return permit, err
}
