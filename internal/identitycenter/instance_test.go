package identitycenter_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"entra-aws-exporter/internal/identitycenter"
	"entra-aws-exporter/internal/model"
)

func TestListTokens(t *testing.T) {
	cloud := newCloud(t)
	list, err := cloud.instance(nil).ListTokens(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if list.Date.IsZero() {
		t.Error("AWS's clock is missing")
	}
	list.Date = time.Time{}
	want := model.TokenList{Origin: model.OriginConsoleAPI, Slots: 2, Tokens: []model.Token{
		{ID: "old", Created: date("2025-03-01T00:00:00Z"), Expires: date("2026-03-01T00:00:00Z")},
		{ID: "new", Created: date("2026-03-01T00:00:00.5Z"), Expires: date("2027-03-01T00:00:00.5Z")},
	}}
	if diff := cmp.Diff(want, list); diff != "" {
		t.Error(diff)
	}
	sent := cloud.last("ListBearerTokens")
	if want := `{"IdentityStoreId":"` + store + `","TenantId":"` + tenant + `"}`; sent.body != want {
		t.Errorf("sent %s, want %s", sent.body, want)
	}
	for name, want := range map[string]string{
		"Content-Type": "application/x-amz-json-1.1",
		"X-Amz-Target": "AWSIdentityStoreService.ListBearerTokens",
		"User-Agent":   "entra-aws-exporter/1.2.3",
	} {
		if got := sent.request.Header.Get(name); got != want {
			t.Errorf("%s: %q, want %q", name, got, want)
		}
	}
	if got := sent.request.URL.String(); got != "https://up.sso.eu-central-1.amazonaws.com/identitystore/" {
		t.Errorf("sent to %s", got)
	}
}

func TestJSONVersionAndEndpointAreConfigurable(t *testing.T) {
	cloud := newCloud(t)
	instance := cloud.instance(func(o *identitycenter.Options) {
		o.TokenServiceJSONVersion = "1.0"
		o.Endpoints.TokenService = "https://token.service.example/other"
	})
	if _, err := instance.ListTokens(t.Context()); err != nil {
		t.Fatal(err)
	}
	sent := cloud.last("ListBearerTokens").request
	if got := sent.Header.Get("Content-Type"); got != "application/x-amz-json-1.0" {
		t.Errorf("Content-Type %q", got)
	}
	if sent.URL.String() != "https://token.service.example/other" {
		t.Errorf("sent to %s", sent.URL)
	}
}

// A token list may carry values, odd elements, dates of either kind, in any order.
func TestTokenListShapes(t *testing.T) {
	for name, test := range map[string]struct {
		body string
		want []model.Token
	}{
		"no tokens":           {`{"BearerTokens":[]}`, nil},
		"null element":        {`{"BearerTokens":[null,{"TokenId":"a","CreationTime":1700000000}]}`, []model.Token{{ID: "a", Created: time.Unix(1700000000, 0).UTC()}}},
		"null date":           {`{"BearerTokens":[{"TokenId":"a","CreationTime":null,"ExpirationTime":1700000000}]}`, []model.Token{{ID: "a", Expires: time.Unix(1700000000, 0).UTC()}}},
		"zero date":           {`{"BearerTokens":[{"TokenId":"a","CreationTime":0,"ExpirationTime":1.7e9}]}`, []model.Token{{ID: "a", Expires: time.Unix(1700000000, 0).UTC()}}},
		"the same twice":      {`{"BearerTokens":[{"TokenId":"a","CreationTime":1700000000},{"TokenId":"a","CreationTime":1700000000}]}`, []model.Token{{ID: "a", Created: time.Unix(1700000000, 0).UTC()}}},
		"by date, not order":  {`{"BearerTokens":[{"TokenId":"b","CreationTime":1700000001},{"TokenId":"a","CreationTime":1700000000}]}`, []model.Token{{ID: "a", Created: time.Unix(1700000000, 0).UTC()}, {ID: "b", Created: time.Unix(1700000001, 0).UTC()}}},
		"a member more":       {`{"Surprise":{},"BearerTokens":[{"TokenId":"a","CreationTime":1700000000,"Label":[1]}]}`, []model.Token{{ID: "a", Created: time.Unix(1700000000, 0).UTC()}}},
		"values in odd types": {`{"BearerTokens":[{"TokenId":"a","Token":{"x":1},"CreationTime":1700000000}]}`, []model.Token{{ID: "a", Created: time.Unix(1700000000, 0).UTC()}}},
	} {
		t.Run(name, func(t *testing.T) {
			cloud := newCloud(t)
			cloud.json("ListBearerTokens", test.body)
			list, err := cloud.instance(nil).ListTokens(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(test.want, list.Tokens); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestTokenListFollowsPages(t *testing.T) {
	cloud := newCloud(t)
	cloud.answers["ListBearerTokens"] = func(call call) answer {
		if strings.Contains(call.body, `"NextToken":"more"`) {
			return answer{body: `{"BearerTokens":[{"TokenId":"a","CreationTime":1700000000}]}`}
		}
		return answer{body: `{"BearerTokens":[{"TokenId":"b","CreationTime":1700000001}],"NextToken":"more"}`}
	}
	list, err := cloud.instance(nil).ListTokens(t.Context())
	if err != nil || len(list.Tokens) != 2 || list.Tokens[0].ID != "a" {
		t.Errorf("got %v, %v", list.Tokens, err)
	}
	cloud.json("ListBearerTokens", `{"BearerTokens":[],"NextToken":"more"}`)
	_, err = cloud.instance(nil).ListTokens(t.Context())
	if model.ReasonOf(err) != model.ReasonAPIChanged {
		t.Errorf("an endless list gives %v", err)
	}
}

func TestDeclaredTokensMakeNoCall(t *testing.T) {
	cloud := newCloud(t)
	declared := []model.Token{
		{ID: "b", Created: date("2026-03-01T00:00:00Z"), Expires: date("2027-03-01T00:00:00Z")},
		{ID: "a", Created: date("2025-03-01T00:00:00Z"), Expires: date("2026-03-01T00:00:00Z")},
	}
	instance := cloud.instance(func(o *identitycenter.Options) { o.TokensFrom, o.Declared = model.OriginDeclared, declared })
	list, err := instance.ListTokens(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	want := model.TokenList{Origin: model.OriginDeclared, Slots: model.TokenSlots, Tokens: []model.Token{declared[1], declared[0]}}
	if diff := cmp.Diff(want, list); diff != "" {
		t.Error(diff)
	}
	if len(cloud.calls) != 0 {
		t.Errorf("calls were made: %v", cloud.calls)
	}
	if declared[0].ID != "b" {
		t.Error("the config's own list was sorted")
	}
}

func TestCreateAndDelete(t *testing.T) {
	cloud := newCloud(t)
	instance := cloud.instance(nil)
	token, err := instance.CreateToken(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if token.ID != "made" || token.Value.Reveal() != tokenSecret || token.Date.IsZero() ||
		!token.Created.Equal(date("2026-03-01T00:00:00Z")) || !token.Expires.Equal(date("2027-03-01T00:00:00Z")) {
		t.Errorf("got %+v", token)
	}
	if err := instance.DeleteToken(t.Context(), "made"); err != nil {
		t.Fatal(err)
	}
	if want, got := `{"IdentityStoreId":"`+store+`","TenantId":"`+tenant+`","TokenId":"made"}`, cloud.last("DeleteBearerToken").body; got != want {
		t.Errorf("sent %s, want %s", got, want)
	}
}

// A create or a delete is sent once, whatever happens. The error tells whether it may
// have taken effect.
func TestWritesAreSentOnce(t *testing.T) {
	for name, test := range map[string]struct {
		answer  answer
		outcome model.CallOutcome
	}{
		"answer lost":    {answer{err: errors.New("read: connection reset by peer")}, model.CallUnknown},
		"503":            {answer{status: 503, body: `{}`}, model.CallUnknown},
		"throttled":      {answer{status: 400, body: `{"__type":"ThrottlingException"}`}, model.CallRefused},
		"429":            {answer{status: 429, header: map[string]string{"Retry-After": "1"}}, model.CallRefused},
		"quota":          {answer{status: 402, body: `{"__type":"ServiceQuotaExceededException","message":"two"}`}, model.CallRefused},
		"conflict":       {answer{status: 409, body: `{"__type":"ConflictException"}`}, model.CallRefused},
		"validation":     {answer{status: 400, body: `{"__type":"ValidationException"}`}, model.CallRefused},
		"clock skew":     {answer{status: 403, header: map[string]string{"Date": "Mon, 02 Jan 2006 15:04:05 GMT"}, body: `{"__type":"InvalidSignatureException"}`}, model.CallRefused},
		"not reached":    {answer{err: &net.OpError{Op: "dial", Net: "tcp", Err: syscall.ECONNREFUSED}}, model.CallRefused},
		"no TLS":         {answer{err: &tls.CertificateVerificationError{Err: x509.UnknownAuthorityError{}}}, model.CallRefused},
		"proxy's page":   {answer{status: 403, header: map[string]string{"Content-Type": "text/html"}, body: `<html>`}, model.CallUnknown},
		"page of a 404":  {answer{status: 404, body: `<html>`}, model.CallUnknown},
		"unknown":        {answer{status: 404, body: `{"__type":"UnknownOperationException"}`}, model.CallRefused},
		"unparsable 2xx": {answer{body: `{"BearerTok`}, model.CallUnknown},
		"page 2xx":       {answer{body: `<html>`}, model.CallUnknown},
		"redirect":       {answer{status: 307, header: map[string]string{"Location": "https://elsewhere.example/"}}, model.CallUnknown},
	} {
		t.Run(name, func(t *testing.T) {
			cloud := newCloud(t)
			cloud.answers["CreateBearerToken"] = func(call) answer { return test.answer }
			cloud.answers["DeleteBearerToken"] = func(call) answer { return test.answer }
			instance := cloud.instance(nil)
			_, err := instance.CreateToken(t.Context())
			if got := model.CallOutcomeOf(err); got != test.outcome {
				t.Errorf("create: outcome %s, want %s: %v", got, test.outcome, err)
			}
			err = instance.DeleteToken(t.Context(), "old")
			if got := model.CallOutcomeOf(err); got != test.outcome {
				t.Errorf("delete: outcome %s, want %s: %v", got, test.outcome, err)
			}
			if cloud.called("CreateBearerToken") != 1 || cloud.called("DeleteBearerToken") != 1 {
				t.Errorf("sent %d creates and %d deletes", cloud.called("CreateBearerToken"), cloud.called("DeleteBearerToken"))
			}
		})
	}
}

func TestWriteIsNotSentAfterAFailedDiscovery(t *testing.T) {
	cloud := newCloud(t)
	cloud.answers["ListProvisioningTenants"] = func(call) answer { return answer{status: 500} }
	synctest.Test(t, func(t *testing.T) {
		instance := cloud.instance(nil)
		_, created := instance.CreateToken(t.Context())
		for _, err := range []error{created, instance.DeleteToken(t.Context(), "old")} {
			if failed, ok := errors.AsType[*model.Error](err); !ok || !failed.Unsent || !failed.Unread {
				t.Errorf("%#v", err)
			}
		}
	})
	if cloud.called("CreateBearerToken")+cloud.called("DeleteBearerToken") != 0 {
		t.Error("a write was sent")
	}
}

// Credentials that run out right before an act, and cannot be renewed: it was not sent.
func TestWriteIsNotSentWithoutCredentials(t *testing.T) {
	cloud := newCloud(t)
	renewable := true
	cloud.answers["AssumeRole"] = func(call) answer {
		if !renewable {
			return answer{err: errors.New("read: connection reset by peer")}
		}
		return answer{body: `<AssumeRoleResponse><AssumeRoleResult><Credentials><AccessKeyId>` + assumedKey + `</AccessKeyId><SecretAccessKey>` + secretKey +
			`</SecretAccessKey><SessionToken>session</SessionToken><Expiration>2000-01-01T00:00:00Z</Expiration></Credentials></AssumeRoleResult></AssumeRoleResponse>`}
	}
	synctest.Test(t, func(t *testing.T) {
		instance := cloud.instance(func(o *identitycenter.Options) { o.RoleARN = "arn:aws:iam::111122223333:role/rotator" })
		if _, err := instance.ListTokens(t.Context()); err != nil {
			t.Fatal(err)
		}
		renewable = false
		_, err := instance.CreateToken(t.Context())
		wantError(t, err, "creating a SCIM token for corp: network: no AWS credentials: read: connection reset by peer")
		if model.CallOutcomeOf(err) != model.CallRefused {
			t.Errorf("outcome %s", model.CallOutcomeOf(err))
		}
	})
	if cloud.called("CreateBearerToken") != 0 {
		t.Error("it was sent")
	}
}

func TestWriteIsNotSentAfterCancel(t *testing.T) {
	cloud := newCloud(t)
	instance := cloud.instance(nil)
	if _, err := instance.ListTokens(t.Context()); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	err := instance.DeleteToken(ctx, "old")
	if model.CallOutcomeOf(err) != model.CallRefused || !errors.Is(err, context.Canceled) || cloud.called("DeleteBearerToken") != 0 {
		t.Errorf("got %v", err)
	}
}

func TestWriteEndsWithinTwentySeconds(t *testing.T) {
	cloud := newCloud(t)
	cloud.answers["CreateBearerToken"] = hang
	synctest.Test(t, func(t *testing.T) {
		instance := cloud.instance(nil)
		started := time.Now()
		_, err := instance.CreateToken(t.Context())
		if took := time.Since(started); took > 20*time.Second {
			t.Errorf("took %s", took)
		}
		if model.ReasonOf(err) != model.ReasonTimeout || model.CallOutcomeOf(err) != model.CallUnknown {
			t.Errorf("got %v", err)
		}
	})
	if cloud.called("CreateBearerToken") != 1 {
		t.Error("sent more than once")
	}
}

// hang never answers.
func hang(call call) answer {
	<-call.ctx.Done()
	return answer{err: call.ctx.Err()}
}

// The value of a created token is kept even if the rest of the response is odd.
func TestCreatedValueIsNotLost(t *testing.T) {
	cloud := newCloud(t)
	cloud.json("CreateBearerToken", `{"BearerToken":{"TokenId":"made","Token":"`+tokenSecret+`","CreationTime":"tomorrow","ExpirationTime":[]}}`)
	token, err := cloud.instance(nil).CreateToken(t.Context())
	if err != nil || token.Value.Reveal() != tokenSecret || !token.Created.IsZero() {
		t.Errorf("got %+v, %v", token, err)
	}
	cloud.json("CreateBearerToken", `{"BearerToken":{"Token":"`+tokenSecret+`"}}`)
	token, err = cloud.instance(nil).CreateToken(t.Context())
	if model.CallOutcomeOf(err) != model.CallUnknown || token.Value.Reveal() != tokenSecret {
		t.Errorf("got %+v, %v", token, err)
	}
	if strings.Contains(fmt.Sprintf("%v %+v %#v", err, token, token), tokenSecret) {
		t.Error("the value shows")
	}
}

func TestClockSkewIsCorrected(t *testing.T) {
	for _, skew := range []time.Duration{5 * time.Minute, 48 * time.Hour, -48 * time.Hour} {
		t.Run(skew.String(), func(t *testing.T) {
			cloud := newCloud(t)
			cloud.clock = skew
			logger, lines := logged()
			synctest.Test(t, func(t *testing.T) {
				instance := cloud.instance(func(o *identitycenter.Options) { o.Logger = logger })
				list, err := instance.ListTokens(t.Context())
				if err != nil {
					t.Fatal(err)
				}
				if off := list.Date.Sub(time.Now().Add(skew)).Abs(); off > time.Minute {
					t.Errorf("AWS's clock is wrong by %s", off)
				}
				if _, err := instance.CreateToken(t.Context()); err != nil {
					t.Errorf("an act after a reading: %v", err)
				}
				cloud.clock = 0 // somebody sets this machine's clock
				if _, err := instance.ListTokens(t.Context()); err != nil {
					t.Errorf("after the clock was set: %v", err)
				}
			})
			differs, agrees := strings.Count(lines(), "clock skew changed")-1, strings.Count(lines(), "aws_is_ahead_by=0s")
			if differs != 1 || agrees != 1 {
				t.Errorf("log lines of the clock:\n%s", lines())
			}
		})
	}
}

func TestSmallClockSkewIsNotLogged(t *testing.T) {
	cloud := newCloud(t)
	cloud.clock = 20 * time.Second
	logger, lines := logged()
	if _, err := cloud.instance(func(o *identitycenter.Options) { o.Logger = logger }).ListTokens(t.Context()); err != nil {
		t.Fatal(err)
	}
	if strings.Contains(lines(), "clock") {
		t.Error(lines())
	}
}

func TestEveryRequestIsObserved(t *testing.T) {
	cloud := newCloud(t)
	cloud.answers["ListBearerTokens"] = func(call call) answer {
		if call.number == 1 {
			return answer{err: errors.New("connection reset by peer")}
		}
		return answer{body: `{"BearerTokens":[]}`}
	}
	seen := map[string]int{}
	synctest.Test(t, func(t *testing.T) {
		instance := cloud.instance(func(o *identitycenter.Options) {
			o.Observe = func(service, code string) { seen[service+" "+code]++ }
		})
		if _, err := instance.ListTokens(t.Context()); err != nil {
			t.Fatal(err)
		}
	})
	want := map[string]int{"sso_admin 200": 1, "token_service 200": 2, "token_service error": 1}
	if diff := cmp.Diff(want, seen); diff != "" {
		t.Error(diff)
	}
}

func TestAssumeRole(t *testing.T) {
	cloud := newCloud(t)
	instance := cloud.instance(func(o *identitycenter.Options) {
		o.RoleARN, o.ExternalID = "arn:aws:iam::111122223333:role/reader", "shared"
	})
	if _, err := instance.ListTokens(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got := cloud.last("ListBearerTokens").request.Header.Get("Authorization"); !strings.Contains(got, assumedKey) {
		t.Errorf("signed with %s", got)
	}
	asked := cloud.last("AssumeRole").body
	for _, want := range []string{"ExternalId=shared", "RoleSessionName=entra-aws-exporter", "RoleArn=arn%3Aaws%3Aiam%3A%3A111122223333%3Arole%2Freader"} {
		if !strings.Contains(asked, want) {
			t.Errorf("%s is not in %s", want, asked)
		}
	}
}

// Replaced credential files heal a refused sign-in without a restart.
func TestCredentialFilesAreReadAgainAfterARefusal(t *testing.T) {
	cloud := newCloud(t)
	t.Setenv("AWS_ACCESS_KEY_ID", "")
	t.Setenv("AWS_SECRET_ACCESS_KEY", "")
	file := filepath.Join(t.TempDir(), "credentials")
	t.Setenv("AWS_SHARED_CREDENTIALS_FILE", file)
	write := func(secret string) {
		content := "[default]\naws_access_key_id = " + accessKey + "\naws_secret_access_key = " + secret + "\n"
		if err := os.WriteFile(file, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("outdated")
	instance := cloud.instance(nil)
	if _, err := instance.ListTokens(t.Context()); model.ReasonOf(err) != model.ReasonAuth {
		t.Fatalf("got %v", err)
	}
	write(secretKey)
	if _, err := instance.ListTokens(t.Context()); err != nil {
		t.Error(err)
	}
}

func TestOptionErrors(t *testing.T) {
	for want, options := range map[string]identitycenter.Options{
		`connection corp: aws.region: "" is not an AWS region, write for example eu-central-1`:              {},
		`connection corp: aws.region: "evil.example/" is not an AWS region, write for example eu-central-1`: {Region: "evil.example/"},
		`connection corp: aws.provisioning_tenant_id: "a/b" may have letters, digits and dashes only`:       {Region: region, ProvisioningTenantID: "a/b"},
		`connection corp: aws.endpoints.token_service_json_version: "2.0" is neither 1.1 nor 1.0`:           {Region: region, TokenServiceJSONVersion: "2.0"},
		`connection corp: aws.endpoints.sts: "sts.example" is not a URL like https://host/path`:             {Region: region, Endpoints: identitycenter.Endpoints{STS: "sts.example"}},
	} {
		options.Connection = "corp"
		_, err := identitycenter.New(options)
		wantError(t, err, want)
	}
	for _, known := range []string{"eu-central-1", "us-gov-west-1", "cn-north-1", "ap-southeast-5", "eusc-de-east-1", "us-iso-east-1", "mx-central-1", "il-central-1"} {
		if _, err := identitycenter.New(identitycenter.Options{Connection: "corp", Region: known}); err != nil {
			t.Error(err)
		}
	}
}

func TestCancelledIsNotATimeout(t *testing.T) {
	cloud := newCloud(t)
	cloud.answers["ListBearerTokens"] = hang
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		time.AfterFunc(time.Second, cancel)
		_, err := cloud.instance(nil).ListTokens(ctx)
		if !errors.Is(err, context.Canceled) || model.ReasonOf(err) != model.ReasonOther {
			t.Errorf("got %v", err)
		}
	})
}
