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

// scimToken is a SCIM access token, deleted or not: AWS's nodes may accept it after its
// deletion, and Entra may still hold its value.
type scimToken struct {
	BearerToken
	of          *provisioningTenant
	accessKeyID string // in CloudTrail
	seeded      bool   // made before the start
	createdBy   Actor
	expiredBy   Actor // who moved the expiry, if not time
	deleted     time.Time
	deletedBy   Actor
	deletion    int // its place in the timeline
}

// ListBearerTokens lists the tokens of a provisioning tenant, expired ones included.
// Quirks: list_lag, list_order, list_values; with nodes=apart every second list is
// not behind.
func (aws *AWS) ListBearerTokens(c Caller, identityStoreID, tenantID string) ([]BearerToken, error) {
	t, err := aws.tokensOf(c, ListBearerTokensAction, identityStoreID, tenantID)
	if err != nil {
		return nil, err
	}
	seen := aws.at
	if aws.nextNode() == slowNode {
		seen = seen.Add(-aws.lag(aws.quirks.ListLag))
	}
	var list []BearerToken
	for _, token := range t.tokens {
		if !token.seeded && token.Created.After(seen) || !token.deleted.IsZero() && !token.deleted.After(seen) {
			continue
		}
		list = append(list, aws.tokenView(token, aws.quirks.ListValues == ValuesCarried))
	}
	slices.SortStableFunc(list, func(a, b BearerToken) int {
		switch aws.quirks.ListOrder {
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
func (aws *AWS) CreateBearerToken(c Caller, identityStoreID, tenantID string) (BearerToken, error) {
	t, err := aws.tokensOf(c, CreateBearerTokenAction, identityStoreID, tenantID)
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
		status := map[string]int{ThirdQuota: http.StatusPaymentRequired, ThirdConflict: http.StatusConflict}[aws.quirks.ThirdCreate]
		return BearerToken{}, NewError(ServiceTokens, max(status, http.StatusBadRequest), aws.quirks.ThirdCreate, "The number of bearer tokens for this provisioning tenant has reached its limit.")
	}
	token := aws.newToken(t, c.Actor, aws.at, aws.at.Add(TokenLifetime))
	aws.record(Creation{aws.stamp(c.Actor), t.TenantID, token.ID})
	aws.afterChange()
	return aws.tokenView(token, true), nil
}

// DeleteBearerToken deletes a token. Quirk: deleted_lag.
func (aws *AWS) DeleteBearerToken(c Caller, identityStoreID, tenantID, tokenID string) error {
	t, err := aws.tokensOf(c, DeleteBearerTokenAction, identityStoreID, tenantID)
	if err != nil {
		return err
	}
	at := slices.IndexFunc(t.tokens, func(token *scimToken) bool { return token.ID == tokenID && token.deleted.IsZero() })
	if at < 0 {
		return notFound(ServiceTokens, "BEARER_TOKEN resource not found for %s.", tokenID)
	}
	token := t.tokens[at]
	deletion := Deletion{
		Stamp: aws.stamp(c.Actor), Tenant: t.TenantID, TokenID: token.ID, CreatedBy: token.createdBy, Expired: !aws.at.Before(token.Expires),
	}
	for _, other := range t.tokens {
		if other != token && other.deleted.IsZero() && aws.at.Before(other.Expires) {
			deletion.Remaining++
		}
	}
	deletion.WasSaved, deletion.WasCached = aws.process.holders(token)
	aws.record(deletion)
	token.deleted, token.deletedBy, token.deletion = aws.at, c.Actor, len(aws.timeline)-1
	aws.afterChange()
	return nil
}

func (aws *AWS) newToken(t *provisioningTenant, actor Actor, created, expires time.Time) *scimToken {
	token := &scimToken{
		of: t, createdBy: actor, accessKeyID: aws.accessKeyID("ASIA"), seeded: actor == ActorSetup,
		BearerToken: BearerToken{
			Token: model.Token{ID: aws.newID(), Created: created, Expires: expires},
			Value: aws.newID() + ":" + aws.newID() + ":" + hex.EncodeToString(aws.bytes(32)),
		},
	}
	t.tokens = append(t.tokens, token)
	aws.tokens[token.Value] = token
	return token
}

func (aws *AWS) tokensOf(c Caller, action Action, identityStoreID, tenantID string) (*provisioningTenant, error) {
	i, err := aws.storeFor(c, ServiceTokens, action, identityStoreID)
	if err != nil {
		return nil, err
	}
	return i.live(tenantID)
}

func (aws *AWS) tokenView(t *scimToken, value bool) BearerToken {
	view := t.BearerToken
	view.Created, view.Expires = addSkew(view.Created, aws.skew.AWS), addSkew(view.Expires, aws.skew.AWS)
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

func (aws *AWS) nextNode() node {
	aws.calls++
	if aws.quirks.Nodes == NodesApart && aws.calls%2 == 0 {
		return fastNode
	}
	return slowNode
}

func (aws *AWS) accepts(n node, t *scimToken) bool {
	behind := func(lag time.Duration) time.Duration {
		if n == fastNode {
			return 0
		}
		return aws.lag(lag)
	}
	switch {
	case t == nil, !t.of.deleted.IsZero(), !aws.at.Before(t.Expires):
		return false
	case !t.seeded && aws.at.Before(t.Created.Add(behind(aws.quirks.NewLag))):
		return false
	default:
		return t.deleted.IsZero() || aws.at.Before(t.deleted.Add(behind(aws.quirks.DeletedLag)))
	}
}

func (aws *AWS) acceptance(t *scimToken) Acceptance {
	slow := aws.accepts(slowNode, t)
	fast := slow
	if aws.quirks.Nodes == NodesApart {
		fast = aws.accepts(fastNode, t)
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

// TokenValue returns the value of a token, deleted or not; "" when there is none.
func (aws *AWS) TokenValue(tokenID string) string {
	if t := aws.tokenByID(tokenID); t != nil {
		return t.Value
	}
	return ""
}

// TokenAccepted returns whether AWS's nodes accept a token now.
func (aws *AWS) TokenAccepted(tokenID string) Acceptance {
	aws.Advance()
	return aws.acceptance(aws.tokenByID(tokenID))
}

// Expire ends a token's life now.
func (aws *AWS) Expire(actor Actor, tokenID string) error {
	aws.Advance()
	t := aws.tokenByID(tokenID)
	if t == nil {
		return notFound(ServiceTokens, "BEARER_TOKEN resource not found for %s.", tokenID)
	}
	t.Expires, t.expiredBy = aws.at, actor
	aws.annotate(actor, "let token %s expire", tokenID)
	aws.afterChange()
	return nil
}

func (aws *AWS) tokenByID(id string) *scimToken {
	for _, i := range aws.instances {
		for _, t := range i.tenants {
			for _, token := range t.tokens {
				if token.ID == id {
					return token
				}
			}
		}
	}
	return nil
}
