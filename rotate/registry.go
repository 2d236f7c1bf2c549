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

// registry knows the connections, what each is bound to, and the journal entry of each
// binding.
type registry struct {
	store    journal.Store
	codec    journal.Codec
	snapshot func(connection string) (model.Snapshot, bool)
	log      *slog.Logger

	mu          sync.Mutex
	connections map[string]Connection
	bindings    map[string]string         // binding keys by connection
	entries     map[string]*journal.Entry // by binding key
	unlisted    error                     // why the journal could not be listed last; nil: it could
}

// Configure replaces the connections. A rotation that is running keeps the connection it
// began with.
func (r *registry) Configure(connections []Connection) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.connections = map[string]Connection{}
	for _, c := range connections {
		r.connections[c.Name] = c
	}
	r.bindings = map[string]string{}
}

// Resolve returns the journal entry that an operator means by a connection's name. AWS and
// Entra are asked what the name is bound to, since a name may be given to another
// binding. When they do not answer, or the connection is not configured any more, the
// journal's word counts.
func (r *registry) Resolve(ctx context.Context, connection string) (*journal.Entry, error) {
	unreadable, err := r.loadAll(ctx)
	if err != nil {
		return nil, err
	}
	c, configured := r.connection(connection)
	var binding model.Binding
	var unresolved error
	if configured {
		binding, unresolved = r.bindingOf(ctx, c)
	}
	entry := r.Lookup(connection)
	if configured && unresolved == nil && entry != nil && entry.Key() != binding.Key() {
		r.resolveBindings(ctx) // it may be that of a connection that had this name
		entry = r.Lookup(connection)
	}
	switch {
	case entry != nil && entry.Record() != nil:
		return entry, nil
	case !configured:
		return nil, errors.Join(fmt.Errorf("no connection %q is configured, and the journal has none", connection), unreadable)
	case unresolved != nil:
		return nil, unresolved
	}
	entry = r.entry(binding.Key())
	_, err = entry.LoadOrCreate(ctx, binding, connection)
	return entry, err
}

// Refresh reads the whole journal, so that Records and Status show what other processes
// have written. A record that cannot be used does not hide the others.
func (r *registry) Refresh(ctx context.Context) error {
	keys, err := r.store.Keys(ctx)
	if err != nil {
		return fmt.Errorf("listing the journal: %w", err)
	}
	var failures []error
	for _, key := range keys {
		if _, err := r.entry(key).Load(ctx); err != nil {
			failures = append(failures, err)
		}
	}
	return errors.Join(failures...)
}

// loadAll reads every record. unreadable is why one could not be read.
func (r *registry) loadAll(ctx context.Context) (unreadable, err error) {
	keys, err := r.store.Keys(ctx)
	if err != nil {
		return nil, fmt.Errorf("listing the journal: %w", err)
	}
	for _, key := range keys {
		if _, err := r.entry(key).Load(ctx); err != nil && !errors.Is(err, journal.ErrRestored) {
			unreadable = err
		}
	}
	return unreadable, nil
}

// Lookup returns the entry of a connection as far as it is known without a call; else
// nil. A rotation that is still open under a former binding of the connection goes before
// the present binding: an operator has to know about it.
func (r *registry) Lookup(connection string) *journal.Entry {
	r.mu.Lock()
	defer r.mu.Unlock()
	own, former := r.entries[r.bindings[connection]], r.entryByFormerName(connection)
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
func (r *registry) entryByFormerName(connection string) *journal.Entry {
	isBound := func(key string) bool {
		return r.bindings[connection] == key || slices.Contains(slices.Collect(maps.Values(r.bindings)), key)
	}
	var found *journal.Entry
	for key, entry := range r.entries {
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
func (r *registry) openUnderFormerBinding(connection, key string) *journal.Rotation {
	if entry := r.Lookup(connection); entry != nil && entry.Key() != key && entry.IsOpen() {
		return entry.Record().Rotation
	}
	return nil
}

// connectionOf finds the connection of a record: by its binding, else by its name.
// certain is true if a connection that was not found is certainly not configured.
func (r *registry) connectionOf(record *journal.Record) (c Connection, found, certain bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	certain = true
	key := record.Binding.Key()
	for name, c := range r.connections {
		if r.bindings[name] == key {
			return c, true, true
		}
		if r.bindings[name] == "" {
			certain = false
		}
	}
	c, found = r.connections[record.Connection]
	return c, found && certain, certain
}

// findConnection is connectionOf, and asks AWS and Entra while it is uncertain: first what
// the connection that the record names is bound to.
func (r *registry) findConnection(ctx context.Context, record *journal.Record) (c Connection, found, certain bool) {
	if c, found, certain = r.connectionOf(record); found || certain {
		return c, found, certain
	}
	if named, configured := r.connection(record.Connection); configured {
		r.resolve(ctx, named)
		if c, found, certain = r.connectionOf(record); found || certain {
			return c, found, certain
		}
	}
	r.resolveBindings(ctx)
	return r.connectionOf(record)
}

// cacheKnownBindings notes which binding each connection has, as far as the polls tell.
func (r *registry) cacheKnownBindings() {
	for _, c := range r.unbound() {
		if snapshot, _ := r.snapshot(c.Name); snapshot.Binding.Complete() {
			r.cacheBinding(c.Name, snapshot.Binding)
		}
	}
}

// unbound returns the connections whose binding is not known.
func (r *registry) unbound() []Connection {
	r.mu.Lock()
	defer r.mu.Unlock()
	missing := make([]Connection, 0, len(r.connections))
	for name, c := range r.connections {
		if r.bindings[name] == "" {
			missing = append(missing, c)
		}
	}
	return missing
}

// resolveBindings finds out which binding each connection has.
func (r *registry) resolveBindings(ctx context.Context) {
	for _, c := range r.unbound() {
		r.resolve(ctx, c)
	}
}

func (r *registry) resolve(ctx context.Context, c Connection) {
	if _, err := r.bindingOf(ctx, c); err != nil {
		r.log.Debug("connection not resolved yet", "connection", c.Name, "err", err)
	}
}

// bindingOf returns the binding of a connection, from the last poll or by a call.
func (r *registry) bindingOf(ctx context.Context, c Connection) (model.Binding, error) {
	snapshot, _ := r.snapshot(c.Name)
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
	r.cacheBinding(c.Name, binding)
	return binding, nil
}

// cacheBinding notes which binding a connection has.
func (r *registry) cacheBinding(connection string, binding model.Binding) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if _, configured := r.connections[connection]; configured && binding.Complete() {
		r.bindings[connection] = binding.Key()
	}
}

// entry returns the one entry of a binding in this process.
func (r *registry) entry(key string) *journal.Entry {
	r.mu.Lock()
	defer r.mu.Unlock()
	entry := r.entries[key]
	if entry == nil {
		entry = journal.NewEntry(r.store, r.codec, key)
		r.entries[key] = entry
	}
	return entry
}

func (r *registry) all() []Connection {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Collect(maps.Values(r.connections))
}

func (r *registry) connection(name string) (Connection, bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	c, ok := r.connections[name]
	return c, ok
}

// configured returns a connection and its procedure of a kind.
func (r *registry) configured(connection string, kind model.Procedure) (Connection, Procedure, error) {
	c, ok := r.connection(connection)
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
func (r *registry) inventory(snapshot model.Snapshot, record *journal.Record) string {
	if c, configured, _ := r.connectionOf(record); configured {
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

// blockedConnections names the connections whose rotations are blocked.
func (r *registry) blockedConnections() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	var names []string
	for _, entry := range r.entries {
		if record := entry.Record(); record.IsBlocked() {
			names = append(names, record.Connection)
		}
	}
	slices.Sort(names)
	return names
}

// Records returns the rotations that are remembered, open ones included, newest first.
func (r *registry) Records() []model.RotationRecord {
	r.mu.Lock()
	entries := make([]*journal.Entry, 0, len(r.entries))
	for _, entry := range r.entries {
		entries = append(entries, entry)
	}
	r.mu.Unlock()
	var list []model.RotationRecord
	for _, entry := range entries {
		record := entry.Record()
		if record == nil {
			continue
		}
		list = append(list, record.History...)
		if record.Rotation != nil {
			list = append(list, record.Describe(time.Time{}))
		}
	}
	slices.SortFunc(list, func(a, b model.RotationRecord) int { return b.Started.Compare(a.Started) })
	return list
}

// noteListing notes whether the journal could be listed; nil: it could.
func (r *registry) noteListing(err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.unlisted = err
}

func (r *registry) listingError() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.unlisted
}
