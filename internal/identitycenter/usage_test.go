package identitycenter_test

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"entra-aws-exporter/internal/identitycenter"
	"entra-aws-exporter/internal/model"
)

// trailLog is what CloudTrail holds, newest first when it is read.
type trailLog struct{ events []string }

func (l *trailLog) add(at time.Time, key, userAgent, tenant string) {
	record, _ := json.Marshal(map[string]any{
		"eventVersion": "1.08", "eventTime": at.UTC().Format(time.RFC3339), "eventSource": "identitystore-scim.amazonaws.com",
		"userIdentity": map[string]any{"type": "WebIdentityUser", "accessKeyId": key, "userName": "planted-person"},
		"userAgent":    userAgent, "sourceIPAddress": "192.0.2.7",
		"requestParameters": map[string]any{"tenantId": tenant, "httpBody": "HIDDEN_DUE_TO_SECURITY_REASONS"},
	})
	event, _ := json.Marshal(map[string]any{
		"EventTime": float64(at.Unix()), "EventSource": "identitystore-scim.amazonaws.com", "CloudTrailEvent": string(record),
		"Username": "planted-person",
	})
	l.events = append([]string{string(event)}, l.events...)
}

// serve answers LookupEvents in pages of 50.
func (l *trailLog) serve(c *cloud) {
	c.answers["LookupEvents"] = func(call call) answer {
		var input struct{ NextToken string }
		_ = json.Unmarshal([]byte(call.body), &input)
		from := 0
		_, _ = fmt.Sscan(input.NextToken, &from)
		to := min(from+50, len(l.events))
		next := ""
		if to < len(l.events) {
			next = fmt.Sprintf(`,"NextToken":"%d"`, to)
		}
		return answer{body: `{"Events":[` + strings.Join(l.events[from:to], ",") + `]` + next + `}`}
	}
}

const azure = "Microsoft.Azure.SyncFabric"

func TestCallsSince(t *testing.T) {
	cloud := newCloud(t)
	synctest.Test(t, func(t *testing.T) {
		var log trailLog
		begin := time.Now().Truncate(time.Second)
		for n := range 120 {
			log.add(begin.Add(time.Duration(n)*time.Minute), "KEYA", azure, tenant)
		}
		log.add(begin.Add(time.Hour), "KEYB", azure, "another-tenant")
		log.events = append(log.events, `{"EventTime":1,"CloudTrailEvent":"not JSON"}`, `{"EventTime":1,"EventSource":"s3.amazonaws.com"}`, `{}`)
		log.serve(cloud)
		started := time.Now()
		calls, err := cloud.instance(nil).CallsSince(t.Context(), begin)
		if err != nil || len(calls) != 120 {
			t.Fatalf("got %d calls, %v", len(calls), err)
		}
		want := model.SCIMCall{At: begin.UTC(), AccessKeyID: "KEYA", UserAgent: azure, SourceIP: "192.0.2.7"}
		if diff := cmp.Diff(want, calls[0]); diff != "" {
			t.Error(diff)
		}
		for n := range calls[1:] {
			if calls[n+1].At.Before(calls[n].At) {
				t.Fatal("not oldest first")
			}
		}
		if n, took := cloud.called("LookupEvents"), time.Since(started); n != 3 || took < 2*500*time.Millisecond {
			t.Errorf("%d pages in %s: CloudTrail allows two a second", n, took)
		}
	})
	if sent := cloud.last("LookupEvents").body; !strings.Contains(sent, `"AttributeKey":"EventSource"`) ||
		!strings.Contains(sent, `"AttributeValue":"identitystore-scim.amazonaws.com"`) || !strings.Contains(sent, `"StartTime"`) {
		t.Errorf("sent %s", sent)
	}
}

func TestCallsSinceErrors(t *testing.T) {
	cloud := newCloud(t)
	cloud.refuse("LookupEvents", 400, "AccessDeniedException", "User: u is not authorized to perform: cloudtrail:LookupEvents")
	_, err := cloud.instance(nil).CallsSince(t.Context(), time.Now())
	wantError(t, err, "reading CloudTrail's SCIM calls of corp: permission: AccessDeniedException: User: u is not authorized to perform: cloudtrail:LookupEvents "+
		"(allow cloudtrail:LookupEvents, see deploy/permissions/aws.md)")

	// A response without a list is no empty list either.
	for body, wantEmpty := range map[string]bool{``: false, `{}`: false, `null`: false, `{"Events":null}`: false, `{"Other":[]}`: false, `{"Events":[]}`: true} {
		cloud.json("LookupEvents", body)
		calls, err := cloud.instance(nil).CallsSince(t.Context(), time.Now())
		if wantEmpty {
			if err != nil || len(calls) != 0 {
				t.Errorf("%s: got %v, %v", body, calls, err)
			}
			continue
		}
		wantError(t, err, "reading CloudTrail's SCIM calls of corp: invalid_response: the response has no list of events "+
			"(check for a proxy, and the endpoints under aws.endpoints)")
	}

	// A list that is cut short is no list: it would prove what is not so.
	cloud.answers["LookupEvents"] = func(call call) answer {
		return answer{body: fmt.Sprintf(`{"Events":[],"NextToken":"%d"}`, call.number)}
	}
	synctest.Test(t, func(t *testing.T) {
		calls, err := cloud.instance(nil).CallsSince(t.Context(), date("2026-01-02T03:04:05Z"))
		wantError(t, err, "reading CloudTrail's SCIM calls of corp: other: more than 100000 calls since 2026-01-02T03:04:05Z")
		if calls != nil {
			t.Error("and yet there are calls")
		}
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
		defer cancel()
		_, err = cloud.instance(nil).CallsSince(ctx, time.Now())
		if model.ReasonOf(err) != model.ReasonTimeout {
			t.Errorf("got %v", err)
		}
	})
}

// Usage learns ids by our own probes and returns nothing where it cannot tell.
func TestUsage(t *testing.T) {
	// keyOf gives the access key id that CloudTrail shows for a token at its nth call.
	perToken := func(token string, _ int) string { return "KEY-" + token }
	for name, test := range map[string]struct {
		keyOf    func(token string, n int) string // nil: nothing is logged
		tokens   []string                         // listed
		entra    string                           // the token that Entra uses
		probed   string                           // the token that we know
		unknown  bool                             // we do not know its id
		attacker string                           // another caller's id, ""
		want     []string                         // tokens with a last use
	}{
		"one token, told apart":                {keyOf: perToken, tokens: []string{"a"}, entra: "a", probed: "a", want: []string{"a"}},
		"two tokens, Entra uses the known one": {keyOf: perToken, tokens: []string{"a", "b"}, entra: "a", probed: "a", attacker: "KEY-b", want: []string{"a"}},
		"two tokens, Entra uses the other":     {keyOf: perToken, tokens: []string{"a", "b"}, entra: "b", probed: "a"},
		"two tokens, one id only":              {keyOf: perToken, tokens: []string{"a", "b"}, entra: "a", probed: "a"},
		"constant id, two tokens":              {keyOf: func(string, int) string { return "SAME" }, tokens: []string{"a", "b"}, entra: "b", probed: "a"},
		"id of its own for each call":          {keyOf: func(_ string, n int) string { return fmt.Sprint("KEY", n) }, tokens: []string{"a"}, entra: "a", probed: "a"},
		"id of its own for each day":           {keyOf: func(_ string, n int) string { return fmt.Sprint("DAY", n/4) }, tokens: []string{"a", "b"}, entra: "b", probed: "a"},
		"no logs":                              {tokens: []string{"a"}, entra: "a", probed: "a"},
		"logs without ids":                     {keyOf: func(string, int) string { return "" }, tokens: []string{"a"}, entra: "a", probed: "a"},
		"the probed token's id is not known":   {keyOf: perToken, tokens: []string{"a", "b"}, entra: "a", probed: "a", unknown: true},
		"a deleted token was probed":           {keyOf: perToken, tokens: []string{"b"}, entra: "b", probed: "a"},
		"old tokens are not logged (constant 0)": {keyOf: func(token string, _ int) string {
			if token == "a" {
				return "-"
			}
			return "KEY-" + token
		}, tokens: []string{"a", "b"}, entra: "a", probed: "a"},
	} {
		t.Run(name, func(t *testing.T) {
			cloud := newCloud(t)
			synctest.Test(t, func(t *testing.T) {
				var log trailLog
				n := 0
				record := func(at time.Time, token, userAgent string) {
					if test.keyOf != nil && test.keyOf(token, n) != "-" {
						log.add(at, test.keyOf(token, n), userAgent, tenant)
					}
					n++
				}
				created := time.Now().Add(-30 * 24 * time.Hour).Unix()
				listed := make([]string, 0, len(test.tokens))
				for _, id := range test.tokens {
					listed = append(listed, fmt.Sprintf(`{"TokenId":%q,"CreationTime":%d,"ExpirationTime":%d}`, id, created, created+31536000))
				}
				cloud.json("ListBearerTokens", `{"BearerTokens":[`+strings.Join(listed, ",")+`]}`)
				cloud.answers["GET /ServiceProviderConfig"] = func(call) answer {
					record(time.Now(), test.probed, "entra-aws-exporter/1.2.3")
					return answer{body: providerConfig}
				}
				log.serve(cloud)
				instance := cloud.instance(func(o *identitycenter.Options) {
					o.TokenValue = func(context.Context) (string, model.Secret, error) {
						if test.unknown {
							return "", secret(), nil
						}
						return test.probed, secret(), nil
					}
				})
				var lastUse time.Time
				for range 3 {
					lastUse = time.Now().Truncate(time.Second)
					record(lastUse, test.entra, azure)
					if test.attacker != "" {
						log.add(time.Now(), test.attacker, "curl/8", tenant)
					}
					time.Sleep(20 * time.Minute)
					if _, err := instance.Probe(t.Context()); err != nil {
						t.Fatal(err)
					}
					log.serve(cloud)
					time.Sleep(20 * time.Minute)
				}
				usage, err := instance.Usage(t.Context())
				if err != nil {
					t.Fatal(err)
				}
				want := map[string]time.Time{}
				for _, id := range test.want {
					want[id] = lastUse.UTC()
				}
				if diff := cmp.Diff(want, usage.LastUsed); diff != "" {
					t.Error(diff)
				}
			})
		})
	}
}

// Our own calls are no use, and later polls read only what is new.
func TestUsageReadsOnlyWhatIsNew(t *testing.T) {
	cloud := newCloud(t)
	cloud.json("ListBearerTokens", `{"BearerTokens":[{"TokenId":"a","CreationTime":1}]}`)
	synctest.Test(t, func(t *testing.T) {
		var log trailLog
		log.serve(cloud)
		instance := cloud.instance(func(o *identitycenter.Options) {
			o.TokenValue = func(context.Context) (string, model.Secret, error) { return "a", secret(), nil }
		})
		cloud.answers["GET /ServiceProviderConfig"] = func(call) answer {
			log.add(time.Now(), "KEYA", "entra-aws-exporter/1.2.3", tenant)
			return answer{body: providerConfig}
		}
		if _, err := instance.Probe(t.Context()); err != nil {
			t.Fatal(err)
		}
		usage := func() map[string]time.Time {
			t.Helper()
			usage, err := instance.Usage(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			return usage.LastUsed
		}
		if got := usage(); len(got) != 0 {
			t.Errorf("our own probe counts as use: %v", got)
		}
		first := cloud.last("LookupEvents").body
		used := time.Now().Truncate(time.Second).UTC()
		log.add(used, "KEYA", azure, tenant)
		log.add(time.Now(), "KEYB", "entra-aws-exporter/9.9.9", tenant)
		log.add(time.Now().Add(time.Minute), "KEYA", azure, tenant) // refused: tried, not used
		log.events[0] = strings.Replace(log.events[0], `{\"event`, `{\"errorCode\":\"UnauthorizedException\",\"event`, 1)
		time.Sleep(10 * time.Minute)
		for range 2 {
			if diff := cmp.Diff(map[string]time.Time{"a": used}, usage()); diff != "" {
				t.Error(diff)
			}
			log.events = nil // the last use stays known when the log is not read that far back any more
			time.Sleep(2 * time.Hour)
		}
		if later := cloud.last("LookupEvents").body; later == first {
			t.Errorf("it asks for the same again: %s", later)
		}
	})
}

// One id for two tokens that we know is no evidence, whatever else is in the log; and
// what was called before a token existed was not called with it.
func TestUsageContradictions(t *testing.T) {
	for name, test := range map[string]struct {
		constant bool
		created  time.Duration // of token b, from the beginning
		want     []string
	}{
		"told apart":       {want: []string{"a", "b"}},
		"constant":         {constant: true, want: nil},
		"called too early": {created: time.Hour, want: []string{"a"}},
	} {
		t.Run(name, func(t *testing.T) {
			cloud := newCloud(t)
			synctest.Test(t, func(t *testing.T) {
				var log trailLog
				probed := "a"
				key := func(token string) string {
					if test.constant {
						return "SAME"
					}
					return "KEY-" + token
				}
				cloud.json("ListBearerTokens", fmt.Sprintf(`{"BearerTokens":[{"TokenId":"a","CreationTime":1},{"TokenId":"b","CreationTime":%d}]}`,
					time.Now().Add(test.created).Unix()))
				cloud.answers["GET /ServiceProviderConfig"] = func(call) answer {
					log.add(time.Now(), key(probed), "entra-aws-exporter/1.2.3", tenant)
					return answer{body: providerConfig}
				}
				instance := cloud.instance(func(o *identitycenter.Options) {
					o.TokenValue = func(context.Context) (string, model.Secret, error) { return probed, secret(), nil }
				})
				time.Sleep(time.Minute)
				log.add(time.Now(), key("a"), azure, tenant)
				log.add(time.Now(), key("b"), azure, tenant)
				log.add(time.Now(), "STRAY", "curl/8", tenant)
				for _, probed = range []string{"a", "b"} {
					if _, err := instance.Probe(t.Context()); err != nil {
						t.Fatal(err)
					}
					time.Sleep(time.Minute)
				}
				log.serve(cloud)
				usage, err := instance.Usage(t.Context())
				if err != nil {
					t.Fatal(err)
				}
				if got := slices.Sorted(maps.Keys(usage.LastUsed)); !slices.Equal(got, test.want) {
					t.Errorf("got %v, want %v", got, test.want)
				}
			})
		})
	}
}

// A constant id stays no evidence when the token that Entra used has expired: the other
// one, which only we have probed, was not used.
func TestConstantIDAfterAnExpiry(t *testing.T) {
	cloud := newCloud(t)
	synctest.Test(t, func(t *testing.T) {
		var log trailLog
		begin := time.Now()
		cloud.json("ListBearerTokens", fmt.Sprintf(`{"BearerTokens":[{"TokenId":"old","CreationTime":1,"ExpirationTime":%d},{"TokenId":"new","CreationTime":%d,"ExpirationTime":%d}]}`,
			begin.Add(time.Hour).Unix(), begin.Add(-24*time.Hour).Unix(), begin.AddDate(1, 0, 0).Unix()))
		cloud.answers["GET /ServiceProviderConfig"] = func(call) answer {
			log.add(time.Now(), "SAME", "entra-aws-exporter/1.2.3", tenant)
			return answer{body: providerConfig}
		}
		instance := cloud.instance(func(o *identitycenter.Options) {
			o.TokenValue = func(context.Context) (string, model.Secret, error) { return "new", secret(), nil }
		})
		time.Sleep(30 * time.Minute)
		log.add(time.Now(), "SAME", azure, tenant) // with the old token
		time.Sleep(time.Hour)
		if _, err := instance.Probe(t.Context()); err != nil {
			t.Fatal(err)
		}
		log.serve(cloud)
		usage, err := instance.Usage(t.Context())
		if err != nil || len(usage.LastUsed) != 0 {
			t.Errorf("got %v, %v", usage.LastUsed, err)
		}
		used := time.Now().Truncate(time.Second).UTC() // the old one has expired: this is the new one
		log.add(used, "SAME", azure, tenant)
		log.serve(cloud)
		if usage, err = instance.Usage(t.Context()); err != nil || !usage.LastUsed["new"].Equal(used) {
			t.Errorf("got %v, %v", usage.LastUsed, err)
		}
	})
}

// What is too much for two look-ups a second is skipped, the oldest first, and said once.
func TestUsageSkipsWhatIsTooMuchOnce(t *testing.T) {
	cloud := newCloud(t)
	cloud.json("ListBearerTokens", `{"BearerTokens":[{"TokenId":"a","CreationTime":1}]}`)
	logger, lines := logged()
	synctest.Test(t, func(t *testing.T) {
		var log trailLog
		instance := cloud.instance(func(o *identitycenter.Options) { o.Logger = logger })
		for n, want := range []int{0, 1, 1, 1} {
			for range 500 {
				log.add(time.Now(), "KEYA", azure, tenant)
				time.Sleep(time.Second)
			}
			log.serve(cloud)
			before := cloud.called("LookupEvents")
			ctx, cancel := context.WithTimeout(t.Context(), 3*time.Second)
			if _, err := instance.Usage(ctx); err != nil {
				t.Errorf("poll %d: %v", n, err)
			}
			cancel()
			if calls := cloud.called("LookupEvents") - before; calls > 6 {
				t.Errorf("poll %d: %d look-ups in three seconds", n, calls)
			}
			if got := strings.Count(lines(), "skipping older SCIM calls"); got != want {
				t.Errorf("poll %d: said %d times, want %d", n, got, want)
			}
		}
	})
}

// A state that was stored continues; one that is not ours is refused.
func TestUsageState(t *testing.T) {
	cloud := newCloud(t)
	cloud.json("ListBearerTokens", `{"BearerTokens":[{"TokenId":"a","CreationTime":1}]}`)
	synctest.Test(t, func(t *testing.T) {
		var log trailLog
		cloud.answers["GET /ServiceProviderConfig"] = func(call) answer {
			log.add(time.Now(), "KEYA", "entra-aws-exporter/1.2.3", tenant)
			return answer{body: providerConfig}
		}
		build := func() *identitycenter.Instance {
			return cloud.instance(func(o *identitycenter.Options) {
				o.TokenValue = func(context.Context) (string, model.Secret, error) { return "a", secret(), nil }
			})
		}
		first, second := build(), build()
		if _, err := first.Probe(t.Context()); err != nil {
			t.Fatal(err)
		}
		used := time.Now().Truncate(time.Second).UTC()
		log.add(used, "KEYA", azure, tenant)
		log.serve(cloud)
		if _, err := first.Usage(t.Context()); err != nil {
			t.Fatal(err)
		}
		if err := second.RestoreUsage([]byte(`{"schema":9}`)); err == nil {
			t.Error("another schema was taken")
		}
		if err := second.RestoreUsage(first.UsageState()); err != nil {
			t.Fatal(err)
		}
		log.events = nil
		if usage, err := second.KnownUsage(t.Context()); err != nil || !usage.LastUsed["a"].Equal(used) {
			t.Errorf("without a look: %v, %v", usage.LastUsed, err)
		}
		stored := len(second.UsageState())
		for range 3 { // what another replica has stored
			if err := second.RestoreUsage(first.UsageState()); err != nil || len(second.UsageState()) != stored {
				t.Errorf("restored again: %d bytes, %d before: %v", len(second.UsageState()), stored, err)
			}
		}
		time.Sleep(time.Hour)
		usage, err := second.Usage(t.Context())
		if err != nil || !usage.LastUsed["a"].Equal(used) {
			t.Errorf("got %v, %v", usage.LastUsed, err)
		}
	})
}
