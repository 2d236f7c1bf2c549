package simulator_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"entra-aws-exporter/internal/simulator"
	"entra-aws-exporter/internal/simulator/clouds"
)

// count is how many tokens the connection has.
func (l *harness) count() int {
	l.t.Helper()
	answer := l.tokens("ListBearerTokens")
	return len(answer.at("BearerTokens").([]any))
}

// try makes a call that may get no answer.
func (l *harness) try(request *http.Request) (string, error) {
	response, err := l.client.Do(request)
	if err != nil {
		return "", err
	}
	defer func() { _ = response.Body.Close() }()
	body, err := io.ReadAll(response.Body)
	return string(body), err
}

func TestFaultAnswers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newHarness(t)
		l.InjectFault(simulator.Fault{Operation: "ListBearerTokens", Status: 400, Code: "ThrottlingException", Message: "Rate exceeded", Times: 2})
		for i, want := range []int{400, 400, 200} {
			if answer := l.tokens("ListBearerTokens"); answer.status != want {
				t.Errorf("call %d: %d %s", i+1, answer.status, answer.body)
			}
		}
		l.InjectFault(simulator.Fault{Operation: "GET job", Status: 429, Code: "TooManyRequests", RetryAfter: "3600", Times: 1})
		if answer := l.graph(http.MethodGet, l.job(), ""); answer.status != 429 || answer.at("error", "code") != "TooManyRequests" || answer.header.Get("Retry-After") != "3600" {
			t.Errorf("%d %s %v", answer.status, answer.body, answer.header)
		}
		l.InjectFault(simulator.Fault{Operation: "GET job", Status: 503, Body: `{"anything":1}`, RetryAfterDate: simulator.Duration(time.Minute), Times: 1})
		want := time.Now().Add(time.Minute).UTC().Format(http.TimeFormat)
		if answer := l.graph(http.MethodGet, l.job(), ""); answer.status != 503 || answer.body != `{"anything":1}` || answer.header.Get("Retry-After") != want {
			t.Errorf("%d %s %v", answer.status, answer.body, answer.header)
		}
		l.InjectFault(simulator.Fault{Operation: "POST token", Status: 401, Code: "AADSTS7000222", Message: "The provided client secret keys are expired.", Times: 1})
		if answer := l.signIn(l.Connection.EntraTenantID, l.signInForm()); answer.at("error") != "invalid_client" || !strings.HasPrefix(answer.at("error_description").(string), "AADSTS7000222: The provided") {
			t.Errorf("%d %s", answer.status, answer.body)
		}
		l.InjectFault(simulator.Fault{Operation: "SCIM GET ServiceProviderConfig", Status: 500, Code: "InternalServerException", Delay: simulator.Duration(time.Minute), Times: 1})
		begin := time.Now()
		if answer := l.scim("/ServiceProviderConfig"); answer.status != 500 || answer.at("status") != "500" || time.Since(begin) != time.Minute {
			t.Errorf("%d %s after %v", answer.status, answer.body, time.Since(begin))
		}
		l.InjectFault(simulator.Fault{Operation: "*", Path: "/identitystore/", Effect: simulator.EffectHTML})
		if answer := l.tokens("ListBearerTokens"); answer.status != 200 || !strings.Contains(answer.body, "<h1>Sign in") {
			t.Errorf("%d %s", answer.status, answer.body)
		}
		if answer := l.graph(http.MethodGet, l.job(), ""); answer.status != 200 {
			t.Errorf("another path: %d %s", answer.status, answer.body)
		}
		l.ClearFaults()
		// One customer's calls: those of another account and another tenant are left alone.
		for _, operation := range []string{"GET job", "ListBearerTokens"} {
			l.InjectFault(simulator.Fault{Operation: operation, Customer: l.Connection.EntraTenantID, Effect: simulator.EffectHTML})
		}
		if answer := l.graph(http.MethodGet, l.job(), ""); !strings.Contains(answer.body, "<h1>Sign in") {
			t.Errorf("the tenant's own call: %d %s", answer.status, answer.body)
		}
		if answer := l.tokens("ListBearerTokens"); answer.json == nil {
			t.Errorf("another customer's call: %d %s", answer.status, answer.body)
		}
		l.InjectFault(simulator.Fault{Operation: "ListBearerTokens", Customer: l.Connection.Account, Effect: simulator.EffectHTML})
		if answer := l.tokens("ListBearerTokens"); !strings.Contains(answer.body, "<h1>Sign in") {
			t.Errorf("the account's own call: %d %s", answer.status, answer.body)
		}
		l.ClearFaults()
		l.InjectFault(simulator.Fault{Operation: "ListBearerTokens", Effect: simulator.EffectRedirect, Location: "https://moved.example/"})
		if answer := l.tokens("ListBearerTokens"); answer.status != http.StatusFound || answer.header.Get("Location") != "https://moved.example/" {
			t.Errorf("%d %v", answer.status, answer.header)
		}
	})
}

func TestFaultsInTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newHarness(t)
		token := l.accessToken()
		ask := func(limit time.Duration) (string, time.Duration, error) {
			ctx, cancel := context.WithTimeout(t.Context(), limit)
			defer cancel()
			request, _ := http.NewRequestWithContext(ctx, http.MethodGet, "https://graph.microsoft.com/v1.0"+l.job(), nil)
			request.Header.Set("Authorization", "Bearer "+token)
			begin := time.Now()
			body, err := l.try(request)
			return body, time.Since(begin), err
		}
		l.InjectFault(simulator.Fault{Operation: "GET job", Effect: simulator.EffectHang, Times: 1})
		if _, after, err := ask(time.Minute); !errors.Is(err, context.DeadlineExceeded) || after != time.Minute {
			t.Errorf("hang: %v after %v", err, after)
		}
		l.InjectFault(simulator.Fault{Operation: "GET job", Effect: simulator.EffectDelay, Delay: simulator.Duration(20 * time.Second), Times: 1})
		if body, after, err := ask(time.Minute); err != nil || !strings.Contains(body, "Active") || after != 20*time.Second {
			t.Errorf("delay: %v after %v", err, after)
		}
		l.InjectFault(simulator.Fault{Operation: "GET job", Effect: simulator.EffectTrickle, Times: 1})
		if body, _, err := ask(time.Minute + time.Millisecond); !errors.Is(err, context.DeadlineExceeded) || len(body) != 60 {
			t.Errorf("trickle: %v with %q", err, body)
		}
		l.InjectFault(simulator.Fault{Operation: "GET job", Effect: simulator.EffectReset, Times: 1})
		if _, _, err := ask(time.Minute); !errors.Is(err, syscall.ECONNRESET) {
			t.Errorf("reset: %v", err)
		}
		l.InjectFault(simulator.Fault{Operation: "GET job", Effect: simulator.EffectHuge, Times: 1})
		if body, _, err := ask(time.Minute); err != nil || len(body) < 5<<20 || !json.Valid([]byte(body)) {
			t.Errorf("huge: %v with %d bytes", err, len(body))
		}
		if len(l.Faults()) != 0 {
			t.Errorf("left: %+v", l.Faults())
		}
	})
}

// create asks for a token, as a call that may get no answer.
func (l *harness) create() error {
	l.t.Helper()
	var refused error
	inner := l.client.Transport
	l.client.Transport = roundTripper(func(r *http.Request) (*http.Response, error) {
		var response *http.Response
		if response, refused = inner.RoundTrip(r); refused != nil {
			response = &http.Response{StatusCode: 599, Header: http.Header{}, Body: io.NopCloser(bytes.NewReader(nil))}
		}
		return response, nil
	})
	defer func() { l.client.Transport = inner }()
	l.tokens("CreateBearerToken")
	return refused
}

type roundTripper func(*http.Request) (*http.Response, error)

func (f roundTripper) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

func TestLostAndLateEffects(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newHarness(t)
		l.InjectFault(simulator.Fault{Operation: "CreateBearerToken", Effect: simulator.EffectLost, Times: 1})
		if err := l.create(); err == nil || l.count() != 2 {
			t.Errorf("lost: %v, %d tokens", err, l.count())
		}
		l = newHarness(t)
		l.InjectFault(simulator.Fault{Operation: "CreateBearerToken", Effect: simulator.EffectLate, Delay: simulator.Duration(time.Minute), Times: 1})
		if err := l.create(); err == nil || l.count() != 1 {
			t.Errorf("late: %v, %d tokens at once", err, l.count())
		}
		time.Sleep(time.Minute)
		if l.count() != 2 {
			t.Errorf("late: %d tokens after a minute", l.count())
		}
		l.With(func(w *clouds.Model) {
			for creation := range clouds.EntriesOf[clouds.Creation](w) {
				if creation.Actor != clouds.ActorExporter {
					t.Errorf("created by %s", creation.Actor)
				}
			}
		})
	})
}

func TestStaleRead(t *testing.T) {
	l := newHarness(t)
	before := l.tokens("ListBearerTokens").body
	l.tokens("CreateBearerToken")
	l.InjectFault(simulator.Fault{Operation: "ListBearerTokens", Effect: simulator.EffectStale, Times: 1})
	if stale := l.tokens("ListBearerTokens").body; stale != before {
		t.Errorf("stale: %s", stale)
	}
	if fresh := l.tokens("ListBearerTokens").body; fresh == before {
		t.Error("still stale")
	}
}

func TestEditedAnswer(t *testing.T) {
	l := newHarness(t)
	l.InjectFault(simulator.Fault{Operation: "GET jobs", Effect: simulator.EffectEdit, Set: map[string]json.RawMessage{
		"/value/0/status/code": json.RawMessage(`"Broken"`), "/value/0/status/quarantine": json.RawMessage(`{"reason":"New"}`),
		"/value/-": json.RawMessage("null"), "/value/0/schedule/interval": json.RawMessage(`"PT1S"`),
	}})
	answer := l.graph(http.MethodGet, l.synchronization()+"/jobs", "")
	if answer.at("value", 0, "status", "code") != "Broken" || answer.at("value", 0, "status", "quarantine", "reason") != "New" ||
		len(answer.at("value").([]any)) != 2 || answer.at("value", 0, "schedule", "interval") != "PT1S" {
		t.Errorf("%s", answer.body)
	}
	l.ClearFaults()
	l.InjectFault(simulator.Fault{Operation: "ListBearerTokens", Effect: simulator.EffectEdit, Set: map[string]json.RawMessage{"/BearerTokens/*/ExpirationTime": json.RawMessage("0")}})
	if answer := l.tokens("ListBearerTokens"); answer.at("BearerTokens", 0, "ExpirationTime") != 0.0 {
		t.Errorf("%s", answer.body)
	}
}

func TestFaultByChance(t *testing.T) {
	l := newHarness(t)
	l.InjectFault(simulator.Fault{Operation: "ListBearerTokens", Status: 500, Code: "InternalServerException", Probability: 0.5})
	struck := 0
	for range 200 {
		if l.tokens("ListBearerTokens").status == http.StatusInternalServerError {
			struck++
		}
	}
	if struck < 70 || struck > 130 {
		t.Errorf("struck %d of 200", struck)
	}
	if calls := l.Calls()["ListBearerTokens"]; calls != 200 {
		t.Errorf("%d calls counted", calls)
	}
}

func TestBadFaults(t *testing.T) {
	l := newHarness(t)
	for want, fault := range map[string]simulator.Fault{
		"fault: operation is missing":                      {Status: 500},
		`fault: unknown effect "bang"`:                     {Operation: "*", Effect: "bang"},
		"fault: answer needs a status between 100 and 599": {Operation: "*"},
		"fault: late needs a delay":                        {Operation: "*", Effect: simulator.EffectLate},
		"fault: edit needs set":                            {Operation: "*", Effect: simulator.EffectEdit},
		"fault: probability is between 0 and 1":            {Operation: "*", Status: 500, Probability: 2},
	} {
		if _, err := l.AddFault(fault); err == nil || !strings.HasPrefix(err.Error(), want) {
			t.Errorf("%+v: %v", fault, err)
		}
	}
}
