package rotate

import (
	"context"
	"errors"
	"fmt"
	"time"

	"entra-aws-exporter/internal/model"
	"entra-aws-exporter/rotate/journal"
	"entra-aws-exporter/rotate/policy"
)

// Approve allows the deletion of one target.
func (e *Engine) Approve(ctx context.Context, connection, target string) error {
	return e.updateRotation(ctx, connection, func(p Procedure, r *journal.Record) error {
		if err := p.CheckApproval(r.Rotation, target); err != nil {
			return err
		}
		r.Rotation.Approval = &journal.Approval{Target: target, At: time.Now().UTC()}
		return nil
	})
}

// Hold pauses the rotations of a connection until it is released. An operation in flight
// is finished and recorded.
func (e *Engine) Hold(ctx context.Context, connection string, release bool) error {
	return e.update(ctx, connection, func(r *journal.Record) error {
		r.OnHold = time.Now().UTC()
		if release {
			r.OnHold = time.Time{}
		}
		return nil
	})
}

// Abort ends a rotation. It is possible until saving to Entra was first tried: from then
// on nobody can tell which token Entra holds.
func (e *Engine) Abort(ctx context.Context, connection string) error {
	return e.updateRotation(ctx, connection, func(p Procedure, r *journal.Record) error {
		if err := p.CheckAbort(r.Rotation); err != nil {
			return err
		}
		if r.Restored != "" {
			return errAdoptFirst(connection)
		}
		r.Rotation.Abort, r.Rotation.Blocked = "an operator aborted it", nil
		return nil
	})
}

// Reset unblocks a rotation after an operator has looked, and clears the attempt count.
// Rate limits stay as they are.
func (e *Engine) Reset(ctx context.Context, connection string) error {
	c, _ := e.connection(connection)
	return e.update(ctx, connection, func(r *journal.Record) error {
		if r.Restored != "" {
			return errAdoptFirst(connection)
		}
		for _, procedure := range r.Procedures {
			procedure.Attempts = 0
		}
		switch {
		case r.Rotation == nil:
			return nil
		case r.Rotation.Blocked == nil:
			return errNotBlocked(r.Rotation)
		}
		p, known := c.procedure(r.Rotation.Kind)
		if !known {
			return errUnknownConnection(connection)
		}
		if at := time.Now().UTC(); !p.Reset(r, at) {
			r.Archive(model.OutcomeBlocked, string(r.Rotation.Blocked.Reason), at)
		}
		return nil
	})
}

// Adopt accepts the current state of AWS and Entra: everything that is listed is known,
// and what others changed is accepted. inUse names what Entra uses; "": the only one, or
// the new one if nobody else created a token or changed what Entra holds.
func (e *Engine) Adopt(ctx context.Context, connection, inUse string) error {
	c, ok := e.connection(connection)
	if !ok {
		return e.adoptRemoved(ctx, connection)
	}
	edits := map[model.Procedure]func(*journal.Record) error{}
	for _, p := range e.adoptable(ctx, c) {
		edit, err := p.Adopt(ctx, inUse)
		if err != nil {
			return err
		}
		edits[p.Kind()] = edit
	}
	if err := e.adoptRecord(ctx, c); err != nil {
		return err
	}
	return e.update(ctx, connection, func(r *journal.Record) error {
		if r.Active() {
			return errNotBlocked(r.Rotation)
		}
		for _, edit := range edits {
			if err := edit(r); err != nil {
				return err
			}
		}
		r.Restored = ""
		for _, procedure := range r.Procedures {
			procedure.Attempts = 0
		}
		return nil
	})
}

// adoptable are the procedures whose state an operator accepts: the open rotation's alone,
// unless the record may be older than all of it.
func (e *Engine) adoptable(ctx context.Context, c Connection) []Procedure {
	_ = e.Refresh(ctx) // what cannot be read now is as it was read last
	if entry := e.Lookup(c.Name); entry != nil && entry.IsOpen() && entry.Err() == nil {
		record := entry.Record()
		if p, known := c.procedure(record.Rotation.Kind); known && record.Restored == "" {
			return []Procedure{p}
		}
	}
	return c.Procedures
}

// adoptRecord makes the connection's record the right one: that of its present binding,
// even if a copy of it was restored.
func (e *Engine) adoptRecord(ctx context.Context, c Connection) error {
	entry, err := e.Resolve(ctx, c.Name)
	if err != nil {
		return err
	}
	binding, err := e.bindingOf(ctx, c)
	if err != nil {
		return err
	}
	if own := e.entry(binding.Key()); own != entry {
		if err := e.moveToBinding(ctx, c, entry, own, binding); err != nil {
			return fmt.Errorf("connection %s: %w", c.Name, err)
		}
		entry = own
	}
	if errors.Is(entry.Err(), journal.ErrRestored) {
		if err := e.markRestored(ctx, entry); err != nil {
			return err
		}
	}
	return entry.Accept(ctx)
}

// adoptRemoved closes the rotation of a connection that is not configured any more, after
// an operator has finished it by hand.
func (e *Engine) adoptRemoved(ctx context.Context, connection string) error {
	entry, err := e.Resolve(ctx, connection)
	if err != nil {
		return err
	}
	if r := entry.Record(); !r.IsBlocked() || r.Rotation.Blocked.Reason != model.BlockedConnectionRemoved {
		return errUnknownConnection(connection)
	}
	return closeBlocked(ctx, entry, "adopted: the connection is not configured any more")
}

// moveToBinding ends a blocked rotation whose connection is bound to something else now,
// and begins the record of that binding.
func (e *Engine) moveToBinding(ctx context.Context, c Connection, from, to *journal.Entry, binding model.Binding) error {
	record := from.Record()
	rebound := func(*journal.Record) {}
	if rotation := record.Rotation; rotation != nil {
		if rotation.Blocked == nil {
			return errNotBlocked(rotation)
		}
		p, known := c.procedure(rotation.Kind)
		if !known {
			return errUnknownProcedure(c.Name, rotation.Kind)
		}
		var err error
		if rebound, err = p.Rebind(ctx, record, to.Key()); err != nil {
			return err
		}
		if err := closeBlocked(ctx, from, "adopted: the connection is bound to something else now"); err != nil {
			return err
		}
	}
	if _, err := to.LoadOrCreate(ctx, binding, c.Name); err != nil {
		if errors.Is(err, journal.ErrRestored) { // it knows more than the other one
			return nil
		}
		return err
	}
	_, err := to.Change(ctx, func(r *journal.Record) error { rebound(r); return nil })
	return err
}

// closeBlocked ends a blocked rotation without an operation.
func closeBlocked(ctx context.Context, entry *journal.Entry, reason string) error {
	_, err := entry.Change(ctx, func(r *journal.Record) error {
		if !r.IsBlocked() {
			return errors.New("its rotation is not blocked any more")
		}
		r.Finish(model.OutcomeAborted, reason, time.Now().UTC())
		return nil
	})
	return err
}

// update changes a record for an operator, without the lease: the process that runs the
// rotation reads it before its next write.
func (e *Engine) update(ctx context.Context, connection string, edit func(*journal.Record) error) error {
	entry, err := e.Resolve(ctx, connection)
	if err != nil {
		return err
	}
	if _, err := entry.Change(ctx, edit); err != nil {
		return fmt.Errorf("connection %s: %w", connection, err)
	}
	e.limits.wakeUp(entry.Key())
	notify(e.wakeup)
	return nil
}

// updateRotation is update for what needs an open rotation.
func (e *Engine) updateRotation(ctx context.Context, connection string, edit func(Procedure, *journal.Record) error) error {
	c, _ := e.connection(connection)
	return e.update(ctx, connection, func(r *journal.Record) error {
		if r.Rotation == nil {
			return errors.New("no rotation is open")
		}
		p, known := c.procedure(r.Rotation.Kind)
		if !known {
			return errUnknownConnection(connection)
		}
		return edit(p, r)
	})
}

func errNotBlocked(rotation *journal.Rotation) error {
	return fmt.Errorf("its rotation is not blocked, it is in phase %s", rotation.Phase)
}

// errAdoptFirst: what an older copy does not know could be that Entra holds the new token.
func errAdoptFirst(connection string) error {
	return fmt.Errorf("the journal is an older copy that was restored: %s", policy.Remediation(model.ProcedureToken, model.BlockedStateRestored, connection))
}
