package identitycenter_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"entra-aws-exporter/internal/cloudhttp"
	"entra-aws-exporter/internal/identitycenter"
	"entra-aws-exporter/internal/model"
	"entra-aws-exporter/internal/simulator/sigv4"
)

const (
	region      = "eu-central-1"
	account     = "111122223333"
	store       = "d-9967aaaaaa"
	tenant      = "kE370acb0d7-97b3-4383-8d96-example"
	endpoint    = "https://scim.eu-central-1.amazonaws.com/" + tenant + "/scim/v2"
	accessKey   = "AKIAPLANTED"
	secretKey   = "planted-aws-secret-key"
	assumedKey  = "ASIAASSUMED"
	tokenSecret = "planted-token-value"

	providerConfig = `{"schemas":["urn:ietf:params:scim:schemas:core:2.0:ServiceProviderConfig"],"patch":{"supported":true}}`
)

// cloud is AWS as this package needs it, without a network: it verifies signatures,
// and a test replaces single answers. An operation is named as in the API, SCIM's by
// its path.
type cloud struct {
	t       *testing.T
	clock   time.Duration // how far AWS's clock is ahead
	answers map[string]func(call) answer

	mu    sync.Mutex
	calls []call
}

type call struct {
	operation string
	number    int // of this operation, from one
	request   *http.Request
	body      string
	ctx       context.Context
}

type answer struct {
	status int // 0: 200
	header map[string]string
	body   string
	err    error         // instead of an answer
	stream io.ReadCloser // instead of body
}

func newCloud(t *testing.T) *cloud {
	t.Helper()
	t.Setenv("AWS_ACCESS_KEY_ID", accessKey)
	t.Setenv("AWS_SECRET_ACCESS_KEY", secretKey)
	for _, name := range []string{"AWS_SESSION_TOKEN", "AWS_PROFILE", "AWS_CA_BUNDLE", "AWS_ENDPOINT_URL", "AWS_WEB_IDENTITY_TOKEN_FILE", "AWS_ROLE_ARN"} {
		t.Setenv(name, "")
	}
	t.Setenv("AWS_CONFIG_FILE", t.TempDir()+"/none")
	t.Setenv("AWS_SHARED_CREDENTIALS_FILE", t.TempDir()+"/none")
	t.Setenv("AWS_EC2_METADATA_DISABLED", "true")
	c := &cloud{t: t, answers: map[string]func(call) answer{}}
	c.json("ListInstances", instances(instance(store, region, account)))
	c.json("ListProvisioningTenants", fmt.Sprintf(
		`{"ProvisioningTenants":[{"CreationTime":1713363979.436,"ScimEndpoint":%q,"TenantId":%q}]}`, endpoint+"/", tenant))
	c.json("ListBearerTokens", `{"BearerTokens":[
		{"TokenId":"new","CreationTime":1772323200.5,"ExpirationTime":1803859200.5},
		{"TokenId":"old","CreationTime":"2025-03-01T00:00:00Z","ExpirationTime":"2026-03-01T00:00:00Z","Token":"`+tokenSecret+`"}]}`)
	c.json("CreateBearerToken", `{"BearerToken":{"TokenId":"made","Token":"`+tokenSecret+`","CreationTime":1772323200,"ExpirationTime":1803859200}}`)
	c.json("DeleteBearerToken", `{}`)
	c.json("LookupEvents", `{"Events":[]}`)
	c.json("GET /ServiceProviderConfig", providerConfig)
	c.json("AssumeRole", `<AssumeRoleResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/"><AssumeRoleResult><Credentials>
		<AccessKeyId>`+assumedKey+`</AccessKeyId><SecretAccessKey>`+secretKey+`</SecretAccessKey><SessionToken>session</SessionToken>
		<Expiration>2099-01-01T00:00:00Z</Expiration></Credentials></AssumeRoleResult></AssumeRoleResponse>`)
	return c
}

func instance(store, region, account string) string {
	return fmt.Sprintf(`{"IdentityStoreId":%q,"InstanceArn":"arn:aws:sso:::instance/ssoins-1","PrimaryRegion":%q,"OwnerAccountId":%q,"Status":"ACTIVE"}`,
		store, region, account)
}

func instances(list ...string) string { return `{"Instances":[` + strings.Join(list, ",") + `]}` }

// json sets the body of an operation's answer.
func (c *cloud) json(operation, body string) {
	c.answers[operation] = func(call) answer { return answer{body: body} }
}

// refuse makes an operation answer with an error of AWS's JSON protocol.
func (c *cloud) refuse(operation string, status int, code, message string) {
	c.answers[operation] = func(call) answer {
		body, _ := json.Marshal(map[string]string{"__type": "com.amazonaws.example#" + code, "message": message})
		return answer{status: status, body: string(body)}
	}
}

// RoundTrip implements http.RoundTripper.
func (c *cloud) RoundTrip(request *http.Request) (*http.Response, error) {
	var body []byte
	if request.Body != nil {
		body, _ = io.ReadAll(request.Body)
		_ = request.Body.Close()
	}
	received := call{request: request, body: string(body), ctx: request.Context()}
	received.operation = operationOf(request, received.body)
	c.mu.Lock()
	c.calls = append(c.calls, received)
	received.number = c.count(received.operation)
	c.mu.Unlock()
	answered := c.verify(request, body)
	if answered == nil {
		respond := c.answers[received.operation]
		if respond == nil {
			c.t.Errorf("unexpected call %s %s", received.operation, request.URL)
			return nil, fmt.Errorf("unexpected call %s", received.operation)
		}
		given := respond(received)
		answered = &given
	}
	if answered.err != nil {
		return nil, answered.err
	}
	response := &http.Response{
		StatusCode: max(answered.status, 200), Header: http.Header{}, Request: request, ContentLength: -1,
		Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1,
		Body: io.NopCloser(strings.NewReader(answered.body)),
	}
	if answered.status != 0 {
		response.StatusCode = answered.status
	}
	if answered.stream != nil {
		response.Body = answered.stream
	}
	response.Header.Set("Content-Type", "application/x-amz-json-1.1")
	response.Header.Set("Date", time.Now().Add(c.clock).UTC().Format(http.TimeFormat))
	for name, value := range answered.header {
		response.Header.Set(name, value)
	}
	return response, nil
}

func operationOf(request *http.Request, body string) string {
	if target := request.Header.Get("X-Amz-Target"); target != "" {
		return target[strings.LastIndex(target, ".")+1:]
	}
	if form, err := url.ParseQuery(body); err == nil && form.Get("Action") != "" {
		return form.Get("Action")
	}
	return request.Method + " /" + request.URL.Path[strings.LastIndex(request.URL.Path, "/")+1:]
}

// verify checks the signature as AWS would; nil: it is good, or not asked for.
func (c *cloud) verify(request *http.Request, body []byte) *answer {
	services := map[string]string{
		"up.sso.eu-central-1.amazonaws.com":                    "identitystore",
		"auth-control.eu-central-1.prod.apps-auth.aws.a2z.com": "appsauth",
		"identitystore.eu-central-1.amazonaws.com":             "identitystore",
		"sso.eu-central-1.amazonaws.com":                       "sso",
		"sts.eu-central-1.amazonaws.com":                       "sts",
		"cloudtrail.eu-central-1.amazonaws.com":                "cloudtrail",
	}
	service, signed := services[request.URL.Host]
	if !signed {
		return nil
	}
	request = request.Clone(request.Context())
	request.Host = request.URL.Host
	request.Body = io.NopCloser(bytes.NewReader(body))
	key := sigv4.Key{Secret: secretKey}
	if request.Header.Get("X-Amz-Security-Token") != "" {
		key.SessionToken = "session"
	}
	if _, err := sigv4.Verify(request, body, key, service, time.Now().Add(c.clock)); err != nil {
		refusal, _ := json.Marshal(map[string]string{"__type": "InvalidSignatureException", "message": err.Error()})
		return &answer{status: 403, body: string(refusal)}
	}
	return nil
}

// count is the number of calls of an operation; the caller holds the lock.
func (c *cloud) count(operation string) int {
	n := 0
	for _, call := range c.calls {
		if call.operation == operation {
			n++
		}
	}
	return n
}

// called returns how often an operation was called.
func (c *cloud) called(operation string) int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.count(operation)
}

// last returns the last call of an operation.
func (c *cloud) last(operation string) call {
	c.t.Helper()
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, call := range slices.Backward(c.calls) {
		if call.operation == operation {
			return call
		}
	}
	c.t.Fatalf("%s was never called", operation)
	return call{}
}

// instance builds the client under test; change may be nil.
func (c *cloud) instance(change func(*identitycenter.Options)) *identitycenter.Instance {
	c.t.Helper()
	options := identitycenter.Options{Connection: "corp", Region: region, Options: cloudhttp.Options{Version: "1.2.3", Transport: c}}
	if change != nil {
		change(&options)
	}
	made, err := identitycenter.New(options)
	if err != nil {
		c.t.Fatal(err)
	}
	return made
}

// logged returns a logger and what it has written so far.
func logged() (*slog.Logger, func() string) {
	var buffer lockedBuffer
	return slog.New(slog.NewTextHandler(&buffer, &slog.HandlerOptions{Level: slog.LevelDebug})), buffer.String
}

type lockedBuffer struct {
	mu     sync.Mutex
	buffer bytes.Buffer
}

func (b *lockedBuffer) Write(content []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buffer.Write(content)
}

func (b *lockedBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buffer.String()
}

// wantError compares the whole error text.
func wantError(t *testing.T, err error, want string) {
	t.Helper()
	if err == nil {
		t.Fatalf("no error, want\n%s", want)
	}
	if err.Error() != want {
		t.Errorf("got  %s\nwant %s", err, want)
	}
}

func date(text string) time.Time {
	at, err := time.Parse(time.RFC3339, text)
	if err != nil {
		panic(err)
	}
	return at
}

func secret() model.Secret { return model.NewSecret(tokenSecret) }
