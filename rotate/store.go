package rotate

import (
	"context"

	"entra-aws-exporter/internal/model"
)

// Journal keeps one record per binding, under the binding's key (model.Binding.Key).
// What the bytes mean is rotate's business, that they are kept is the journal's.
type Journal interface {
	// Load returns the record and its revision; a record that is not there is nil
	// bytes with revision "" and no error. model.ErrUnreadable: the bytes cannot be
	// had although there are some. model.ErrUnsafe: the place cannot be trusted.
	Load(ctx context.Context, key string) (content []byte, revision string, err error)
	// Save replaces the record if it still has this revision ("": is not there), and
	// returns only when the new bytes would survive a power cut. model.ErrConflict:
	// it has another one, nothing was written. Any other error leaves it open whether
	// the bytes were written; they never are in part.
	Save(ctx context.Context, key string, content []byte, revision string) (newRevision string, err error)
	// Keys lists the records, in any order.
	Keys(ctx context.Context) ([]string, error)
}

// Restorable is a Journal that can tell whether a record is a copy that somebody put
// back, and so may be older than what the clouds have seen since.
type Restorable interface {
	// Restored reports whether the record is, or descends from, such a copy.
	Restored(ctx context.Context, key string) (bool, error)
	// Accept makes it a good one: a person has compared it with the clouds.
	Accept(ctx context.Context, key string) error
}

// Vault keeps the values of tokens: entries that are written once, then read until
// they are destroyed. A key is "<binding key>/<name>".
type Vault interface {
	// Reserve claims a key and makes sure that an entry can be written there: that
	// the place is writable and has room. Reserving again is no error.
	Reserve(ctx context.Context, key string) error
	// Write fills a reserved key, durably. model.ErrExists: it is filled already.
	Write(ctx context.Context, key string, entry model.Secret) error
	// Read returns the entry; a zero Secret and no error if the key is not there or
	// reserved only. model.ErrUnreadable: it is there, but corrupt or not ours to decrypt.
	Read(ctx context.Context, key string) (model.Secret, error)
	// List returns the keys of a binding, reserved ones included, in any order.
	List(ctx context.Context, bindingKey string) ([]string, error)
	// Destroy removes an entry or a reservation for good. A missing key is no error.
	Destroy(ctx context.Context, key string) error
}
