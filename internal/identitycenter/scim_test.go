package identitycenter_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"entra-aws-exporter/internal/identitycenter"
	"entra-aws-exporter/internal/model"
	"entra-aws-exporter/internal/simulator/clouds"
)

func TestProbeToken(t *testing.T) {
	for _, status := range []int{200, 401, 403, 429, 500, 302} {
		body := `{"detail":"` + tokenSecret + `"}`
		if status == http.StatusOK {
			body = providerConfig
		}
		t.Run(http.StatusText(status), func(t *testing.T) {
			cloud := newCloud(t)
			cloud.answers["GET /ServiceProviderConfig"] = func(call) answer {
				time.Sleep(250 * time.Millisecond)
				return answer{status: status, header: map[string]string{"Location": "https://evil.example/"}, body: body}
			}
			synctest.Test(t, func(t *testing.T) {
				probe, err := cloud.instance(nil).ProbeToken(t.Context(), secret())
				if err != nil {
					t.Fatal(err)
				}
				if probe.StatusCode != status || probe.Duration != 250*time.Millisecond || probe.Date.IsZero() || probe.Accepted() != (status == 200) {
					t.Errorf("got %+v", probe)
				}
			})
			if n := cloud.called("GET /ServiceProviderConfig"); n != 1 {
				t.Errorf("%d calls: each is an event in CloudTrail", n)
			}
			sent := cloud.last("GET /ServiceProviderConfig").request
			if sent.URL.String() != endpoint+"/ServiceProviderConfig" || sent.Header.Get("Authorization") != "Bearer "+tokenSecret ||
				sent.Header.Get("Accept") != "application/scim+json" || sent.Header.Get("User-Agent") != "entra-aws-exporter/1.2.3" {
				t.Errorf("sent %s %v", sent.URL, sent.Header)
			}
		})
	}
}

func TestTokenGoesToAllowedHostsOnly(t *testing.T) {
	const doing = "probing the SCIM endpoint of corp: other: "
	for host, allowed := range map[string]bool{
		"scim.eu-central-1.amazonaws.com":    true,
		"SCIM.eu-central-1.AMAZONAWS.com":    true,
		"scim.cn-north-1.amazonaws.com.cn":   true,
		"identitystore.eu-central-1.api.aws": true,
		"scim.eusc-de-east-1.amazonaws.eu":   true,
		"scim.corp.example":                  true,
		"corp.example":                       true,
		"127.0.0.1:10198":                    true,
		"evilamazonaws.com":                  false,
		"scim.amazonaws.com.evil.example":    false,
		"notcorp.example":                    false,
		"127.0.0.2":                          false,
		"amazonaws.com@evil.example":         false,
		"evil.example/scim.amazonaws.com":    false,
		"evil.example#scim.amazonaws.com":    false,
	} {
		t.Run(host, func(t *testing.T) {
			cloud := newCloud(t)
			_, err := cloud.instance(func(o *identitycenter.Options) {
				o.SCIMAllowedHosts = []string{".corp.example", "127.0.0.1", ""}
				o.Endpoints.SCIM = "https://" + host + "/t/scim/v2"
				o.ProvisioningTenantID = tenant
			}).ProbeToken(t.Context(), secret())
			if sent := cloud.called("GET /ServiceProviderConfig"); allowed != (sent == 1) || allowed != (err == nil) {
				t.Errorf("sent %d times, %v", sent, err)
			}
		})
	}
	cloud := newCloud(t)
	_, err := cloud.instance(func(o *identitycenter.Options) { o.Endpoints.SCIM = "https://scim.corp.example/t" }).ProbeToken(t.Context(), secret())
	wantError(t, err, doing+"no token is sent to scim.corp.example, which is not a host of AWS "+
		"(if it may receive tokens, add it to tokens.scim_allowed_hosts)")
	_, err = cloud.instance(func(o *identitycenter.Options) { o.Endpoints.SCIM = "http://scim.eu-central-1.amazonaws.com/t" }).ProbeToken(t.Context(), secret())
	wantError(t, err, doing+"a token is sent over https only, and http://scim.eu-central-1.amazonaws.com/t is not such an endpoint")
	if model.CallOutcomeOf(err) != model.CallRefused {
		t.Error("nothing was sent, and the error does not say so")
	}
}

// A redirect is not followed, on a real socket either: the token stays where it was meant to be.
func TestRedirectIsNotFollowed(t *testing.T) {
	var stolen string
	thief := httptest.NewTLSServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { stolen = r.Header.Get("Authorization") }))
	defer thief.Close()
	server := httptest.NewTLSServer(http.RedirectHandler(thief.URL, http.StatusTemporaryRedirect))
	defer server.Close()
	cloud := newCloud(t)
	instance := cloud.instance(func(o *identitycenter.Options) {
		o.Endpoints.SCIM, o.SCIMAllowedHosts = server.URL, []string{"127.0.0.1"}
		o.Transport = either{host: server.Listener.Addr().String(), first: server.Client().Transport, other: cloud}
	})
	probe, err := instance.ProbeToken(t.Context(), secret())
	if err != nil || probe.StatusCode != http.StatusTemporaryRedirect || stolen != "" {
		t.Errorf("got %+v, %v; the thief has %q", probe, err, stolen)
	}
}

// either sends requests for one host to one transport, all others to another.
type either struct {
	host         string
	first, other http.RoundTripper
}

func (e either) RoundTrip(r *http.Request) (*http.Response, error) {
	if r.URL.Host == e.host {
		return e.first.RoundTrip(r)
	}
	return e.other.RoundTrip(r)
}

func TestProbeErrors(t *testing.T) {
	const doing = "probing the SCIM endpoint of corp: "
	for want, failing := range map[string]func(call) answer{
		doing + "network: cannot resolve scim.eu-central-1.amazonaws.com (check the region and the endpoints in the config, and the DNS of this host)": func(call) answer {
			return answer{err: &net.DNSError{Err: "no such host", Name: "scim.eu-central-1.amazonaws.com", IsNotFound: true}}
		},
		doing + "timeout: no complete response within 20s":            hang,
		doing + "network: connection broken":                          func(call) answer { return answer{err: errors.New("connection broken")} },
		doing + "invalid_response: the response is larger than 8 MiB": func(call) answer { return answer{stream: &flood{left: 100 << 20}} },
	} {
		cloud := newCloud(t)
		cloud.answers["GET /ServiceProviderConfig"] = failing
		synctest.Test(t, func(t *testing.T) {
			_, err := cloud.instance(nil).ProbeToken(t.Context(), secret())
			wantError(t, err, want)
		})
	}
}

// A 2xx of anything but a ServiceProviderConfig is neither acceptance nor refusal.
func TestProbeOfAnotherResponse(t *testing.T) {
	const doing = "probing the SCIM endpoint of corp: invalid_response: HTTP status 200 with "
	const advice = " (check for a proxy, and the endpoints under aws.endpoints)"
	const other = doing + "something else than a SCIM ServiceProviderConfig" + advice
	for name, test := range map[string]struct {
		contentType, body, want string
	}{
		"the config":                  {"application/scim+json", providerConfig, ""},
		"with another schema as well": {"application/json", `{"schemas":["urn:x",` + providerConfig[len(`{"schemas":[`):], ""},
		"without a content type":      {"", providerConfig, ""},
		"a proxy's login page": {
			"text/html; charset=utf-8", "<html>Sign in",
			doing + "a web page, probably of a proxy or gateway, instead of a SCIM ServiceProviderConfig" + advice,
		},
		"a page without a content type": {
			"", "<html>Sign in", doing + "a web page, probably of a proxy or gateway, instead of a SCIM ServiceProviderConfig" + advice,
		},
		"an empty body":  {"application/scim+json", "", other},
		"{}":             {"application/scim+json", `{}`, other},
		"null":           {"application/scim+json", `null`, other},
		"a list":         {"application/scim+json", `[` + providerConfig + `]`, other},
		"cut off":        {"application/scim+json", providerConfig[:len(providerConfig)-1], other},
		"another schema": {"application/scim+json", `{"schemas":["urn:ietf:params:scim:api:messages:2.0:Error"],"detail":"` + tokenSecret + `"}`, other},
	} {
		t.Run(name, func(t *testing.T) {
			cloud := newCloud(t)
			cloud.answers["GET /ServiceProviderConfig"] = func(call) answer {
				return answer{header: map[string]string{"Content-Type": test.contentType}, body: test.body}
			}
			probe, err := cloud.instance(nil).ProbeToken(t.Context(), secret())
			if test.want == "" {
				if err != nil || !probe.Accepted() {
					t.Errorf("got %+v, %v", probe, err)
				}
				return
			}
			wantError(t, err, test.want)
			if probe.Accepted() || probe.StatusCode != 0 {
				t.Errorf("got %+v", probe)
			}
		})
	}
}

// A page of a proxy that refuses says nothing about the token, whatever its status.
func TestSCIMRefusedByProxy(t *testing.T) {
	for _, status := range []int{401, 403, 407} {
		cloud := newCloud(t)
		page := func(call) answer {
			return answer{status: status, header: map[string]string{"Content-Type": "text/html"}, body: "<html>Access denied"}
		}
		cloud.answers["GET /ServiceProviderConfig"], cloud.answers["GET /Users"] = page, page
		want := fmt.Sprintf("at the SCIM endpoint of corp: invalid_response: HTTP status %d with a web page, probably of a proxy or gateway "+
			"(check http_client.proxy_url, and the proxies and firewalls on the way to the cloud)", status)
		probe, err := cloud.instance(nil).ProbeToken(t.Context(), secret())
		wantError(t, err, strings.Replace(want, "at the", "probing the", 1))
		if probe.StatusCode != 0 {
			t.Errorf("got %+v", probe)
		}
		_, err = cloud.instance(nil).HasUser(t.Context(), secret(), "ada@corp.example")
		wantError(t, err, "looking for a user "+want)
	}
}

func TestProbePrefersTheStoredToken(t *testing.T) {
	cloud := newCloud(t)
	file := filepath.Join(t.TempDir(), "token")
	if err := os.WriteFile(file, []byte("from-file\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	value, failure := model.NewSecret("from-vault"), error(nil)
	instance := cloud.instance(func(o *identitycenter.Options) {
		o.SCIMTokenFile = model.SecretFile(file)
		o.TokenValue = func(context.Context) (string, model.Secret, error) { return "new", value, failure }
	})
	sent := func() string {
		if _, err := instance.Probe(t.Context()); err != nil {
			t.Fatal(err)
		}
		return cloud.last("GET /ServiceProviderConfig").request.Header.Get("Authorization")
	}
	if got := sent(); got != "Bearer from-vault" {
		t.Errorf("probed with %s", got)
	}
	value = model.Secret{}
	if got := sent(); got != "Bearer from-file" {
		t.Errorf("probed with %s", got)
	}
	failure = errors.New("the vault is locked")
	_, err := instance.Probe(t.Context())
	wantError(t, err, "probing the SCIM endpoint of corp: other: the vault is locked")
	_, err = cloud.instance(nil).Probe(t.Context())
	wantError(t, err, "probing the SCIM endpoint of corp: other: no token's value is known yet "+
		"(set tokens.scim_token_file, until a rotation stores a value)")
	_, err = cloud.instance(func(o *identitycenter.Options) { o.SCIMTokenFile = "/nonexistent/token" }).Probe(t.Context())
	wantError(t, err, "probing the SCIM endpoint of corp: other: reading secret file: open /nonexistent/token: no such file or directory "+
		"(check tokens.scim_token_file)")
}

func TestHasUser(t *testing.T) {
	cloud := newCloud(t)
	instance := cloud.instance(nil)
	for name, test := range map[string]struct {
		userName, filter, answer string
		want                     bool
	}{
		"there":        {"ada@corp.example", `userName eq "ada@corp.example"`, `{"totalResults":1,"Resources":[{"userName":"Ada@corp.example"}]}`, true},
		"not there":    {"ada@corp.example", `userName eq "ada@corp.example"`, `{"totalResults":0,"Resources":[]}`, false},
		"no resources": {"ada", `userName eq "ada"`, `{}`, false},
		"another":      {"ada", `userName eq "ada"`, `{"totalResults":1,"Resources":[{"userName":"bob"}]}`, false},
		"escaped":      {`a"b\c or userName pr & <x>`, `userName eq "a\"b\\c or userName pr & <x>"`, `{"Resources":[]}`, false},
		"null element": {"ada", `userName eq "ada"`, `{"Resources":[null]}`, false},
	} {
		t.Run(name, func(t *testing.T) {
			cloud.json("GET /Users", test.answer)
			got, err := instance.HasUser(t.Context(), secret(), test.userName)
			if err != nil || got != test.want {
				t.Errorf("got %v, %v", got, err)
			}
			sent := cloud.last("GET /Users").request.URL.Query()
			if len(sent) != 1 || sent.Get("filter") != test.filter {
				t.Errorf("sent %v, want %s", sent, test.filter)
			}
		})
	}
}

func TestHasUserErrors(t *testing.T) {
	const doing = "looking for a user at the SCIM endpoint of corp: "
	for want, failing := range map[string]answer{
		doing + "auth: HTTP status 401 (the token is not valid for this endpoint, or not yet)":                            {status: 401},
		doing + "permission: HTTP status 403 (check whether the identity store restricts SCIM to other source addresses)": {status: 403},
		doing + "throttled: HTTP status 429":                            {status: 429},
		doing + "other: HTTP status 500":                                {status: 500},
		doing + "invalid_response: the response is not a SCIM list":     {body: `[`},
		doing + "network: the connection ended before the response did": {err: io.ErrUnexpectedEOF},
	} {
		cloud := newCloud(t)
		cloud.answers["GET /Users"] = func(call) answer { return failing }
		_, err := cloud.instance(nil).HasUser(t.Context(), secret(), "ada@corp.example")
		wantError(t, err, want)
		for ; err != nil; err = errors.Unwrap(err) {
			if strings.Contains(err.Error(), "ada") {
				t.Errorf("the user's name shows in %s", err)
			}
		}
	}
}

func TestSCIMSources(t *testing.T) {
	newCloud(t) // for the environment
	synctest.Test(t, func(t *testing.T) {
		s := simulate(t, clouds.Healthy("corp"), nil, nil)
		expect := func(want string) {
			t.Helper()
			sources, err := s.SCIMSources(t.Context())
			if err != nil || sources.String() != want {
				t.Errorf("%q, %v, want %q", sources, err, want)
			}
		}
		expect("any address")
		s.With(func(w *clouds.Model) {
			if err := w.AllowSources(clouds.ActorOperator, s.Connection.IdentityStoreID, netip.MustParsePrefix("203.0.113.0/24"), netip.MustParsePrefix("2001:db8::/32")); err != nil {
				t.Fatal(err)
			}
		})
		expect("203.0.113.0/24, 2001:db8::/32")
	})
}

func TestSCIMSourcesShapes(t *testing.T) {
	c := newCloud(t)
	for body, want := range map[string]string{
		`{"IdentityStoreId":"d-9967aaaaaa"}`:                                                       "any address",
		`{"NetworkConfiguration":{"ScimAllowSourceIps":null,"VpceAccessRequired":true}}`:           "any address, through a VPC endpoint only",
		`{"NetworkConfiguration":{"ScimAllowSourceIps":["10.0.0.0/8"],"VpceAccessRequired":true}}`: "10.0.0.0/8, through a VPC endpoint only",
	} {
		c.json("DescribeIdentityStore", body)
		sources, err := c.instance(nil).SCIMSources(t.Context())
		if err != nil || sources.String() != want {
			t.Errorf("%s: %q, %v, want %q", body, sources, err, want)
		}
	}
	c.json("DescribeIdentityStore", `{"NetworkConfiguration":"open"}`)
	if _, err := c.instance(nil).SCIMSources(t.Context()); model.ReasonOf(err) != model.ReasonAPIChanged {
		t.Errorf("another shape: %v", err)
	}
	last := c.last("DescribeIdentityStore").request
	if last.URL.Host != "identitystore.eu-central-1.amazonaws.com" || last.Header.Get("X-Amz-Target") != "AWSIdentityStore.DescribeIdentityStore" {
		t.Errorf("asked %s for %s", last.URL, last.Header.Get("X-Amz-Target"))
	}
}
