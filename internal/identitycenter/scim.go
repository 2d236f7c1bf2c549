package identitycenter

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"

	"entra-aws-exporter/internal/model"
)

// scim calls the SCIM endpoint with a token's value.
// https://docs.aws.amazon.com/singlesignon/latest/developerguide/what-is-scim.html
type scim struct {
	http      *http.Client
	userAgent string
	allowed   []string // host suffixes that may see a token
}

// allowedHosts are AWS's own domains and those that the operator adds.
func allowedHosts(added []string) []string {
	allowed := []string{"amazonaws.com", "amazonaws.com.cn", "api.aws", "amazonaws.eu"}
	for _, suffix := range added {
		if suffix = strings.ToLower(strings.Trim(suffix, ". ")); suffix != "" {
			allowed = append(allowed, suffix)
		}
	}
	return allowed
}

// Probe makes one live call with the token that is at hand: the vault's, or else the
// one of tokens.scim_token_file. A status other than 2xx is an answer, not an error.
func (i *Instance) Probe(ctx context.Context) (model.Probe, error) {
	tokenID, value, err := i.tokenAtHand(ctx)
	if err != nil {
		return model.Probe{}, err
	}
	probe, err := i.ProbeToken(ctx, value)
	if err == nil && probe.Accepted() {
		i.usage.probed(tokenID, probe, i.web.now())
	}
	return probe, err
}

// tokenAtHand returns a value to probe with, and the id of its token if that is known.
func (i *Instance) tokenAtHand(ctx context.Context) (string, model.Secret, error) {
	none := &model.Error{Reason: model.ReasonOther, Op: "probing the SCIM endpoint of " + i.options.Connection, Unsent: true}
	if i.options.TokenValue != nil {
		id, value, err := i.options.TokenValue(ctx)
		if err != nil {
			none.Err = err
			return "", model.Secret{}, none
		}
		if !value.IsZero() {
			return id, value, nil
		}
	}
	if i.options.SCIMTokenFile == "" {
		none.Err, none.Detail = model.ErrSourceOff, "no token's value is known yet"
		none.Advice = "set tokens.scim_token_file, until a rotation puts a value into the vault"
		return "", model.Secret{}, none
	}
	value, err := i.options.SCIMTokenFile.Read()
	if err != nil {
		none.Err, none.Advice = err, "check tokens.scim_token_file"
		return "", model.Secret{}, none
	}
	if listed := i.lastListed(); len(listed) == 1 {
		return listed[0].ID, value, nil
	}
	return "", value, nil
}

// ProbeToken makes one cheap authenticated call. A status other than 2xx is an answer,
// not an error; an error means that there was none. Every call is a CloudTrail event.
func (i *Instance) ProbeToken(ctx context.Context, value model.Secret) (model.Probe, error) {
	probing := operation{doing: "probing the SCIM endpoint of " + i.options.Connection}
	started := time.Now()
	response, err := i.get(ctx, probing, value, "/ServiceProviderConfig")
	if err != nil {
		return model.Probe{}, err
	}
	defer func() { _ = response.Body.Close() }()
	return model.Probe{StatusCode: response.StatusCode, Duration: time.Since(started), Date: dateOf(response)}, nil
}

// HasUser reports whether a user with this userName is there.
func (i *Instance) HasUser(ctx context.Context, value model.Secret, userName string) (bool, error) {
	looking := operation{doing: "looking for a user at the SCIM endpoint of " + i.options.Connection}
	filter := url.Values{"filter": {"userName eq " + quoted(userName)}}
	response, err := i.get(ctx, looking, value, "/Users?"+filter.Encode())
	if err != nil {
		return false, err
	}
	defer func() { _ = response.Body.Close() }()
	if response.StatusCode != http.StatusOK {
		return false, refusedBySCIM(looking, response.StatusCode)
	}
	var found struct {
		TotalResults int `json:"totalResults"`
		Resources    []struct {
			UserName string `json:"userName"`
		}
	}
	body, err := io.ReadAll(io.LimitReader(response.Body, 1<<20))
	if err != nil || json.Unmarshal(body, &found) != nil {
		return false, &model.Error{Reason: model.ReasonInvalidResponse, Op: looking.doing, Status: response.StatusCode,
			Detail: "the answer is not a SCIM list"}
	}
	for _, user := range found.Resources {
		if strings.EqualFold(user.UserName, userName) {
			return true, nil
		}
	}
	return false, nil
}

// get calls the bound endpoint, for which AWS is asked only if it is not known. The token
// goes to an allowed host only, over https, and never along a redirect.
func (i *Instance) get(ctx context.Context, operation operation, value model.Secret, path string) (*http.Response, error) {
	endpoint := i.knownEndpoint()
	if endpoint == "" && i.options.TokensFrom != model.OriginDeclared {
		binding, err := i.Binding(ctx)
		if err != nil {
			return nil, err
		}
		endpoint = binding.SCIMEndpoint
	}
	if err := i.scim.mayReceive(endpoint); err != nil {
		return nil, operation.failed(err)
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, endpoint+path, nil)
	if err != nil {
		return nil, operation.failed(withoutURL(err))
	}
	request.Header.Set("Authorization", "Bearer "+value.Reveal())
	request.Header.Set("Accept", "application/scim+json")
	request.Header.Set("User-Agent", i.scim.userAgent)
	response, err := i.scim.http.Do(request)
	if err != nil {
		return nil, operation.failed(withoutURL(err))
	}
	return response, nil
}

// mayReceive says why a token may not be sent to an endpoint; nil: it may.
func (s *scim) mayReceive(endpoint string) error {
	if endpoint == "" {
		return &model.Error{
			Reason: model.ReasonNotFound, Unsent: true, Detail: "with declared tokens the SCIM endpoint is not looked up",
			Advice: "set aws.provisioning_tenant_id, the part of the SCIM endpoint before /scim/v2",
		}
	}
	parsed, err := url.Parse(endpoint)
	if err != nil || parsed.Scheme != "https" || parsed.User != nil {
		return &model.Error{Reason: model.ReasonOther, Unsent: true,
			Detail: "a token is sent over https only, and " + clip(endpoint) + " is not such an endpoint"}
	}
	host := strings.ToLower(strings.TrimSuffix(parsed.Hostname(), "."))
	for _, suffix := range s.allowed {
		if host == suffix || strings.HasSuffix(host, "."+suffix) {
			return nil
		}
	}
	return &model.Error{
		Reason: model.ReasonOther, Unsent: true,
		Detail: fmt.Sprintf("no token is sent to %s, which is not a host of AWS's", clip(host)),
		Advice: "if it is to be trusted with tokens, add it to tokens.scim_allowed_hosts",
	}
}

// refusedBySCIM classifies by the status only: the body's form is not reliable.
func refusedBySCIM(operation operation, status int) error {
	refusal := &model.Error{Op: operation.doing, Status: status, Detail: fmt.Sprintf("HTTP status %d", status)}
	switch status {
	case http.StatusUnauthorized:
		refusal.Reason, refusal.Advice = model.ReasonAuth, "the token is not valid for this endpoint, or not yet"
	case http.StatusForbidden:
		refusal.Reason = model.ReasonPermission
		refusal.Advice = "does the identity store restrict SCIM to source addresses that leave this machine out?"
	case http.StatusTooManyRequests:
		refusal.Reason = model.ReasonThrottled
	default:
		refusal.Reason = model.ReasonOther
	}
	return refusal
}

// withoutURL removes net/http's quotation of the URL, whose filter names a person.
func withoutURL(err error) error {
	var quoting *url.Error
	if errors.As(err, &quoting) {
		return &requestError{quoting.Err}
	}
	return err
}

// requestError is a failed HTTP request without its URL.
type requestError struct{ err error }

func (e *requestError) Error() string { return e.err.Error() }
func (e *requestError) Unwrap() error { return e.err }

// quoted writes a value as SCIM filters want it, as a JSON string.
// https://www.rfc-editor.org/rfc/rfc7644#section-3.4.2.2
func quoted(value string) string {
	var text strings.Builder
	encoder := json.NewEncoder(&text)
	encoder.SetEscapeHTML(false)
	if encoder.Encode(value) != nil {
		return `""` // a string always encodes
	}
	return strings.TrimSuffix(text.String(), "\n")
}
