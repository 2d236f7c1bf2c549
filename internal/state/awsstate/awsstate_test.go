package awsstate_test

import (
	"bytes"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"entra-aws-exporter/internal/cloudhttp"
	"entra-aws-exporter/internal/identitycenter"
	"entra-aws-exporter/internal/model"
	"entra-aws-exporter/internal/simulator"
	"entra-aws-exporter/internal/simulator/clouds"
	"entra-aws-exporter/internal/state/awsstate"
	"entra-aws-exporter/internal/state/shared"
	"entra-aws-exporter/internal/state/statetest"
	"entra-aws-exporter/test/harness/dynalite"
	"entra-aws-exporter/test/harness/wire"
)

const region = "eu-central-1"

// harness is a DynamoDB of its own process, and a simulator's Secrets Manager.
type harness struct {
	*wire.Simulator
	dynamoDB string
	tables   atomic.Int32

	transport http.RoundTripper
}

func newHarness(t *testing.T) *harness {
	t.Helper()
	h := &harness{Simulator: wire.NewSimulator(t, wire.NewModel(clouds.Options{Seed: 1}, clouds.Healthy("corp")), simulator.Options{})}
	h.dynamoDB = dynalite.Start(t)
	keys := h.Credentials.Accounts[0].Keys
	t.Setenv("AWS_ACCESS_KEY_ID", keys.AccessKeyID)
	t.Setenv("AWS_SECRET_ACCESS_KEY", keys.SecretAccessKey)
	t.Setenv("AWS_CONFIG_FILE", "/dev/null")
	t.Setenv("AWS_SHARED_CREDENTIALS_FILE", "/dev/null")
	inMemory := h.Transport()
	h.transport = roundTripper(func(r *http.Request) (*http.Response, error) {
		if strings.HasPrefix(r.URL.Hostname(), "127.") {
			return http.DefaultTransport.RoundTrip(r)
		}
		return inMemory.RoundTrip(r)
	})
	return h
}

type roundTripper func(*http.Request) (*http.Response, error)

func (f roundTripper) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

// table creates a table of its own.
func (h *harness) table(t *testing.T) string {
	t.Helper()
	name := fmt.Sprint("state-", h.tables.Add(1))
	dynalite.CreateTable(t, h.dynamoDB, region, name)
	return name
}

func (h *harness) options(table string) awsstate.Options {
	transport := roundTripper(func(r *http.Request) (*http.Response, error) { return h.transport.RoundTrip(r) }) // it may be replaced
	return awsstate.Options{
		Table: table, SecretPrefix: "entra-aws-exporter/", RecoveryWindow: 7 * 24 * time.Hour, DynamoDBEndpoint: h.dynamoDB,
		SignIn: identitycenter.SignInOptions{Region: region, Options: cloudhttp.Options{Version: "test", Transport: transport}},
	}
}

func storeOf(s *shared.Store) statetest.Store {
	return statetest.Store{Journal: s.Journal(), Events: s.Events(), Tokens: s.Tokens(), Check: s.Check}
}

func TestContract(t *testing.T) {
	h := newHarness(t)
	if err := h.SetQuirk("secret_lag", "2s"); err != nil {
		t.Fatal(err)
	}
	statetest.Contract(t, statetest.RealTime, func(t *testing.T) func() statetest.Store {
		options := h.options(h.table(t))
		return func() statetest.Store { return storeOf(awsstate.Open(options)) }
	})
}

func TestDeletedForGood(t *testing.T) {
	h := newHarness(t)
	options := h.options(h.table(t))
	options.RecoveryWindow = 0
	tokens := awsstate.Open(options).Tokens()
	for range 2 {
		if err := errors.Join(tokens.Write(t.Context(), "b/1", model.NewSecret("value")), tokens.Destroy(t.Context(), "b/1")); err != nil {
			t.Fatal(err)
		}
	}
	h.With(func(m *clouds.Model) {
		if left := m.ManagedSecrets(); len(left) != 0 {
			t.Errorf("left: %+v", left)
		}
	})
}

// The calls carry what an operator has chosen, and no value goes to DynamoDB.
func TestRequests(t *testing.T) {
	h := newHarness(t)
	var sent []string
	next := h.transport
	h.transport = roundTripper(func(r *http.Request) (*http.Response, error) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			return nil, err
		}
		sent = append(sent, r.Header.Get("X-Amz-Target")+" "+string(body))
		r.Body = io.NopCloser(bytes.NewReader(body))
		return next.RoundTrip(r)
	})
	options := h.options(h.table(t))
	options.KMSKeyID, options.SecretPrefix = "alias/tokens", "team/tokens/"
	tokens := awsstate.Open(options).Tokens()
	if err := errors.Join(tokens.Write(t.Context(), "b/1", model.NewSecret("planted-value")), tokens.Destroy(t.Context(), "b/1")); err != nil {
		t.Fatal(err)
	}
	all := strings.Join(sent, "\n")
	for _, want := range []string{
		`DynamoDB_20120810.GetItem {"ConsistentRead":true,`,
		`"KmsKeyId":"alias/tokens"`, `"Name":"team/tokens/b/1.`, `"RecoveryWindowInDays":7`, `"SecretId":"arn:aws:secretsmanager:eu-central-1:`,
	} {
		if !strings.Contains(all, want) {
			t.Errorf("missing: %s", want)
		}
	}
	shown := 0
	for _, request := range sent {
		if strings.Contains(request, "planted-value") || strings.Contains(request, base64.StdEncoding.EncodeToString([]byte("planted-value"))) {
			if shown++; !strings.HasPrefix(request, "secretsmanager.CreateSecret ") {
				t.Errorf("the value is in %s", request)
			}
		}
	}
	if shown != 1 {
		t.Errorf("%d requests have the value", shown)
	}
}

// answer is what a transport makes of a call.
type answer func(next http.RoundTripper, r *http.Request) (*http.Response, error)

func lostAnswer(next http.RoundTripper, r *http.Request) (*http.Response, error) {
	if response, err := next.RoundTrip(r); err == nil {
		_ = response.Body.Close()
	}
	return nil, errors.New("connection reset by peer")
}

func cutAnswer(next http.RoundTripper, r *http.Request) (*http.Response, error) {
	response, err := next.RoundTrip(r)
	if err != nil || response.StatusCode != http.StatusOK {
		return response, err
	}
	_ = response.Body.Close()
	response.Header.Del("X-Amz-Crc32")
	response.Header.Del("Content-Length")
	response.ContentLength, response.Body = -1, io.NopCloser(strings.NewReader(`{"Attrib`))
	return response, nil
}

func internalError(next http.RoundTripper, r *http.Request) (*http.Response, error) {
	if response, err := next.RoundTrip(r); err == nil {
		_ = response.Body.Close()
	}
	return awsError(http.StatusInternalServerError, "InternalServerError", "The request processing has failed"), nil
}

func awsError(status int, code, message string) *http.Response {
	return &http.Response{
		StatusCode: status, Header: http.Header{"Content-Type": {"application/x-amz-json-1.0"}},
		Body: io.NopCloser(strings.NewReader(fmt.Sprintf(`{"__type":"com.amazonaws.dynamodb.v20120810#%s","message":%q}`, code, message))),
	}
}

// to replaces the answers of the first calls of an operation.
func (h *harness) to(target string, times int, do answer) {
	next := h.transport
	h.transport = roundTripper(func(r *http.Request) (*http.Response, error) {
		if strings.HasSuffix(r.Header.Get("X-Amz-Target"), "."+target) && times > 0 {
			times--
			return do(next, r)
		}
		return next.RoundTrip(r)
	})
}

// What was applied without an answer is found, whatever is wrong with the answer.
func TestLostAnswers(t *testing.T) {
	h := newHarness(t)
	for name, do := range map[string]answer{"lost": lostAnswer, "cut": cutAnswer, "internal error": internalError} {
		for _, target := range []string{"UpdateItem", "CreateSecret", "DeleteSecret"} {
			t.Run(name+" "+target, func(t *testing.T) {
				before := h.transport
				defer func() { h.transport = before }()
				store := awsstate.Open(h.options(h.table(t)))
				if err := store.Check(t.Context()); err != nil {
					t.Fatal(err)
				}
				h.to(target, 3, do)
				revision := ""
				for _, content := range []string{"1", "2"} {
					written, err := store.Journal().Save(t.Context(), "a", []byte(content), revision)
					if err != nil {
						t.Fatal(err)
					}
					revision = written
				}
				tokens := store.Tokens()
				if err := errors.Join(tokens.Write(t.Context(), "b/1", model.NewSecret("value")), tokens.Destroy(t.Context(), "b/1")); err != nil {
					t.Fatal(err)
				}
				h.With(func(m *clouds.Model) {
					for _, secret := range m.ManagedSecrets() {
						if secret.Deletion.IsZero() {
							t.Errorf("left: %+v", secret)
						}
					}
				})
			})
		}
	}
}
