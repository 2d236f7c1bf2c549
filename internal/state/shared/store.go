// Package shared keeps state where several replicas reach it: records in a table with
// conditional writes, and token values in a secret manager. It knows neither's protocol;
// package awsstate does, for DynamoDB and Secrets Manager.
//
//	entra-aws-exporter/journal/KEY      one rotation journal per binding
//	entra-aws-exporter/events/KEY       watermark and counters of a provisioning log
//	entra-aws-exporter/tokens/BINDING   which secret has which token value; never a value
//	entra-aws-exporter/KIND             the keys of a kind: a table is never scanned
//
// Both services can apply a call whose answer is lost. Every write therefore carries an id
// of its own: whoever has no answer reads the record and finds its id there, or not.
//
// Read store.go first, then records.go and tokens.go, the two stores. errors.go says which
// errors pass by waiting.
package shared

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"sync/atomic"

	"entra-aws-exporter/internal/model"
)

// Table keeps items under an id. Each method makes one attempt, or retries only what
// changes nothing.
type Table interface {
	// Describe returns the table's own id, which a restored copy does not share. An error
	// says why records cannot be kept there; model.ErrUnsafe: it could lose them.
	Describe(ctx context.Context) (tableID string, err error)
	// Get reads an item, at least as new as the last write that was answered; nil: there is none.
	Get(ctx context.Context, id string) (*Item, error)
	// Put replaces an item if it still has this revision ("": there is none). An empty
	// Origin leaves the present one. model.ErrConflict: it has another revision.
	Put(ctx context.Context, item Item, revision string) error
}

// Item is a record as it is in a table.
type Item struct {
	ID       string
	Program  string // whose item it is
	Schema   int
	Revision string
	Origin   string // the id of the table for which it was written, or accepted
	Checksum string // of the content
	Content  []byte
}

// Secrets keeps values under names. All of it is eventually consistent: a secret that was
// just created may be missing for a while. Each method makes one attempt, or retries only
// what changes nothing.
type Secrets interface {
	// Create creates a secret with one version. Repeated with the same value, it is no
	// error. model.ErrExists: the secret has another value.
	Create(ctx context.Context, name, version string, value model.Secret) (arn string, err error)
	// Value returns the value of a secret, by its name or ARN; a zero Secret: there is
	// none. model.ErrUnreadable: it was deleted, and can still be restored.
	Value(ctx context.Context, secret, version string) (model.Secret, error)
	// Delete deletes a secret, by its name or ARN. found is false if there was none.
	Delete(ctx context.Context, secret string) (found bool, err error)
}

// Options are the settings of a Store.
type Options struct {
	Place        string // for errors: "table entra-aws-exporter in eu-central-1"
	SecretPrefix string // of the names of secrets
}

// Store is state in a table and a secret manager. It is safe for concurrent use, also by
// several replicas.
type Store struct {
	Options
	table   Table
	secrets Secrets
	checked atomic.Bool // Check has succeeded
}

// New makes no call.
func New(table Table, secrets Secrets, options Options) *Store {
	return &Store{Options: options, table: table, secrets: secrets}
}

// Journal returns the records of the rotation.
func (s *Store) Journal() *Records { return &Records{s, "journal"} }

// Events returns the records of the event counters.
func (s *Store) Events() *Records { return &Records{s, "events"} }

// Tokens returns the token store.
func (s *Store) Tokens() *TokenStore { return &TokenStore{s, &Records{s, "tokens"}} }

// Check proves that the table keeps records and that secrets can be read. That secrets can
// be created and deleted, every rotation proves before it creates a token. It leaves one
// item behind, and no secret. Until it has succeeded once, every write begins with it.
func (s *Store) Check(ctx context.Context) error {
	err := s.check(ctx)
	if err == nil {
		s.checked.Store(true)
	}
	return err
}

// kindOfChecks is the kind of the record that a check writes.
const kindOfChecks = "check"

func (s *Store) check(ctx context.Context) error {
	records := &Records{s, kindOfChecks}
	_, revision, err := records.Load(ctx, "check")
	if err != nil {
		return err
	}
	if _, err := s.table.Describe(ctx); err != nil { // Save asks for the first write only
		return storeError(err)
	}
	content := []byte("check")
	written, err := records.Save(ctx, "check", content, revision)
	if err != nil && !errors.Is(err, model.ErrConflict) { // another replica checks, too
		return err
	}
	found, stored, err := records.Load(ctx, "check")
	switch {
	case err != nil:
		return err
	case !bytes.Equal(found, content), written != "" && !contains(stored, written):
		return fmt.Errorf("%s: reading a record back returned another one", s.Place)
	}
	_, err = s.secrets.Value(ctx, s.SecretPrefix+"check", version("check"))
	return storeError(err)
}
