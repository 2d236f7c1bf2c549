package rotate_test

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"entra-aws-exporter/internal/model"
	"entra-aws-exporter/internal/simulator/clouds"
	"entra-aws-exporter/rotate"
	"entra-aws-exporter/rotate/policy"
	"entra-aws-exporter/rotate/token"
)

// fault is what goes wrong with one call.
type fault string

const (
	none         fault = ""
	refused      fault = "refused"       // the service says no; nothing happened
	answerLost   fault = "answer lost"   // it happened, nobody heard
	killedBefore fault = "killed before" // the process dies before the call
	killedAfter  fault = "killed after"  // … after it took effect
	effectLater  fault = "effect later"  // no answer, and it happens a minute and a half later
	unparsable   fault = "unparsable"    // it happened, the 2xx cannot be read
	throttled    fault = "throttled"     // 429 until the deadline; nothing happened
	staleRead    fault = "stale read"    // the answer is the one before the last
	suspended    fault = "suspended"     // the process sleeps past its lease, then makes the call
	sleptAfter   fault = "slept after"   // the process sleeps past its lease after the call
	tornWrite    fault = "torn write"    // half of the bytes are there, and the process dies
	fullDisk     fault = "full disk"     // from now on, for two hours, the store takes nothing for which no room was reserved
	unsafePlace  fault = "unsafe place"  // the store is not where it can keep its promises
	stopped      fault = "stopped"       // SIGTERM while the call is on its way; another process follows
)

// errKilled is what the ports of a dead process answer.
var errKilled = errors.New("killed")

// lab is one play: both clouds, one store, and the processes that come and go.
type lab struct {
	mu     sync.Mutex
	world  *clouds.Model
	at     clouds.Connection
	memory *memory
	policy policy.Token
	faults map[int]fault         // by the number of the call
	named  map[string]fault      // by its name: "aws.create#1" is the first, "aws.create" every one
	hands  map[string]func(*lab) // who interferes before a call, by the same names and "#17", the 17th of all calls
	every  func(*lab, string)    // looks at each call
	trace  []string
	counts map[string]int
	number int
	dead   chan *session
	log    *slog.Logger

	// for the oracle
	atStart   int      // tokens
	intended  []string // tokens for whose deletion there was a durable intent
	flying    int      // acts
	together  int      // the most acts at once
	hammered  string   // the call by which there were too many within a minute
	dropped   bool     // a save may be dropped silently: then a deletion may be the rescue's case
	valueLost bool     // somebody else destroyed the vault
	lasting   bool     // some call goes wrong every time, for ever: then it need not end
	adopted   bool     // a person took the clouds as they are for right

	dates   map[string]model.Token  // of the tokens that were there, by id
	trusted bool                    // this binding's rotation was proven before
	extra   []*session              // processes beside the one
	room    time.Time               // when the disk has room again; zero: it has
	sealed  bool                    // the vault cannot be read
	minute  time.Time               // since when calls are counted
	within  int                     // calls since then
	ctx     context.Context         // ends with the play
	current atomic.Pointer[session] // the process that was started last
	witness func(*session, string)  // sees every act before it is made
	left    func(*session)          // sees what a process leaves that stopped in good order

	declared      []model.Token                       // the tokens as the config has them; nil: AWS is asked
	ownCredential time.Time                           // when the exporter's own Entra credential expires
	connections   func(token.Options) []token.Options // what is configured; nil: the one
}

// session is one process with its engine.
type session struct {
	lab    *lab
	engine engine
	stop   context.CancelFunc
	over   chan struct{}
	dead   bool
	before map[string]any // answers, for stale reads
}

// defaultPolicy is a policy with short waits.
func defaultPolicy() policy.Token {
	return policy.Token{
		Policy: policy.Policy{Mode: model.RotationEnabled, Approval: model.ApprovalFirst, Cooldown: 24 * time.Hour, MaxAttempts: 3},
		Issuer: model.IssuerConsoleAPI, Before: 60 * 24 * time.Hour,
		DeleteExpiredToken: true, VerifyTimeout: 24 * time.Hour, RetireAfter: 2 * time.Hour,
	}
}

// dueSpec is a connection with one token, which expires in twenty days.
func dueSpec() clouds.ConnectionSpec {
	spec := clouds.Healthy("corp")
	spec.Tokens = []clouds.TokenSpec{{Age: 345 * 24 * time.Hour, Left: 20 * 24 * time.Hour, Saved: true}}
	return spec
}

// newLab builds a play. It must be called in a bubble.
func newLab(quirks clouds.Quirks, spec clouds.ConnectionSpec, policy policy.Token) *lab {
	l := &lab{
		world: clouds.New(clouds.Options{Seed: 7, Quirks: &quirks}), memory: newMemory(), policy: policy,
		counts: map[string]int{}, dead: make(chan *session, 8),
		log: slog.New(slog.DiscardHandler),
	}
	l.at = l.world.Add(spec)
	l.atStart = len(l.at.TokenIDs)
	l.dates = map[string]model.Token{}
	for i, token := range spec.Tokens {
		now := l.world.Now()
		l.dates[l.at.TokenIDs[i]] = model.Token{ID: l.at.TokenIDs[i], Created: now.Add(-token.Age), Expires: now.Add(token.Left)}
	}
	return l
}

// locked does something to the world.
func (l *lab) locked(do func(*clouds.Model)) {
	l.mu.Lock()
	defer l.mu.Unlock()
	do(l.world)
}

// open starts a process on the lab's store.
func (l *lab) open() *session {
	l.mu.Lock()
	l.number++
	holder := fmt.Sprintf("process-%d", l.number)
	l.mu.Unlock()
	s := &session{lab: l, over: make(chan struct{}), before: map[string]any{}}
	s.engine = newEngine(rotate.Options{Store: s, Holder: holder, Logger: l.log, Snapshot: l.snapshot}, s, configured(l, s.connection()))
	l.current.Store(s) // whole: other processes' calls look at it
	return s
}

func configured(l *lab, c token.Options) []token.Options {
	if l.connections == nil {
		return []token.Options{c}
	}
	return l.connections(c)
}

func (s *session) connection() token.Options {
	return token.Options{
		Connection: s.lab.at.Name, Policy: s.lab.policy,
		Tokens: s, SCIM: s, CloudTrail: s, Provisioning: s, Resolve: s.resolve,
	}
}

// serve lets the process take up rotations until it is stopped or killed.
func (l *lab) serve(ctx context.Context) *session {
	s := l.open()
	ctx, s.stop = context.WithCancel(ctx)
	go func() {
		defer close(s.over)
		_ = s.engine.Run(ctx)
	}()
	return s
}

// kill ends a process: from now on nothing that it does has any effect.
func (s *session) kill() {
	s.dead = true
	s.lab.dead <- s
}

// access is one call to the store, where a fault may lie in wait.
func (s *session) access(ctx context.Context, name string, do func(fault) error) error {
	full := func() error { return fmt.Errorf("%s: no space left on device", name) }
	return s.call(ctx, name, func(f fault) error {
		if f == fullDisk {
			s.lab.room = time.Now().Add(2 * time.Hour)
		}
		if time.Now().Before(s.lab.room) && name != "vault.write" && name != "vault.destroy" {
			return full()
		}
		return do(f)
	}, full)
}

// quietly is an access that is no occurrence of its own.
func (s *session) quietly(do func() error) error {
	s.lab.mu.Lock()
	dead := s.dead
	s.lab.mu.Unlock()
	if dead {
		return errKilled
	}
	return do()
}

// suspension is how long a suspended process sleeps.
const suspension = 20 * time.Minute

// call is the one way through which an engine touches anything. Every call is an
// occurrence, counted over all processes; faults and other people's hands are bound to
// its number.
func (s *session) call(ctx context.Context, name string, do func(fault) error, refuse func() error) error {
	l := s.lab
	l.mu.Lock()
	if s.dead {
		l.mu.Unlock()
		return errKilled
	}
	hammered := l.hammers(name)
	number := len(l.trace)
	l.trace = append(l.trace, name)
	l.counts[name]++
	nth := fmt.Sprintf("%s#%d", name, l.counts[name])
	f := cmp.Or(l.faults[number], l.named[nth], l.named[name])
	every, hands := l.every, []func(*lab){l.hands[nth], l.hands[fmt.Sprintf("#%d", number)]}
	l.mu.Unlock()
	if hammered {
		time.Sleep(24 * time.Hour) // else this would never end
	}
	if every != nil {
		every(l, name)
	}
	for _, hand := range hands {
		if hand != nil {
			hand(l)
		}
	}
	if f != none {
		l.note("FAULT %s at %s (call %d)", f, name, number)
	}
	perform := func() error {
		l.mu.Lock()
		defer l.mu.Unlock()
		return do(f)
	}
	lost := &model.Error{Reason: model.ReasonTimeout, Op: name, Detail: "no answer"}
	switch f {
	case refused:
		return refuse()
	case answerLost:
		if err := perform(); err != nil {
			return err
		}
		time.Sleep(5 * time.Second)
		return lost
	case killedBefore:
		l.mu.Lock()
		s.kill()
		l.mu.Unlock()
		return errKilled
	case killedAfter, tornWrite:
		_ = perform()
		l.mu.Lock()
		s.kill()
		l.mu.Unlock()
		return errKilled
	case effectLater:
		time.AfterFunc(90*time.Second, func() { _ = perform() })
		time.Sleep(5 * time.Second)
		return lost
	case unparsable:
		if err := perform(); err != nil {
			return err
		}
		return &model.Error{Reason: model.ReasonInvalidResponse, Op: name, Status: 200, Detail: "an answer that cannot be read"}
	case unsafePlace:
		return fmt.Errorf("%s: nfs: %w", name, model.ErrUnsafe)
	case throttled:
		if deadline, ok := ctx.Deadline(); ok {
			time.Sleep(time.Until(deadline))
		}
		return &model.Error{Reason: model.ReasonThrottled, Op: name, Status: 429, Detail: "429 until the deadline"}
	case suspended:
		time.Sleep(suspension)
	case sleptAfter:
		err := perform()
		time.Sleep(suspension)
		return err
	case stopped:
		err := perform()
		s.stop()
		l.dead <- s
		time.Sleep(5 * time.Second)
		if cloud := !strings.HasPrefix(name, "journal.") && !strings.HasPrefix(name, "vault."); cloud && ctx.Err() != nil {
			return lost // whoever hangs up does not hear the answer
		}
		return err
	case none, staleRead, fullDisk: // the port knows what is stale, and the store what is full
	}
	if ctx.Err() != nil {
		return &model.Error{Reason: model.ReasonTimeout, Op: name, Detail: ctx.Err().Error(), Unsent: true}
	}
	return perform()
}

// callsPerMinute is more than any phase needs.
const callsPerMinute = 150

// hammers tells whether there were too many calls within a minute. The lab is locked.
func (l *lab) hammers(name string) bool {
	if time.Since(l.minute) >= time.Minute {
		l.minute, l.within = time.Now(), 0
	}
	if l.within++; l.within > callsPerMinute {
		l.hammered = name
	}
	return l.within > callsPerMinute
}

// reading is a call whose answer may be an older one.
func reading[T any](ctx context.Context, s *session, name string, do func() (T, error)) (T, error) {
	var answer T
	err := s.call(ctx, name, func(f fault) error {
		fresh, err := do()
		if err != nil {
			return err
		}
		answer = fresh
		if older, ok := s.before[name].(T); ok && f == staleRead {
			answer = older
		}
		s.before[name] = fresh
		return nil
	}, func() error {
		return &model.Error{Reason: model.ReasonOther, Op: name, Status: 400, Detail: "400 BadRequest"}
	})
	if err != nil {
		var zero T
		return zero, err
	}
	return answer, nil
}

// acting is a call that changes something.
func acting(ctx context.Context, s *session, name string, do func() error) error {
	s.lab.fly(1)
	defer s.lab.fly(-1)
	if s.lab.witness != nil && !s.lab.isDead(s) {
		s.lab.witness(s, name)
	}
	return s.call(ctx, name, func(fault) error { return do() }, func() error {
		return &model.Error{Reason: model.ReasonOther, Op: name, Status: 400, Detail: "400 BadRequest"}
	})
}

func (l *lab) note(format string, args ...any) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.world.Annotate("play", format, args...)
}

// Step implements Progress; the log handler tells the same.
func (l *lab) Step(_ string, step model.RotationStep) {
	l.note("engine: %s: %s", step.Phase, step.Text)
}

// fly counts the acts in flight.
func (l *lab) fly(by int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.flying += by
	l.together = max(l.together, l.flying)
}

// story is what happened, on one page.
func (l *lab) story() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.storyLocked()
}

func (l *lab) storyLocked() string {
	var b strings.Builder
	_ = l.world.WriteTimeline(&b)
	return b.String()
}
