package journal

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// The lease on a record outlasts one operation and the longest pause between two
// entries, and is short enough for another process to take over soon.
const (
	LeaseLength = 5 * time.Minute
	LeaseMargin = 30 * time.Second // what must be left of it before an operation
	Heartbeat   = 2 * time.Minute  // the longest time between two entries while a rotation is open

	// MaxClockSkew is how far apart the clocks of two holders may be.
	MaxClockSkew = 5 * time.Minute
)

// MaxGap is the journal gap from which on a record may be a restored older copy. It is
// longer than any pause that the engine makes, and shorter than the time between
// creating a token and saving it to Entra.
const MaxGap = 5 * time.Minute

var (
	// ErrLeaseLost means that another process took over this record.
	ErrLeaseLost = errors.New("the lease is lost")
	// ErrLeased means that another process works on this record.
	ErrLeased = errors.New("another process works on it")
)

// Lease is the right to change a record and to call AWS and Entra for its binding. It is
// part of the record, so a process that lost it can no longer write.
type Lease struct {
	Holder  string    `json:"holder"`
	Epoch   uint64    `json:"epoch"` // grows with every change of holder
	Expires time.Time `json:"expires"`
}

// Held tells whether a process works on the record. Its holder wrote the expiry by a
// clock of its own, so that counts only with the skew; what counts sooner is that the
// record did not change for the length of a lease by our clock. holderIsDead, if not nil,
// tells whether a holder has certainly ended, so that its lease need not be waited out.
func (l Lease) Held(unchanged time.Duration, holderIsDead func(holder string) bool) bool {
	return l.Holder != "" && unchanged < LeaseLength && time.Now().Before(l.Expires.Add(MaxClockSkew)) &&
		(holderIsDead == nil || !holderIsDead(l.Holder))
}

// Holding is a lease that this process holds.
type Holding struct {
	entry  *Entry
	holder string
	epoch  uint64
}

// AcquireLease takes the lease, unless another process holds it: then ErrLeased.
func AcquireLease(ctx context.Context, entry *Entry, holder string, holderIsDead func(holder string) bool) (*Holding, error) {
	holding := &Holding{entry: entry, holder: holder}
	take := func(r *Record) error {
		if r.Lease.Held(entry.Unchanged(), holderIsDead) {
			return fmt.Errorf("%w: %s, until %s", ErrLeased, r.Lease.Holder, r.Lease.Expires.Format(time.RFC3339))
		}
		if r.Rotation != nil && !r.Rotation.Started.Local.IsZero() {
			r.Rotation.JournalGap = max(r.Rotation.JournalGap, entry.gap())
		}
		holding.epoch = r.Lease.Epoch + 1
		r.Lease = Lease{Holder: holder, Epoch: holding.epoch, Expires: time.Now().Add(LeaseLength).UTC()}
		return nil
	}
	_, err := entry.Change(ctx, take)
	if errors.Is(err, ErrLeased) { // as far as this process knew: it may have been given back since
		if _, err = entry.Load(ctx); err == nil {
			_, err = entry.Change(ctx, take)
		}
	}
	if err != nil {
		return nil, err
	}
	return holding, nil
}

// Write changes the record under the lease, and renews the lease in the same write.
func (h *Holding) Write(ctx context.Context, edit func(*Record) error) (*Record, error) {
	return h.entry.Change(ctx, func(r *Record) error {
		if r.Lease.Holder != h.holder || r.Lease.Epoch != h.epoch {
			return fmt.Errorf("%w to %s", ErrLeaseLost, r.Lease.Holder)
		}
		r.Lease.Expires = time.Now().Add(LeaseLength).UTC()
		return edit(r)
	})
}

// Remaining is how much of the lease is left; 0 if it is lost.
func (h *Holding) Remaining() time.Duration {
	if r := h.entry.Record(); r != nil && r.Lease.Holder == h.holder && r.Lease.Epoch == h.epoch {
		return time.Until(r.Lease.Expires)
	}
	return 0
}

// Release gives the lease back, so that another process need not wait for its end.
func (h *Holding) Release(ctx context.Context) {
	_, _ = h.Write(ctx, func(r *Record) error { // if it fails, the lease expires by itself
		r.Lease.Holder, r.Lease.Expires = "", time.Time{}
		return nil
	})
}
