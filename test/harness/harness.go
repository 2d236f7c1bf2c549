package harness

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"entra-aws-exporter/internal/model"
	"entra-aws-exporter/internal/simulator/clouds"
	"entra-aws-exporter/internal/state/shared"
	"entra-aws-exporter/rotate"
	"entra-aws-exporter/rotate/certificate"
	"entra-aws-exporter/rotate/policy"
	"entra-aws-exporter/rotate/token"
)

// Fault is what goes wrong with one call of the engine.
type Fault string

// The faults.
const (
	NoFault         Fault = ""
	Refused         Fault = "refused"          // the service refuses, without any effect
	ResponseLost    Fault = "response lost"    // the call takes effect, its response is lost
	KilledBefore    Fault = "killed before"    // the process dies before the call
	KilledAfter     Fault = "killed after"     // the process dies after the call took effect
	EffectDelayed   Fault = "effect delayed"   // no response; the call takes effect 90 seconds later
	Unparsable      Fault = "unparsable"       // the call takes effect, its 2xx response cannot be parsed
	Throttled       Fault = "throttled"        // 429 until the deadline, without any effect
	Unavailable     Fault = "unavailable"      // 503, without any effect
	Unreachable     Fault = "unreachable"      // no connection, so nothing was sent
	StaleRead       Fault = "stale read"       // the response is the one before the last
	SuspendedBefore Fault = "suspended before" // the process is suspended past its lease, then makes the call
	SuspendedAfter  Fault = "suspended after"  // the process is suspended past its lease after the call
	TornWrite       Fault = "torn write"       // half of the bytes are written, then the process dies
	DiskFull        Fault = "disk full"        // for two hours, the store only takes what was reserved before
	UnsafeStore     Fault = "unsafe store"     // the store is not on a safe file system
	Terminated      Fault = "terminated"       // SIGTERM during the call; another process follows
)

// errKilled is what every call of a killed process returns.
var errKilled = errors.New("killed")

// Harness is what one scenario runs on: simulated AWS and Entra, one store, and the
// processes that use them.
type Harness struct {
	mu           sync.Mutex
	Clouds       *clouds.Model
	Connection   clouds.Connection
	Store        *MemoryStore
	InAWS        *StateInAWS // where the state is; nil: in Store
	Policy       policy.Token
	Rolls        *policy.Certificate // the engine's only procedure is the certificate's; nil: the token's
	Ctx          context.Context     // ends with the scenario
	Log          *slog.Logger
	Faults       map[int]Fault             // by the call's number
	FaultsByName map[string]Fault          // by the call's name: "aws.create#1" is the first, "aws.create" every one
	Actions      map[string]func(*Harness) // what operators do before a call, by the same names, or "#17" for the 17th of all calls
	BeforeCall   func(*Harness, string)    // called with the name of each call
	Calls        []string                  // the names of all calls
	CallCounts   map[string]int            // by the call's name

	Current        atomic.Pointer[Process] // the process that was started last
	ExtraProcesses []*Process              // processes that run beside it
	Ended          chan *Process           // processes that were killed or stopped

	// What a scenario sets up, beside the model.
	InitialDates         map[string]model.Token              // the dates of the first tokens, by ID
	Declared             []model.Token                       // the tokens that the config declares; nil: AWS is asked
	Speedup              int                                 // divides the engine's waits; 0: it does not
	ClockAhead           time.Duration                       // of the processes that are opened from now on
	OwnCredentialExpires time.Time                           // when the exporter's own Entra credential expires
	Configure            func(token.Options) []token.Options // changes what is configured; nil: the one connection
	ConfigureRollover    func(*certificate.Options)          // the same for a rollover; nil: as it is

	// What a scenario admits to the invariants.
	SaveMayBeDropped bool // Entra may drop a save silently, so a deletion may need a recovery
	ValueLost        bool // token values were removed from the token store
	FaultLasts       bool // a fault never ends, so the rotation need not end either
	Adopted          bool // an operator accepted the current state of AWS and Entra
	Trusted          bool // an earlier rotation of this binding was proven

	// What a scenario of a rollover admits to the invariants.
	NamedThumbprints []string    // certificates that an operator named for import
	RepairOnly       bool        // the rollover only imports the named certificate
	NamedUnused      string      // the thumbprint of the certificate that an operator named for deletion
	ApprovedBlindly  bool        // no log shows sign-ins, or nobody signs in
	TrustsLate       bool        // AWS takes longer to trust a certificate than a rollover waits
	Edits            AnswerEdits // what is made of answers on their way

	// What the invariants need.
	initialTrust    map[string]bool // thumbprints that AWS trusted at first
	initialActive   string          // the thumbprint that was active at first
	initialTokens   int             // the number of tokens at first
	deletionIntents []string        // tokens whose deletion had a durable intent
	inFlight        int             // operations in flight
	maxInFlight     int             // the most operations in flight at once
	rateExceeded    string          // the call that exceeded callsPerMinute
	minuteBegan     time.Time
	callsThisMinute int
	beforeOperation func(*Process, string) // called before each operation
	afterStop       func(*Process)         // called after a process stopped in good order

	processes        int       // started so far
	diskFullUntil    time.Time // when the disk has space again; zero: it has
	tokensUnreadable bool      // the token store cannot be read
}

// Process is one process with its engine.
type Process struct {
	Harness *Harness
	Engine  Engine
	Stop    context.CancelFunc
	// ClockAhead is how far the clock of this process is ahead of the others'.
	ClockAhead time.Duration
	done       chan struct{}
	dead       bool
	responses  map[string]any // the last response by the call's name, for stale reads
	state      *shared.Store  // in AWS; nil: it is in the harness's Store
}

// DefaultPolicy is a policy with short waits.
func DefaultPolicy() policy.Token {
	return policy.Token{
		Policy: policy.Policy{Section: "rotation", Mode: model.RotationEnabled, Approval: model.ApprovalFirst, Cooldown: 24 * time.Hour, MaxAttempts: 3},
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

// New builds the harness of one connection. A caller is in a synctest bubble, or needs
// no virtual time.
func New(quirks clouds.Quirks, spec clouds.ConnectionSpec, policy policy.Token) *Harness {
	h := &Harness{
		Clouds: clouds.New(clouds.Options{Seed: 7, Quirks: &quirks}), Store: newMemoryStore(), Policy: policy,
		CallCounts: map[string]int{}, Ended: make(chan *Process, 8),
		Log: slog.New(slog.DiscardHandler),
	}
	h.Connection = h.Clouds.Add(spec)
	h.initialTokens = len(h.Connection.TokenIDs)
	h.noteCertificates()
	h.InitialDates = map[string]model.Token{}
	for i, token := range spec.Tokens {
		now := h.Clouds.Now()
		h.InitialDates[h.Connection.TokenIDs[i]] = model.Token{ID: h.Connection.TokenIDs[i], Created: now.Add(-token.Age), Expires: now.Add(token.Left)}
	}
	return h
}

// Lock excludes every process of the harness.
func (h *Harness) Lock() { h.mu.Lock() }

// Unlock ends Lock.
func (h *Harness) Unlock() { h.mu.Unlock() }

// WithClouds runs a function on the model, while no process makes a call.
func (h *Harness) WithClouds(do func(*clouds.Model)) {
	h.mu.Lock()
	defer h.mu.Unlock()
	do(h.Clouds)
}

// Open makes a process on the harness's store that runs no rotation by itself.
func (h *Harness) Open() *Process {
	h.mu.Lock()
	h.processes++
	ahead := h.ClockAhead
	holder := fmt.Sprintf("process-%d", h.processes)
	h.mu.Unlock()
	p := &Process{Harness: h, ClockAhead: ahead, done: make(chan struct{}), responses: map[string]any{}}
	if h.InAWS != nil {
		p.state = p.stateStore()
	}
	newEngine := NewEngine
	if h.Rolls != nil {
		newEngine = h.newRolloverEngine
	}
	p.Engine = newEngine(rotate.Options{Store: p, Holder: holder, Logger: h.Log, Snapshot: h.Snapshot, Speedup: h.Speedup}, p, configured(h, p.ConnectionOptions()))
	h.Current.Store(p) // complete: calls of other processes read it
	return p
}

func configured(h *Harness, options token.Options) []token.Options {
	if h.Configure == nil {
		return []token.Options{options}
	}
	return h.Configure(options)
}

// ConnectionOptions are the options of the connection, with the process as every client.
func (p *Process) ConnectionOptions() token.Options {
	return token.Options{
		Connection: p.Harness.Connection.Name, Policy: p.Harness.Policy,
		Tokens: p, SCIM: p, CloudTrail: p, Provisioning: p, Resolve: p.Resolve,
	}
}

// Serve starts a process that runs rotations until it is stopped or killed.
func (h *Harness) Serve(ctx context.Context) *Process {
	p := h.Open()
	ctx, p.Stop = context.WithCancel(ctx)
	go func() {
		defer close(p.done)
		_ = p.Engine.Run(ctx)
	}()
	return p
}

// kill ends a process: nothing that it does from now on has any effect.
func (p *Process) kill() {
	p.dead = true
	p.Harness.Ended <- p
}

// writeStore is one write to the store, which may get a fault.
func (p *Process) writeStore(ctx context.Context, name string, do func(Fault) error) error {
	full := func() error { return fmt.Errorf("%s: no space left on device", name) }
	return p.call(ctx, name, func(f Fault) error {
		if f == DiskFull {
			p.Harness.diskFullUntil = time.Now().Add(2 * time.Hour)
		}
		if time.Now().Before(p.Harness.diskFullUntil) && name != "tokens.write" && name != "tokens.destroy" {
			return full()
		}
		return do(f)
	}, full)
}

// readStore is one read of the store. It is no call of its own and gets no fault.
func (p *Process) readStore(do func() error) error {
	p.Harness.mu.Lock()
	dead := p.dead
	p.Harness.mu.Unlock()
	if dead {
		return errKilled
	}
	return do()
}

// suspension is how long a process is suspended.
const suspension = 20 * time.Minute

// call is the one way in which an engine reaches anything. Calls are counted over all
// processes; faults and actions are bound to a call's number or name.
func (p *Process) call(ctx context.Context, name string, do func(Fault) error, refuse func() error) error {
	h := p.Harness
	h.mu.Lock()
	if p.dead {
		h.mu.Unlock()
		return errKilled
	}
	exceeded := h.countCall(name)
	number := len(h.Calls)
	h.Calls = append(h.Calls, name)
	h.CallCounts[name]++
	nth := fmt.Sprintf("%s#%d", name, h.CallCounts[name])
	f := cmp.Or(h.Faults[number], h.FaultsByName[nth], h.FaultsByName[name])
	beforeCall, actions := h.BeforeCall, []func(*Harness){h.Actions[nth], h.Actions[fmt.Sprintf("#%d", number)]}
	h.mu.Unlock()
	if exceeded {
		time.Sleep(24 * time.Hour) // otherwise the scenario would never end
	}
	if beforeCall != nil {
		beforeCall(h, name)
	}
	for _, action := range actions {
		if action != nil {
			action(h)
		}
	}
	if f != NoFault {
		h.Note("FAULT %s at %s (call %d)", f, name, number)
	}
	perform := func() error {
		h.mu.Lock()
		defer h.mu.Unlock()
		return do(f)
	}
	lost := &model.Error{Reason: model.ReasonTimeout, Op: name, Detail: "no response"}
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
		h.mu.Lock()
		p.kill()
		h.mu.Unlock()
		return errKilled
	case KilledAfter, TornWrite:
		_ = perform()
		h.mu.Lock()
		p.kill()
		h.mu.Unlock()
		return errKilled
	case EffectDelayed:
		time.AfterFunc(90*time.Second, func() { _ = perform() })
		time.Sleep(5 * time.Second)
		return lost
	case Unparsable:
		if err := perform(); err != nil {
			return err
		}
		return &model.Error{Reason: model.ReasonInvalidResponse, Op: name, Status: 200, Detail: "the response cannot be parsed"}
	case UnsafeStore:
		return fmt.Errorf("%s: nfs: %w", name, model.ErrUnsafe)
	case Throttled:
		if deadline, ok := ctx.Deadline(); ok {
			time.Sleep(time.Until(deadline))
		}
		return &model.Error{Reason: model.ReasonThrottled, Op: name, Status: 429, Detail: "429 until the deadline"}
	case Unreachable:
		return &model.Error{Reason: model.ReasonNetwork, Op: name, Unsent: true, Detail: "cannot resolve the host"}
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
		p.Stop()
		h.Ended <- p
		time.Sleep(5 * time.Second)
		if cloud := !slices.Contains([]string{"journal", "tokens", "table", "secrets"}, strings.Split(name, ".")[0]); cloud && ctx.Err() != nil {
			return lost // the caller hung up before the response
		}
		return err
	case NoFault, StaleRead, DiskFull, Conflict, ThrottledForHour, TableMissing, SecretDeleted: // read returns what is stale, writeStore refuses what is full
	}
	if ctx.Err() != nil {
		return &model.Error{Reason: model.ReasonTimeout, Op: name, Detail: ctx.Err().Error(), Unsent: true}
	}
	return perform()
}

// callsPerMinute is the limit of calls, which is more than any phase needs.
const callsPerMinute = 150

// countCall reports whether there were too many calls within a minute. The harness is
// locked.
func (h *Harness) countCall(name string) bool {
	if time.Since(h.minuteBegan) >= time.Minute {
		h.minuteBegan, h.callsThisMinute = time.Now(), 0
	}
	if h.callsThisMinute++; h.callsThisMinute > callsPerMinute {
		h.rateExceeded = name
	}
	return h.callsThisMinute > callsPerMinute
}

// read is a call that changes nothing. Its response may be stale.
func read[T any](ctx context.Context, p *Process, name string, do func() (T, error)) (T, error) {
	var response T
	err := p.call(ctx, name, func(f Fault) error {
		fresh, err := do()
		if err != nil {
			return err
		}
		response = fresh
		if older, ok := p.responses[name].(T); ok && f == StaleRead {
			response = older
		}
		p.responses[name] = fresh
		return nil
	}, func() error {
		return &model.Error{Reason: model.ReasonOther, Op: name, Status: 400, Detail: "400 BadRequest"}
	})
	if err != nil {
		var zero T
		return zero, err
	}
	return response, nil
}

// mutate is a call that changes something at AWS or Entra.
func mutate(ctx context.Context, p *Process, name string, do func() error) error {
	p.Harness.countInFlight(1)
	defer p.Harness.countInFlight(-1)
	if p.Harness.beforeOperation != nil && !p.Harness.IsDead(p) {
		p.Harness.beforeOperation(p, name)
	}
	return p.call(ctx, name, func(Fault) error { return do() }, func() error {
		return &model.Error{Reason: model.ReasonOther, Op: name, Status: 400, Detail: "400 BadRequest"}
	})
}

// Note adds a line to the timeline.
func (h *Harness) Note(format string, args ...any) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.Clouds.Annotate("scenario", format, args...)
}

// Step implements rotate.StepObserver.
func (h *Harness) Step(_ string, step model.RotationStep) {
	h.Note("engine: %s: %s", step.Phase, step.Text)
}

// countInFlight counts the operations in flight.
func (h *Harness) countInFlight(by int) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.inFlight += by
	h.maxInFlight = max(h.maxInFlight, h.inFlight)
}

// Timeline is everything that happened, one event per line.
func (h *Harness) Timeline() string {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.timelineLocked()
}

func (h *Harness) timelineLocked() string {
	var b strings.Builder
	_ = h.Clouds.WriteTimeline(&b)
	return b.String()
}
