package entra

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"strings"
	"time"

	kiota "github.com/microsoft/kiota-abstractions-go"
	auth "github.com/microsoft/kiota-authentication-azure-go"
	kiotahttp "github.com/microsoft/kiota-http-go"
	kiotajson "github.com/microsoft/kiota-serialization-json-go"

	"entra-aws-exporter/internal/cloudhttp"
	"entra-aws-exporter/internal/model"
)

const (
	readTimeout  = 90 * time.Second // of a read, the waits for a throttled Graph included
	writeTimeout = 20 * time.Second
)

var (
	errEmpty      = errors.New("the response is empty")
	errUnexpected = errors.New("the response is not Graph's")
)

// graphClient calls Microsoft Graph for one tenant. The SDK signs in, retries and
// builds the URLs. The JSON is read here: the SDK has no method for half of the calls,
// and its model of a service principal leads to every kind of object in Graph.
type graphClient struct {
	root    *url.URL // without the version
	signIn  *signIn
	adapter *kiotahttp.NetHttpRequestAdapter
}

// newGraphClient chooses the SDK's middleware one by one. Its default set comes in a
// random order, and a retry outside of its compression corrupts the body.
func newGraphClient(root *url.URL, login *signIn, limits *throttle, options cloudhttp.Options) (*graphClient, error) {
	tokens, err := auth.NewAzureIdentityAuthenticationProviderWithScopesAndValidHostsAndObservabilityOptionsAndIsCaeEnabled(
		login, scopes(root), []string{root.Hostname()}, auth.ObservabilityOptions{}, false)
	if err != nil {
		return nil, err
	}
	client := newHTTPClient(options, "graph", maxGraph, limits)
	client.Transport = kiotahttp.NewCustomTransportWithParentTransport(client.Transport,
		kiotahttp.NewRetryHandlerWithOptions(kiotahttp.RetryHandlerOptions{ShouldRetry: shouldRetry}),
		kiotahttp.NewParametersNameDecodingHandler(),
	)
	adapter, err := kiotahttp.NewNetHttpRequestAdapterWithParseNodeFactoryAndSerializationWriterFactoryAndHttpClient(
		tokens, kiotajson.NewJsonParseNodeFactory(), kiotajson.NewJsonSerializationWriterFactory(), client)
	if err != nil {
		return nil, err
	}
	adapter.SetBaseUrl(root.String() + "/v1.0")
	return &graphClient{root: root, signIn: login, adapter: adapter}, nil
}

func scopes(root *url.URL) []string { return []string{root.String() + "/.default"} }

// testSignIn returns an error if Entra does not accept the credential any more. That it
// cannot be asked is none.
func (g *graphClient) testSignIn(ctx context.Context, op string) error {
	failed := g.signIn.test(ctx, scopes(g.root))
	if failed == nil || failed.Reason != model.ReasonAuth {
		return nil
	}
	copied := *failed
	copied.Op = op
	return &copied
}

// parameters fill in the URL template of a request. Names of query parameters start
// with %24, an encoded "$".
type parameters map[string]string

// isOwn reports whether a link leads back to this Graph.
func (g *graphClient) isOwn(link string) bool {
	target, err := url.Parse(link)
	return err == nil && target.Scheme == g.root.Scheme && target.Host == g.root.Host &&
		strings.HasPrefix(target.Path, g.root.Path+"/")
}

// get reads JSON. The SDK repeats the request after a 429, 503 or 504.
func (g *graphClient) get(ctx context.Context, call apiCall, template string, values parameters, into any) (*cloudhttp.Exchange, error) {
	return g.send(ctx, call, kiota.GET, template, values, nil, into)
}

// getList reads a collection. Graph takes some filters on directory objects as an advanced
// query only: a template with $count allows to ask that way when the plain one is refused.
// https://learn.microsoft.com/graph/aad-advanced-queries
func getList[T any](ctx context.Context, g *graphClient, call apiCall, template string, values parameters) ([]*T, *cloudhttp.Exchange, error) {
	read := func() (all []*T, x *cloudhttp.Exchange, err error) {
		x, err = eachPage(ctx, g, call, template, values, func(page []*T) error {
			all = append(all, page...)
			return nil
		})
		return all, x, err
	}
	all, x, err := read()
	if err != nil && x.Status == http.StatusBadRequest && strings.Contains(template, countOption) {
		values = maps.Clone(values)
		values[countOption] = "true"
		all, x, err = read()
	}
	return all, x, err
}

// countOption is part of an advanced query, with a header.
const countOption = "%24count"

// eachPage visits the pages of a collection; any of them may be empty. An error of visit
// ends the reading and is returned unchanged. A page without a list is an error.
func eachPage[T any](
	ctx context.Context, g *graphClient, call apiCall, template string, values parameters, visit func([]*T) error,
) (*cloudhttp.Exchange, error) {
	for link := ""; ; {
		var page struct {
			Value    []*T
			NextLink string `json:"@odata.nextLink"`
		}
		x, err := g.get(ctx, call, template, values, &page)
		if err == nil && page.Value == nil {
			err = call.invalid(x, "a list without its value")
		}
		if err == nil {
			err = visit(page.Value)
		}
		if err != nil || page.NextLink == "" {
			return x, err
		}
		if page.NextLink == link || !g.isOwn(page.NextLink) {
			return x, call.invalid(x, "the next page is the same one, or lies outside of Graph")
		}
		link, values = page.NextLink, parameters{"request-raw-url": page.NextLink, countOption: values[countOption]}
	}
}

// put writes JSON, exactly once, without any retry.
func (g *graphClient) put(ctx context.Context, call apiCall, template string, values parameters, body any) (*cloudhttp.Exchange, error) {
	return g.send(ctx, call, kiota.PUT, template, values, body, nil)
}

// patch changes the given properties, exactly once, without any retry.
func (g *graphClient) patch(ctx context.Context, call apiCall, template string, values parameters, body any) (*cloudhttp.Exchange, error) {
	return g.send(ctx, call, kiota.PATCH, template, values, body, nil)
}

// post writes JSON, exactly once, without any retry. body and into may be nil.
func (g *graphClient) post(ctx context.Context, call apiCall, template string, values parameters, body, into any) (*cloudhttp.Exchange, error) {
	return g.send(ctx, call, kiota.POST, template, values, body, into)
}

func (g *graphClient) send(
	ctx context.Context, call apiCall, method kiota.HttpMethod, template string, values parameters, body, into any,
) (*cloudhttp.Exchange, error) {
	request := kiota.NewRequestInformation()
	request.Method, request.UrlTemplate = method, "{+baseurl}"+template
	request.PathParameters["baseurl"] = g.adapter.GetBaseUrl()
	for name, value := range values {
		request.PathParameters[name] = value
	}
	request.Headers.TryAdd("Accept", "application/json")
	if values[countOption] != "" {
		request.Headers.TryAdd("ConsistencyLevel", "eventual")
	}
	return g.do(ctx, call, func(ctx context.Context) error {
		if body != nil {
			content, err := json.Marshal(body)
			if err != nil {
				return err
			}
			request.SetStreamContentAndContentType(content, "application/json")
		}
		response, err := g.adapter.SendPrimitive(ctx, request, "[]byte", nil)
		if err != nil || into == nil {
			return err
		}
		content, _ := response.([]byte) // nil: there is no body
		if len(content) == 0 {
			return errEmpty
		}
		return json.Unmarshal(content, into)
	})
}

// do makes one call: it sets the deadline, records the requests and classifies a
// failure.
func (g *graphClient) do(ctx context.Context, call apiCall, send func(context.Context) error) (x *cloudhttp.Exchange, err error) {
	timeout := call.timeout
	if timeout == 0 {
		timeout = readTimeout
	}
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	x = &cloudhttp.Exchange{}
	err = recovered(func() error { return send(cloudhttp.WithExchange(ctx, x)) })
	if err == nil && (x.Status < 200 || x.Status > 299 || x.NotJSON) { // a proxy's page must not count as a write
		err = errUnexpected
	}
	if err == nil {
		return x, nil
	}
	failed := classify(call, x, err)
	g.signIn.invalidate(failed.Status)
	return x, failed
}

// recovered turns a panic of the SDK into an error: its generated code trusts the response.
func recovered(send func() error) (err error) {
	defer func() {
		if cause := recover(); cause != nil {
			err = fmt.Errorf("the Graph SDK panicked: %v", cause)
		}
	}()
	return send()
}
