package token

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"time"

	"entra-aws-exporter/internal/model"
	"entra-aws-exporter/rotate"
	"entra-aws-exporter/rotate/journal"
	"entra-aws-exporter/rotate/policy"
)

// StartOptions are an operator's options for this procedure.
type StartOptions struct {
	RetireToken string // a token that the operator names as unused, so that it may be deleted
	// TokenID and Value are a token that the operator created at AWS (issuer operator).
	TokenID string
	Value   model.Secret
}

func startOptions(options any) StartOptions {
	own, _ := options.(StartOptions)
	return own
}

// CheckStart implements rotate.Procedure.
func (p *Procedure) CheckStart(snapshot model.Snapshot, options any) error {
	own := startOptions(options)
	if p.options.Policy.Issuer == model.IssuerOperator && own.TokenID == "" {
		return errors.New("rotation.issuer is operator: create a token at AWS and give it with --token-stdin --token-id")
	}
	if tokens := snapshot.Tokens; own.TokenID != "" && tokens != nil && tokens.Origin == model.OriginDeclared {
		_, err := findOperatorToken(*tokens, own.TokenID)
		return err
	}
	return nil
}

// Resolves implements rotate.Procedure.
func (p *Procedure) Resolves(r *journal.Rotation, options any) bool {
	return startOptions(options).RetireToken != "" && rotationOf(r).resolvableByRetireToken()
}

// NewProgress implements rotate.Procedure.
func (p *Procedure) NewProgress(snapshot model.Snapshot, options any) (journal.Progress, bool) {
	own := startOptions(options)
	progress := &Progress{Issuer: p.options.Policy.Issuer, RetireToken: own.RetireToken, OperatorToken: own.TokenID}
	if own.TokenID != "" {
		progress.Issuer = model.IssuerOperator
	}
	if options == nil {
		tokens, _ := snapshot.Status(model.SourceTokens)
		progress.Plan.DueSince = tokens.LastSuccess
	}
	return progress, own.TokenID != ""
}

// PrepareStart implements rotate.Procedure: it stores the value of a token that an
// operator created. A value that was given before is replaced only if AWS refuses it: then
// it was a mistake.
func (p *Procedure) PrepareStart(ctx context.Context, bindingKey string, options any) error {
	own := startOptions(options)
	if own.TokenID == "" {
		return nil
	}
	tokens, name := p.tokenStore(bindingKey), "operator-"+own.TokenID
	store := func() error {
		if err := tokens.reserve(ctx, name); err != nil {
			return err
		}
		return tokens.save(ctx, name, own.TokenID, own.Value)
	}
	err := store()
	if !errors.Is(err, errOtherValue) {
		return err
	}
	_, before, err := tokens.get(ctx, name)
	if err != nil {
		return err
	}
	probe, err := rotate.Read(ctx, func(ctx context.Context) (model.Probe, error) { return p.options.SCIM.ProbeToken(ctx, before) })
	switch {
	case err != nil:
		return fmt.Errorf("the token store has another value of token %s, and AWS cannot be asked which is right: %w", own.TokenID, err)
	case probe.StatusCode != http.StatusUnauthorized:
		return fmt.Errorf("the token store has another value of token %s, which AWS does not refuse (it answers %d): is what you gave the value of that token?",
			own.TokenID, probe.StatusCode)
	}
	if err := tokens.store.Destroy(ctx, tokens.key(name)); err != nil {
		return fmt.Errorf("destroying a token store entry: %w", err)
	}
	return store()
}

// Adopt implements rotate.Procedure.
func (p *Procedure) Adopt(ctx context.Context, inUse string) (func(*journal.Record) error, error) {
	list, err := rotate.Read(ctx, p.options.Tokens.ListTokens)
	if err != nil {
		return nil, err
	}
	application, err := rotate.Read(ctx, p.options.Provisioning.Application)
	if err != nil {
		return nil, err
	}
	if _, listed := policy.FindToken(list.Tokens, inUse); inUse != "" && !listed {
		origin := "listed at AWS"
		if list.Origin == model.OriginDeclared {
			origin = "declared in the config"
		}
		return nil, fmt.Errorf("token %s is not %s: %s", inUse, origin, formatTokens(list.Tokens))
	}
	return func(journalled *journal.Record) error {
		r := recordOf(journalled)
		if inUse == "" && !r.explains(list.Tokens, application) {
			return fmt.Errorf("which token Entra holds is unknown: name it with --in-use ID; %s", inventoryOf(list.Tokens))
		}
		r.setKnownTokens(list.Tokens)
		r.ThirdPartyChange = time.Time{}
		if !application.CredentialsChanged.IsZero() {
			r.OwnSaves = append(r.OwnSaves, application.CredentialsChanged)
		}
		if r.Rotation != nil {
			r.adoptRotation(list.Tokens, inUse, time.Now().UTC())
		}
		switch _, listed := policy.FindToken(list.Tokens, r.InUse); {
		case inUse != "":
			r.InUse = inUse
		case len(list.Tokens) == 1:
			r.InUse = list.Tokens[0].ID
		case !listed:
			r.InUse = ""
		}
		return nil
	}, nil
}

// explains tells whether the journal knows where every token comes from, and nobody else has
// changed what Entra holds. With a single token there is no question.
func (r *record) explains(tokens []model.Token, application model.Application) bool {
	return len(tokens) <= 1 ||
		(len(r.unknownTokens(tokens)) == 0 && r.ThirdPartyChange.IsZero() && policy.ThirdPartyChange(application, r.OwnSaves).IsZero())
}

// adoptRotation lets the rotation continue with its new token, or ends it if an operator
// has decided otherwise.
func (r *record) adoptRotation(tokens []model.Token, inUse string, at time.Time) {
	rot := r.Rotation
	_, listed := policy.FindToken(tokens, rot.newID())
	if !listed || (inUse != "" && inUse != rot.newID()) {
		r.Finish(model.OutcomeAborted, "adopted: an operator decided otherwise", at)
		return
	}
	rot.JournalGap = 0
	// Entra may hold the new token, whatever the record says.
	rot.ShownToOperator = rot.ShownToOperator || r.Restored != "" || (inUse != "" && inUse == rot.newID())
	for _, token := range tokens {
		if token.ID != rot.newID() && !slices.Contains(idsOf(rot.Plan.Tokens), token.ID) {
			rot.Plan.Tokens = append(rot.Plan.Tokens, PlannedToken{Token: token, Role: model.RoleUnknown, Evidence: "adopted"})
		}
	}
	rot.resumeAfterReset(at)
}

// Rebind implements rotate.Procedure: the new token's value goes with the connection, since
// Entra may hold it.
func (p *Procedure) Rebind(ctx context.Context, from *journal.Record, toKey string) (func(*journal.Record), error) {
	nothing := func(*journal.Record) {}
	id := rotationOf(from.Rotation).newID()
	if id == "" {
		return nothing, nil
	}
	value, err := p.tokenStore(from.Binding.Key()).find(ctx, id)
	if err != nil || value.IsZero() {
		return nothing, err
	}
	to, name := p.tokenStore(toKey), "adopted-"+id
	if err := to.reserve(ctx, name); err != nil {
		return nothing, err
	}
	return nothing, to.save(ctx, name, id, value)
}

// InUse returns the token in use and its value as far as the journal and the token store
// tell; a zero Secret: they do not. It makes no call to AWS or Entra.
func InUse(ctx context.Context, engine *rotate.Engine, store Store, connection string) (tokenID string, value model.Secret, err error) {
	_ = engine.Refresh(ctx) // what cannot be read now is as it was read last
	entry := engine.Lookup(connection)
	if entry == nil || entry.Record() == nil {
		return "", model.Secret{}, nil
	}
	return tokenInUse(ctx, store, entry)
}

func tokenInUse(ctx context.Context, store Store, entry *journal.Entry) (tokenID string, value model.Secret, err error) {
	known := recordOf(entry.Record())
	tokenID = known.InUse
	if known.Rotation != nil && known.Rotation.NewToken != nil {
		tokenID = known.Rotation.NewToken.ID
	}
	value, err = tokenStore{store, entry.Key()}.find(ctx, tokenID)
	return tokenID, value, err
}

// Show returns the token in use and its value, for an operator who must enter it by hand.
func Show(ctx context.Context, engine *rotate.Engine, store Store, connection string) (tokenID string, value model.Secret, err error) {
	entry, err := engine.Resolve(ctx, connection)
	if err != nil {
		return "", model.Secret{}, err
	}
	tokenID, value, err = tokenInUse(ctx, store, entry)
	switch {
	case err != nil:
		return tokenID, value, err
	case tokenID == "":
		return tokenID, value, fmt.Errorf("connection %s: no rotation has stored a token, so there is no value to show; create a new token by hand (docs/rotation.md, By hand)", connection)
	case value.IsZero():
		return tokenID, value, fmt.Errorf("connection %s: the token store does not have the value of token %q", connection, tokenID)
	}
	return tokenID, value, markShown(ctx, entry, tokenID)
}

// markShown journals that an operator is shown the new token before it was saved: from then
// on Entra may hold it, so it is not deleted again.
func markShown(ctx context.Context, entry *journal.Entry, tokenID string) error {
	if rot := recordOf(entry.Record()).Rotation; rot == nil || rot.mayBeInUse() || rot.newID() != tokenID {
		return nil
	}
	_, err := entry.Change(ctx, func(r *journal.Record) error {
		rot := rotationOf(r.Rotation)
		switch {
		case rot.newID() != tokenID:
			return nil
		case rot.Phase == model.PhaseUndo && rot.Blocked == nil:
			return errors.New("the rotation is deleting it now; try again in a few minutes")
		}
		rot.ShownToOperator = true
		return nil
	})
	if err != nil {
		return fmt.Errorf("journalling that token %s is shown: %w", tokenID, err)
	}
	return nil
}
