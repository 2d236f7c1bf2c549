package identitycenter

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"entra-aws-exporter/internal/cloudhttp"
	"entra-aws-exporter/internal/model"
)

// scimClient calls the SCIM endpoint with a token's value.
// https://docs.aws.amazon.com/singlesignon/latest/developerguide/what-is-scim.html
type scimClient struct {
	http    *http.Client
	allowed []string // host suffixes that may receive a token
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

// Probe makes one call with the available token: the token store's, or else the one of
// tokens.scim_token_file. A status other than 2xx is a result, not an error.
func (i *Instance) Probe(ctx context.Context) (model.Probe, error) {
	tokenID, value, err := i.availableToken(ctx)
	if err != nil {
		return model.Probe{}, err
	}
	probe, err := i.ProbeToken(ctx, value)
	if err == nil && probe.Accepted() {
		i.usage.recordProbe(tokenID, probe, i.http.now())
	}
	return probe, err
}

// availableToken returns a value to probe with, and the id of its token if that is known.
func (i *Instance) availableToken(ctx context.Context) (string, model.Secret, error) {
	none := &model.Error{Reason: model.ReasonOther, Op: i.probeCall().op, Unsent: true}
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
		none.Advice = "set tokens.scim_token_file, until a rotation stores a value"
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

func (i *Instance) probeCall() apiCall {
	return apiCall{op: "probing the SCIM endpoint of " + i.options.Connection}
}

// configSchema identifies a ServiceProviderConfig.
// https://www.rfc-editor.org/rfc/rfc7643#section-5
const configSchema = "urn:ietf:params:scim:schemas:core:2.0:ServiceProviderConfig"

// ProbeToken makes one cheap authenticated call. A status other than 2xx is a result, not
// an error; an error means that the SCIM endpoint itself did not respond: there was no
// response, or a proxy's. Every call is a CloudTrail event.
// https://docs.aws.amazon.com/singlesignon/latest/developerguide/serviceproviderconfig.html
func (i *Instance) ProbeToken(ctx context.Context, value model.Secret) (model.Probe, error) {
	started := time.Now()
	response, err := i.scimGet(ctx, i.probeCall(), value, "/ServiceProviderConfig")
	if err != nil {
		return model.Probe{}, err
	}
	defer func() { _ = response.Body.Close() }()
	probe := model.Probe{StatusCode: response.StatusCode, Duration: time.Since(started), Date: cloudhttp.Date(response)}
	if unreadable := checkConfig(response); unreadable != "" && probe.Accepted() {
		return model.Probe{}, &model.Error{
			Reason: model.ReasonInvalidResponse, Op: i.probeCall().op, Status: response.StatusCode,
			Detail: fmt.Sprintf("HTTP status %d with %s", response.StatusCode, unreadable), Advice: checkEndpoints,
		}
	}
	return probe, nil
}

// checkConfig says what a response has instead of a ServiceProviderConfig; "": it has one.
func checkConfig(response *http.Response) string {
	var config struct{ Schemas []string }
	body, err := io.ReadAll(response.Body)
	if err == nil {
		err = json.Unmarshal(body, &config)
	}
	switch {
	case cloudhttp.IsWebPage(response.Header.Get("Content-Type"), body):
		return cloudhttp.WebPage + ", instead of a SCIM ServiceProviderConfig"
	case err != nil || !slices.Contains(config.Schemas, configSchema):
		return "something else than a SCIM ServiceProviderConfig"
	}
	return ""
}

// HasUser reports whether a user with this userName exists.
func (i *Instance) HasUser(ctx context.Context, value model.Secret, userName string) (bool, error) {
	call := apiCall{op: "looking for a user at the SCIM endpoint of " + i.options.Connection}
	filter := url.Values{"filter": {"userName eq " + filterValue(userName)}}
	response, err := i.scimGet(ctx, call, value, "/Users?"+filter.Encode())
	if err != nil {
		return false, err
	}
	defer func() { _ = response.Body.Close() }()
	if response.StatusCode != http.StatusOK {
		return false, scimError(call, response.StatusCode)
	}
	var found struct {
		Resources []struct{ UserName string }
	}
	body, err := io.ReadAll(io.LimitReader(response.Body, 1<<20))
	if err != nil || json.Unmarshal(body, &found) != nil {
		return false, &model.Error{Reason: model.ReasonInvalidResponse, Op: call.op, Status: response.StatusCode,
			Detail: "the response is not a SCIM list"}
	}
	for _, user := range found.Resources {
		if strings.EqualFold(user.UserName, userName) {
			return true, nil
		}
	}
	return false, nil
}

// scimGet calls the bound endpoint, which AWS is asked for only if it is unknown. The
// token goes to an allowed host only, over https, and never along a redirect.
func (i *Instance) scimGet(ctx context.Context, call apiCall, value model.Secret, path string) (*http.Response, error) {
	endpoint := i.configuredEndpoint()
	if endpoint == "" && i.options.TokensFrom != model.OriginDeclared {
		binding, err := i.Binding(ctx)
		if err != nil {
			return nil, err
		}
		endpoint = binding.SCIMEndpoint
	}
	if err := i.scim.checkHost(endpoint); err != nil {
		return nil, call.classify(err)
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, endpoint+path, nil)
	if err != nil {
		return nil, call.classify(cloudhttp.Classify(err))
	}
	request.Header.Set("Authorization", "Bearer "+value.Reveal())
	request.Header.Set("Accept", "application/scim+json")
	request.Header.Set("User-Agent", i.http.UserAgent())
	response, err := i.scim.http.Do(request)
	if err != nil {
		return nil, call.classify(cloudhttp.Classify(err))
	}
	if refused := cloudhttp.ProxyRefusal(response.StatusCode, response.Header.Get("Content-Type"), nil); refused != nil {
		_ = response.Body.Close()
		return nil, call.classify(refused)
	}
	return response, nil
}

// checkHost returns why a token must not be sent to an endpoint; nil: it may.
func (s *scimClient) checkHost(endpoint string) error {
	if endpoint == "" {
		return &model.Error{
			Reason: model.ReasonNotFound, Unsent: true, Detail: "with declared tokens the SCIM endpoint is not looked up", Advice: setTenantID,
		}
	}
	parsed, err := url.Parse(endpoint)
	if err != nil || parsed.Scheme != "https" || parsed.User != nil {
		return &model.Error{Reason: model.ReasonOther, Unsent: true,
			Detail: "a token is sent over https only, and " + truncate(endpoint) + " is not such an endpoint"}
	}
	host := strings.ToLower(strings.TrimSuffix(parsed.Hostname(), "."))
	for _, suffix := range s.allowed {
		if host == suffix || strings.HasSuffix(host, "."+suffix) {
			return nil
		}
	}
	return &model.Error{
		Reason: model.ReasonOther, Unsent: true,
		Detail: fmt.Sprintf("no token is sent to %s, which is not a host of AWS", truncate(host)),
		Advice: "if it may receive tokens, add it to tokens.scim_allowed_hosts",
	}
}

// scimError classifies by the status only: the body's form is not reliable.
func scimError(call apiCall, status int) error {
	failed := &model.Error{Reason: model.ReasonOther, Op: call.op, Status: status, Detail: fmt.Sprintf("HTTP status %d", status)}
	switch status {
	case http.StatusUnauthorized:
		failed.Reason, failed.Advice = model.ReasonAuth, "the token is not valid for this endpoint, or not yet"
	case http.StatusForbidden:
		failed.Reason = model.ReasonPermission
		failed.Advice = "check whether the identity store restricts SCIM to other source addresses"
	case http.StatusTooManyRequests:
		failed.Reason = model.ReasonThrottled
	}
	return failed
}

// filterValue writes a value as SCIM filters require it, as a JSON string.
// https://www.rfc-editor.org/rfc/rfc7644#section-3.4.2.2
func filterValue(value string) string {
	var text strings.Builder
	encoder := json.NewEncoder(&text)
	encoder.SetEscapeHTML(false)
	if encoder.Encode(value) != nil {
		return `""` // a string always encodes
	}
	return strings.TrimSuffix(text.String(), "\n")
}

// identityStoreTarget belongs to the documented Identity Store. Its client in the SDK
// would bring every operation into the binary for this one.
const identityStoreTarget = "AWSIdentityStore"

// SCIMSources says from where AWS accepts calls to the SCIM endpoint of an identity store.
type SCIMSources struct {
	Addresses   []string // ranges in CIDR notation; empty: any
	PrivateOnly bool     // through a VPC endpoint only
}

// String describes the sources in a few words.
func (s SCIMSources) String() string {
	text := "any address"
	if len(s.Addresses) > 0 {
		text = strings.Join(s.Addresses, ", ")
	}
	if s.PrivateOnly {
		text += ", through a VPC endpoint only"
	}
	return text
}

// SCIMSources reads whether the identity store restricts SCIM to source addresses. A
// token that is refused from another address may be a good one.
// https://docs.aws.amazon.com/singlesignon/latest/IdentityStoreAPIReference/API_DescribeIdentityStore.html
func (i *Instance) SCIMSources(ctx context.Context) (SCIMSources, error) {
	call := apiCall{op: "describing the identity store of " + i.options.Connection, action: "identitystore:DescribeIdentityStore"}
	binding, err := i.Binding(ctx)
	if err != nil {
		return SCIMSources{}, err
	}
	var response struct {
		NetworkConfiguration struct {
			ScimAllowSourceIps []string
			VpceAccessRequired bool
		}
	}
	request := tokenRequest{IdentityStoreID: binding.IdentityStoreID}
	if _, err := i.store.read(ctx, "DescribeIdentityStore", request, &response); err != nil {
		return SCIMSources{}, i.failed(call, err)
	}
	sources := SCIMSources{PrivateOnly: response.NetworkConfiguration.VpceAccessRequired}
	for _, address := range response.NetworkConfiguration.ScimAllowSourceIps {
		sources.Addresses = append(sources.Addresses, truncate(address))
	}
	return sources, nil
}
