package certificate

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"regexp"
	"slices"
	"strconv"
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

// slowRecords is a journal whose next write takes a while, or whose writes fail.
type slowRecords struct {
	state.Memory
	next time.Duration
	lost error
}

func (r *slowRecords) Save(ctx context.Context, key string, content []byte, revision string) (string, error) {
	time.Sleep(r.next)
	r.next = 0
	if r.lost != nil {
		return "", r.lost
	}
	return r.Memory.Save(ctx, key, content, revision)
}

// scene is what a phase finds at AWS, in Entra and in the journal.
type scene struct {
	t       *testing.T
	at      time.Time // when the guard judges: when it has read both sides twice
	options Options

	signing      model.SigningCertificates
	trust        model.TrustConfiguration
	certificates []model.Certificate // all of the scene, for the names in its line
	unstable     bool                // no reading is like the one before
	reads        int
	noDate       bool
	skew         time.Duration
	binding      model.Binding
	speedup      int
	slow         time.Duration // how long the binding takes to be looked up
	created      model.IssuedCertificate
	aws, entra   model.SignIns // since the last change
	before       model.SignIns // AWS's, for the seven days of the baseline
	sinceAWS     []time.Time   // what AWS's log was asked for
	failing      map[string]error
	then         map[string]func() // what happens right before a call: "binding 2" is the second one
	made         []string          // the calls
	records      slowRecords
	record       *record // what is journalled
	steps        []string
}

// call notes a call, and returns its error.
func (s *scene) call(format string, args ...any) error {
	name := fmt.Sprintf(format, args...)
	s.made = append(s.made, name)
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

// failOnce makes one call fail, by its number, and no other.
func (s *scene) failOnce(name string, number int) {
	s.then[fmt.Sprint(name, " ", number)] = func() { s.failing[name] = errNoAnswer }
	s.then[fmt.Sprint(name, " ", number+1)] = func() { delete(s.failing, name) }
}

const leaseLost = "writing the journal b049e8e2b48e9837ffb7283e: the lease is lost"

// loseLease makes another process take the lease right before the first call of a name.
func (s *scene) loseLease(name string) {
	s.then[name+" 1"] = func() { s.records.lost = journal.ErrLeaseLost }
}

// application and instance are the scene's two sides.
type (
	application struct{ *scene }
	instance    struct{ *scene }
)

func (s application) SigningCertificates(context.Context) (model.SigningCertificates, error) {
	err := s.call("entra")
	signing := s.signing
	signing.Certificates = slices.Clone(signing.Certificates)
	if s.reads++; s.unstable {
		signing.SSOMode = strconv.Itoa(s.reads)
	}
	return signing, err
}

func (s application) CreateCertificate(_ context.Context, subject string, notAfter time.Time) (model.IssuedCertificate, error) {
	named := secretEnds.ReplaceAllString(subject, "$1")
	err := s.call("create %s until %s", named, recorddiff.Relative(notAfter, s.skew))
	issued := s.created
	if issued.Subject == named {
		issued.Subject = subject
	}
	return issued, err
}

func (s application) ActivateCertificate(_ context.Context, thumbprint string) error {
	return s.call("activate %s", s.named(thumbprint))
}

func (s application) SignIns(_ context.Context, since time.Time) (model.SignIns, error) {
	counts := s.entra
	counts.Since = since
	return counts, s.call("entra's log")
}

func (s instance) TrustConfiguration(context.Context) (model.TrustConfiguration, error) {
	err := s.call("trust")
	trust := s.trust
	trust.Certificates = slices.Clone(trust.Certificates)
	if !s.noDate {
		trust.Date = time.Now().Add(s.skew)
	}
	return trust, err
}

func (s instance) ImportCertificate(_ context.Context, der []byte, use string) (string, error) {
	return "imported", s.call("import %s for %s", der, use)
}

func (s instance) DeleteCertificate(_ context.Context, id string) error {
	return s.call("delete %s", id)
}

func (s instance) SignIns(_ context.Context, since time.Time) (model.SignIns, error) {
	err := s.call("log")
	s.sinceAWS = append(s.sinceAWS, since)
	counts := s.aws
	if time.Now().Add(s.skew).Sub(since) == baselineTime {
		counts = s.before
	}
	counts.Since = since
	return counts, err
}

func (s *scene) resolve(context.Context) (model.Binding, error) {
	time.Sleep(s.slow)
	return s.binding, s.call("binding")
}

func (s *scene) ago(d time.Duration) time.Time { return s.at.Add(-d) }

func (s *scene) timestamps(ago time.Duration) journal.Timestamps {
	return journal.Timestamps{Local: s.ago(ago), AWS: s.ago(ago - s.skew)}
}

// certificate is one whose bytes are its name, valid since and for this long by AWS's clock,
// from when the guard judges.
func (s *scene) certificate(name string, since, left time.Duration) model.Certificate {
	now := s.at.Add(s.skew)
	c := model.Certificate{Thumbprint: model.Thumbprint([]byte(name)), Subject: "CN=" + name, NotBefore: now.Add(-since), NotAfter: now.Add(left), DER: []byte(name)}
	s.certificates = append(s.certificates, c)
	return c
}

// listed is AWS's entry of a certificate.
func listed(c model.Certificate) model.TrustedCertificate {
	return model.TrustedCertificate{Certificate: c, ID: "entry-" + string(c.DER), Status: "ACTIVE"}
}

func known(c model.Certificate) Certificate {
	described, _ := certificateOf(c)
	return described
}

// dates are what a message says of a certificate beside its name.
var dates = regexp.MustCompile(` \([^()]*valid from [^()]*\)`)

// secretEnds are the random ends of subjects.
var secretEnds = regexp.MustCompile(`(CN=exporter r-\d+)-[a-z2-7]{6}\b`)

// named replaces fingerprints and thumbprints in a text by names.
func (s *scene) named(text string) string { return dates.ReplaceAllString(s.renamed(text), "") }

// renamed is named, with the dates.
func (s *scene) renamed(text string) string {
	for _, c := range s.certificates {
		text = strings.NewReplacer(Fingerprint(c.DER), string(c.DER), c.Thumbprint, strings.ToUpper(string(c.DER))).Replace(text)
	}
	return secretEnds.ReplaceAllString(text, "$1")
}

func codec() journal.Codec { return journal.Codec{model.ProcedureCertificate: Types()} }

// newScene is a connection whose old certificate, which expires in 40 days, is active and
// trusted. Nothing else is there, and a rollover has just begun.
func newScene() *scene {
	s := &scene{at: time.Now().Add(readGap), skew: skew, failing: map[string]error{}, then: map[string]func(){}}
	s.options = Options{
		Connection: "corp", Application: application{s}, Instance: instance{s}, Resolve: s.resolve,
		Policy: policy.Certificate{
			Policy: policy.Policy{Section: "saml.rollover", Mode: model.RotationEnabled, Approval: model.ApprovalFirst, MaxChanging: 1},
			Before: 60 * day, RetireAfter: 7 * day, Validity: 3 * year, Slots: 2, Use: "SIGNING", Subject: "exporter",
		},
	}
	s.binding = model.Binding{
		Region: "eu-central-1", IdentityStoreID: "d-1234567890", ProvisioningTenantID: "tenant", SCIMEndpoint: "https://scim.example.com/tenant/scim/v2", EntraTenantID: "entra", ServicePrincipalID: "principal", JobID: "job",
	}
	old := s.certificate("old", 3*year-40*day, 40*day)
	s.signing = model.SigningCertificates{Certificates: []model.Certificate{old}, ActiveThumbprint: old.Thumbprint, ActiveKnown: true, SSOMode: model.SingleSignOnSAML}
	s.trust = model.TrustConfiguration{IDPConfigurations: 1, PrimaryRegion: "eu-central-1", Certificates: []model.TrustedCertificate{listed(old)}}
	s.before = model.SignIns{Successes: 700, Users: 50, Failures: 7, Available: true}
	s.aws, s.entra = model.SignIns{Available: true}, model.SignIns{Available: true}
	journalled := codec().NewRecord(s.binding, "corp")
	journalled.Rotation = &journal.Rotation{ID: "r", Kind: model.ProcedureCertificate, Started: s.timestamps(10 * day), Progress: &Progress{}}
	journalled.Rotation.SetPhase(model.PhasePlan, s.timestamps(10*day))
	s.record = recordOf(journalled)
	return s
}

// planned is a scene whose plan is written down.
func planned() *scene {
	s := newScene()
	old := known(s.signing.Certificates[0])
	rot := s.record.Rotation
	rot.Plan = Plan{Old: &old, Trusted: []string{old.SHA256}, Signing: []string{old.Thumbprint}, Accepted: policy.BaselineOf(s.before)}
	s.record.know(old)
	s.enter(model.PhaseCreate, time.Minute)
	return s
}

// withNew is a scene in which our own call has made the new certificate.
func withNew() *scene {
	s := planned()
	fresh := s.certificate("new", time.Hour, 3*year)
	s.signing.Certificates = append(s.signing.Certificates, fresh)
	s.did(OperationCreate, time.Hour, journal.Operation{Target: "CN=new", Outcome: model.CallDone})
	s.record.setCreated(known(fresh))
	s.enter(model.PhaseImport, time.Minute)
	return s
}

// imported is one in which AWS trusts both.
func imported() *scene {
	s := withNew()
	s.trust.Certificates = append(s.trust.Certificates, listed(s.signing.Certificates[1]))
	s.record.Rotation.New.Imported = s.timestamps(20 * time.Minute)
	s.enter(model.PhaseActivate, time.Minute)
	return s
}

// active is one in which the new certificate is active, and nothing shows yet who signs in.
func active() *scene {
	s := imported()
	s.signing.ActiveThumbprint = s.signing.Certificates[1].Thumbprint
	s.did(OperationActivate, 10*day, journal.Operation{Target: s.record.Rotation.New.SHA256, Why: string(activateNew), Outcome: model.CallDone})
	s.record.Pending = nil
	s.record.Rotation.Proof = Proof{Level: model.ProofStored, Stored: s.timestamps(9 * day)}
	s.enter(model.PhaseVerify, 9*day)
	return s
}

// used is one in which the old certificate may be deleted at AWS.
func used() *scene {
	s := active()
	rot := s.record.Rotation
	rot.Proof.Level, rot.Proof.Used, rot.Proof.UsedBy = model.ProofUsed, s.timestamps(8*day), byCloudTrail
	rot.Plan.TrustedBy = true
	s.aws = model.SignIns{Successes: 20, Users: 5, Available: true}
	s.enter(model.PhaseRetire, 8*day)
	return s
}

// gone is one in which the old certificate was deleted at AWS.
func gone() *scene {
	s := used()
	s.trust.Certificates = s.trust.Certificates[1:]
	s.did(OperationDelete, time.Hour, journal.Operation{Target: "entry-old", Why: string(deleteOld), Outcome: model.CallDone})
	s.record.Rotation.Proof.Gone = s.timestamps(50 * time.Minute)
	s.enter(model.PhaseConfirm, 50*time.Minute)
	return s
}

func (s *scene) enter(phase model.Phase, ago time.Duration) {
	s.record.Rotation.SetPhase(phase, s.timestamps(ago))
}

// did journals an operation.
func (s *scene) did(kind journal.OperationKind, ago time.Duration, o journal.Operation) {
	o.Number = len(s.record.Rotation.Operations[kind]) + 1
	o.Intent = s.timestamps(ago)
	if o.Outcome != "" {
		o.Answered = o.Intent
	}
	s.record.Rotation.SetOperation(kind, o)
}

// visited is a procedure that does nothing but one step.
type visited struct {
	*Procedure
	use func(context.Context, runner)
}

func (v visited) Run(s *rotate.Session) rotate.Runner {
	run, _ := v.Procedure.Run(s).(runner)
	return visitor{run, v.use}
}

type visitor struct {
	runner
	use func(context.Context, runner)
}

func (v visitor) RunPhase(ctx context.Context, _ model.Phase) (model.Phase, error) {
	v.use(ctx, v.runner)
	return "", rotate.ErrLongWait
}

func (s *scene) entry() *journal.Entry {
	return journal.NewEntry(&s.records, codec(), s.record.Binding.Key())
}

// Step implements rotate.StepObserver.
func (s *scene) Step(_ string, step model.RotationStep) { s.steps = append(s.steps, step.Text) }

// play journals the record, and lets the engine begin the rotation's phase.
func (s *scene) play(t *testing.T, use func(context.Context, runner)) {
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
	engine := rotate.New(rotate.Options{Store: &s.records, Codec: codec(), Holder: "test", Logger: slog.New(slog.DiscardHandler), Speedup: s.speedup},
		[]rotate.Connection{{Name: "corp", Resolve: bound, Procedures: []rotate.Procedure{visited{New(s.options), use}}}})
	bounded, cancel := context.WithTimeout(t.Context(), day) // a write that cannot succeed is tried again without end
	defer cancel()
	if _, err := engine.RunToCompletion(bounded, "corp", s); !errors.Is(err, rotate.ErrLongWait) {
		t.Fatal(err)
	}
}

// run plays one step, and returns a line with all that came of it: the next phase or the
// error, after how long, what has changed in the journal, what was said, and the calls that
// change something. A dash stands for no phase.
func (s *scene) run(t *testing.T, step func(context.Context, runner) (model.Phase, error)) string {
	t.Helper()
	var line []string
	s.play(t, func(ctx context.Context, r runner) {
		began, before := time.Now(), r.Record()
		next, err := step(ctx, r)
		line = append(line, recorddiff.Outcome(next, err, time.Since(began)))
		if blocked, found := errors.AsType[*rotate.BlockedError](err); found && blocked.Persistence == rotate.Immediate {
			line[0] += " at once"
		}
		line = append(line, recorddiff.Changes(t, before, r.Record(), model.ProcedureCertificate, s.skew)...)
	})
	for _, step := range s.steps {
		if !strings.HasPrefix(step, "waiting: ") {
			line = append(line, fmt.Sprintf("%q", step))
		}
	}
	for _, made := range s.made {
		verb, _, _ := strings.Cut(made, " ")
		if slices.Contains([]string{"create", "import", "activate", "delete"}, verb) {
			line = append(line, made)
		}
	}
	return s.named(strings.Join(line, "; "))
}

// outcome is one line of a table: what a step makes of a scene.
type outcome struct {
	name  string
	spoil func(*scene)
	want  string // as scene.run returns it; "…" stands for the rest
}

// testStep plays a step in each scene.
func testStep(t *testing.T, scenes func() *scene, step func(context.Context, runner) (model.Phase, error), outcomes []outcome) {
	t.Helper()
	for _, test := range outcomes {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := scenes()
				test.spoil(s)
				got := s.run(t, step)
				if begin, shortened := strings.CutSuffix(test.want, "…"); got != test.want && (!shortened || !strings.HasPrefix(got, begin)) {
					t.Errorf("\ngot  %s\nwant %s", got, test.want)
				}
			})
		})
	}
}

var errNoAnswer = errors.New("no answer")

func unspoiled(*scene) {}
