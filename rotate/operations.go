package rotate

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"entra-aws-exporter/internal/model"
)

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
		case !rot.Proof.atLeast(model.ProofUsed):
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
			rec.remember(model.OutcomeBlocked, string(rot.Blocked.Reason), time.Now().UTC())
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

// ShowToken returns the token in use and its value, for a person who must enter it by hand.
func (e *Engine) ShowToken(ctx context.Context, connection string) (tokenID string, value model.Secret, err error) {
	b, err := e.find(ctx, connection)
	if err != nil {
		return "", model.Secret{}, err
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
		case rot.Phase == model.PhaseUndo && rot.Blocked == nil:
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
func (e *Engine) InUse(ctx context.Context, connection string) (tokenID string, value model.Secret, err error) {
	_ = e.Look(ctx) // what cannot be read now is as it was read last
	b := e.bookFor(connection)
	if b == nil || b.last() == nil {
		return "", model.Secret{}, nil
	}
	return e.inUse(ctx, b)
}

func (e *Engine) inUse(ctx context.Context, b *book) (tokenID string, value model.Secret, err error) {
	rec := b.last()
	tokenID = rec.InUse
	if rec.Rotation != nil && rec.Rotation.NewToken != nil {
		tokenID = rec.Rotation.NewToken.ID
	}
	value, err = safe{e.options.Vault, b.key}.of(ctx, tokenID)
	return tokenID, value, err
}
