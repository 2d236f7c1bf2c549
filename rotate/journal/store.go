package journal

import "context"

// Store keeps one record per binding, under the binding's key (model.Binding.Key).
// The meaning of the bytes belongs to this package, keeping them belongs to the store.
type Store interface {
	// Load returns the record and its revision. A missing record is nil bytes with
	// revision "" and no error. model.ErrUnreadable: there are bytes, but they cannot be
	// read. model.ErrUnsafe: the store cannot keep its promises where it is.
	Load(ctx context.Context, key string) (content []byte, revision string, err error)
	// Save replaces the record if it still has this revision ("": it is missing), and
	// returns only when the new bytes would survive a power cut. model.ErrConflict: it
	// has another revision, nothing was written. After any other error the bytes may or
	// may not be written; they are never written in part.
	Save(ctx context.Context, key string, content []byte, revision string) (newRevision string, err error)
	// Keys lists the records, in any order.
	Keys(ctx context.Context) ([]string, error)
}

// RestoreDetector is a Store that can tell whether a record was restored from a backup,
// and so may be older than what AWS and Entra have seen since.
type RestoreDetector interface {
	// Restored reports whether the record is, or descends from, a restored copy.
	Restored(ctx context.Context, key string) (bool, error)
	// Accept marks a restored record as good: an operator has compared it with AWS and Entra.
	Accept(ctx context.Context, key string) error
}
