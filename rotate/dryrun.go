package rotate

import (
	"context"
	"fmt"
	"strconv"
	"sync"
	"time"

	"entra-aws-exporter/internal/model"
)

// DryRun reads everything that a rotation would read and tells what it would do. It
// changes nothing in the clouds, and nothing in the journal or the vault.
func (e *Engine) DryRun(ctx context.Context, connection string, options StartOptions, progress Progress) error {
	c, ok := e.connection(connection)
	if !ok {
		return fmt.Errorf("no connection %q is configured", connection)
	}
	binding, err := e.bindingOf(ctx, c)
	if err != nil {
		return err
	}
	b := e.book(binding.Key())
	rec, err := b.open(ctx, binding, connection)
	if err != nil {
		return err
	}
	r, err := e.pretend(ctx, c, rec, options, progress)
	if err != nil {
		return err
	}
	if rec.Rotation != nil {
		r.say("dry run: rotation %s is open already, in phase %s", rec.Rotation.ID, rec.Rotation.Phase)
		return nil
	}
	f, err := r.survey(ctx)
	if err != nil {
		return fmt.Errorf("connection %s: a rotation would not begin: %w", connection, err)
	}
	r.tell(f, options)
	return nil
}

// rehearseEvery is how often alerts may set off a dry run: the plan that it logs changes slowly.
const rehearseEvery = time.Hour

// rehearse has Run make a dry run, unless there was one lately.
func (e *Engine) rehearse(connection string) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if last, known := e.rehearsals[connection]; known && time.Since(last) < rehearseEvery {
		return
	}
	e.rehearsals[connection] = time.Time{}
	poke(e.kick)
}

// toRehearse takes the connections whose dry run is to be begun.
func (e *Engine) toRehearse() (connections []string) {
	e.mu.Lock()
	defer e.mu.Unlock()
	for connection, begun := range e.rehearsals {
		if begun.IsZero() {
			connections = append(connections, connection)
			e.rehearsals[connection] = time.Now()
		}
	}
	return connections
}

// pretend makes a run whose journal is a scrap of paper.
func (e *Engine) pretend(ctx context.Context, c Connection, rec *record, options StartOptions, progress Progress) (*run, error) {
	copied, err := rec.clone()
	if err != nil {
		return nil, err
	}
	copied.Rotation = &rotation{ID: "dry-run", Trigger: TriggerOperator, Phase: model.PhasePlan, Retire: options.Retire, Offered: options.TokenID}
	copied.Lease, copied.Held = lease{}, time.Time{}
	content, err := copied.encode()
	if err != nil {
		return nil, err
	}
	b := newBook(&scrap{content: content}, rec.Binding.Key())
	if _, err := b.load(ctx); err != nil {
		return nil, err
	}
	g, err := seize(ctx, b, "dry run", nil)
	if err != nil {
		return nil, err
	}
	return &run{
		connection: c, book: b, grip: g, safe: safe{e.options.Vault, b.key}, pace: time.Duration(e.options.Pace),
		log: e.options.Logger, progress: progress,
	}, nil
}

// tell says what the findings would lead to.
func (r *run) tell(f *findings, options StartOptions) {
	for _, line := range f.lines() {
		r.say("dry run: %s", line)
	}
	due := f.why(r.aws.now())
	if due == "" && options.Force {
		due = "a person forced it"
	}
	if due == "" {
		r.say("dry run: nothing to do: due %s", day(f.dueAt))
		return
	}
	r.say("dry run: a rotation would begin: %s", due)
	if err := r.checkCreate(f); err != nil && options.TokenID == "" {
		r.say("dry run: it would be blocked: %s", err)
		return
	}
	if options.TokenID != "" {
		if _, err := offered(f.list, options.TokenID); err != nil {
			r.say("dry run: it would be blocked: %s", err)
			return
		}
	}
	slots := slotsOf(f.list)
	switch id, why := r.clearable(f); {
	case options.TokenID != "":
		r.say("dry run: it would test token %s, which a person made", options.TokenID)
	case len(f.list.Tokens) < slots:
		r.say("dry run: it would create a token")
	case id != "":
		r.say("dry run: it would delete token %s (%s), then create one", id, why)
	default:
		r.say("dry run: it would be blocked: both slots are taken, by %s, and nothing proves which one Entra uses", datedAll(f.list.Tokens))
		return
	}
	policy := r.connection.Policy
	r.say("dry run: then test it at AWS and from Entra, save it to Entra (keys %v, all others as they are), and wait up to %s for a cycle that uses it", f.keys, policy.VerifyTimeout)
	remove := "delete it"
	if f.list.Origin == model.OriginDeclared {
		remove = "have a person delete it"
	}
	r.say("dry run: then keep the old token for %s, %s (approval: %s) and watch that Entra goes on working", max(policy.RetireAfter, retireFloor), remove, policy.Approval)
}

func slotsOf(list model.TokenList) int {
	if list.Slots > 0 {
		return list.Slots
	}
	return model.TokenSlots
}

// scrap is a journal that is thrown away.
type scrap struct {
	mu       sync.Mutex
	content  []byte
	revision int
}

// Load implements Journal.
func (s *scrap) Load(context.Context, string) ([]byte, string, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.content, strconv.Itoa(s.revision), nil
}

// Save implements Journal.
func (s *scrap) Save(_ context.Context, _ string, content []byte, _ string) (string, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.content = content
	s.revision++
	return strconv.Itoa(s.revision), nil
}

// Keys implements Journal.
func (s *scrap) Keys(context.Context) ([]string, error) { return nil, nil }
