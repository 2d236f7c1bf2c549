package rotate

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"entra-aws-exporter/internal/model"
)

// find returns the book that a person means by a connection's name. The clouds are asked
// what the name is bound to, since a name may be given to another binding; when they do
// not answer, or the connection is not configured any more, the journal's word must do.
func (e *Engine) find(ctx context.Context, connection string) (*book, error) {
	keys, err := e.options.Journal.Keys(ctx)
	if err != nil {
		return nil, fmt.Errorf("listing the journal: %w", err)
	}
	var unreadable error
	for _, key := range keys {
		if _, err := e.book(key).load(ctx); err != nil && !errors.Is(err, errRestored) {
			unreadable = err
		}
	}
	c, configured := e.connection(connection)
	var binding model.Binding
	var unresolved error
	if configured {
		binding, unresolved = e.bindingOf(ctx, c)
	}
	b := e.bookFor(connection)
	if configured && unresolved == nil && b != nil && b.key != binding.Key() {
		e.learnKeys(ctx) // it may be that of a connection that had this name
		b = e.bookFor(connection)
	}
	switch {
	case b != nil && b.last() != nil:
		return b, nil
	case !configured:
		return nil, errors.Join(fmt.Errorf("no connection %q is configured, and the journal knows none", connection), unreadable)
	case unresolved != nil:
		return nil, unresolved
	}
	b = e.book(binding.Key())
	_, err = b.open(ctx, binding, connection)
	return b, err
}

// bookFor returns the book of a connection as far as it is known without asking; else
// nil. A rotation that is still open under a binding that the connection had before goes
// before the binding that it has now: it is what a person has to know about.
func (e *Engine) bookFor(connection string) *book {
	e.mu.Lock()
	defer e.mu.Unlock()
	own, namesake := e.books[e.keys[connection]], e.namesake(connection)
	switch {
	case own == nil, !own.isOpen() && namesake != nil && namesake.isOpen():
		return namesake
	default:
		return own
	}
}

// namesake returns the book that was last written for a connection of this name, with a
// binding that no connection has any more, an open rotation first; nil if there is none.
// The engine is locked.
func (e *Engine) namesake(connection string) *book {
	bound := slices.Collect(maps.Values(e.keys))
	var found *book
	for key, b := range e.books {
		rec := b.last()
		if rec == nil || rec.Connection != connection || slices.Contains(bound, key) {
			continue
		}
		if found == nil || (b.isOpen() && !found.isOpen()) || (b.isOpen() == found.isOpen() && rec.Updated.After(found.last().Updated)) {
			found = b
		}
	}
	return found
}

// isOpen tells whether a rotation is under way or blocked.
func (b *book) isOpen() bool {
	rec := b.last()
	return rec != nil && rec.Rotation != nil
}

// leftOpen returns the rotation of a connection that is still open under a binding which
// it had before this one; nil if there is none.
func (e *Engine) leftOpen(connection, key string) *rotation {
	if b := e.bookFor(connection); b != nil && b.key != key && b.isOpen() {
		return b.last().Rotation
	}
	return nil
}

// rebind ends a blocked rotation whose connection is bound to something else by now, as
// a person wants it. The new token's value goes with the connection: Entra may hold it.
func (e *Engine) rebind(ctx context.Context, from, to *book) error {
	rot := from.last().Rotation
	switch {
	case rot == nil:
		return nil
	case rot.Blocked == nil:
		return fmt.Errorf("its rotation is not blocked, it is in phase %s", rot.Phase)
	}
	if id := rot.newID(); id != "" {
		value, err := safe{e.options.Vault, from.key}.of(ctx, id)
		if err != nil {
			return err
		}
		if there := (safe{e.options.Vault, to.key}); !value.IsZero() {
			name := "adopted-" + id
			if err := there.reserve(ctx, name); err != nil {
				return err
			}
			if err := there.put(ctx, name, id, value); err != nil {
				return err
			}
		}
	}
	return from.giveUp(ctx, "adopted: the connection is bound to something else now")
}

// giveUp ends a blocked rotation without an act.
func (b *book) giveUp(ctx context.Context, why string) error {
	_, err := b.change(ctx, func(rec *record) error {
		if rec.Rotation == nil || rec.Rotation.Blocked == nil {
			return errors.New("its rotation is not blocked any more")
		}
		rec.remember(model.OutcomeAborted, why, time.Now().UTC())
		rec.count(model.OutcomeAborted)
		return nil
	})
	return err
}
