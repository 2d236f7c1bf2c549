package identitycenter

import (
	"context"
	"encoding/json"
	"fmt"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"

	"entra-aws-exporter/internal/model"
)

// tokenService is the API behind the console's page "Automatic provisioning". AWS
// does not document it: everything that is known of it is in this file. Its shapes
// are those of the console's own client model identitystore-2019-11-01, published at
// https://github.com/Frichetten/aws-api-models; its IAM actions are public:
// https://docs.aws.amazon.com/service-authorization/latest/reference/list_awsiamidentitycenterdirectory.html
type tokenService struct{ api *consoleAPI }

const (
	tokenServiceTarget = "AWSIdentityStoreService" // the public SDK's prefix is another one
	pagesLimit         = 20                        // the model has no NextToken in answers; should one come, it is followed
	actLimit           = 20 * time.Second          // one act, signing in included
)

type tokenRequest struct {
	IdentityStoreID string `json:"IdentityStoreId"`
	TenantID        string `json:"TenantId,omitempty"`
	TokenID         string `json:"TokenId,omitempty"`
	NextToken       string `json:"NextToken,omitempty"`
}

// provisioningTenant is where an identity store takes SCIM calls.
type provisioningTenant struct {
	ID       string `json:"TenantId"`
	Endpoint string `json:"ScimEndpoint"`
}

// listedToken leaves the model's Token out: a list that should carry values is not to
// bring them into memory's long-lived part.
type listedToken struct {
	ID      string  `json:"TokenId"`
	Created *moment `json:"CreationTime"`
	Expires *moment `json:"ExpirationTime"`
}

func (s *tokenService) tenants(ctx context.Context, credentials aws.CredentialsProvider, store string) ([]provisioningTenant, error) {
	var found []provisioningTenant
	request := tokenRequest{IdentityStoreID: store}
	for range pagesLimit {
		var answer struct {
			Tenants   []*provisioningTenant `json:"ProvisioningTenants"`
			NextToken string                `json:"NextToken"`
		}
		if _, err := s.api.call(ctx, credentials, newRetryer(), "ListProvisioningTenants", request, &answer); err != nil {
			return nil, err
		}
		for _, tenant := range answer.Tenants {
			if tenant == nil {
				continue
			}
			if !tenantPattern.MatchString(tenant.ID) {
				return nil, changed("a provisioning tenant without a usable TenantId")
			}
			found = append(found, *tenant)
		}
		if answer.NextToken == "" {
			return found, nil
		}
		request.NextToken = answer.NextToken
	}
	return nil, changed("a list of provisioning tenants without an end")
}

// list returns the tokens, oldest first, and the service's clock.
func (s *tokenService) list(ctx context.Context, credentials aws.CredentialsProvider, store, tenant string) (model.TokenList, error) {
	list := model.TokenList{Origin: model.OriginConsoleAPI, Slots: model.TokenSlots}
	request := tokenRequest{IdentityStoreID: store, TenantID: tenant}
	for range pagesLimit {
		var answer tokenPage
		date, err := s.api.call(ctx, credentials, newRetryer(), "ListBearerTokens", request, &answer)
		if err != nil {
			return model.TokenList{}, err
		}
		tokens, err := answer.tokens()
		if err != nil {
			return model.TokenList{}, err
		}
		list.Tokens, list.Date = append(list.Tokens, tokens...), date
		if answer.NextToken == "" {
			list.Tokens = oldestFirst(list.Tokens)
			return list, nil
		}
		request.NextToken = answer.NextToken
	}
	return model.TokenList{}, changed("a list of tokens without an end")
}

// create asks for a new token exactly once.
func (s *tokenService) create(ctx context.Context, credentials aws.CredentialsProvider, store, tenant string) (model.IssuedToken, error) {
	ctx, cancel := context.WithTimeout(ctx, actLimit)
	defer cancel()
	var answer struct {
		BearerToken struct {
			ID      string          `json:"TokenId"`
			Value   string          `json:"Token"`
			Created json.RawMessage `json:"CreationTime"`
			Expires json.RawMessage `json:"ExpirationTime"`
		}
	}
	date, err := s.api.call(ctx, credentials, aws.NopRetryer{}, "CreateBearerToken", tokenRequest{IdentityStoreID: store, TenantID: tenant}, &answer)
	if err != nil {
		return model.IssuedToken{}, err
	}
	created := answer.BearerToken
	token := model.IssuedToken{Value: model.NewSecret(created.Value), Date: date}
	token.ID, token.Created, token.Expires = created.ID, lenient(created.Created), lenient(created.Expires)
	if token.ID == "" || created.Value == "" {
		err := changed("a new token without TokenId or Token")
		err.Status = 200 // so that nobody takes it for refused
		return token, err
	}
	return token, nil
}

// remove deletes a token exactly once.
func (s *tokenService) remove(ctx context.Context, credentials aws.CredentialsProvider, store, tenant, id string) error {
	ctx, cancel := context.WithTimeout(ctx, actLimit)
	defer cancel()
	var answer struct{}
	_, err := s.api.call(ctx, credentials, aws.NopRetryer{}, "DeleteBearerToken",
		tokenRequest{IdentityStoreID: store, TenantID: tenant, TokenID: id}, &answer)
	return err
}

type tokenPage struct {
	Tokens    *[]*listedToken `json:"BearerTokens"`
	NextToken string          `json:"NextToken"`
}

func (p tokenPage) tokens() ([]model.Token, error) {
	if p.Tokens == nil {
		return nil, changed("no BearerTokens")
	}
	tokens := make([]model.Token, 0, len(*p.Tokens))
	for _, listed := range *p.Tokens {
		switch {
		case listed == nil:
			continue
		case listed.ID == "" || len(listed.ID) > 256:
			return nil, changed("a token without a usable TokenId")
		case listed.Created == nil && listed.Expires == nil:
			return nil, changed("a token without CreationTime and ExpirationTime")
		}
		tokens = append(tokens, model.Token{ID: listed.ID, Created: listed.Created.time(), Expires: listed.Expires.time()})
	}
	return tokens, nil
}

// oldestFirst sorts by date, never by the service's order, and keeps each id once.
func oldestFirst(tokens []model.Token) []model.Token {
	slices.SortFunc(tokens, func(a, b model.Token) int {
		if order := a.Created.Compare(b.Created); order != 0 {
			return order
		}
		if order := a.Expires.Compare(b.Expires); order != 0 {
			return order
		}
		return strings.Compare(a.ID, b.ID)
	})
	seen := make(map[string]bool, len(tokens))
	return slices.DeleteFunc(tokens, func(token model.Token) bool {
		again := seen[token.ID]
		seen[token.ID] = true
		return again
	})
}

// moment is a timestamp of the token service: epoch seconds with a fraction, or an
// RFC 3339 string. Which of the two tokens carry was never seen; zero is unknown.
type moment time.Time

// UnmarshalJSON implements json.Unmarshaler.
func (m *moment) UnmarshalJSON(raw []byte) error {
	at, err := parseMoment(raw)
	if err != nil {
		return err
	}
	*m = moment(at)
	return nil
}

func (m *moment) time() time.Time {
	if m == nil {
		return time.Time{}
	}
	return time.Time(*m)
}

func parseMoment(raw []byte) (time.Time, error) {
	var text string
	if json.Unmarshal(raw, &text) == nil && text != "" {
		at, err := time.Parse(time.RFC3339, text)
		if err != nil || at.Year() > 2285 {
			return time.Time{}, changed("a timestamp that is neither a number nor RFC 3339")
		}
		if at.Unix() <= 0 {
			return time.Time{}, nil
		}
		return at.UTC(), nil
	}
	var seconds float64
	if json.Unmarshal(raw, &seconds) != nil || seconds < 0 || seconds > 1e10 {
		return time.Time{}, changed("a timestamp that is not in epoch seconds")
	}
	if seconds == 0 {
		return time.Time{}, nil
	}
	return time.UnixMilli(int64(math.Round(seconds * 1000))).UTC(), nil
}

// lenient reads a date that must not cost us the value beside it.
func lenient(raw json.RawMessage) time.Time {
	at, err := parseMoment(raw)
	if err != nil {
		return time.Time{}
	}
	return at
}

// changed says that the undocumented API no longer answers as known.
func changed(what string) *model.Error {
	return &model.Error{Reason: model.ReasonAPIChanged, Detail: fmt.Sprintf("the answer has %s", what)}
}
