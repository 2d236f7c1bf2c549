package journal

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"entra-aws-exporter/internal/model"
)

// ErrRestored means that the record has become older than it was.
var ErrRestored = errors.New("a backup of the journal was restored, which may be older than AWS and Entra")

// errMissing: the record was there and is gone.
var errMissing = fmt.Errorf("%w: the record is missing", ErrUnreadable)

// writeAttempts is how often a write is repeated after somebody else's write.
const writeAttempts = 10

// Entry is one binding's record as this process knew it last. It is safe for several
// goroutines: the rotation writes under its lease, operators and webhooks without one.
type Entry struct {
	store Store
	codec Codec
	key   string
	// io is held over reads and writes, so that no older answer overtakes a newer one.
	io chan struct{}

	mu          sync.Mutex // of the fields below; never held over I/O
	content     []byte
	revision    string
	record      *Record       // nil: never read, or missing
	firstSeen   time.Time     // of the present revision
	lastSeen    time.Time     // of any revision
	age         time.Duration // of the present revision when it was first seen, at most
	maxSequence uint64
	readErr     error // why the store could not be read last; nil: it could
	writeErr    error // why the store could not be written last; nil: it could
}

// NewEntry makes the entry of one binding; nothing is read yet.
func NewEntry(store Store, codec Codec, key string) *Entry {
	return &Entry{store: store, codec: codec, key: key, io: make(chan struct{}, 1)}
}

// Key is the binding's key.
func (e *Entry) Key() string { return e.key }

// Record returns the record as it was read or written last; nil if there is none.
func (e *Entry) Record() *Record {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.record
}

// IsOpen tells whether a rotation is under way or blocked.
func (e *Entry) IsOpen() bool {
	r := e.Record()
	return r != nil && r.Rotation != nil
}

// Err returns why the store could not be read or written last; nil if it could. A failed
// write of an active rotation counts until the record has changed, so that what the metrics
// show of a full disk does not alternate with each read.
func (e *Entry) Err() error {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.readErr != nil {
		return e.readErr
	}
	return e.writeErr
}

// Load reads the record; nil without an error if there is none.
func (e *Entry) Load(ctx context.Context) (*Record, error) {
	release, err := e.acquire(ctx)
	if err != nil {
		return nil, err
	}
	defer release()
	return e.load(ctx)
}

// LoadOrCreate reads the record, or begins one that the first change will store.
func (e *Entry) LoadOrCreate(ctx context.Context, binding model.Binding, connection string) (*Record, error) {
	r, err := e.Load(ctx)
	if r != nil || err != nil {
		return r, err
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	e.record = e.codec.NewRecord(binding, connection)
	return e.record, nil
}

// Change applies an edit to the newest state of the record and stores it. When somebody
// else has written meanwhile, it reads again and repeats the edit, which must therefore
// depend on nothing but the record. An edit that returns an error changes nothing. After
// any error but the edit's own and ErrUnreadable the stored record is as it was, or
// unknown: the next Load tells.
func (e *Entry) Change(ctx context.Context, edit func(*Record) error) (*Record, error) {
	release, err := e.acquire(ctx)
	if err != nil {
		return nil, err
	}
	defer release()
	for range writeAttempts {
		next, revision, err := e.clone()
		if err != nil {
			return nil, err
		}
		if err := edit(next); err != nil {
			return nil, err
		}
		next.Sequence++
		next.Updated = time.Now().UTC()
		content, err := e.codec.Encode(next)
		if err != nil {
			return nil, err
		}
		written, err := e.store.Save(ctx, e.key, content, revision)
		if err == nil {
			if err := e.remember(next, content, written); err != nil {
				return nil, err
			}
			e.setErr(nil, nil)
			return next, nil
		}
		if _, loadErr := e.load(ctx); loadErr != nil {
			return nil, loadErr
		}
		if e.holds(content) {
			return e.Record(), nil // the answer was lost, the bytes were not
		}
		if !errors.Is(err, model.ErrConflict) {
			err = fmt.Errorf("writing the journal %s: %w", e.key, err)
			e.setErr(nil, err)
			return nil, err
		}
	}
	return nil, fmt.Errorf("writing the journal %s: %w", e.key, model.ErrConflict)
}

// Accept tells the store that an operator has compared a restored record with AWS and Entra.
func (e *Entry) Accept(ctx context.Context) error {
	detector, able := e.store.(RestoreDetector)
	if !able {
		return nil
	}
	if err := detector.Accept(ctx, e.key); err != nil {
		return fmt.Errorf("accepting the restored journal %s: %w", e.key, err)
	}
	return nil
}

// acquire waits for the right to read or write the store.
func (e *Entry) acquire(ctx context.Context) (release func(), err error) {
	select {
	case e.io <- struct{}{}:
		return func() { <-e.io }, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

func (e *Entry) load(ctx context.Context) (*Record, error) {
	content, revision, err := e.store.Load(ctx, e.key)
	if err == nil {
		if cached := e.cached(content, revision); cached != nil {
			return cached, nil
		}
		err = e.decode(ctx, content, revision)
	}
	if errors.Is(err, model.ErrUnreadable) {
		err = fmt.Errorf("%w: %w", ErrUnreadable, err)
	}
	if err != nil {
		err = fmt.Errorf("reading the journal %s: %w", e.key, err)
		e.setErr(err, nil)
		return nil, err
	}
	e.setErr(nil, nil)
	return e.Record(), nil
}

// decode remembers what was read.
func (e *Entry) decode(ctx context.Context, content []byte, revision string) error {
	if content == nil {
		return e.remember(nil, nil, revision)
	}
	restored := false
	if detector, able := e.store.(RestoreDetector); able {
		var err error
		if restored, err = detector.Restored(ctx, e.key); err != nil {
			return err //nolint:wrapcheck // load wraps it
		}
	}
	r, err := e.codec.Decode(content, e.key)
	if err != nil {
		return err
	}
	if err := e.remember(r, content, revision); err != nil {
		return err
	}
	if restored && r.Restored == "" {
		return ErrRestored
	}
	return nil
}

// cached returns the record if these are the bytes that it was decoded from.
func (e *Entry) cached(content []byte, revision string) *Record {
	e.mu.Lock()
	defer e.mu.Unlock()
	if content == nil || revision != e.revision || !bytes.Equal(content, e.content) || errors.Is(e.readErr, ErrRestored) {
		return nil
	}
	e.lastSeen, e.readErr = time.Now(), nil
	if !e.record.Active() { // then nothing waits for a write
		e.writeErr = nil
	}
	return e.record
}

// remember makes what was read or written the last known state.
func (e *Entry) remember(r *Record, content []byte, revision string) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	var sequence uint64
	if r != nil {
		sequence = r.Sequence
	}
	older, now := sequence < e.maxSequence, time.Now()
	if revision != e.revision || e.firstSeen.IsZero() {
		e.age = 0
		if r != nil {
			e.age = now.Sub(r.Updated)
		}
		if sequence > e.maxSequence && e.maxSequence > 0 { // the writer's clock may be behind
			e.age = min(e.age, now.Sub(e.lastSeen))
		}
		e.firstSeen = now
	}
	e.lastSeen = now
	e.content, e.revision, e.record, e.maxSequence = content, revision, r, sequence
	if older {
		return ErrRestored
	}
	return nil
}

// clone returns a copy of the record that may be changed.
func (e *Entry) clone() (*Record, string, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	switch {
	case e.record == nil:
		return nil, "", errMissing
	case e.content == nil: // not stored yet
		next, err := e.codec.clone(e.record)
		return next, e.revision, err
	default:
		next, err := e.codec.Decode(e.content, e.key)
		return next, e.revision, err
	}
}

func (e *Entry) holds(content []byte) bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	return bytes.Equal(e.content, content)
}

// Unchanged is for how long this process has known the present revision.
func (e *Entry) Unchanged() time.Duration {
	e.mu.Lock()
	defer e.mu.Unlock()
	return time.Since(e.firstSeen)
}

// gap is how old the record was when this process first saw its present revision. Since
// then the process was there to see that nobody exchanged it. Of a record that changed
// while the process watched it, the process knows the age by its own clock.
func (e *Entry) gap() time.Duration {
	e.mu.Lock()
	defer e.mu.Unlock()
	return max(0, e.age)
}

func (e *Entry) setErr(readErr, writeErr error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.readErr, e.writeErr = readErr, writeErr
}
