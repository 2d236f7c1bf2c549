package rotate

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"entra-aws-exporter/internal/model"
)

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
		if list.Origin == model.OriginDeclared {
			place = "declared in the config"
		}
		return fmt.Errorf("token %s is not %s: %s", inUse, place, datedAll(list.Tokens))
	}
	if err := e.adoptRecord(ctx, c); err != nil {
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

// adoptRecord makes the record that the connection has in the journal the right one: of
// what it is bound to now, and even if a copy of it was put back.
func (e *Engine) adoptRecord(ctx context.Context, c Connection) error {
	b, err := e.find(ctx, c.Name)
	if err != nil {
		return err
	}
	binding, err := e.bindingOf(ctx, c)
	if err != nil {
		return err
	}
	if own := e.book(binding.Key()); own != b {
		if err := e.rebind(ctx, b, own); err != nil {
			return fmt.Errorf("connection %s: %w", c.Name, err)
		}
		if _, err := own.open(ctx, binding, c.Name); err != nil && !errors.Is(err, errRestored) {
			return err
		}
		b = own
	}
	if errors.Is(b.ailment(), errRestored) {
		if err := e.markRestored(ctx, b); err != nil {
			return err
		}
	}
	return b.accept(ctx)
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
func (r *record) adoptRotation(tokens []model.Token, inUse string, exposed bool, at time.Time) {
	rot := r.Rotation
	if rot == nil {
		return
	}
	_, listed := find(tokens, rot.newID())
	if !listed || (inUse != "" && inUse != rot.newID()) {
		r.remember(model.OutcomeAborted, "adopted: a person decided otherwise", at)
		r.count(model.OutcomeAborted)
		return
	}
	rot.Silence, rot.Exposed = 0, rot.Exposed || exposed
	for _, token := range tokens {
		if token.ID != rot.newID() && !slices.Contains(ids(rot.Plan.Tokens), token.ID) {
			rot.Plan.Tokens = append(rot.Plan.Tokens, planned{Token: token, Role: model.RoleUnknown, Evidence: "adopted"})
		}
	}
	r.again(at)
}
