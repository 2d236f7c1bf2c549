package app

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"entra-aws-exporter/internal/model"
	"entra-aws-exporter/internal/simulator"
	"entra-aws-exporter/internal/simulator/clouds"
	"entra-aws-exporter/internal/state/shared"
	"entra-aws-exporter/internal/state/statetest"
	"entra-aws-exporter/rotate/token"
)

// replica is one of several exporters with one state. Once it is killed, it can neither
// call nor write.
type replica struct {
	next   http.RoundTripper
	store  *stateStore
	dead   atomic.Bool
	killAt atomic.Pointer[fatalCall] // nil: at none
	client *http.Client
	stop   func()

	exporter *Exporter
}

// fatalCall is the call at which a replica dies.
type fatalCall struct {
	operation func(*http.Request) bool
	after     bool // the call takes effect before
	killed    chan struct{}
}

// RoundTrip implements http.RoundTripper.
func (r *replica) RoundTrip(request *http.Request) (*http.Response, error) {
	if r.dead.Load() {
		return nil, errKilled
	}
	at := r.killAt.Load()
	fatal := at != nil && at.operation(request)
	if fatal && at.after {
		if response, err := r.next.RoundTrip(request); err == nil {
			_ = response.Body.Close()
		}
	}
	if fatal {
		if r.dead.CompareAndSwap(false, true) {
			close(at.killed)
		}
		return nil, errKilled
	}
	return r.next.RoundTrip(request)
}

// isMutation tells whether a call changes what a rotation changes.
func isMutation(r *http.Request) bool {
	target := r.Header.Get("X-Amz-Target")
	return strings.HasSuffix(target, "CreateBearerToken") || strings.HasSuffix(target, "DeleteBearerToken") ||
		r.Method == http.MethodPut && strings.HasSuffix(r.URL.Path, "/secrets")
}

// alive is the state as a replica reaches it.
func (r *replica) alive() *stateStore {
	s := *r.store
	s.journal, s.events, s.tokens = aliveRecords{s.journal, r}, aliveRecords{s.events, r}, aliveTokens{s.tokens, r}
	return &s
}

func (r *replica) check() error {
	if r.dead.Load() {
		return errKilled
	}
	return nil
}

type aliveRecords struct {
	records
	replica *replica
}

func (a aliveRecords) Load(ctx context.Context, key string) ([]byte, string, error) {
	if err := a.replica.check(); err != nil {
		return nil, "", err
	}
	return a.records.Load(ctx, key)
}

func (a aliveRecords) Save(ctx context.Context, key string, content []byte, revision string) (string, error) {
	if err := a.replica.check(); err != nil {
		return "", err
	}
	return a.records.Save(ctx, key, content, revision)
}

type aliveTokens struct {
	token.Store
	replica *replica
}

func (a aliveTokens) Reserve(ctx context.Context, key string) error {
	if err := a.replica.check(); err != nil {
		return err
	}
	return a.Store.Reserve(ctx, key)
}

func (a aliveTokens) Write(ctx context.Context, key string, entry model.Secret) error {
	if err := a.replica.check(); err != nil {
		return err
	}
	return a.Store.Write(ctx, key, entry)
}

func (a aliveTokens) Destroy(ctx context.Context, key string) error {
	if err := a.replica.check(); err != nil {
		return err
	}
	return a.Store.Destroy(ctx, key)
}

// fleet is several replicas in front of one simulator.
type fleet struct {
	*harness
	store    *stateStore
	replicas []*replica
}

func newFleet(h *harness, size int) *fleet {
	s := shared.New(statetest.NewTable(), statetest.NewSecrets(), shared.Options{Place: "a table in memory", SecretPrefix: "entra-aws-exporter/"})
	f := &fleet{
		harness: h, replicas: make([]*replica, size),
		store: &stateStore{journal: s.Journal(), events: s.Events(), tokens: s.Tokens(), check: s.Check, remote: true},
	}
	h.holderIsDead = func(string) bool { return false } // each is on a host of its own
	for i := range f.replicas {
		f.begin(i)
	}
	return f
}

// begin starts a new process in the place of one.
func (f *fleet) begin(i int) {
	r := &replica{store: f.store}
	f.wrapTransport = func(next http.RoundTripper) http.RoundTripper { r.next = next; return r }
	f.state = r.alive()
	f.start()
	r.client, r.stop, r.exporter = f.client, f.stop, f.exporter
	f.replicas[i] = r
	f.state = f.store // of commands
}

// restart kills a replica, unless a call has, and starts another one after a while.
func (f *fleet) restart(i int, after time.Duration) {
	f.replicas[i].dead.Store(true)
	f.replicas[i].stop()
	time.Sleep(after)
	f.begin(i)
}

// on makes the harness ask this replica.
func (f *fleet) on(i int) *fleet {
	f.client = f.replicas[i].client
	return f
}

// TestManyAlertsToThreeReplicas: three replicas and a command get 500 alerts about one due
// token at once. One rotation starts, and each of them shows it.
func TestManyAlertsToThreeReplicas(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHarness(t, []clouds.ConnectionSpec{clouds.Expiring("expiring")})
		h.edit(fastIntervals, slowIntervals)
		f := newFleet(h, 3)
		time.Sleep(15 * time.Minute)

		bearer := "Bearer " + strings.TrimSpace(h.read("webhook-token"))
		var posts sync.WaitGroup
		var accepted atomic.Int32
		command := ""
		for n := range 500 {
			posts.Go(func() {
				request, err := http.NewRequest(http.MethodPost, "http://exporter/webhook/alertmanager", strings.NewReader(dueAlert))
				if err != nil {
					t.Error(err)
					return
				}
				request.Header = http.Header{"Content-Type": {"application/json"}, "Authorization": {bearer}}
				response, err := f.replicas[n%3].client.Do(request)
				if err != nil {
					t.Error(err)
					return
				}
				_ = response.Body.Close()
				if response.StatusCode == http.StatusAccepted {
					accepted.Add(1)
				}
			})
		}
		posts.Go(func() {
			command = h.command(func(ctx context.Context, o Options) error {
				return RotationStart(ctx, o, StartOptions{Connection: "expiring", Pace: 1})
			})
		})
		posts.Wait()
		if accepted.Load() != 500 {
			t.Errorf("%d of 500 alerts were accepted", accepted.Load())
		}
		started := 0
		for i := range f.replicas {
			started += int(f.on(i).series().matching(`webhook_alerts_total{decision="started"}`).sum(t))
		}
		byCommand := !strings.Contains(command, "is in phase") && !strings.Contains(command, "another process works on it")
		if byCommand {
			started++
		}
		if started != 1 {
			t.Errorf("started %d times, by the command: %v (%s)", started, byCommand, command)
		}
		record := f.on(1).waitForOutcome("expiring")
		time.Sleep(time.Minute)
		for i := range f.replicas {
			list := f.on(i).rotations("expiring")
			if len(list) != 1 || list[0].ID != record.ID || list[0].Outcome != model.OutcomeDone {
				t.Errorf("replica %d shows %+v", i, list)
			}
			f.series().expect(t, `entra_aws_rotations_total{connection="expiring",kind="scim_token",outcome="done"} 1`, `entra_aws_rotation_tokens_created_total{connection="expiring",kind="scim_token"} 1`)
		}
		f.expectOneToken(t, 1)
	})
}

// expectOneToken demands, by the model's own record, that so many tokens were created, that
// one is left, and that Entra never held one that AWS refused.
func (f *fleet) expectOneToken(t *testing.T, created int) {
	t.Helper()
	f.With(func(now *clouds.Model) {
		n := 0
		for range clouds.EntriesOf[clouds.Creation](now) {
			n++
		}
		c := f.Connection
		tokens, err := now.ListBearerTokens(clouds.CallerFor(clouds.ActorOperator), c.IdentityStoreID, c.ProvisioningTenantID)
		if err != nil || len(tokens) != 1 || tokens[0].ID != now.SavedToken(c.ServicePrincipalID) || n > created {
			t.Errorf("%d tokens were created, %v are left, Entra holds %s: %v", n, tokens, now.SavedToken(c.ServicePrincipalID), err)
		}
		for _, outage := range now.Outages() {
			t.Errorf("an outage: %s", outage)
		}
	})
}

// TestReplicasKilledDuringRotation kills replicas during rotations: at a moment, or at the
// holder's next call that changes something, before or after it took effect. Another
// replica goes on; all of the rotations end done.
func TestReplicasKilledDuringRotation(t *testing.T) {
	newHarness(t, []clouds.ConnectionSpec{clouds.Expiring("expiring")}) // sets the environment
	var kills, atCalls atomic.Int32
	t.Run("rotations", func(t *testing.T) {
		for run := range 8 {
			t.Run(strconv.Itoa(run), func(t *testing.T) {
				t.Parallel()
				synctest.Test(t, func(t *testing.T) {
					random := rand.New(rand.NewPCG(5, uint64(run)))
					h := buildHarness(t, newModel(clouds.Expiring("expiring")))
					h.edit(fastIntervals, slowIntervals)
					f := newFleet(h, 3)
					time.Sleep(15 * time.Minute)
					if status, answer := f.on(run % 3).alert(); status != http.StatusAccepted {
						t.Fatalf("%d %s", status, answer)
					}
					for range 8 {
						if random.IntN(2) == 0 { // whoever makes the next change
							fatal := &fatalCall{operation: isMutation, after: random.IntN(2) == 0, killed: make(chan struct{})}
							for _, r := range f.replicas {
								r.killAt.Store(fatal)
							}
							select {
							case <-fatal.killed:
								atCalls.Add(1)
							case <-time.After(time.Duration(1+random.IntN(40)) * time.Minute):
							}
							for _, r := range f.replicas {
								r.killAt.Store(nil)
							}
						} else {
							time.Sleep(time.Duration(1+random.IntN(30*60)) * time.Second)
						}
						victim := random.IntN(3)
						for i, r := range f.replicas {
							if r.dead.Load() {
								victim = i
							}
						}
						kills.Add(1)
						f.restart(victim, time.Duration(random.IntN(300))*time.Second)
					}
					var done []model.RotationRecord
					for range 24 * 3 { // Alertmanager repeats the alert of what an aborted rotation left due
						time.Sleep(time.Hour)
						i := random.IntN(3)
						done = nil
						for _, record := range f.on(i).rotations("expiring") {
							if record.Outcome == model.OutcomeDone {
								done = append(done, record)
							}
						}
						if len(done) > 0 {
							break
						}
						f.alert()
					}
					if list := f.rotations("expiring"); len(done) != 1 {
						t.Errorf("not done: %+v", list)
						for _, record := range list {
							for _, step := range record.Steps {
								t.Log(step.At.Format(time.TimeOnly), step.Phase, step.Text)
							}
						}
					} else if len(list) > 1 {
						t.Logf("%d rotations; the first one %s: %s", len(list), list[len(list)-1].Outcome, list[len(list)-1].Reason)
					}
					f.expectOneToken(t, 2)
				})
			})
		}
	})
	t.Logf("%d kills, %d of them at a call that changes something", kills.Load(), atCalls.Load())
	if kills.Load() < 50 || atCalls.Load() < 10 {
		t.Error("too few")
	}
}

// TestEventsOfThreeReplicas: two of three replicas are killed while the provisioning log
// grows, first the one that reads it. In the end each of them shows every entry once.
func TestEventsOfThreeReplicas(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHarness(t, []clouds.ConnectionSpec{clouds.Healthy("corp")})
		h.edit(fastIntervals, eventIntervals)
		f := newFleet(h, 3)
		time.Sleep(30 * time.Minute)
		first, own := f.on(0).eventsCounted(), f.eventsLogged()
		const entries = 5_000
		f.addEvents(entries, 800*time.Millisecond)
		for n := range 2 {
			if _, err := f.Perform(simulator.Action{Do: "add_user", UserName: fmt.Sprintf("user%d@example.com", n)}); err != nil {
				t.Fatal(err)
			}
			time.Sleep(12 * time.Minute)
			f.restart(f.readerOf(), time.Minute)
			time.Sleep(40 * time.Minute)
		}
		time.Sleep(time.Hour)
		happened := entries + f.eventsLogged() - own
		if own == f.eventsLogged() {
			t.Error("the provisioning job has logged nothing")
		}
		calls := f.Calls()["GET provisioning"]
		for i := range f.replicas {
			if counted := f.on(i).eventsCounted() - first; counted != happened {
				t.Errorf("replica %d counted %d entries, %d have happened", i, counted, happened)
			}
		}
		time.Sleep(time.Hour)
		if polls := f.Calls()["GET provisioning"] - calls; polls > 13 {
			t.Errorf("%d reads of the log in an hour by three replicas that poll every five minutes", polls)
		} else {
			t.Logf("%d entries, shown exactly by each; %d reads of the log in the last hour", happened, polls)
		}
	})
}

// readerOf is the replica that reads the provisioning log.
func (f *fleet) readerOf() int {
	f.t.Helper()
	keys, err := f.store.events.Keys(f.t.Context())
	if err != nil || len(keys) == 0 {
		f.t.Fatal(keys, err)
	}
	content, _, err := f.store.events.Load(f.t.Context(), keys[0])
	for i := range f.replicas {
		if err == nil && strings.Contains(string(content), f.replicas[i].exporter.rotation.replica.ID) {
			return i
		}
	}
	f.t.Fatalf("nobody reads: %.200s %v", content, err)
	return -1
}
