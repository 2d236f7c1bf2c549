package identitycenter_test

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"entra-aws-exporter/internal/identitycenter"
	"entra-aws-exporter/internal/model"
)

const undocumented = "AWS does not document this API and may have changed it: " +
	"set tokens.read_from: declared with the tokens' dates, and update the exporter"

const page = "a web page, probably of a proxy or gateway (check http_client.proxy_url, and the proxies and firewalls on the way to the cloud)"

// The whole error text when a list fails.
func TestListErrors(t *testing.T) {
	const doing = "listing the SCIM tokens of corp: "
	for name, test := range map[string]struct {
		answer answer
		want   string
	}{
		"unknown operation": {
			answer{status: 404, body: `{"__type":"com.amazon.coral.service#UnknownOperationException"}`},
			doing + `api_changed: UnknownOperationException (set aws.endpoints.token_service_json_version: "1.0"; if that does not help: ` + undocumented + ")",
		},
		"unknown operation in the header": {
			answer{status: 400, header: map[string]string{"X-Amzn-Errortype": "UnknownOperationException:http://internal.amazon.com/"}},
			doing + `api_changed: UnknownOperationException (set aws.endpoints.token_service_json_version: "1.0"; if that does not help: ` + undocumented + ")",
		},
		"web page": {
			answer{header: map[string]string{"Content-Type": "text/html"}, body: "<!DOCTYPE html>"},
			doing + "api_changed: the endpoint returns a web page (status 200) (" + undocumented + ")",
		},
		"web page of 403": {
			answer{status: 403, body: "  <html>denied"},
			doing + "invalid_response: HTTP status 403 with " + page,
		},
		"web page of 407": {
			answer{status: 407, header: map[string]string{"Content-Type": "text/html"}, body: "<html>Sign in"},
			doing + "invalid_response: HTTP status 407 with " + page,
		},
		"web page of 404": {
			answer{status: 404, body: "  <html>denied"},
			doing + "api_changed: the endpoint returns a web page (status 404) (" + undocumented + ")",
		},
		"404": {
			answer{status: 404, body: "not found"},
			doing + "api_changed: HTTP status 404 without an error code (" + undocumented + ")",
		},
		"other JSON": {
			answer{body: `{"Tokens":[]}`},
			doing + "api_changed: the response has no BearerTokens (" + undocumented + ")",
		},
		"null": {
			answer{body: `null`},
			doing + "api_changed: the response has no BearerTokens (" + undocumented + ")",
		},
		"other type": {
			answer{body: `{"BearerTokens":[{"TokenId":12345678901234567890}]}`},
			doing + `api_changed: the response's field "BearerTokens.TokenId" is a JSON number (` + undocumented + ")",
		},
		"no id": {
			answer{body: `{"BearerTokens":[{"Id":"a","CreationTime":1}]}`},
			doing + "api_changed: the response has a token without a usable TokenId (" + undocumented + ")",
		},
		"renamed dates": {
			answer{body: `{"BearerTokens":[{"TokenId":"a","CreatedAt":1,"ExpiresAt":2}]}`},
			doing + "api_changed: the response has a token without CreationTime and ExpirationTime (" + undocumented + ")",
		},
		"milliseconds": {
			answer{body: `{"BearerTokens":[{"TokenId":"a","CreationTime":1772323200500}]}`},
			doing + "api_changed: the response has a timestamp that is not in epoch seconds (" + undocumented + ")",
		},
		"another date": {
			answer{body: `{"BearerTokens":[{"TokenId":"a","CreationTime":"1 March 2026"}]}`},
			doing + "api_changed: the response has a timestamp that is neither a number nor RFC 3339 (" + undocumented + ")",
		},
		"redirect": {
			answer{status: 302, header: map[string]string{"Location": "https://signin.example/oauth?x=y"}},
			doing + "api_changed: the endpoint redirects (status 302) to signin.example (" + undocumented + ")",
		},
		"cut off": {
			answer{body: `{"BearerTokens":[{"Tok`},
			doing + "invalid_response: the response is truncated",
		},
		"plain text": {
			answer{body: `OK`},
			doing + "api_changed: the response is not JSON (" + undocumented + ")",
		},
		"denied": {
			answer{status: 400, body: `{"__type":"AccessDeniedException","Message":"User: arn:aws:iam::111122223333:role/x is not authorized to perform: sso-directory:ListBearerTokens"}`},
			doing + "permission: AccessDeniedException: User: arn:aws:iam::111122223333:role/x is not authorized to perform: sso-directory:ListBearerTokens " +
				"(allow sso-directory:ListBearerTokens, see deploy/permissions/aws.md)",
		},
		"denied without a word": {
			answer{status: 403, body: `{}`},
			doing + "permission: HTTP status 403 without an error code (allow sso-directory:ListBearerTokens, see deploy/permissions/aws.md)",
		},
		"explicit deny": {
			answer{status: 400, body: `{"__type":"AccessDeniedException","message":"User: u is not authorized to perform: sso-directory:ListBearerTokens with an explicit deny in a service control policy"}`},
			doing + "permission: AccessDeniedException: User: u is not authorized to perform: sso-directory:ListBearerTokens with an explicit deny in a service control policy " +
				"(an explicit deny, such as a service control policy, forbids sso-directory:ListBearerTokens: exempt this identity there, see deploy/permissions/aws.md)",
		},
		"KMS": {
			answer{status: 400, body: `{"__type":"AccessDeniedException","message":"User: u is not authorized to perform: kms:Decrypt on resource: arn:aws:kms:eu-central-1:111122223333:key/1"}`},
			doing + "permission: AccessDeniedException: User: u is not authorized to perform: kms:Decrypt on resource: arn:aws:kms:eu-central-1:111122223333:key/1 " +
				"(allow kms:Decrypt on the identity store's KMS key, see deploy/permissions/aws.md)",
		},
		"KMS by its reason": {
			answer{status: 400, body: `{"__type":"AccessDeniedException","Message":"You do not have sufficient access to perform this action.","Reason":"KMS_ACCESS_DENIED","RequestId":"r-1"}`},
			doing + "permission: AccessDeniedException (KMS_ACCESS_DENIED): You do not have sufficient access to perform this action. " +
				"(allow kms:Decrypt on the identity store's KMS key, see deploy/permissions/aws.md)",
		},
		"KMS by the other reason": {
			answer{status: 400, body: `{"__type":"AccessDeniedException","Message":"You do not have sufficient access to perform this action.","Reason":"KMS_AccessDeniedException"}`},
			doing + "permission: AccessDeniedException (KMS_AccessDeniedException): You do not have sufficient access to perform this action. " +
				"(allow kms:Decrypt on the identity store's KMS key, see deploy/permissions/aws.md)",
		},
		"no such KMS key": {
			answer{status: 400, body: `{"__type":"ResourceNotFoundException","Message":"not found","Reason":"KMS_NotFoundException"}`},
			doing + "other: ResourceNotFoundException (KMS_NotFoundException): not found (check the identity store's KMS key: its state, its policy and its region)",
		},
		"KMS without the action": {
			answer{status: 400, body: `{"__type":"AccessDeniedException","message":"KMS key access is denied"}`},
			doing + "permission: AccessDeniedException: KMS key access is denied (allow kms:Decrypt on the identity store's KMS key, see deploy/permissions/aws.md)",
		},
		"throttled": {
			answer{status: 400, body: `{"__type":"ThrottlingException","message":"Rate exceeded","RetryAfterSeconds":7}`},
			doing + "throttled: ThrottlingException: Rate exceeded",
		},
		"no such tenant": {
			answer{status: 400, body: `{"__type":"ResourceNotFoundException","message":"PROVISIONING_TENANT not found"}`},
			doing + "not_found: ResourceNotFoundException: PROVISIONING_TENANT not found " +
				"(the next poll looks it up again; if ids are set in the config, check them)",
		},
		"validation": {
			answer{status: 400, body: `{"__type":"ValidationException","message":"identityStoreId"}`},
			doing + "other: ValidationException: identityStoreId (check aws.identity_store_id and aws.provisioning_tenant_id; if they are right, " + undocumented + ")",
		},
		"expired credentials": {
			answer{status: 400, body: `{"__type":"ExpiredTokenException","message":"The security token included in the request is expired"}`},
			doing + "auth: ExpiredTokenException: The security token included in the request is expired " +
				"(check the credentials behind aws.profile, aws.role_arn or the environment, and this host's clock)",
		},
		"internal": {
			answer{status: 500, body: `{"__type":"InternalServerException","message":"sorry"}`},
			doing + "other: InternalServerException: sorry",
		},
		"web page of a 503": {
			answer{status: 503, header: map[string]string{"Content-Type": "text/html"}, body: "<html>busy"},
			doing + "other: HTTP status 503 without an error code",
		},
		"error body of null": {
			answer{status: 400, body: `null`},
			doing + "other: HTTP status 400 without an error code",
		},
		"many lines": {
			answer{status: 400, body: `{"__type":"OddException","message":"a\nb\u0000c"}`},
			doing + "other: OddException: a b c",
		},
		"DNS": {
			answer{err: &net.DNSError{Err: "no such host", Name: "up.sso.eu-central-1.amazonaws.com", IsNotFound: true}},
			doing + "network: cannot resolve up.sso.eu-central-1.amazonaws.com (check the region and the endpoints in the config, and the DNS of this host)",
		},
		"TLS": {
			answer{err: x509.UnknownAuthorityError{}},
			doing + "network: x509: certificate signed by unknown authority (if a proxy inspects TLS, set http_client.tls_config.ca_file)",
		},
		"refused": {
			answer{err: &net.OpError{Op: "dial", Net: "tcp", Err: syscall.ECONNREFUSED}},
			doing + "network: dial tcp: connection refused",
		},
		"reset": {
			answer{err: &net.OpError{Op: "read", Net: "tcp", Err: syscall.ECONNRESET}},
			doing + "network: read tcp: connection reset by peer",
		},
		"closed": {
			answer{err: io.EOF},
			doing + "network: the connection ended before the response did",
		},
		"trickle": {
			answer{stream: &trickle{}},
			doing + "timeout: no complete response within 20s",
		},
		"flood": {
			answer{stream: &flood{left: 100 << 20}},
			doing + "invalid_response: the response is larger than 8 MiB",
		},
	} {
		t.Run(name, func(t *testing.T) {
			cloud := newCloud(t)
			cloud.answers["ListBearerTokens"] = func(call call) answer {
				if trickle, ok := test.answer.stream.(*trickle); ok {
					trickle.ctx = call.ctx
				}
				return test.answer
			}
			synctest.Test(t, func(t *testing.T) {
				_, err := cloud.instance(nil).ListTokens(t.Context())
				wantError(t, err, test.want)
			})
			if n := cloud.called("ListBearerTokens"); n > 3 {
				t.Errorf("%d attempts are a storm", n)
			}
			if flood, ok := test.answer.stream.(*flood); ok && (flood.left < 90<<20 || cloud.called("ListBearerTokens") != 1) {
				t.Errorf("%d bytes of the flood are left after %d attempts", flood.left, cloud.called("ListBearerTokens"))
			}
		})
	}
}

// trickle sends a byte a second and respects its request's context, as a socket does.
type trickle struct{ ctx context.Context }

func (s *trickle) Read(p []byte) (int, error) {
	select {
	case <-time.After(time.Second):
		p[0] = ' '
		return 1, nil
	case <-s.ctx.Done():
		return 0, s.ctx.Err()
	}
}

func (s *trickle) Close() error { return nil }

type flood struct{ left int }

func (f *flood) Read(p []byte) (int, error) {
	n := min(len(p), f.left)
	f.left -= n
	if n == 0 {
		return 0, io.EOF
	}
	return n, nil
}

func (f *flood) Close() error { return nil }

// A list waits as long as Retry-After asks, or fails at once if that is beyond the
// deadline. The reason stays the service's own.
func TestRetryAfter(t *testing.T) {
	in30s := func() string { return time.Now().Add(30 * time.Second).UTC().Format(http.TimeFormat) }
	for name, test := range map[string]struct {
		retryAfter func() string
		deadline   time.Duration
		heals      bool
		within     [2]time.Duration
		body       string
	}{
		"30 s":                     {func() string { return "30" }, 2 * time.Minute, true, [2]time.Duration{30 * time.Second, 40 * time.Second}, ""},
		"a code that nobody knows": {func() string { return "30" }, 2 * time.Minute, true, [2]time.Duration{30 * time.Second, 40 * time.Second}, `{"__type":"TooManyRequests"}`},
		"a date":                   {in30s, 2 * time.Minute, true, [2]time.Duration{29 * time.Second, 40 * time.Second}, ""},
		"30 s beyond the deadline": {func() string { return "30" }, 20 * time.Second, false, [2]time.Duration{0, time.Second}, ""},
		"an hour":                  {func() string { return "3600" }, 2 * time.Hour, false, [2]time.Duration{0, time.Second}, ""},
		"none":                     {func() string { return "" }, time.Minute, true, [2]time.Duration{0, 5 * time.Second}, ""},
		"none, a short deadline":   {func() string { return "" }, 4 * time.Second, false, [2]time.Duration{0, time.Second}, ""},
		"nonsense":                 {func() string { return "soon" }, time.Minute, true, [2]time.Duration{0, 5 * time.Second}, ""},
		"a date of long ago":       {func() string { return "Mon, 02 Jan 1995 15:04:05 GMT" }, time.Minute, true, [2]time.Duration{0, 5 * time.Second}, ""},
		"more seconds than fit":    {func() string { return "99999999999999" }, time.Hour, false, [2]time.Duration{0, time.Second}, ""},
		"negative seconds":         {func() string { return "-5" }, time.Minute, true, [2]time.Duration{0, 5 * time.Second}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			cloud := newCloud(t)
			synctest.Test(t, func(t *testing.T) {
				cloud.answers["ListBearerTokens"] = func(call call) answer {
					if call.number == 1 {
						return answer{status: 429, header: map[string]string{"Retry-After": test.retryAfter()}, body: test.body}
					}
					return answer{body: `{"BearerTokens":[]}`}
				}
				instance := cloud.instance(nil)
				if _, err := instance.Binding(t.Context()); err != nil {
					t.Fatal(err)
				}
				ctx, cancel := context.WithTimeout(t.Context(), test.deadline)
				defer cancel()
				started := time.Now()
				_, err := instance.ListTokens(ctx)
				if took := time.Since(started); took < test.within[0] || took > test.within[1] {
					t.Errorf("took %s, want %v", took, test.within)
				}
				if test.heals && err != nil {
					t.Error(err)
				}
				if !test.heals && model.ReasonOf(err) != model.ReasonThrottled {
					t.Errorf("got %v", err)
				}
			})
		})
	}
}

// The SDK reads the reason of sso-admin's errors.
func TestKMSReasonOfListInstances(t *testing.T) {
	cloud := newCloud(t)
	cloud.answers["ListInstances"] = func(call) answer {
		return answer{status: 400, body: `{"__type":"AccessDeniedException","message":"no","Reason":"KMS_AccessDeniedException"}`}
	}
	_, err := cloud.instance(nil).ListTokens(t.Context())
	wantError(t, err, "finding the IAM Identity Center instance of corp: permission: AccessDeniedException (KMS_AccessDeniedException): no "+
		"(allow kms:Decrypt on the identity store's KMS key, see deploy/permissions/aws.md)")
}

// A failure of STS itself passes: it is no refused sign-in.
func TestSTSFails(t *testing.T) {
	const doing = "finding the IAM Identity Center instance of corp: "
	fault := func(code string) string {
		return "<ErrorResponse><Error><Code>" + code + "</Code><Message>sorry</Message></Error></ErrorResponse>"
	}
	for name, test := range map[string]struct {
		answer answer
		want   string
	}{
		"500": {answer{status: 500, body: fault("InternalFailure")}, "other: cannot assume r: InternalFailure: sorry"},
		"503": {answer{status: 503, body: fault("ServiceUnavailable")}, "other: cannot assume r: ServiceUnavailable: sorry"},
		"a page of 502": {answer{status: 502, header: map[string]string{"Content-Type": "text/html"}, body: "<html>Bad gateway"},
			"other: cannot assume r: HTTP status 502"},
		"throttled": {answer{status: 400, body: fault("Throttling")}, "throttled: cannot assume r: Throttling: sorry"},
	} {
		t.Run(name, func(t *testing.T) {
			cloud := newCloud(t)
			cloud.answers["AssumeRole"] = func(call) answer { return test.answer }
			synctest.Test(t, func(t *testing.T) {
				_, err := cloud.instance(func(o *identitycenter.Options) { o.RoleARN = "r" }).ListTokens(t.Context())
				wantError(t, err, doing+test.want)
			})
		})
	}
}

// The SDK's own operations.
func TestRefusedByProxy(t *testing.T) {
	for _, status := range []int{401, 403, 407} {
		for operation, doing := range map[string]string{
			"ListInstances": "finding the IAM Identity Center instance of corp: ", "LookupEvents": "reading CloudTrail's SCIM calls of corp: ",
		} {
			cloud := newCloud(t)
			cloud.answers[operation] = func(call) answer {
				return answer{status: status, header: map[string]string{"Content-Type": "text/html"}, body: "<html>Access denied"}
			}
			_, err := cloud.instance(nil).CallsSince(t.Context(), time.Now())
			wantError(t, err, fmt.Sprintf("%sinvalid_response: HTTP status %d with %s", doing, status, page))
		}
	}
}

func TestHangEndsAtDeadline(t *testing.T) {
	cloud := newCloud(t)
	cloud.answers["ListBearerTokens"] = hang
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
		defer cancel()
		_, err := cloud.instance(nil).ListTokens(ctx)
		if model.ReasonOf(err) != model.ReasonTimeout {
			t.Errorf("got %v", err)
		}
	})
}

// The transport trusts the bundle already, so the SDK need not put it into its client.
func TestCABundleInEnvironment(t *testing.T) {
	cloud := newCloud(t)
	t.Setenv("AWS_CA_BUNDLE", "errors_test.go")
	if _, err := cloud.instance(nil).Binding(t.Context()); err != nil {
		t.Error(err)
	}
	if os.Getenv("AWS_CA_BUNDLE") != "errors_test.go" {
		t.Error("the environment has lost AWS_CA_BUNDLE")
	}
}

func TestSignInErrors(t *testing.T) {
	const doing = "finding the IAM Identity Center instance of corp: "
	for name, test := range map[string]struct {
		prepare func(*testing.T, *cloud, *identitycenter.Options)
		want    string
	}{
		"no credentials": {
			func(t *testing.T, _ *cloud, _ *identitycenter.Options) {
				t.Setenv("AWS_ACCESS_KEY_ID", "")
				t.Setenv("AWS_SECRET_ACCESS_KEY", "")
			},
			doing + "auth: no AWS credentials in the environment, a profile, a web identity, a container or an instance role " +
				"(set aws.profile, the AWS_* environment, a web identity or an instance role, see deploy/permissions/aws.md)",
		},
		"no such profile": {
			func(_ *testing.T, _ *cloud, o *identitycenter.Options) { o.Profile = "absent" },
			doing + "auth: no AWS credentials: failed to get shared config profile, absent " +
				"(set aws.profile, the AWS_* environment, a web identity or an instance role, see deploy/permissions/aws.md)",
		},
		"role denied": {
			func(_ *testing.T, c *cloud, o *identitycenter.Options) {
				o.RoleARN = "arn:aws:iam::111122223333:role/reader"
				c.answers["AssumeRole"] = func(call) answer {
					return answer{status: 403, body: `<ErrorResponse><Error><Code>AccessDenied</Code><Message>User: u is not authorized to perform: sts:AssumeRole</Message></Error></ErrorResponse>`}
				}
			},
			doing + "auth: cannot assume arn:aws:iam::111122223333:role/reader: AccessDenied: User: u is not authorized to perform: sts:AssumeRole " +
				"(check role_arn and external_id in the config, and that the role's trust policy allows sts:AssumeRole to the caller, see deploy/permissions/aws.md)",
		},
		"role not allowed to the caller": {
			func(_ *testing.T, c *cloud, o *identitycenter.Options) {
				o.RoleARN = "arn:aws:iam::111122223333:role/reader"
				c.answers["AssumeRole"] = func(call) answer {
					return answer{status: 403, body: `<ErrorResponse><Error><Code>AccessDenied</Code><Message>User: u is not authorized to perform: sts:AssumeRole on resource: r because no identity-based policy allows the sts:AssumeRole action</Message></Error></ErrorResponse>`}
				}
			},
			doing + "auth: cannot assume arn:aws:iam::111122223333:role/reader: AccessDenied: User: u is not authorized to perform: sts:AssumeRole on resource: r because " +
				"no identity-based policy allows the sts:AssumeRole action (allow sts:AssumeRole on this role to the caller, see deploy/permissions/aws.md)",
		},
		"a proxy's page for STS": {
			func(_ *testing.T, c *cloud, o *identitycenter.Options) {
				o.RoleARN = "arn:aws:iam::111122223333:role/reader"
				c.answers["AssumeRole"] = func(call) answer {
					return answer{status: 403, header: map[string]string{"Content-Type": "text/html"}, body: "<html>Access denied"}
				}
			},
			doing + "invalid_response: no AWS credentials: HTTP status 403 with " + page,
		},
		"STS unreachable": {
			func(_ *testing.T, c *cloud, o *identitycenter.Options) {
				o.RoleARN = "arn:aws:iam::111122223333:role/reader"
				c.answers["AssumeRole"] = func(call) answer {
					return answer{err: &net.DNSError{Err: "no such host", Name: "sts.eu-central-1.amazonaws.com", IsNotFound: true}}
				}
			},
			doing + "network: no AWS credentials: cannot resolve sts.eu-central-1.amazonaws.com (check the region and the endpoints in the config, and the DNS of this host)",
		},
		"ca_bundle of a profile": {
			func(t *testing.T, _ *cloud, _ *identitycenter.Options) {
				file := filepath.Join(t.TempDir(), "config")
				if err := os.WriteFile(file, []byte("[default]\nca_bundle = errors_test.go\n"), 0o600); err != nil {
					t.Fatal(err)
				}
				t.Setenv("AWS_CONFIG_FILE", file)
			},
			doing + "auth: the AWS config file sets ca_bundle, which the exporter does not read (remove it there and set AWS_CA_BUNDLE or http_client.tls_config.ca_file)",
		},
		"wrong key": {
			func(t *testing.T, _ *cloud, _ *identitycenter.Options) { t.Setenv("AWS_SECRET_ACCESS_KEY", "wrong") },
			doing + "auth: InvalidSignatureException: The request signature we calculated does not match the signature you provided. " +
				"Check your AWS Secret Access Key and signing method. Consult the service documentation for details. " +
				"(check the credentials behind aws.profile, aws.role_arn or the environment, and this host's clock)",
		},
	} {
		t.Run(name, func(t *testing.T) {
			cloud := newCloud(t)
			var prepared identitycenter.Options
			test.prepare(t, cloud, &prepared)
			instance := cloud.instance(func(o *identitycenter.Options) { o.Profile, o.RoleARN = prepared.Profile, prepared.RoleARN })
			_, err := instance.ListTokens(t.Context())
			wantError(t, err, test.want)
			_, err = instance.CreateToken(t.Context())
			if model.CallOutcomeOf(err) != model.CallRefused {
				t.Errorf("an act without credentials: %s", model.CallOutcomeOf(err))
			}
		})
	}
}

// No error, log line or SDK debug output shows a secret, however the calls end.
func TestSecretsShowNowhere(t *testing.T) {
	cloud := newCloud(t)
	t.Setenv("AWS_SDK_LOAD_CONFIG", "1")
	t.Setenv("AWS_DEBUG", "true")
	logger, lines := logged()
	instance := cloud.instance(func(o *identitycenter.Options) { o.Logger = logger })
	var shown strings.Builder
	try := func(err error) {
		for ; err != nil; err = errors.Unwrap(err) {
			shown.WriteString(err.Error() + "\n")
		}
	}
	cloud.json("ListBearerTokens", `{"BearerTokens":[{"TokenId":{"Token":"`+tokenSecret+`"}}]}`)
	_, err := instance.ListTokens(t.Context())
	try(err)
	cloud.json("CreateBearerToken", `{"BearerToken":{"TokenId":["`+tokenSecret+`"],"Token":"`+tokenSecret+`"}}`)
	_, err = instance.CreateToken(t.Context())
	try(err)
	cloud.answers["GET /ServiceProviderConfig"] = func(call) answer { return answer{err: errors.New("broken")} }
	_, err = instance.ProbeToken(t.Context(), secret())
	try(err)
	_, err = instance.ProbeToken(t.Context(), model.NewSecret(tokenSecret+"\n"))
	try(err)
	t.Setenv("AWS_SECRET_ACCESS_KEY", "wrong")
	_, err = cloud.instance(func(o *identitycenter.Options) { o.Logger = logger }).ListTokens(t.Context())
	try(err)
	if shown.Len() == 0 {
		t.Fatal("nothing failed")
	}
	for _, planted := range []string{tokenSecret, secretKey} {
		if strings.Contains(shown.String()+lines(), planted) {
			t.Errorf("%s shows in\n%s%s", planted, shown.String(), lines())
		}
	}
}
