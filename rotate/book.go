package rotate

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"entra-aws-exporter/internal/model"
)

// The lease on a record. It is longer than an act takes and than the engine lets pass
// between two entries, and short enough for another process to take over soon.
const (
	leaseLength = 5 * time.Minute
	leaseMargin = 30 * time.Second // what must be left of it before an act
	heartbeat   = 2 * time.Minute  // the longest time between two entries while a rotation is open
)

// silenceLimit is how long a record may have been silent before it is possible that it
// is an older copy put back: longer than any pause the engine makes by itself, shorter
// than what lies between creating a token and saving it to Entra (switchAfter).
const silenceLimit = 5 * time.Minute

var (
	// errLeaseLost: another process works on this record by now.
	errLeaseLost = errors.New("the lease is lost")
	// errHeldElsewhere: another process works on this record.
	errHeldElsewhere = errors.New("another process works on it")
	// errRestored: the record has become older than it was.
	errRestored = errors.New("a copy of the journal was put back, which may be older than the clouds")
)

// lease is the right to change a record and to act on its binding. It is part of the
// record, so whoever loses it can no longer write.
type lease struct {
	Holder  string    `json:"holder"`
	Epoch   uint64    `json:"epoch"` // grows with every change of holder
	Expires time.Time `json:"expires"`
}

// book is one binding's record as this process last knew it. It is safe for several
// goroutines: the rotation writes under its lease, operators and webhooks without. They
// pass the door one after the other, so that no older answer overtakes a newer one.
type book struct {
	journal Journal
	key     string
	door    chan struct{}

	mu       sync.Mutex // of the fields; never held over I/O
	content  []byte
	revision string
	record   *record // nil: never read, or not there
	seen     time.Time
	highest  uint64
	trouble  error // why the journal could not be read or written last; nil: it could
}

func newBook(journal Journal, key string) *book {
	return &book{journal: journal, key: key, door: make(chan struct{}, 1)}
}

// enter waits for the door; the caller leaves it by the function returned.
func (b *book) enter(ctx context.Context) (leave func(), err error) {
	select {
	case b.door <- struct{}{}:
		return func() { <-b.door }, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// last returns the record as last read or written; nil if there is none.
func (b *book) last() *record {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.record
}

// ailment returns why the journal could not be read or written last.
func (b *book) ailment() error {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.trouble
}

func (b *book) ail(err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.trouble = err
}

// load reads the record; nil without an error if there is none.
func (b *book) load(ctx context.Context) (*record, error) {
	leave, err := b.enter(ctx)
	if err != nil {
		return nil, err
	}
	defer leave()
	return b.fetch(ctx)
}

func (b *book) fetch(ctx context.Context) (*record, error) {
	content, revision, err := b.journal.Load(ctx, b.key)
	if known := b.asBefore(content, revision); known != nil && err == nil {
		return known, nil
	}
	restored := false
	if journal, able := b.journal.(Restorable); able && err == nil && content != nil {
		restored, err = journal.Restored(ctx, b.key)
	}
	if err == nil && content != nil {
		var r *record
		if r, err = decodeRecord(content, b.key); err == nil {
			err = b.take(r, content, revision)
		}
		if err == nil && restored && r.Restored == "" {
			err = errRestored
		}
	} else if err == nil {
		err = b.take(nil, nil, revision)
	}
	if errors.Is(err, model.ErrUnreadable) {
		err = fmt.Errorf("%w: %w", errUnreadable, err)
	}
	if err != nil {
		err = fmt.Errorf("reading the journal %s: %w", b.key, err)
		b.ail(err)
		return nil, err
	}
	b.ail(nil)
	return b.last(), nil
}

// asBefore returns the record if these are the bytes that it was read from.
func (b *book) asBefore(content []byte, revision string) *record {
	b.mu.Lock()
	defer b.mu.Unlock()
	if content == nil || revision != b.revision || !bytes.Equal(content, b.content) || errors.Is(b.trouble, errRestored) {
		return nil
	}
	b.trouble = nil
	return b.record
}

// take makes what was read or written the last known state.
func (b *book) take(r *record, content []byte, revision string) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	var sequence uint64
	if r != nil {
		sequence = r.Sequence
	}
	older := sequence < b.highest
	if revision != b.revision || b.seen.IsZero() {
		b.seen = time.Now()
	}
	b.content, b.revision, b.record, b.highest = content, revision, r, sequence
	if older {
		return errRestored
	}
	return nil
}

// accept tells the journal that a person has compared a restored record with the clouds.
func (b *book) accept(ctx context.Context) error {
	journal, able := b.journal.(Restorable)
	if !able {
		return nil
	}
	if err := journal.Accept(ctx, b.key); err != nil {
		return fmt.Errorf("accepting the restored journal %s: %w", b.key, err)
	}
	return nil
}

// silence is how old the record was when this process first saw its present revision.
// Later the process was there to see that nobody exchanged it.
func (b *book) silence() time.Duration {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.record == nil {
		return 0
	}
	return max(0, b.seen.Sub(b.record.Updated))
}

// change applies an edit to the newest state of the record and stores it. When
// somebody else has written meanwhile, it reads again and repeats the edit, which must
// therefore depend on nothing but the record. An edit that returns an error changes
// nothing. Any error but the edit's own and errUnreadable leaves the record as it was
// or unknown; the next load tells.
func (b *book) change(ctx context.Context, edit func(*record) error) (*record, error) {
	leave, err := b.enter(ctx)
	if err != nil {
		return nil, err
	}
	defer leave()
	for range 10 {
		next, revision, err := b.copy()
		if err != nil {
			return nil, err
		}
		if err := edit(next); err != nil {
			return nil, err
		}
		if next.Rotation != nil {
			if err := next.Rotation.check(); err != nil { // what could not be read again is never written
				return nil, fmt.Errorf("writing the journal %s: %w", b.key, err)
			}
		}
		next.Sequence++
		next.Updated = time.Now().UTC()
		content, err := next.encode()
		if err != nil {
			return nil, err
		}
		written, err := b.journal.Save(ctx, b.key, content, revision)
		if err == nil {
			if err := b.take(next, content, written); err != nil {
				return nil, err
			}
			b.ail(nil)
			return next, nil
		}
		if _, loadErr := b.fetch(ctx); loadErr != nil {
			return nil, loadErr
		}
		if b.holds(content) {
			return b.last(), nil // the answer was lost, the bytes were not
		}
		if !errors.Is(err, model.ErrConflict) {
			err = fmt.Errorf("writing the journal %s: %w", b.key, err)
			b.ail(err)
			return nil, err
		}
	}
	return nil, fmt.Errorf("writing the journal %s: %w", b.key, model.ErrConflict)
}

// copy returns the record as last known, to be changed.
func (b *book) copy() (*record, string, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	switch {
	case b.record == nil:
		return nil, "", fmt.Errorf("%w: it is gone", errUnreadable)
	case b.content == nil: // just begun
		next, err := b.record.clone()
		return next, b.revision, err
	default:
		next, err := decodeRecord(b.content, b.key)
		return next, b.revision, err
	}
}

func (b *book) holds(content []byte) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return bytes.Equal(b.content, content)
}

// open loads the record, or begins one that the first change will store.
func (b *book) open(ctx context.Context, binding model.Binding, connection string) (*record, error) {
	r, err := b.load(ctx)
	if r != nil || err != nil {
		return r, err
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.record = newRecord(binding, connection)
	b.record.Updated = time.Now().UTC()
	return b.record, nil
}

// grip is this process's hold on a record: its lease.
type grip struct {
	book   *book
	holder string
	epoch  uint64
}

// seize takes the lease unless another process holds it. gone tells whether a holder
// is certainly no longer there, so that its lease need not be waited out.
func seize(ctx context.Context, b *book, holder string, gone func(string) bool) (*grip, error) {
	g := &grip{book: b, holder: holder}
	_, err := b.change(ctx, func(r *record) error {
		if held := r.Lease; held.Holder != "" && time.Now().Before(held.Expires) && (gone == nil || !gone(held.Holder)) {
			return fmt.Errorf("%w: %s, until %s", errHeldElsewhere, held.Holder, held.Expires.Format(time.RFC3339))
		}
		if r.Rotation != nil && !r.Rotation.Started.Local.IsZero() {
			r.Rotation.Silence = max(r.Rotation.Silence, b.silence())
		}
		g.epoch = r.Lease.Epoch + 1
		r.Lease = lease{Holder: holder, Epoch: g.epoch, Expires: time.Now().Add(leaseLength).UTC()}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return g, nil
}

// write changes the record under the lease, and renews the lease with the same stroke.
func (g *grip) write(ctx context.Context, edit func(*record) error) (*record, error) {
	return g.book.change(ctx, func(r *record) error {
		if r.Lease.Holder != g.holder || r.Lease.Epoch != g.epoch {
			return fmt.Errorf("%w to %s", errLeaseLost, r.Lease.Holder)
		}
		r.Lease.Expires = time.Now().Add(leaseLength).UTC()
		return edit(r)
	})
}

// left is how much of the lease remains.
func (g *grip) left() time.Duration {
	if r := g.book.last(); r != nil && r.Lease.Holder == g.holder && r.Lease.Epoch == g.epoch {
		return time.Until(r.Lease.Expires)
	}
	return 0
}

// release gives the lease back, so that another process need not wait for its end.
func (g *grip) release(ctx context.Context) {
	_, _ = g.write(ctx, func(r *record) error { // if it fails, the lease expires by itself
		r.Lease.Holder, r.Lease.Expires = "", time.Time{}
		return nil
	})
}
