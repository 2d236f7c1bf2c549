package shared

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"

	"entra-aws-exporter/internal/model"
	"entra-aws-exporter/internal/state"
)

const (
	program = "entra-aws-exporter"
	schema  = 1
	// maxContent leaves room for an item's other attributes in DynamoDB's 400 KiB.
	maxContent = 398 << 10
	// rememberedWrites is how many writes a revision names. So a writer without an answer
	// finds its write also behind those of others.
	rememberedWrites = 8
	// conflicts is how often a change of a list is repeated after another replica's.
	conflicts = 10
)

// Records are items that are replaced as a whole, and only by a writer that knows the
// current revision.
type Records struct {
	store *Store
	kind  string
}

// Load returns a record and its revision; nil and "" without an error if there is none.
// model.ErrUnreadable: it is corrupt, from another program or from a newer version.
func (r *Records) Load(ctx context.Context, key string) (content []byte, revision string, err error) {
	if err := state.CheckKey(r.kind, key); err != nil {
		return nil, "", err
	}
	found, err := r.get(ctx, r.id(key))
	if err != nil || found.Revision == "" {
		return nil, "", err
	}
	return found.Content, found.Revision, nil
}

// Save replaces a record if it still has this revision ("": there is none yet).
// model.ErrConflict: the record has another revision; model.ErrUnreadable: it cannot be
// read; nothing was written then. After any other error the record has the old content or
// the new one.
func (r *Records) Save(ctx context.Context, key string, content []byte, revision string) (newRevision string, err error) {
	if err := state.CheckKey(r.kind, key); err != nil {
		return "", err
	}
	if revision == "" {
		if err := r.addKey(ctx, key); err != nil {
			return "", err
		}
	}
	return r.put(ctx, r.id(key), content, revision)
}

// Keys lists the keys of the records, sorted. One whose first write has failed is among them.
func (r *Records) Keys(ctx context.Context) ([]string, error) {
	keys, _, err := r.keys(ctx)
	return keys, err
}

// Restored reports whether a record is in another table than it was written for: one that
// was restored from a backup, and may be older than AWS and Entra. Save keeps the mark,
// Accept clears it.
func (r *Records) Restored(ctx context.Context, key string) (bool, error) {
	found, err := r.get(ctx, r.id(key))
	if err != nil || found.Revision == "" {
		return false, err
	}
	table, err := r.store.table.Describe(ctx)
	return err == nil && found.Origin != table, storeError(err)
}

// Accept clears the mark of a restored record, once an operator has compared it with AWS
// and Entra. Its content and revision do not change.
func (r *Records) Accept(ctx context.Context, key string) error {
	table, err := r.store.table.Describe(ctx)
	if err != nil {
		return storeError(err)
	}
	for range conflicts {
		found, err := r.get(ctx, r.id(key))
		if err != nil || found.Revision == "" || found.Origin == table {
			return err
		}
		found.Origin = table
		err = retry(ctx, func() error { return r.store.table.Put(ctx, found, found.Revision) })
		if !errors.Is(err, model.ErrConflict) {
			return storeError(err)
		}
	}
	return r.describe(r.id(key), model.ErrConflict)
}

func (r *Records) id(key string) string { return program + "/" + r.kind + "/" + key }

func (r *Records) describe(id string, err error) error {
	return fmt.Errorf("%s, item %s: %w", r.store.Place, id, err)
}

// get reads an item of this program; one without a revision: there is none.
func (r *Records) get(ctx context.Context, id string) (Item, error) {
	found, err := r.store.table.Get(ctx, id)
	if err != nil || found == nil {
		return Item{}, storeError(err)
	}
	var why, advice string
	switch {
	case found.Program != program:
		why, advice = "not an "+program+" record", "give the exporter a table of its own"
	case found.Schema != schema:
		why, advice = fmt.Sprintf("it has schema %d, this version reads %d", found.Schema, schema), "run the version that wrote it"
	case found.Checksum != checksum(found.Content):
		why, advice = "corrupt: wrong checksum", "restore it from a backup"
	default:
		return *found, nil
	}
	return Item{}, r.describe(id, fmt.Errorf("%w: %s; the item is left unchanged: %s", model.ErrUnreadable, why, advice))
}

// put writes an item over the given revision. Without an answer, or after a conflict, the
// item itself tells who wrote it.
func (r *Records) put(ctx context.Context, id string, content []byte, revision string) (string, error) {
	if len(content) > maxContent {
		return "", r.describe(id, fmt.Errorf("the record has %d bytes, an item has room for %d", len(content), maxContent))
	}
	if r.kind != kindOfChecks && !r.store.checked.Load() {
		if err := r.store.Check(ctx); err != nil {
			return "", err
		}
	}
	write := rand.Text()[:13]
	next := slices.DeleteFunc(append([]string{write}, strings.Split(revision, ".")...), func(id string) bool { return id == "" })
	item := Item{
		ID: id, Program: program, Schema: schema, Checksum: checksum(content), Content: content,
		Revision: strings.Join(next[:min(len(next), rememberedWrites)], "."),
	}
	var err error
	if revision == "" {
		if item.Origin, err = r.store.table.Describe(ctx); err != nil {
			return "", storeError(err)
		}
	}
	for attempt := range attempts {
		if err = r.store.table.Put(ctx, item, revision); err == nil {
			return item.Revision, nil
		}
		found, getErr := r.get(ctx, id)
		switch {
		case errors.Is(getErr, model.ErrUnreadable):
			return "", getErr
		case getErr != nil && errors.Is(err, model.ErrConflict): // with whom, only the item tells
			err = getErr
		case getErr != nil:
		case contains(found.Revision, write):
			return item.Revision, nil
		case found.Revision != revision:
			return "", r.describe(id, model.ErrConflict)
		}
		if !mayPass(err) || sleep(ctx, backoff<<attempt) != nil {
			break
		}
	}
	return "", storeError(err)
}

// contains tells whether a write, or the newest write of a revision, is among those that a
// revision names.
func contains(revision, write string) bool {
	write, _, _ = strings.Cut(write, ".")
	return slices.Contains(strings.Split(revision, "."), write)
}

func checksum(content []byte) string {
	sum := sha256.Sum256(content)
	return hex.EncodeToString(sum[:])
}

// keys reads the list of the keys of this kind.
func (r *Records) keys(ctx context.Context) (keys []string, revision string, err error) {
	id := program + "/" + r.kind
	found, err := r.get(ctx, id)
	if err != nil || found.Revision == "" {
		return nil, "", err
	}
	if err := json.Unmarshal(found.Content, &keys); err != nil {
		return nil, "", r.describe(id, fmt.Errorf("%w: corrupt: not a list of keys", model.ErrUnreadable))
	}
	return keys, found.Revision, nil
}

// addKey adds a key to the list, before its record is written.
func (r *Records) addKey(ctx context.Context, key string) error {
	for range conflicts {
		keys, revision, err := r.keys(ctx)
		if err != nil || slices.Contains(keys, key) {
			return err
		}
		keys = append(keys, key)
		slices.Sort(keys)
		content, err := json.Marshal(keys)
		if err != nil {
			return err
		}
		if _, err = r.put(ctx, program+"/"+r.kind, content, revision); !errors.Is(err, model.ErrConflict) {
			return err
		}
	}
	return r.describe(program+"/"+r.kind, model.ErrConflict)
}
