package harness

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"entra-aws-exporter/internal/model"
	"entra-aws-exporter/internal/state"
	"entra-aws-exporter/rotate"
	"entra-aws-exporter/rotate/journal"
	"entra-aws-exporter/rotate/token"
)

// Engine is an engine whose only procedure is the token's.
type Engine struct {
	*rotate.Engine
	store  token.Store
	holder string
	kind   model.Procedure
}

// StartOptions are an operator's options for a token rotation.
type StartOptions struct {
	Force                bool
	RetireToken, TokenID string
	Value                model.Secret
}

func (o StartOptions) forEngine() rotate.StartOptions {
	return rotate.StartOptions{Force: o.Force, Procedure: token.StartOptions{RetireToken: o.RetireToken, TokenID: o.TokenID, Value: o.Value}}
}

// NewEngine builds an engine for these connections.
func NewEngine(options rotate.Options, store token.Store, connections []token.Options) Engine {
	options.Codec = Codec
	options.NewDryRunStore = func() journal.Store { return &state.Memory{} }
	e := Engine{Engine: rotate.New(options, nil), store: store, holder: options.Holder, kind: model.ProcedureToken}
	e.Configure(connections)
	return e
}

// Configure replaces the engine's connections.
func (e Engine) Configure(connections []token.Options) {
	var list []rotate.Connection
	for _, c := range connections {
		c.Store = e.store
		list = append(list, rotate.Connection{Name: c.Connection, Resolve: c.Resolve, Procedures: []rotate.Procedure{token.New(c)}})
	}
	e.Engine.Configure(list)
}

// NewRecord is an empty record of a binding.
func NewRecord(binding model.Binding, connection string) *Record {
	return ViewOf(Codec.NewRecord(binding, connection))
}

// StoredEntry is a token store entry as package token writes it.
func StoredEntry(binding, tokenID, value string) model.Secret {
	return model.NewSecret(fmt.Sprintf(`{"kind":"entra-aws-exporter/token","schema":1,"binding":%q,"token_id":%q,"value":%q}`, binding, tokenID, value))
}

// isTransient reports whether an error of the journal may resolve itself.
func isTransient(err error) bool {
	return err != nil && !errors.Is(err, journal.ErrLeaseLost) && !errors.Is(err, journal.ErrUnreadable) &&
		!errors.Is(err, journal.ErrRestored) && !errors.Is(err, model.ErrUnsafe)
}

// Alert decides on an alert.
func (e Engine) Alert(ctx context.Context, connection string) (model.Decision, string, error) {
	return e.Engine.Alert(ctx, connection, e.kind)
}

// Start starts a token rotation as an operator.
func (e Engine) Start(ctx context.Context, connection string, options StartOptions) error {
	return e.Engine.Start(ctx, connection, model.ProcedureToken, options.forEngine())
}

// DryRun reports what a token rotation would do.
func (e Engine) DryRun(ctx context.Context, connection string, options StartOptions, observer rotate.StepObserver) error {
	return e.Engine.DryRun(ctx, connection, model.ProcedureToken, options.forEngine(), observer)
}

// Status is the status of a connection's rotation.
func (e Engine) Status(connection string) model.RotationStatus {
	return e.Engine.Status(connection, e.kind)
}

// ShowToken returns the new token's ID and value, for an operator.
func (e Engine) ShowToken(ctx context.Context, connection string) (string, model.Secret, error) {
	return token.Show(ctx, e.Engine, e.store, connection)
}

// Record is the record of a connection as this engine knows it; nil: there is none.
func (e Engine) Record(connection string) *Record {
	entry := e.Lookup(connection)
	if entry == nil {
		return nil
	}
	return ViewOf(entry.Record())
}

// The documented numbers. They are spelled out here once more: a check that used the
// program's own numbers would follow its mistakes.
const (
	MaxClockSkew   = 5 * time.Minute  // the largest skew with which a token is deleted
	createsPerDay  = 2                // the rate limit
	createsPerWeek = 4                // the rate limit
	listApart      = 10 * time.Second // the time between two lists before a deletion
	listFresh      = time.Minute      // the age of the second one
	callTimeout    = 20 * time.Second // the timeout of one call
	storedAfter    = 2 * time.Minute  // the time after which Entra has stored a save
	storedFor      = 15 * time.Minute // the longest time until a save counts as stored
	engineCache    = time.Hour        // the time for which Entra may use what it read before a save
	storedFresh    = 3 * time.Hour    // the age of the save before a deletion
	observedFor    = 70 * time.Minute // one cycle and 15 minutes, and 15 more until CloudTrail shows them
	orphanGrace    = time.Hour        // the age at which an orphan may be deleted
)

// storedValue reads the token value of a token store entry; false: there is none.
func storedValue(content string) (tokenID, value string, ok bool) {
	var entry struct {
		TokenID string `json:"token_id"`
		Value   string `json:"value"`
	}
	err := json.Unmarshal([]byte(content), &entry)
	return entry.TokenID, entry.Value, err == nil && entry.Value != ""
}
