package identitycenter

import (
	"cmp"
	"context"
	"encoding/json"
	"math"
	"net/http"
	"slices"
	"strings"
	"time"

	"entra-aws-exporter/internal/model"
)

// tokenService is the API behind the console's page "Automatic provisioning". AWS
// does not document it: everything that is known of it is in this file. Its shapes are
// those of the console's own client model identitystore-2019-11-01, published at
// https://github.com/Frichetten/aws-api-models; its IAM actions are public:
// https://docs.aws.amazon.com/service-authorization/latest/reference/list_awsiamidentitycenterdirectory.html
type tokenService struct {
	connection string // for errors
	*jsonService
}

const (
	tokenServiceTarget = "AWSIdentityStoreService" // the public SDK's prefix is another one
	maxPages           = 20                        // the model has no NextToken in responses; should one come, it is followed
)

type tokenRequest struct {
	IdentityStoreID string `json:"IdentityStoreId"`
	TenantID        string `json:"TenantId,omitempty"`
	TokenID         string `json:"TokenId,omitempty"`
	NextToken       string `json:"NextToken,omitempty"`
}

func requestFor(binding model.Binding) tokenRequest {
	return tokenRequest{IdentityStoreID: binding.IdentityStoreID, TenantID: binding.ProvisioningTenantID}
}

// provisioningTenant is where an identity store takes SCIM calls.
type provisioningTenant struct {
	ID       string `json:"TenantId"`
	Endpoint string `json:"ScimEndpoint"`
}

// forEachPage calls read with each page's NextToken until there is none.
func forEachPage(list string, read func(next string) (string, error)) error {
	next := ""
	for range maxPages {
		var err error
		if next, err = read(next); err != nil || next == "" {
			return err
		}
	}
	return apiChanged("a list of " + list + " without an end")
}

// describe describes a call for its errors.
func (s *tokenService) describe(op, action string) apiCall {
	return apiCall{
		op: op + s.connection, action: action,
		jsonVersion: otherJSONVersion("token_service", s.jsonVersion),
		alternative: "AWS does not document this API and may have changed it: " +
			"set tokens.read_from: declared with the tokens' dates, and update the exporter",
	}
}

func (s *tokenService) tenants(ctx context.Context, store string) ([]provisioningTenant, error) {
	var found []provisioningTenant
	err := forEachPage("provisioning tenants", func(next string) (string, error) {
		var page struct {
			Tenants   []*provisioningTenant `json:"ProvisioningTenants"`
			NextToken string
		}
		if _, err := s.read(ctx, "ListProvisioningTenants", tokenRequest{IdentityStoreID: store, NextToken: next}, &page); err != nil {
			return "", err
		}
		for _, tenant := range page.Tenants {
			if tenant == nil {
				continue
			}
			if !tenantPattern.MatchString(tenant.ID) {
				return "", apiChanged("a provisioning tenant without a usable TenantId")
			}
			found = append(found, *tenant)
		}
		return page.NextToken, nil
	})
	return found, err
}

// list returns the tokens, oldest first, and the service's clock.
func (s *tokenService) list(ctx context.Context, binding model.Binding) (tokens []model.Token, date time.Time, err error) {
	request := requestFor(binding)
	err = forEachPage("tokens", func(next string) (string, error) {
		var page tokenPage
		request.NextToken = next
		if date, err = s.read(ctx, "ListBearerTokens", request, &page); err != nil {
			return "", err
		}
		listed, err := page.tokens()
		tokens = append(tokens, listed...)
		return page.NextToken, err
	})
	return oldestFirst(tokens), date, err
}

// create creates a token with exactly one request.
func (s *tokenService) create(ctx context.Context, binding model.Binding) (model.IssuedToken, error) {
	var response struct {
		BearerToken struct {
			ID      string          `json:"TokenId"`
			Value   string          `json:"Token"`
			Created json.RawMessage `json:"CreationTime"`
			Expires json.RawMessage `json:"ExpirationTime"`
		}
	}
	date, err := s.write(ctx, "CreateBearerToken", requestFor(binding), &response)
	if err != nil {
		return model.IssuedToken{}, err
	}
	created := response.BearerToken
	token := model.IssuedToken{Value: model.NewSecret(created.Value), Date: date}
	token.ID = created.ID
	token.Created, _ = parseTimestamp(created.Created) // a bad date must not lose the value
	token.Expires, _ = parseTimestamp(created.Expires)
	if token.ID == "" || created.Value == "" {
		err := apiChanged("a new token without TokenId or Token")
		err.Status = http.StatusOK // the token may exist
		return token, err
	}
	return token, nil
}

// remove deletes a token with exactly one request.
func (s *tokenService) remove(ctx context.Context, binding model.Binding, id string) error {
	request := requestFor(binding)
	request.TokenID = id
	_, err := s.write(ctx, "DeleteBearerToken", request, &struct{}{})
	return err
}

// listedToken omits the model's Token: a list that should carry values must not bring
// them into long-lived memory.
type listedToken struct {
	ID      string     `json:"TokenId"`
	Created *timestamp `json:"CreationTime"`
	Expires *timestamp `json:"ExpirationTime"`
}

type tokenPage struct {
	Tokens    *[]*listedToken `json:"BearerTokens"`
	NextToken string          `json:"NextToken"`
}

func (p tokenPage) tokens() ([]model.Token, error) {
	if p.Tokens == nil && p.NextToken != "" {
		return nil, nil // an empty page
	}
	if p.Tokens == nil {
		return nil, apiChanged("no BearerTokens")
	}
	tokens := make([]model.Token, 0, len(*p.Tokens))
	for _, listed := range *p.Tokens {
		switch {
		case listed == nil:
			continue
		case listed.ID == "" || len(listed.ID) > 256:
			return nil, apiChanged("a token without a usable TokenId")
		case listed.Created == nil && listed.Expires == nil:
			return nil, apiChanged("a token without CreationTime and ExpirationTime")
		}
		tokens = append(tokens, model.Token{ID: listed.ID, Created: listed.Created.time(), Expires: listed.Expires.time()})
	}
	return tokens, nil
}

// oldestFirst sorts by date, never by the service's order, and keeps each id once.
func oldestFirst(tokens []model.Token) []model.Token {
	slices.SortFunc(tokens, func(a, b model.Token) int {
		return cmp.Or(a.Created.Compare(b.Created), a.Expires.Compare(b.Expires), strings.Compare(a.ID, b.ID))
	})
	seen := make(map[string]bool, len(tokens))
	return slices.DeleteFunc(tokens, func(token model.Token) bool {
		again := seen[token.ID]
		seen[token.ID] = true
		return again
	})
}

// timestamp is a time of the token service: epoch seconds with a fraction, or an RFC 3339
// string. Which of the two tokens carry is unknown. Zero: unknown.
type timestamp time.Time

// UnmarshalJSON implements json.Unmarshaler.
func (t *timestamp) UnmarshalJSON(raw []byte) error {
	at, err := parseTimestamp(raw)
	*t = timestamp(at)
	return err
}

func (t *timestamp) time() time.Time {
	if t == nil {
		return time.Time{}
	}
	return time.Time(*t)
}

func parseTimestamp(raw []byte) (time.Time, error) {
	var text string
	if json.Unmarshal(raw, &text) == nil && text != "" {
		at, err := time.Parse(time.RFC3339, text)
		if err != nil || at.Year() > 2285 {
			return time.Time{}, apiChanged("a timestamp that is neither a number nor RFC 3339")
		}
		if at.Unix() <= 0 {
			return time.Time{}, nil
		}
		return at.UTC(), nil
	}
	var seconds float64
	if json.Unmarshal(raw, &seconds) != nil || seconds < 0 || seconds > 1e10 {
		return time.Time{}, apiChanged("a timestamp that is not in epoch seconds")
	}
	if seconds == 0 {
		return time.Time{}, nil
	}
	return time.UnixMilli(int64(math.Round(seconds * 1000))).UTC(), nil
}
