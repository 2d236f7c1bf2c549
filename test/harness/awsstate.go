package harness

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

	"entra-aws-exporter/internal/model"
	"entra-aws-exporter/internal/state/shared"
	"entra-aws-exporter/internal/state/statetest"
)

// The faults that only the services of a state in AWS have.
const (
	Conflict         Fault = "conflict"           // somebody else writes the item right before
	ThrottledForHour Fault = "throttled for hour" // every call of the service, from this one on
	TableMissing     Fault = "table missing"      // for an hour: somebody deleted it, and restored it
	SecretDeleted    Fault = "secret deleted"     // somebody schedules its deletion right after the call
)

// StateInAWS is where the processes keep their state instead of the MemoryStore: in a table
// and a secret manager with the semantics of DynamoDB and Secrets Manager. Every call of
// these services is a call of the harness, and may get a fault. The MemoryStore shows the
// invariants what the services hold.
type StateInAWS struct {
	Table   *statetest.Table
	Secrets *statetest.Secrets

	throttledUntil map[string]time.Time // by service
	missingUntil   time.Time
	written        map[string]*bytes.Buffer // all that was ever written to an item
}

var stateOptions = shared.Options{Place: "table state in memory", SecretPrefix: "entra-aws-exporter/"}

// KeepStateInAWS gives the processes that are opened from now on a state in AWS. Deleted
// secrets block their names for a week, and new ones cannot be read at once.
func (h *Harness) KeepStateInAWS() {
	h.InAWS = &StateInAWS{
		Table: statetest.NewTable(), Secrets: statetest.NewSecrets(),
		throttledUntil: map[string]time.Time{}, written: map[string]*bytes.Buffer{},
	}
	h.InAWS.Secrets.RecoveryWindow, h.InAWS.Secrets.Lag = 7*24*time.Hour, 2*time.Second
}

// StoreInAWS stores a token's value, as an earlier rotation did.
func (h *Harness) StoreInAWS(key string, entry model.Secret) error {
	err := shared.New(h.InAWS.Table, h.InAWS.Secrets, stateOptions).Tokens().Write(context.Background(), key, entry)
	h.mirror()
	return err
}

// mirror shows in the MemoryStore what the services hold.
func (h *Harness) mirror() {
	items, live := h.InAWS.Table.Items, h.InAWS.Secrets.Live()
	h.Store.mu.Lock()
	defer h.Store.mu.Unlock()
	h.Store.entries = map[string]storeEntry{}
	for id, item := range items {
		_, key, _ := strings.Cut(id, "/")
		if journal, found := strings.CutPrefix(key, "journal/"); found {
			h.Store.Records[journal] = StoredRecord{item.Content, item.Revision}
		}
		binding, found := strings.CutPrefix(key, "tokens/")
		if !found {
			continue
		}
		var entries map[string]struct{ Secret string }
		if err := json.Unmarshal(item.Content, &entries); err != nil {
			panic(err)
		}
		for name, entry := range entries {
			value, filled := live[entry.Secret]
			h.Store.entries[binding+"/"+name] = storeEntry{content: value.Reveal(), filled: filled}
		}
	}
}

// leftSecrets are the secrets with a value that no entry names: nobody would delete them.
func (h *Harness) leftSecrets() []string {
	named := map[string]bool{}
	for _, item := range h.InAWS.Table.Items {
		var entries map[string]struct{ Secret string }
		if strings.HasPrefix(item.ID, "entra-aws-exporter/tokens/") && json.Unmarshal(item.Content, &entries) == nil {
			for _, entry := range entries {
				named[entry.Secret] = true
			}
		}
	}
	var left []string
	for name := range h.InAWS.Secrets.Live() {
		if !named[name] {
			left = append(left, name)
		}
	}
	return left
}

// stateStore is the state in AWS as a process reaches it.
func (p *Process) stateStore() *shared.Store {
	return shared.New((*processTable)(p), (*processSecrets)(p), stateOptions)
}

// serviceCall is one call of a service of the state.
func (p *Process) serviceCall(ctx context.Context, name, subject string, do func(Fault) error) error {
	service, _, _ := strings.Cut(name, ".")
	h := p.Harness
	fail := func(reason model.Reason, code string) error {
		return &model.Error{Op: name, Reason: reason, Status: 400, Code: code, Detail: code}
	}
	return p.call(ctx, name, func(f Fault) error {
		if f == ThrottledForHour {
			h.InAWS.throttledUntil[service] = time.Now().Add(time.Hour)
		}
		if f == TableMissing {
			h.InAWS.missingUntil = time.Now().Add(time.Hour)
		}
		if item, exists := h.InAWS.Table.Items[subject]; f == Conflict && exists {
			item.Revision = "another." + item.Revision
			h.InAWS.Table.Items[subject] = item
		}
		switch now := time.Now(); {
		case now.Before(h.InAWS.throttledUntil[service]):
			return fail(model.ReasonThrottled, "ThrottlingException")
		case service == "table" && now.Before(h.InAWS.missingUntil):
			return fail(model.ReasonNotFound, "ResourceNotFoundException")
		}
		err := do(f)
		if f == SecretDeleted {
			_, _ = h.InAWS.Secrets.Delete(ctx, subject)
		}
		if f != NoFault || slices.Contains([]string{"table.put", "secrets.create", "secrets.delete"}, name) {
			h.mirror()
		}
		return err
	}, func() error { return fail(model.ReasonPermission, "AccessDeniedException") })
}

// processTable is the table as a process reaches it. It implements shared.Table.
type processTable Process

// Describe implements shared.Table.
func (t *processTable) Describe(ctx context.Context) (id string, err error) {
	err = (*Process)(t).serviceCall(ctx, "table.describe", "", func(Fault) error {
		id, err = t.Harness.InAWS.Table.Describe(ctx)
		return err
	})
	return id, err
}

// Get implements shared.Table.
func (t *processTable) Get(ctx context.Context, id string) (item *shared.Item, err error) {
	err = (*Process)(t).serviceCall(ctx, "table.get", id, func(Fault) error {
		item, err = t.Harness.InAWS.Table.Get(ctx, id)
		return err
	})
	if err != nil {
		item = nil
	}
	return item, err
}

// Put implements shared.Table.
func (t *processTable) Put(ctx context.Context, item shared.Item, revision string) error {
	return (*Process)(t).serviceCall(ctx, "table.put", item.ID, func(Fault) error {
		err := t.Harness.InAWS.Table.Put(ctx, item, revision)
		if err == nil {
			t.Harness.InAWS.note(item)
			if key, found := strings.CutPrefix(item.ID, "entra-aws-exporter/journal/"); found {
				t.Harness.noteDeletionIntents(key, item.Content)
			}
		}
		return err
	})
}

// note keeps what was written to an item.
func (s *StateInAWS) note(item shared.Item) {
	if s.written[item.ID] == nil {
		s.written[item.ID] = &bytes.Buffer{}
	}
	fmt.Fprintf(s.written[item.ID], "%s %s\n", item.Revision, item.Content)
}

// processSecrets is the secret manager as a process reaches it. It implements shared.Secrets.
type processSecrets Process

// Create implements shared.Secrets.
func (s *processSecrets) Create(ctx context.Context, name, version string, value model.Secret) (arn string, err error) {
	err = (*Process)(s).serviceCall(ctx, "secrets.create", name, func(Fault) error {
		arn, err = s.Harness.InAWS.Secrets.Create(ctx, name, version, value)
		return err
	})
	return arn, err
}

// Value implements shared.Secrets.
func (s *processSecrets) Value(ctx context.Context, secret, version string) (value model.Secret, err error) {
	err = (*Process)(s).serviceCall(ctx, "secrets.value", secret, func(f Fault) error {
		if value, err = s.Harness.InAWS.Secrets.Value(ctx, secret, version); f == StaleRead {
			value = model.Secret{} // as before its creation
		}
		return err
	})
	if err != nil {
		value = model.Secret{}
	}
	return value, err
}

// Delete implements shared.Secrets.
func (s *processSecrets) Delete(ctx context.Context, secret string) (found bool, err error) {
	err = (*Process)(s).serviceCall(ctx, "secrets.delete", secret, func(Fault) error {
		found, err = s.Harness.InAWS.Secrets.Delete(ctx, secret)
		return err
	})
	return found, err
}
