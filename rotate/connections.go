package rotate

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"entra-aws-exporter/internal/model"
	"entra-aws-exporter/rotate/journal"
)

// callTimeout bounds every call to AWS or Entra. It is shorter than journal.LeaseMargin,
// so an operation is over before its lease is.
const callTimeout = 20 * time.Second

func errUnknownConnection(connection string) error {
	return fmt.Errorf("no connection %q is configured", connection)
}

func errNoOpenRotation(connection string) error {
	return fmt.Errorf("connection %s: no rotation is open", connection)
}

func errUnknownProcedure(connection string, kind model.Procedure) error {
	return fmt.Errorf("connection %s has no procedure %q", connection, kind)
}

// Resolve returns the journal entry that an operator means by a connection's name. AWS and
// Entra are asked what the name is bound to, since a name may be given to another
// binding. When they do not answer, or the connection is not configured any more, the
// journal's word counts.
func (e *Engine) Resolve(ctx context.Context, connection string) (*journal.Entry, error) {
	unreadable, err := e.loadAll(ctx)
	if err != nil {
		return nil, err
	}
	c, configured := e.connection(connection)
	var binding model.Binding
	var unresolved error
	if configured {
		binding, unresolved = e.bindingOf(ctx, c)
	}
	entry := e.Lookup(connection)
	if configured && unresolved == nil && entry != nil && entry.Key() != binding.Key() {
		e.resolveBindings(ctx) // it may be that of a connection that had this name
		entry = e.Lookup(connection)
	}
	switch {
	case entry != nil && entry.Record() != nil:
		return entry, nil
	case !configured:
		return nil, errors.Join(fmt.Errorf("no connection %q is configured, and the journal has none", connection), unreadable)
	case unresolved != nil:
		return nil, unresolved
	}
	entry = e.entry(binding.Key())
	_, err = entry.LoadOrCreate(ctx, binding, connection)
	return entry, err
}

// Refresh reads the whole journal, so that Records and Status show what other processes
// have written. A record that cannot be used does not hide the others.
func (e *Engine) Refresh(ctx context.Context) error {
	keys, err := e.options.Store.Keys(ctx)
	if err != nil {
		return fmt.Errorf("listing the journal: %w", err)
	}
	var failures []error
	for _, key := range keys {
		if _, err := e.entry(key).Load(ctx); err != nil {
			failures = append(failures, err)
		}
	}
	return errors.Join(failures...)
}

// loadAll reads every record. unreadable is why one could not be read.
func (e *Engine) loadAll(ctx context.Context) (unreadable, err error) {
	keys, err := e.options.Store.Keys(ctx)
	if err != nil {
		return nil, fmt.Errorf("listing the journal: %w", err)
	}
	for _, key := range keys {
		if _, err := e.entry(key).Load(ctx); err != nil && !errors.Is(err, journal.ErrRestored) {
			unreadable = err
		}
	}
	return unreadable, nil
}

// Lookup returns the entry of a connection as far as it is known without a call; else
// nil. A rotation that is still open under a former binding of the connection goes before
// the present binding: an operator has to know about it.
func (e *Engine) Lookup(connection string) *journal.Entry {
	e.mu.Lock()
	defer e.mu.Unlock()
	own, former := e.entries[e.bindings[connection]], e.entryByFormerName(connection)
	switch {
	case own == nil, !own.IsOpen() && former != nil && former.IsOpen():
		return former
	default:
		return own
	}
}

// entryByFormerName returns the entry that was last written for a connection of this
// name, with a binding that no connection has any more; an open rotation goes first. Nil:
// there is none. The engine is locked.
func (e *Engine) entryByFormerName(connection string) *journal.Entry {
	isBound := func(key string) bool {
		return e.bindings[connection] == key || slices.Contains(slices.Collect(maps.Values(e.bindings)), key)
	}
	var found *journal.Entry
	for key, entry := range e.entries {
		record := entry.Record()
		if record == nil || record.Connection != connection || isBound(key) {
			continue
		}
		newer := found != nil && entry.IsOpen() == found.IsOpen() && record.Updated.After(found.Record().Updated)
		if found == nil || newer || (entry.IsOpen() && !found.IsOpen()) {
			found = entry
		}
	}
	return found
}

// openUnderFormerBinding returns the rotation of a connection that is still open under
// another binding than this one; nil if there is none.
func (e *Engine) openUnderFormerBinding(connection, key string) *journal.Rotation {
	if entry := e.Lookup(connection); entry != nil && entry.Key() != key && entry.IsOpen() {
		return entry.Record().Rotation
	}
	return nil
}

// connectionOf finds the connection of a record: by its binding, else by its name.
// certain is true if a connection that was not found is certainly not configured.
func (e *Engine) connectionOf(record *journal.Record) (c Connection, found, certain bool) {
	e.mu.Lock()
	defer e.mu.Unlock()
	certain = true
	key := record.Binding.Key()
	for name, c := range e.connections {
		if e.bindings[name] == key {
			return c, true, true
		}
		if e.bindings[name] == "" {
			certain = false
		}
	}
	c, found = e.connections[record.Connection]
	return c, found && certain, certain
}

// findConnection is connectionOf, and asks AWS and Entra while it is uncertain: first what
// the connection that the record names is bound to.
func (e *Engine) findConnection(ctx context.Context, record *journal.Record) (c Connection, found, certain bool) {
	if c, found, certain = e.connectionOf(record); found || certain {
		return c, found, certain
	}
	if named, configured := e.connection(record.Connection); configured {
		e.resolve(ctx, named)
		if c, found, certain = e.connectionOf(record); found || certain {
			return c, found, certain
		}
	}
	e.resolveBindings(ctx)
	return e.connectionOf(record)
}

// cacheKnownBindings notes which binding each connection has, as far as the polls tell.
func (e *Engine) cacheKnownBindings() {
	for _, c := range e.unbound() {
		if snapshot, _ := e.options.Snapshot(c.Name); snapshot.Binding.Complete() {
			e.cacheBinding(c.Name, snapshot.Binding)
		}
	}
}

// unbound returns the connections whose binding is not known.
func (e *Engine) unbound() []Connection {
	e.mu.Lock()
	defer e.mu.Unlock()
	missing := make([]Connection, 0, len(e.connections))
	for name, c := range e.connections {
		if e.bindings[name] == "" {
			missing = append(missing, c)
		}
	}
	return missing
}

// resolveBindings finds out which binding each connection has.
func (e *Engine) resolveBindings(ctx context.Context) {
	for _, c := range e.unbound() {
		e.resolve(ctx, c)
	}
}

func (e *Engine) resolve(ctx context.Context, c Connection) {
	if _, err := e.bindingOf(ctx, c); err != nil {
		e.options.Logger.Debug("connection not resolved yet", "connection", c.Name, "err", err)
	}
}

// bindingOf returns the binding of a connection, from the last poll or by a call.
func (e *Engine) bindingOf(ctx context.Context, c Connection) (model.Binding, error) {
	snapshot, _ := e.options.Snapshot(c.Name)
	binding := snapshot.Binding
	if !binding.Complete() {
		bounded, cancel := context.WithTimeout(ctx, callTimeout)
		defer cancel()
		var err error
		if binding, err = c.Resolve(bounded); err != nil {
			return binding, fmt.Errorf("resolving connection %s: %w", c.Name, err)
		}
	}
	if !binding.Complete() {
		if binding.ProvisioningTenantID == "" {
			return binding, fmt.Errorf("connection %s: its provisioning tenant at AWS is unknown: with tokens.read_from: declared it is not looked up, so set aws.provisioning_tenant_id", c.Name)
		}
		return binding, fmt.Errorf("connection %s is not resolved on both sides", c.Name)
	}
	e.cacheBinding(c.Name, binding)
	return binding, nil
}

// cacheBinding notes which binding a connection has.
func (e *Engine) cacheBinding(connection string, binding model.Binding) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if _, configured := e.connections[connection]; configured && binding.Complete() {
		e.bindings[connection] = binding.Key()
	}
}

// entry returns the one entry of a binding in this process.
func (e *Engine) entry(key string) *journal.Entry {
	e.mu.Lock()
	defer e.mu.Unlock()
	entry := e.entries[key]
	if entry == nil {
		entry = journal.NewEntry(e.options.Store, e.options.Codec, key)
		e.entries[key] = entry
	}
	return entry
}

func (e *Engine) connection(name string) (Connection, bool) {
	e.mu.Lock()
	defer e.mu.Unlock()
	c, ok := e.connections[name]
	return c, ok
}

// configured returns a connection and its procedure of a kind.
func (e *Engine) configured(connection string, kind model.Procedure) (Connection, Procedure, error) {
	c, ok := e.connection(connection)
	if !ok {
		return c, nil, errUnknownConnection(connection)
	}
	p, ok := c.procedure(kind)
	if !ok {
		return c, nil, errUnknownProcedure(connection, kind)
	}
	return c, p, nil
}

// inventory lists what there is to rotate for a record, by the last poll if it is known.
func (e *Engine) inventory(snapshot model.Snapshot, record *journal.Record) string {
	if c, configured, _ := e.connectionOf(record); configured {
		kind := model.ProcedureToken
		if record.Rotation != nil {
			kind = record.Rotation.Kind
		}
		if p, ok := c.procedure(kind); ok {
			return p.Inventory(snapshot, record)
		}
	}
	return record.Inventory()
}
