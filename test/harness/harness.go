package harness

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

// Fault is what goes wrong with one call.
type Fault string

const (
	NoFault         Fault = ""
	Refused         Fault = "refused"       // the service says no; nothing happened
	ResponseLost    Fault = "answer lost"   // it happened, nobody heard
	KilledBefore    Fault = "killed before" // the process dies before the call
	KilledAfter     Fault = "killed after"  // … after it took effect
	EffectDelayed   Fault = "effect later"  // no answer, and it happens a minute and a half later
	Unparsable      Fault = "unparsable"    // it happened, the 2xx cannot be read
	Throttled       Fault = "throttled"     // 429 until the deadline; nothing happened
	Unavailable     Fault = "unavailable"   // 503; nothing happened
	StaleRead       Fault = "stale read"    // the answer is the one before the last
	SuspendedBefore Fault = "suspended"     // the process sleeps past its lease, then makes the call
	SuspendedAfter  Fault = "slept after"   // the process sleeps past its lease after the call
	TornWrite       Fault = "torn write"    // half of the bytes are there, and the process dies
	DiskFull        Fault = "full disk"     // from now on, for two hours, the store takes nothing for which no room was reserved
	UnsafeStore     Fault = "unsafe place"  // the store is not where it can keep its promises
	Terminated      Fault = "stopped"       // SIGTERM while the call is on its way; another process follows
)

// ErrKilled is what the ports of a dead process answer.
var ErrKilled = errors.New("killed")

// Harness is one play: both clouds, one store, and the processes that come and go.
type Harness struct {
	mu           sync.Mutex
	Clouds       *clouds.Model
	Connection   clouds.Connection
	Store        *MemoryStore
	Policy       policy.Token
	Faults       map[int]Fault             // by the number of the call
	FaultsByName map[string]Fault          // by its name: "aws.create#1" is the first, "aws.create" every one
	Actions      map[string]func(*Harness) // who interferes before a call, by the same names and "#17", the 17th of all calls
	BeforeCall   func(*Harness, string)    // looks at each call
	Calls        []string
	CallCounts   map[string]int
	processes    int
	Ended        chan *Process
	Log          *slog.Logger

	// for the oracle
	initialTokens    int      // tokens
	deletionIntents  []string // tokens for whose deletion there was a durable intent
	inFlight         int      // acts
	maxInFlight      int      // the most acts at once
	rateExceeded     string   // the call by which there were too many within a minute
	SaveMayBeDropped bool     // a save may be dropped silently: then a deletion may be the rescue's case
	ValueLost        bool     // somebody else destroyed the vault
	FaultLasts       bool     // some call goes wrong every time, for ever: then it need not end
	Adopted          bool     // a person took the clouds as they are for right

	InitialDates     map[string]model.Token  // of the tokens that were there, by id
	Trusted          bool                    // this binding's rotation was proven before
	ExtraProcesses   []*Process              // processes beside the one
	diskFullUntil    time.Time               // when the disk has room again; zero: it has
	tokensUnreadable bool                    // the vault cannot be read
	minute           time.Time               // since when calls are counted
	callsThisMinute  int                     // calls since then
	Ctx              context.Context         // ends with the play
	Current          atomic.Pointer[Process] // the process that was started last
	beforeOperation  func(*Process, string)  // sees every act before it is made
	afterStop        func(*Process)          // sees what a process leaves that stopped in good order

	Declared             []model.Token                       // the tokens as the config has them; nil: AWS is asked
	OwnCredentialExpires time.Time                           // when the exporter's own Entra credential expires
	Configure            func(token.Options) []token.Options // what is configured; nil: the one
}

// Process is one process with its engine.
type Process struct {
	Harness *Harness
	Engine  Engine
	Stop    context.CancelFunc
	done    chan struct{}
	dead    bool
	answers map[string]any // answers, for stale reads
}

// DefaultPolicy is a policy with short waits.
func DefaultPolicy() policy.Token {
	return policy.Token{
		Policy: policy.Policy{Mode: model.RotationEnabled, Approval: model.ApprovalFirst, Cooldown: 24 * time.Hour, MaxAttempts: 3},
		Issuer: model.IssuerConsoleAPI, Before: 60 * 24 * time.Hour,
		DeleteExpiredToken: true, VerifyTimeout: 24 * time.Hour, RetireAfter: 2 * time.Hour,
	}
}

// DueConnection is a connection with one token, which expires in twenty days.
func DueConnection() clouds.ConnectionSpec {
	spec := clouds.Healthy("corp")
	spec.Tokens = []clouds.TokenSpec{{Age: 345 * 24 * time.Hour, Left: 20 * 24 * time.Hour, Saved: true}}
	return spec
}

// New builds a play. It must be called in a bubble.
func New(quirks clouds.Quirks, spec clouds.ConnectionSpec, policy policy.Token) *Harness {
	l := &Harness{
		Clouds: clouds.New(clouds.Options{Seed: 7, Quirks: &quirks}), Store: newMemory(), Policy: policy,
		CallCounts: map[string]int{}, Ended: make(chan *Process, 8),
		Log: slog.New(slog.DiscardHandler),
	}
	l.Connection = l.Clouds.Add(spec)
	l.initialTokens = len(l.Connection.TokenIDs)
	l.InitialDates = map[string]model.Token{}
	for i, token := range spec.Tokens {
		now := l.Clouds.Now()
		l.InitialDates[l.Connection.TokenIDs[i]] = model.Token{ID: l.Connection.TokenIDs[i], Created: now.Add(-token.Age), Expires: now.Add(token.Left)}
	}
	return l
}

// Lock excludes every process of the harness.
func (l *Harness) Lock() { l.mu.Lock() }

// Unlock ends Lock.
func (l *Harness) Unlock() { l.mu.Unlock() }

// WithClouds does something to the world.
func (l *Harness) WithClouds(do func(*clouds.Model)) {
	l.mu.Lock()
	defer l.mu.Unlock()
	do(l.Clouds)
}

// Open starts a process on the lab's store.
func (l *Harness) Open() *Process {
	l.mu.Lock()
	l.processes++
	holder := fmt.Sprintf("process-%d", l.processes)
	l.mu.Unlock()
	s := &Process{Harness: l, done: make(chan struct{}), answers: map[string]any{}}
	s.Engine = NewEngine(rotate.Options{Store: s, Holder: holder, Logger: l.Log, Snapshot: l.Snapshot}, s, configured(l, s.ConnectionOptions()))
	l.Current.Store(s) // whole: other processes' calls look at it
	return s
}

func configured(l *Harness, c token.Options) []token.Options {
	if l.Configure == nil {
		return []token.Options{c}
	}
	return l.Configure(c)
}

func (s *Process) ConnectionOptions() token.Options {
	return token.Options{
		Connection: s.Harness.Connection.Name, Policy: s.Harness.Policy,
		Tokens: s, SCIM: s, CloudTrail: s, Provisioning: s, Resolve: s.Resolve,
	}
}

// Serve lets the process take up rotations until it is stopped or killed.
func (l *Harness) Serve(ctx context.Context) *Process {
	s := l.Open()
	ctx, s.Stop = context.WithCancel(ctx)
	go func() {
		defer close(s.done)
		_ = s.Engine.Run(ctx)
	}()
	return s
}

// kill ends a process: from now on nothing that it does has any effect.
func (s *Process) kill() {
	s.dead = true
	s.Harness.Ended <- s
}

// access is one call to the store, where a fault may lie in wait.
func (s *Process) access(ctx context.Context, name string, do func(Fault) error) error {
	full := func() error { return fmt.Errorf("%s: no space left on device", name) }
	return s.call(ctx, name, func(f Fault) error {
		if f == DiskFull {
			s.Harness.diskFullUntil = time.Now().Add(2 * time.Hour)
		}
		if time.Now().Before(s.Harness.diskFullUntil) && name != "vault.write" && name != "vault.destroy" {
			return full()
		}
		return do(f)
	}, full)
}

// quietly is an access that is no occurrence of its own.
func (s *Process) quietly(do func() error) error {
	s.Harness.mu.Lock()
	dead := s.dead
	s.Harness.mu.Unlock()
	if dead {
		return ErrKilled
	}
	return do()
}

// suspension is how long a suspended process sleeps.
const suspension = 20 * time.Minute

// call is the one way through which an engine touches anything. Every call is an
// occurrence, counted over all processes; faults and other people's hands are bound to
// its number.
func (s *Process) call(ctx context.Context, name string, do func(Fault) error, refuse func() error) error {
	l := s.Harness
	l.mu.Lock()
	if s.dead {
		l.mu.Unlock()
		return ErrKilled
	}
	hammered := l.countCall(name)
	number := len(l.Calls)
	l.Calls = append(l.Calls, name)
	l.CallCounts[name]++
	nth := fmt.Sprintf("%s#%d", name, l.CallCounts[name])
	f := cmp.Or(l.Faults[number], l.FaultsByName[nth], l.FaultsByName[name])
	every, hands := l.BeforeCall, []func(*Harness){l.Actions[nth], l.Actions[fmt.Sprintf("#%d", number)]}
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
	if f != NoFault {
		l.Note("FAULT %s at %s (call %d)", f, name, number)
	}
	perform := func() error {
		l.mu.Lock()
		defer l.mu.Unlock()
		return do(f)
	}
	lost := &model.Error{Reason: model.ReasonTimeout, Op: name, Detail: "no answer"}
	switch f {
	case Refused:
		return refuse()
	case ResponseLost:
		if err := perform(); err != nil {
			return err
		}
		time.Sleep(5 * time.Second)
		return lost
	case KilledBefore:
		l.mu.Lock()
		s.kill()
		l.mu.Unlock()
		return ErrKilled
	case KilledAfter, TornWrite:
		_ = perform()
		l.mu.Lock()
		s.kill()
		l.mu.Unlock()
		return ErrKilled
	case EffectDelayed:
		time.AfterFunc(90*time.Second, func() { _ = perform() })
		time.Sleep(5 * time.Second)
		return lost
	case Unparsable:
		if err := perform(); err != nil {
			return err
		}
		return &model.Error{Reason: model.ReasonInvalidResponse, Op: name, Status: 200, Detail: "an answer that cannot be read"}
	case UnsafeStore:
		return fmt.Errorf("%s: nfs: %w", name, model.ErrUnsafe)
	case Throttled:
		if deadline, ok := ctx.Deadline(); ok {
			time.Sleep(time.Until(deadline))
		}
		return &model.Error{Reason: model.ReasonThrottled, Op: name, Status: 429, Detail: "429 until the deadline"}
	case Unavailable:
		return &model.Error{Reason: model.ReasonOther, Op: name, Status: 503, Detail: "503 ServiceUnavailable"}
	case SuspendedBefore:
		time.Sleep(suspension)
	case SuspendedAfter:
		err := perform()
		time.Sleep(suspension)
		return err
	case Terminated:
		err := perform()
		s.Stop()
		l.Ended <- s
		time.Sleep(5 * time.Second)
		if cloud := !strings.HasPrefix(name, "journal.") && !strings.HasPrefix(name, "vault."); cloud && ctx.Err() != nil {
			return lost // whoever hangs up does not hear the answer
		}
		return err
	case NoFault, StaleRead, DiskFull: // the port knows what is stale, and the store what is full
	}
	if ctx.Err() != nil {
		return &model.Error{Reason: model.ReasonTimeout, Op: name, Detail: ctx.Err().Error(), Unsent: true}
	}
	return perform()
}

// callsPerMinute is more than any phase needs.
const callsPerMinute = 150

// countCall tells whether there were too many calls within a minute. The lab is locked.
func (l *Harness) countCall(name string) bool {
	if time.Since(l.minute) >= time.Minute {
		l.minute, l.callsThisMinute = time.Now(), 0
	}
	if l.callsThisMinute++; l.callsThisMinute > callsPerMinute {
		l.rateExceeded = name
	}
	return l.callsThisMinute > callsPerMinute
}

// read is a call whose answer may be an older one.
func read[T any](ctx context.Context, s *Process, name string, do func() (T, error)) (T, error) {
	var answer T
	err := s.call(ctx, name, func(f Fault) error {
		fresh, err := do()
		if err != nil {
			return err
		}
		answer = fresh
		if older, ok := s.answers[name].(T); ok && f == StaleRead {
			answer = older
		}
		s.answers[name] = fresh
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

// operate is a call that changes something.
func operate(ctx context.Context, s *Process, name string, do func() error) error {
	s.Harness.countInFlight(1)
	defer s.Harness.countInFlight(-1)
	if s.Harness.beforeOperation != nil && !s.Harness.IsDead(s) {
		s.Harness.beforeOperation(s, name)
	}
	return s.call(ctx, name, func(Fault) error { return do() }, func() error {
		return &model.Error{Reason: model.ReasonOther, Op: name, Status: 400, Detail: "400 BadRequest"}
	})
}

func (l *Harness) Note(format string, args ...any) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.Clouds.Annotate("play", format, args...)
}

// Step implements Progress; the log handler tells the same.
func (l *Harness) Step(_ string, step model.RotationStep) {
	l.Note("engine: %s: %s", step.Phase, step.Text)
}

// countInFlight counts the acts in flight.
func (l *Harness) countInFlight(by int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.inFlight += by
	l.maxInFlight = max(l.maxInFlight, l.inFlight)
}

// Timeline is what happened, on one page.
func (l *Harness) Timeline() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.timelineLocked()
}

func (l *Harness) timelineLocked() string {
	var b strings.Builder
	_ = l.Clouds.WriteTimeline(&b)
	return b.String()
}
