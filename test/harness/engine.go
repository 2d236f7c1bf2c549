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

// Engine is an engine as these tests use it: with tokens as its one procedure.
type Engine struct {
	*rotate.Engine
	store  token.Store
	holder string
}

// StartOptions are how an operator starts a token's rotation.
type StartOptions struct {
	Force                bool
	RetireToken, TokenID string
	Value                model.Secret
}

func (o StartOptions) forEngine() rotate.StartOptions {
	return rotate.StartOptions{Force: o.Force, Procedure: token.StartOptions{RetireToken: o.RetireToken, TokenID: o.TokenID, Value: o.Value}}
}

// NewEngine makes an engine for connections that are described by their procedure's options.
func NewEngine(options rotate.Options, store token.Store, connections []token.Options) Engine {
	options.Codec = Codec
	options.NewDryRunStore = func() journal.Store { return &state.Memory{} }
	e := Engine{Engine: rotate.New(options, nil), store: store, holder: options.Holder}
	e.Configure(connections)
	return e
}

func (e Engine) Configure(connections []token.Options) {
	var all []rotate.Connection
	for _, c := range connections {
		c.Store = e.store
		all = append(all, rotate.Connection{Name: c.Connection, Resolve: c.Resolve, Procedures: []rotate.Procedure{token.New(c)}})
	}
	e.Engine.Configure(all)
}

// NewRecord is the record of the play's binding, with a history to be filled in.
func NewRecord(binding model.Binding, connection string) *Record {
	return ViewOf(Codec.NewRecord(binding, connection))
}

// StoredEntry is a token value as the token store has it.
func StoredEntry(binding, tokenID, value string) model.Secret {
	return model.NewSecret(fmt.Sprintf(`{"kind":"entra-aws-exporter/token","schema":1,"binding":%q,"token_id":%q,"value":%q}`, binding, tokenID, value))
}

// isTransient tells whether an error of the journal may pass by waiting.
func isTransient(err error) bool {
	return err != nil && !errors.Is(err, journal.ErrLeaseLost) && !errors.Is(err, journal.ErrUnreadable) &&
		!errors.Is(err, journal.ErrRestored) && !errors.Is(err, model.ErrUnsafe)
}

func (e Engine) Alert(ctx context.Context, connection string) (model.Decision, string, error) {
	return e.Engine.Alert(ctx, connection, model.ProcedureToken)
}

func (e Engine) Start(ctx context.Context, connection string, options StartOptions) error {
	return e.Engine.Start(ctx, connection, model.ProcedureToken, options.forEngine())
}

func (e Engine) DryRun(ctx context.Context, connection string, options StartOptions, observer rotate.StepObserver) error {
	return e.Engine.DryRun(ctx, connection, model.ProcedureToken, options.forEngine(), observer)
}

func (e Engine) Status(connection string) model.RotationStatus {
	return e.Engine.Status(connection, model.ProcedureToken)
}

func (e Engine) ShowToken(ctx context.Context, connection string) (string, model.Secret, error) {
	return token.Show(ctx, e.Engine, e.store, connection)
}

// Record returns the record of a connection as this engine knows it; nil: none.
func (e Engine) Record(connection string) *Record {
	entry := e.Lookup(connection)
	if entry == nil {
		return nil
	}
	return ViewOf(entry.Record())
}

// The contract's numbers, spelt here once more: an oracle that used the program's own
// would follow its mistakes.
const (
	createsPerDay  = 2
	createsPerWeek = 4
	MaxClockSkew   = 5 * time.Minute
	listApart      = 10 * time.Second
	listFresh      = time.Minute
	callTimeout    = 20 * time.Second
	storedAfter    = 2 * time.Minute
	storedFor      = 15 * time.Minute
	storedFresh    = 30 * time.Minute
	orphanGrace    = time.Hour
)

// storedValue reads the token value in an entry of the token store; false: there is none.
func storedValue(content string) (tokenID, value string, ok bool) {
	var entry struct {
		TokenID string `json:"token_id"`
		Value   string `json:"value"`
	}
	err := json.Unmarshal([]byte(content), &entry)
	return entry.TokenID, entry.Value, err == nil && entry.Value != ""
}
