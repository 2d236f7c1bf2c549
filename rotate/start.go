package rotate

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/http"
	"time"

	"entra-aws-exporter/internal/model"
)

// StartOptions are how a person starts a rotation.
type StartOptions struct {
	Force  bool   // even though it is not due, or cooling down
	Retire string // a token that the person names as unused, so that it may be deleted
	// TokenID and Value are a token that the person made at AWS (issuer operator).
	TokenID string
	Value   model.Secret
}

// ErrOpen says that a rotation of the connection is open already; Carry goes on with it.
var ErrOpen = errors.New("a rotation is open already")

// Start begins a rotation in the journal, as a person asks. Carry takes it to its end;
// a server on the same journal would, too.
func (e *Engine) Start(ctx context.Context, connection string, options StartOptions) error {
	c, ok := e.connection(connection)
	if !ok {
		return fmt.Errorf("no connection %q is configured", connection)
	}
	binding, err := e.bindingOf(ctx, c)
	if err != nil {
		return err
	}
	b := e.book(binding.Key())
	rec, err := b.open(ctx, binding, c.Name)
	if err != nil {
		return err
	}
	if open := rec.Rotation; open != nil && open.Blocked == nil {
		return fmt.Errorf("connection %s: %w: %s is in phase %s", connection, ErrOpen, open.ID, open.Phase)
	}
	if err := options.allowed(c.Policy); err != nil {
		return fmt.Errorf("connection %s: %w", connection, err)
	}
	settles := options.Retire != "" && rec.Rotation.settledByNaming()
	if settles {
		if err := e.Reset(ctx, connection); err != nil {
			return err
		}
		rec = b.last()
	}
	if err := e.mayStart(ctx, c, rec, options, settles); err != nil {
		return fmt.Errorf("connection %s: %w", connection, err)
	}
	if options.TokenID != "" {
		if err := e.keepOffered(ctx, c, safe{e.options.Vault, b.key}, options); err != nil {
			return fmt.Errorf("connection %s: %w", connection, err)
		}
	}
	return e.begin(ctx, c, b, binding, beginning{
		trigger: TriggerOperator, forced: options.Force || options.TokenID != "", retire: options.Retire, offered: options.TokenID,
	})
}

// allowed says what in the config forbids such a start.
func (o StartOptions) allowed(policy Policy) error {
	switch {
	case policy.Mode != model.RotationEnabled:
		return fmt.Errorf("rotation.mode is %s: set it to enabled, or ask for --dry-run", cmp.Or(policy.Mode, model.RotationDisabled))
	case policy.Issuer == model.IssuerOperator && o.TokenID == "":
		return errors.New("rotation.issuer is operator: create a token at AWS and give it with --token-stdin --token-id")
	default:
		return nil
	}
}

// mayStart says what in the journal, or in the last reading, stands against a start. One
// that settles what a blocked rotation asks for need not wait for the cooldown.
func (e *Engine) mayStart(ctx context.Context, c Connection, rec *record, options StartOptions, settles bool) error {
	snapshot, _ := e.options.Snapshot(c.Name)
	_ = e.Look(ctx) // two failed connections halt new starts; what cannot be read is as it was read last
	err := e.mayBegin(c, rec, snapshot, time.Now())
	var down *standDown
	cooling := errors.As(err, &down) && down.decision == DecisionCooldown
	switch {
	case cooling && !options.Force && !settles:
		return fmt.Errorf("it cools down (rotation.cooldown): %w; --force starts all the same", err)
	case err != nil && !cooling:
		return err
	}
	if tokens := snapshot.Tokens; options.TokenID != "" && tokens != nil && tokens.Origin == model.OriginDeclared {
		_, err := offered(*tokens, options.TokenID)
		return err
	}
	return nil
}

// keepOffered puts the value of a token that a person made into the vault. Another value
// that was given before gives way only if AWS refuses it: then it was a slip.
func (e *Engine) keepOffered(ctx context.Context, c Connection, s safe, options StartOptions) error {
	name := "offered-" + options.TokenID
	keep := func() error {
		if err := s.reserve(ctx, name); err != nil {
			return err
		}
		return s.put(ctx, name, options.TokenID, options.Value)
	}
	err := keep()
	if !errors.Is(err, errAnother) {
		return err
	}
	_, before, err := s.get(ctx, name)
	if err != nil {
		return err
	}
	probe, err := read(ctx, func(ctx context.Context) (model.Probe, error) { return c.Clouds.SCIM.ProbeToken(ctx, before) })
	switch {
	case err != nil:
		return fmt.Errorf("the vault holds another value of token %s, and AWS cannot be asked which is right: %w", options.TokenID, err)
	case probe.StatusCode != http.StatusUnauthorized:
		return fmt.Errorf("the vault holds another value of token %s, which AWS does not refuse (it answers %d): is what you gave the value of that token?",
			options.TokenID, probe.StatusCode)
	}
	if err := s.vault.Destroy(ctx, s.key(name)); err != nil {
		return fmt.Errorf("destroying a vault entry: %w", err)
	}
	return keep()
}

// Carry takes the open rotation of a connection to its end, and reports each step. It
// returns what became of it, also when ctx ends before it does.
func (e *Engine) Carry(ctx context.Context, connection string, progress Progress) (model.RotationRecord, error) {
	b, err := e.find(ctx, connection)
	if err != nil {
		return model.RotationRecord{}, err
	}
	rec := b.last()
	if rec.Rotation == nil {
		return model.RotationRecord{}, fmt.Errorf("connection %s: no rotation is open", connection)
	}
	id := rec.Rotation.ID
	c, found, _ := e.connectionOf(rec)
	if !found {
		return model.RotationRecord{}, fmt.Errorf("no connection %q is configured", connection)
	}
	err = e.carry(ctx, b, c, progress)
	for _, shown := range e.Records() {
		if shown.ID == id {
			return shown, err
		}
	}
	return model.RotationRecord{}, err
}
