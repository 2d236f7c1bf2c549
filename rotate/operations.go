package rotate

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"time"

	"entra-aws-exporter/internal/bridge"
)

// StartOptions are how a person starts a rotation.
type StartOptions struct {
	Force  bool   // even though it is not due, or cooling down
	Retire string // a token that the person names as unused, so that it may be deleted
	// TokenID and Value are a token that the person made at AWS (issuer operator).
	TokenID string
	Value   bridge.Secret
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
	settles := options.Retire != "" && rec.Rotation.settledByNaming()
	if settles { // what the sentence of a blocked rotation asks for is no second rotation
		if err := e.Reset(ctx, connection); err != nil {
			return err
		}
		rec = b.last()
	}
	if open := rec.Rotation; open != nil && open.Blocked == nil {
		return fmt.Errorf("connection %s: %w: %s is in phase %s", connection, ErrOpen, open.ID, open.Phase)
	}
	if c.Policy.Mode != bridge.RotationEnabled {
		return fmt.Errorf("connection %s: rotation.mode is %s: set it to enabled, or ask for --dry-run", connection, cmp.Or(c.Policy.Mode, bridge.RotationDisabled))
	}
	if c.Policy.Issuer == bridge.IssuerOperator && options.TokenID == "" {
		return fmt.Errorf("connection %s: rotation.issuer is operator: create a token at AWS and give it with --token-stdin --token-id", connection)
	}
	snapshot, _ := e.options.Snapshot(connection)
	_ = e.Look(ctx) // two failed connections halt new starts; what cannot be read is as it was read last
	err = e.mayBegin(c, rec, snapshot, time.Now())
	var down *standDown
	cooling := errors.As(err, &down) && down.decision == DecisionCooldown
	switch {
	case cooling && (options.Force || settles):
	case cooling:
		return fmt.Errorf("connection %s: it cools down (rotation.cooldown): %w; --force starts all the same", connection, err)
	case err != nil:
		return fmt.Errorf("connection %s: %w", connection, err)
	}
	if options.TokenID != "" {
		if tokens := snapshot.Tokens; tokens != nil && tokens.Origin == bridge.OriginDeclared {
			if _, err := offered(*tokens, options.TokenID); err != nil {
				return fmt.Errorf("connection %s: %w", connection, err)
			}
		}
		if err := e.keepOffered(ctx, c, safe{e.options.Vault, b.key}, options); err != nil {
			return fmt.Errorf("connection %s: %w", connection, err)
		}
	}
	return e.begin(ctx, c, b, binding, beginning{
		trigger: TriggerOperator, forced: options.Force || options.TokenID != "", retire: options.Retire, offered: options.TokenID,
	})
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
	probe, err := read(ctx, func(ctx context.Context) (bridge.Probe, error) { return c.Clouds.SCIM.ProbeToken(ctx, before) })
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
func (e *Engine) Carry(ctx context.Context, connection string, progress Progress) (bridge.RotationRecord, error) {
	b, err := e.find(ctx, connection)
	if err != nil {
		return bridge.RotationRecord{}, err
	}
	rec := b.last()
	if rec.Rotation == nil {
		return bridge.RotationRecord{}, fmt.Errorf("connection %s: no rotation is open", connection)
	}
	id := rec.Rotation.ID
	c, found, _ := e.connectionOf(rec)
	if !found {
		return bridge.RotationRecord{}, fmt.Errorf("no connection %q is configured", connection)
	}
	err = e.carry(ctx, b, c, progress)
	for _, shown := range e.Records() {
		if shown.ID == id {
			return shown, err
		}
	}
	return bridge.RotationRecord{}, err
}

// amend changes a record on a person's word, without the lease: whoever works on the
// rotation reads it at its next entry.
func (e *Engine) amend(ctx context.Context, connection string, edit func(*record) error) error {
	b, err := e.find(ctx, connection)
	if err != nil {
		return err
	}
	if _, err := b.change(ctx, edit); err != nil {
		return fmt.Errorf("connection %s: %w", connection, err)
	}
	e.wake(b.key)
	return nil
}

var errNoRotation = errors.New("no rotation is open")

// Approve allows the deletion of one old token.
func (e *Engine) Approve(ctx context.Context, connection, tokenID string) error {
	return e.amend(ctx, connection, func(rec *record) error {
		rot := rec.Rotation
		switch {
		case rot == nil:
			return errNoRotation
		case !slices.Contains(ids(rot.old()), tokenID):
			return fmt.Errorf("token %s is not one that this rotation wants to delete; those are: %s", tokenID, datedAll(tokensOf(rot.old())))
		case !rot.Proof.atLeast(bridge.ProofUsed):
			return fmt.Errorf("nothing shows yet that Entra uses the new token (phase %s): approve once the rotation asks for it", rot.Phase)
		}
		rot.Approval = &approval{TokenID: tokenID, At: time.Now().UTC()}
		return nil
	})
}

// Hold stops all acts for a connection until it is released; what is in flight is
// finished and recorded.
func (e *Engine) Hold(ctx context.Context, connection string, release bool) error {
	return e.amend(ctx, connection, func(rec *record) error {
		rec.Held = time.Now().UTC()
		if release {
			rec.Held = time.Time{}
		}
		return nil
	})
}

// Abort gives a rotation up, which is possible until saving to Entra was first tried:
// from then on there is no telling which token Entra holds.
func (e *Engine) Abort(ctx context.Context, connection string) error {
	return e.amend(ctx, connection, func(rec *record) error {
		rot := rec.Rotation
		switch {
		case rot == nil:
			return errNoRotation
		case rot.outOfHand():
			return fmt.Errorf("token %s may be in use already, so the rotation can only go on; hold stops it where it is", rot.newID())
		case rec.Restored != "":
			return errAdoptFirst(connection)
		}
		rot.Abort, rot.Blocked = "a person aborted it", nil
		return nil
	})
}

// Reset lets a blocked rotation go on after a person has looked, and forgets failed
// attempts. The budget stays spent.
func (e *Engine) Reset(ctx context.Context, connection string) error {
	return e.amend(ctx, connection, func(rec *record) error {
		if rec.Restored != "" {
			return errAdoptFirst(connection)
		}
		rec.Attempts = 0
		switch rot := rec.Rotation; {
		case rot == nil:
		case rot.Blocked == nil:
			return fmt.Errorf("its rotation is not blocked, it is in phase %s", rot.Phase)
		case rot.NewToken == nil && !rot.creating() && !rot.putAttempted():
			rec.remember(bridge.EndingBlocked, string(rot.Blocked.Reason), time.Now().UTC())
		default:
			rec.again(time.Now().UTC())
		}
		return nil
	})
}

// errAdoptFirst: what an older copy does not know could be that Entra holds the new token.
func errAdoptFirst(connection string) error {
	return fmt.Errorf("the journal is an older copy that was put back: compare the tokens at AWS with rotation show %s, then rotation adopt %s", connection, connection)
}

// Adopt takes the clouds as they are for right: every listed token is known, and what
// others changed is accepted. inUse names the token that Entra holds, if a person knows;
// "": the only one, or the one that was being switched to.
func (e *Engine) Adopt(ctx context.Context, connection, inUse string) error {
	c, ok := e.connection(connection)
	if !ok {
		return e.adoptRemoved(ctx, connection)
	}
	list, err := read(ctx, c.Clouds.Tokens.ListTokens)
	if err != nil {
		return err
	}
	app, err := read(ctx, c.Clouds.Provisioning.Application)
	if err != nil {
		return err
	}
	if _, listed := find(list.Tokens, inUse); inUse != "" && !listed {
		place := "listed at AWS"
		if list.Origin == bridge.OriginDeclared {
			place = "declared in the config"
		}
		return fmt.Errorf("token %s is not %s: %s", inUse, place, datedAll(list.Tokens))
	}
	b, err := e.find(ctx, connection)
	if err != nil {
		return err
	}
	binding, err := e.bindingOf(ctx, c)
	if err != nil {
		return err
	}
	if own := e.book(binding.Key()); own != b {
		if err := e.rebind(ctx, b, own); err != nil {
			return fmt.Errorf("connection %s: %w", connection, err)
		}
		if b = own; b.last() == nil {
			if _, err := b.open(ctx, binding, connection); err != nil {
				return err
			}
		}
	}
	if errors.Is(b.ailment(), errRestored) {
		if err := e.markRestored(ctx, b); err != nil {
			return err
		}
	}
	if err := b.accept(ctx); err != nil {
		return err
	}
	return e.amend(ctx, connection, func(rec *record) error {
		if rec.Rotation != nil && rec.Rotation.Blocked == nil {
			return fmt.Errorf("its rotation is not blocked, it is in phase %s", rec.Rotation.Phase)
		}
		rec.account(list.Tokens)
		exposed := rec.Restored != "" || (inUse != "" && inUse == rec.Rotation.newID())
		rec.Restored, rec.ForeignChange, rec.Attempts = "", time.Time{}, 0
		if !app.CredentialsChanged.IsZero() {
			rec.SavedAt = append(rec.SavedAt, app.CredentialsChanged)
		}
		rec.adoptRotation(list.Tokens, inUse, exposed, time.Now().UTC())
		switch _, listed := find(list.Tokens, rec.InUse); {
		case inUse != "":
			rec.InUse = inUse
		case len(list.Tokens) == 1:
			rec.InUse = list.Tokens[0].ID
		case !listed:
			rec.InUse = ""
		}
		return nil
	})
}

// adoptRemoved closes the rotation of a connection that is not configured any more, after
// a person has finished it by hand.
func (e *Engine) adoptRemoved(ctx context.Context, connection string) error {
	b, err := e.find(ctx, connection)
	if err != nil {
		return err
	}
	if rot := b.last().Rotation; rot == nil || rot.Blocked == nil || rot.Blocked.Reason != ConnectionRemoved {
		return fmt.Errorf("no connection %q is configured", connection)
	}
	return b.giveUp(ctx, "adopted: the connection is not configured any more")
}

// adoptRotation lets the rotation go on with its new token, or ends it if somebody has
// decided otherwise meanwhile. exposed: Entra may hold the new token, whatever the record says.
func (r *record) adoptRotation(tokens []bridge.Token, inUse string, exposed bool, at time.Time) {
	rot := r.Rotation
	if rot == nil {
		return
	}
	_, listed := find(tokens, rot.newID())
	if !listed || (inUse != "" && inUse != rot.newID()) {
		r.remember(bridge.EndingAborted, "adopted: a person decided otherwise", at)
		r.count(bridge.EndingAborted)
		return
	}
	rot.Silence, rot.Exposed = 0, rot.Exposed || exposed
	for _, token := range tokens {
		if token.ID != rot.newID() && !slices.Contains(ids(rot.Plan.Tokens), token.ID) {
			rot.Plan.Tokens = append(rot.Plan.Tokens, planned{Token: token, Role: bridge.RoleUnknown, Evidence: "adopted"})
		}
	}
	r.again(at)
}

// ShowToken returns the token in use and its value, for a person who must enter it by hand.
func (e *Engine) ShowToken(ctx context.Context, connection string) (tokenID string, value bridge.Secret, err error) {
	b, err := e.find(ctx, connection)
	if err != nil {
		return "", bridge.Secret{}, err
	}
	tokenID, value, err = e.inUse(ctx, b)
	switch {
	case err != nil:
		return tokenID, value, err
	case tokenID == "":
		return tokenID, value, fmt.Errorf("connection %s: no rotation has put a token into the vault, so there is no value to show; make a new token by hand (docs/rotation.md, By hand)", connection)
	case value.IsZero():
		return tokenID, value, fmt.Errorf("connection %s: the vault does not hold the value of token %q", connection, tokenID)
	}
	return tokenID, value, e.expose(ctx, b, tokenID)
}

// expose writes down that a person is shown the new token before it was saved: from then
// on Entra may hold it, so it is not taken back any more.
func (e *Engine) expose(ctx context.Context, b *book, tokenID string) error {
	if rot := b.last().Rotation; rot == nil || rot.outOfHand() || rot.newID() != tokenID {
		return nil
	}
	_, err := b.change(ctx, func(rec *record) error {
		rot := rec.Rotation
		switch {
		case rot.newID() != tokenID:
			return nil
		case rot.Phase == bridge.PhaseUndo && rot.Blocked == nil:
			return errors.New("the rotation is taking it back just now; look again in a few minutes")
		}
		rot.Exposed = true
		return nil
	})
	if err != nil {
		return fmt.Errorf("before token %s is shown, that it was has to be written down: %w", tokenID, err)
	}
	return nil
}

// InUse returns the token in use and its value as far as journal and vault tell; a zero
// Secret: they do not. It asks no cloud.
func (e *Engine) InUse(ctx context.Context, connection string) (tokenID string, value bridge.Secret, err error) {
	_ = e.Look(ctx) // what cannot be read now is as it was read last
	b := e.bookFor(connection)
	if b == nil || b.last() == nil {
		return "", bridge.Secret{}, nil
	}
	return e.inUse(ctx, b)
}

func (e *Engine) inUse(ctx context.Context, b *book) (tokenID string, value bridge.Secret, err error) {
	rec := b.last()
	tokenID = rec.InUse
	if rec.Rotation != nil && rec.Rotation.NewToken != nil {
		tokenID = rec.Rotation.NewToken.ID
	}
	value, err = safe{e.options.Vault, b.key}.of(ctx, tokenID)
	return tokenID, value, err
}
