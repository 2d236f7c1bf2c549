package rotate

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"time"

	"entra-aws-exporter/internal/model"
)

// Options are what an Engine works with.
type Options struct {
	Journal Journal
	Vault   Vault
	// Holder names this process in leases; no two processes may have the same.
	Holder string
	// Gone tells whether a holder is certainly no longer there, so that its lease need
	// not be waited out. Optional.
	Gone func(holder string) bool
	// Pace divides every wait of a rotation; 0 and 1: as they are.
	Pace int
	// Snapshot returns the last reading of a connection; decisions and the status rest on it.
	Snapshot func(connection string) (model.Snapshot, bool)
	// Changed is told when a rotation has changed something, so that it is read anew. Optional.
	Changed func(connection string)
	Logger  *slog.Logger
}

// Engine carries rotations to their ends. Every process that may rotate has one: the
// server, which takes up whatever stands open in the journal, and the command line,
// which carries its own rotation. They meet in the journal and nowhere else.
type Engine struct {
	options Options
	kick    chan struct{} // a rotation was begun: take it up

	mu          sync.Mutex
	connections map[string]Connection
	keys        map[string]string // binding keys by connection
	books       map[string]*book  // by binding key
	running     map[string]chan struct{}
	begun       map[string]claim         // rotations begun here that nobody has taken up yet, by binding key
	turns       map[string]chan struct{} // one decision at a time, by connection
	rehearsals  map[string]time.Time     // when a dry run was last begun, by connection; zero: to be begun
}

// tick is how often the journal is looked through for open rotations.
const tick = 30 * time.Second

// New makes an engine for these connections.
func New(options Options, connections []Connection) *Engine {
	if options.Pace < 1 {
		options.Pace = 1
	}
	if options.Snapshot == nil {
		options.Snapshot = func(string) (model.Snapshot, bool) { return model.Snapshot{}, false }
	}
	e := &Engine{
		options: options, kick: make(chan struct{}, 1),
		keys: map[string]string{}, books: map[string]*book{}, running: map[string]chan struct{}{}, turns: map[string]chan struct{}{},
		begun: map[string]claim{}, rehearsals: map[string]time.Time{},
	}
	e.Configure(connections)
	return e
}

// Configure replaces the connections. A rotation that is running goes on with the
// connection it began with.
func (e *Engine) Configure(connections []Connection) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.connections = map[string]Connection{}
	for _, c := range connections {
		e.connections[c.Name] = c
	}
	e.keys = map[string]string{}
}

// Run takes up open rotations until ctx ends, then lets the acts in flight finish and
// be recorded.
func (e *Engine) Run(ctx context.Context) error {
	var carried sync.WaitGroup
	defer carried.Wait()
	timer := time.NewTicker(tick)
	defer timer.Stop()
	for {
		written := e.writtenClaims()
		list := e.takeable(ctx)
		for _, open := range list {
			carried.Go(func() {
				if err := e.carry(ctx, open.book, open.connection, nil); err != nil && ctx.Err() == nil {
					e.options.Logger.Info("a rotation is left to another process, or to later", "connection", open.connection.Name, "err", err)
				}
			})
		}
		e.giveUpClaims(written, list)
		for _, connection := range e.toRehearse() {
			carried.Go(func() {
				if err := e.DryRun(ctx, connection, StartOptions{}, nil); err != nil && ctx.Err() == nil {
					e.options.Logger.Warn("dry run", "connection", connection, "err", err)
				}
			})
		}
		select {
		case <-ctx.Done():
			return nil
		case <-e.kick:
		case <-timer.C:
		}
	}
}

// open is a rotation that nobody works on, as far as the journal tells.
type open struct {
	book       *book
	connection Connection
}

// takeable looks through the journal.
func (e *Engine) takeable(ctx context.Context) []open {
	keys, err := e.options.Journal.Keys(ctx)
	switch {
	case err == nil:
	case ctx.Err() != nil:
		return nil // the process ends, which is no fault of the journal
	default:
		e.options.Logger.Error("the journal cannot be listed", "err", err)
		return nil
	}
	e.learnKeys(ctx)
	var list []open
	for _, key := range keys {
		b := e.book(key)
		if e.isRunning(key) {
			continue
		}
		rec, err := b.load(ctx)
		if errors.Is(err, errRestored) {
			err = e.markRestored(ctx, b)
		}
		if err != nil && ctx.Err() != nil {
			return nil
		}
		if err != nil {
			e.options.Logger.Error("a journal cannot be used", "err", err)
			continue
		}
		if rec == nil || rec.Rotation == nil || rec.Rotation.Blocked != nil || e.leased(rec) {
			continue
		}
		c, found, sure := e.connectionOf(rec)
		switch {
		case found:
			list = append(list, open{b, c})
		case sure:
			e.markRemoved(ctx, b, rec)
		}
	}
	return list
}

// leased tells whether another process works on the record.
func (e *Engine) leased(rec *record) bool {
	l := rec.Lease
	return l.Holder != "" && time.Now().Before(l.Expires) && (e.options.Gone == nil || !e.options.Gone(l.Holder))
}

// carry takes the lease of one open rotation and goes with it to its end.
func (e *Engine) carry(ctx context.Context, b *book, c Connection, progress Progress) error {
	wake := make(chan struct{}, 1)
	e.mu.Lock()
	if _, busy := e.running[b.key]; busy {
		e.mu.Unlock()
		return nil
	}
	e.running[b.key] = wake
	delete(e.begun, b.key)
	e.mu.Unlock()
	defer func() {
		e.mu.Lock()
		delete(e.running, b.key)
		e.mu.Unlock()
		if e.options.Changed != nil {
			e.options.Changed(c.Name)
		}
	}()
	g, err := seize(ctx, b, e.options.Holder, e.options.Gone)
	if err != nil {
		return err
	}
	r := &run{
		connection: c, book: b, grip: g, safe: safe{e.options.Vault, b.key}, pace: time.Duration(e.options.Pace),
		log: e.options.Logger, progress: progress, wake: wake,
	}
	if rot := r.rotation(); rot != nil {
		r.doubt.streak = rot.Failing
	}
	err = r.toItsEnd(ctx)
	if errors.Is(err, errRestored) {
		return e.markRestored(ctx, b)
	}
	last, cancel := context.WithTimeout(context.WithoutCancel(ctx), recordTimeout)
	defer cancel()
	g.release(last)
	return err
}

// markRestored stops everything on a record that an older copy has replaced.
func (e *Engine) markRestored(ctx context.Context, b *book) error {
	_, err := b.change(ctx, func(rec *record) error {
		rec.Restored = errRestored.Error()
		if rot := rec.Rotation; rot != nil && rot.Blocked == nil {
			snapshot, _ := e.options.Snapshot(rec.Connection)
			text := sentence(rec.Connection, rot.Phase, StateRestored, errRestored.Error(), listed(snapshot, rec))
			rot.Blocked = &block{Reason: StateRestored, Sentence: text, At: time.Now().UTC()}
			rec.count(model.OutcomeBlocked)
		}
		return nil
	})
	return err
}

// markRemoved blocks an open rotation whose connection is not configured any more.
func (e *Engine) markRemoved(ctx context.Context, b *book, seen *record) {
	text := sentence(seen.Connection, seen.Rotation.Phase, ConnectionRemoved,
		"its rotation is open, and its connection is not in the config any more", known(seen))
	_, err := b.change(ctx, func(rec *record) error {
		if rec.Rotation == nil || rec.Rotation.Blocked != nil || e.leased(rec) {
			return errHeldElsewhere
		}
		rec.Rotation.Blocked = &block{Reason: ConnectionRemoved, Sentence: text, At: time.Now().UTC()}
		rec.count(model.OutcomeBlocked)
		return nil
	})
	if err == nil {
		e.options.Logger.Error("rotation blocked", "connection", seen.Connection, "reason", string(ConnectionRemoved), "sentence", text)
	}
}

// known lists the tokens that the record knows of.
func known(rec *record) []model.Token {
	return slices.SortedFunc(maps.Values(rec.Tokens), func(a, b model.Token) int { return a.Created.Compare(b.Created) })
}

// connectionOf finds the connection of a record: by its binding, else by its name. sure
// is true if a connection that was not found is certainly not configured.
func (e *Engine) connectionOf(rec *record) (c Connection, found, sure bool) {
	e.mu.Lock()
	defer e.mu.Unlock()
	sure = true
	key := rec.Binding.Key()
	for name, c := range e.connections {
		if e.keys[name] == key {
			return c, true, true
		}
		if e.keys[name] == "" {
			sure = false
		}
	}
	c, found = e.connections[rec.Connection]
	return c, found && sure, sure
}

// learnKeys finds out which binding each connection has.
func (e *Engine) learnKeys(ctx context.Context) {
	e.mu.Lock()
	missing := make([]Connection, 0, len(e.connections))
	for name, c := range e.connections {
		if e.keys[name] == "" {
			missing = append(missing, c)
		}
	}
	e.mu.Unlock()
	for _, c := range missing {
		if _, err := e.bindingOf(ctx, c); err != nil {
			e.options.Logger.Debug("a connection is not resolved yet", "connection", c.Name, "err", err)
		}
	}
}

// bindingOf returns the binding of a connection, from the last reading or asked for.
func (e *Engine) bindingOf(ctx context.Context, c Connection) (model.Binding, error) {
	snapshot, _ := e.options.Snapshot(c.Name)
	binding := snapshot.Binding
	if !binding.Complete() {
		var err error
		if binding, err = read(ctx, c.Clouds.Resolve); err != nil {
			return binding, fmt.Errorf("resolving connection %s: %w", c.Name, err)
		}
	}
	if !binding.Complete() {
		if binding.ProvisioningTenantID == "" {
			return binding, fmt.Errorf("connection %s: its provisioning tenant at AWS is not known: with tokens.read_from: declared it is not looked up, so set aws.provisioning_tenant_id", c.Name)
		}
		return binding, fmt.Errorf("connection %s is not resolved on both sides", c.Name)
	}
	e.learn(c.Name, binding)
	return binding, nil
}

// learn notes which binding a connection has.
func (e *Engine) learn(connection string, binding model.Binding) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if _, configured := e.connections[connection]; configured && binding.Complete() {
		e.keys[connection] = binding.Key()
	}
}

// book returns the one book of a binding in this process.
func (e *Engine) book(key string) *book {
	e.mu.Lock()
	defer e.mu.Unlock()
	b := e.books[key]
	if b == nil {
		b = newBook(e.options.Journal, key)
		e.books[key] = b
	}
	return b
}

func (e *Engine) isRunning(key string) bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	_, running := e.running[key]
	return running
}

// wake makes a rotation that runs here look at its record.
func (e *Engine) wake(key string) {
	e.mu.Lock()
	defer e.mu.Unlock()
	poke(e.running[key])
	poke(e.kick)
}

func poke(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}
