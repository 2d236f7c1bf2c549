package clouds

import (
	"cmp"
	"encoding/hex"
	"net/http"
	"slices"
	"time"

	"entra-aws-exporter/internal/model"
)

// TokenLifetime is how long a SCIM access token lives.
// https://docs.aws.amazon.com/singlesignon/latest/userguide/rotate-token.html
const TokenLifetime = 365 * 24 * time.Hour

// BearerToken is a SCIM access token as the token service gives it.
type BearerToken struct {
	model.Token
	Value string // "" where the service omits it
}

// token is a SCIM access token for ever: AWS's nodes may know it after its deletion,
// and somebody may still have its value saved.
type token struct {
	BearerToken
	of          *provisioningTenant
	accessKeyID string // in CloudTrail
	seeded      bool   // made before the story began
	createdBy   Actor
	expiredBy   Actor // who moved the expiry, if not time
	deleted     time.Time
	deletedBy   Actor
	deletion    int // its place among the records
}

// ListBearerTokens lists the tokens of a provisioning tenant, expired ones included.
// Quirks: list_lag, list_order, list_values; with nodes=apart every second list is
// not behind.
func (w *Model) ListBearerTokens(c Caller, identityStoreID, tenantID string) ([]BearerToken, error) {
	w.Advance()
	t, err := w.tokensOf(c, ListBearerTokensAction, identityStoreID, tenantID)
	if err != nil {
		return nil, err
	}
	seen := w.at
	if w.nextNode() == slowNode {
		seen = seen.Add(-w.lag(w.quirks.ListLag))
	}
	var list []BearerToken
	for _, token := range t.tokens {
		if !token.seeded && token.Created.After(seen) || !token.deleted.IsZero() && !token.deleted.After(seen) {
			continue
		}
		list = append(list, w.tokenView(token, w.quirks.ListValues == ValuesCarried))
	}
	slices.SortStableFunc(list, func(a, b BearerToken) int {
		switch w.quirks.ListOrder {
		case OrderOldest:
			return a.Created.Compare(b.Created)
		case OrderNewest:
			return b.Created.Compare(a.Created)
		default:
			return cmp.Compare(a.ID, b.ID)
		}
	})
	return list, nil
}

// CreateBearerToken makes a token; its value is given only now. Quirk: third_create.
func (w *Model) CreateBearerToken(c Caller, identityStoreID, tenantID string) (BearerToken, error) {
	w.Advance()
	t, err := w.tokensOf(c, CreateBearerTokenAction, identityStoreID, tenantID)
	if err != nil {
		return BearerToken{}, err
	}
	slots := 0
	for _, token := range t.tokens {
		if token.deleted.IsZero() {
			slots++
		}
	}
	if slots >= model.TokenSlots {
		status := map[string]int{ThirdQuota: http.StatusPaymentRequired, ThirdConflict: http.StatusConflict}[w.quirks.ThirdCreate]
		return BearerToken{}, &Error{
			Service: ServiceTokens, Status: max(status, http.StatusBadRequest), Code: w.quirks.ThirdCreate,
			Message: "The number of bearer tokens for this provisioning tenant has reached its limit.",
		}
	}
	token := w.mint(t, c.Actor, w.at, w.at.Add(TokenLifetime))
	w.record(Creation{w.moment(c.Actor), t.TenantID, token.ID})
	w.settle()
	return w.tokenView(token, true), nil
}

// DeleteBearerToken deletes a token. Quirk: deleted_lag.
func (w *Model) DeleteBearerToken(c Caller, identityStoreID, tenantID, tokenID string) error {
	w.Advance()
	t, err := w.tokensOf(c, DeleteBearerTokenAction, identityStoreID, tenantID)
	if err != nil {
		return err
	}
	at := slices.IndexFunc(t.tokens, func(token *token) bool { return token.ID == tokenID && token.deleted.IsZero() })
	if at < 0 {
		return notFound(ServiceTokens, "BEARER_TOKEN resource not found for %s.", tokenID)
	}
	token := t.tokens[at]
	w.recordDeletion(c.Actor, token)
	token.deleted, token.deletedBy, token.deletion = w.at, c.Actor, len(w.records)-1
	w.settle()
	return nil
}

// mint adds a token to a tenant.
func (w *Model) mint(t *provisioningTenant, actor Actor, created, expires time.Time) *token {
	token := &token{
		of: t, createdBy: actor, accessKeyID: w.accessKeyID("ASIA"), seeded: actor == ActorSetup,
		BearerToken: BearerToken{
			Token: model.Token{ID: w.newID(), Created: created, Expires: expires},
			Value: w.newID() + ":" + w.newID() + ":" + hex.EncodeToString(w.bytes(32)),
		},
	}
	t.tokens = append(t.tokens, token)
	w.tokens[token.Value] = token
	return token
}

func (w *Model) tokensOf(c Caller, action Action, identityStoreID, tenantID string) (*provisioningTenant, error) {
	i, err := w.reach(c, ServiceTokens, action, identityStoreID)
	if err != nil {
		return nil, err
	}
	return i.live(tenantID)
}

func (w *Model) tokenView(t *token, value bool) BearerToken {
	view := t.BearerToken
	view.Created, view.Expires = shift(view.Created, w.skew.AWS), shift(view.Expires, w.skew.AWS)
	if !value {
		view.Value = ""
	}
	return view
}

// Acceptance is whether AWS's nodes accept a token.
type Acceptance string

// The degrees of acceptance.
const (
	AcceptedByAll  Acceptance = "all"
	AcceptedBySome Acceptance = "some" // nodes that have, or have not yet, heard of it
	AcceptedByNone Acceptance = "none"
)

// node is one of AWS's nodes, by how fast it learns of tokens.
type node int

const (
	slowNode node = iota
	fastNode
)

// nextNode is the node that answers the next call.
func (w *Model) nextNode() node {
	w.calls++
	if w.quirks.Nodes == NodesApart && w.calls%2 == 0 {
		return fastNode
	}
	return slowNode
}

// accepts says whether a node accepts a token now.
func (w *Model) accepts(n node, t *token) bool {
	behind := func(lag time.Duration) time.Duration {
		if n == fastNode {
			return 0
		}
		return w.lag(lag)
	}
	switch {
	case t == nil, !t.of.deleted.IsZero(), !w.at.Before(t.Expires):
		return false
	case !t.seeded && w.at.Before(t.Created.Add(behind(w.quirks.NewLag))):
		return false
	default:
		return t.deleted.IsZero() || w.at.Before(t.deleted.Add(behind(w.quirks.DeletedLag)))
	}
}

func (w *Model) acceptance(t *token) Acceptance {
	slow := w.accepts(slowNode, t)
	fast := slow
	if w.quirks.Nodes == NodesApart {
		fast = w.accepts(fastNode, t)
	}
	switch {
	case slow && fast:
		return AcceptedByAll
	case slow || fast:
		return AcceptedBySome
	default:
		return AcceptedByNone
	}
}

// boundaries lists the moments at which the acceptance of a token changes by itself.
func (w *Model) boundaries(t *token) [3]time.Time {
	times := [3]time.Time{t.Created.Add(w.lag(w.quirks.NewLag)), t.Expires}
	if !t.deleted.IsZero() {
		times[2] = t.deleted.Add(w.lag(w.quirks.DeletedLag))
	}
	return times
}
