package model_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"gopkg.in/yaml.v3"

	"entra-aws-exporter/internal/model"
)

func TestSecretNeverShows(t *testing.T) {
	const planted = "s3cr3t-pl4nted"
	secret := model.NewSecret(planted)
	nested := struct {
		Public  model.Secret
		private model.Secret
		list    []model.Secret
	}{secret, secret, []model.Secret{secret}}

	var outputs []string
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%d", "%T"} {
		outputs = append(outputs, fmt.Sprintf(verb, secret), fmt.Sprintf(verb, &secret), fmt.Sprintf(verb, nested))
	}
	asJSON, err := json.Marshal(map[string]any{"secret": secret, "nested": nested})
	if err != nil {
		t.Fatal(err)
	}
	asYAML, err := yaml.Marshal(map[string]any{"secret": secret, "pointer": &secret})
	if err != nil {
		t.Fatal(err)
	}
	var log strings.Builder
	slog.New(slog.NewTextHandler(&log, nil)).Info("test", "secret", secret, "nested", nested)
	outputs = append(outputs, string(asJSON), string(asYAML), log.String(), fmt.Sprint(fmt.Errorf("wrapped %w %v", os.ErrExist, secret)))

	for _, output := range outputs {
		if strings.Contains(output, planted) || strings.Contains(output, fmt.Sprintf("%x", planted)) {
			t.Errorf("the secret shows in %q", output)
		}
	}
	if got := fmt.Sprint(secret); got != "<secret>" {
		t.Errorf("prints %q, want <secret>", got)
	}
	if secret.Reveal() != planted || !secret.Equal(model.NewSecret(planted)) || secret.Equal(model.NewSecret("other")) {
		t.Error("the value is not kept")
	}
}

func TestSecretFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "secret")
	for _, test := range []struct{ name, content, value, problem string }{
		{"a line", " value\n", "value", ""},
		{"UTF-8 with a byte order mark", "\xEF\xBB\xBFvalue\r\n", "value", ""},
		{"UTF-16, little endian", "\xFF\xFEv\x00", "", "reading secret file: " + path + " is encoded in UTF-16; save it as UTF-8"},
		{"UTF-16, big endian", "\xFE\xFF\x00v", "", "reading secret file: " + path + " is encoded in UTF-16; save it as UTF-8"},
		{"an empty line", "\n", "", "secret file " + path + " is empty"},
		{"only a byte order mark", "\xEF\xBB\xBF\r\n", "", "secret file " + path + " is empty"},
	} {
		if err := os.WriteFile(path, []byte(test.content), 0o600); err != nil {
			t.Fatal(err)
		}
		secret, err := model.SecretFile(path).Read()
		problem := ""
		if err != nil {
			problem = err.Error()
		}
		if secret.Reveal() != test.value || problem != test.problem {
			t.Errorf("%s: Read() = %q, %q; want %q, %q", test.name, secret.Reveal(), problem, test.value, test.problem)
		}
	}
}

func TestReasonAndCallOutcome(t *testing.T) {
	cause := errors.New("cause")
	for _, test := range []struct {
		name    string
		err     error
		reason  model.Reason
		outcome model.CallOutcome
	}{
		{"no error", nil, "", model.CallDone},
		{"a 4xx has no effect", &model.Error{Reason: model.ReasonPermission, Status: 403}, model.ReasonPermission, model.CallRefused},
		{"nothing sent", &model.Error{Reason: model.ReasonNetwork, Unsent: true}, model.ReasonNetwork, model.CallRefused},
		{"the answer was lost", &model.Error{Reason: model.ReasonNetwork}, model.ReasonNetwork, model.CallUnknown},
		{"a 500 may have taken effect", &model.Error{Reason: model.ReasonOther, Status: 500}, model.ReasonOther, model.CallUnknown},
		{"an unreadable 2xx", &model.Error{Reason: model.ReasonInvalidResponse, Status: 200}, model.ReasonInvalidResponse, model.CallUnknown},
		{"a proxy's page of 403", &model.Error{Reason: model.ReasonInvalidResponse, Status: 403}, model.ReasonInvalidResponse, model.CallUnknown},
		{"a page of 404", &model.Error{Reason: model.ReasonAPIChanged, Status: 404}, model.ReasonAPIChanged, model.CallUnknown},
		{"an unknown operation", &model.Error{Reason: model.ReasonAPIChanged, Status: 404, Code: "UnknownOperationException"}, model.ReasonAPIChanged, model.CallRefused},
		{"wrapped", fmt.Errorf("corp: %w", &model.Error{Reason: model.ReasonThrottled, Status: 429}), model.ReasonThrottled, model.CallRefused},
		{"a deadline", context.DeadlineExceeded, model.ReasonTimeout, model.CallUnknown},
		{"anything else", cause, model.ReasonOther, model.CallUnknown},
	} {
		t.Run(test.name, func(t *testing.T) {
			if got := model.ReasonOf(test.err); got != test.reason {
				t.Errorf("ReasonOf = %q, want %q", got, test.reason)
			}
			if got := model.CallOutcomeOf(test.err); got != test.outcome {
				t.Errorf("CallOutcomeOf = %q, want %q", got, test.outcome)
			}
		})
	}
}

func TestErrorText(t *testing.T) {
	err := &model.Error{
		Reason: model.ReasonPermission,
		Op:     "listing SCIM tokens of corp",
		Detail: "AccessDeniedException: not authorized to perform sso-directory:ListBearerTokens",
		Advice: "grant the policy in deploy/permissions/aws.md",
		Err:    errors.New("cause"),
	}
	const want = "listing SCIM tokens of corp: permission: AccessDeniedException: not authorized to perform " +
		"sso-directory:ListBearerTokens (grant the policy in deploy/permissions/aws.md)"
	if err.Error() != want {
		t.Errorf("got  %s\nwant %s", err.Error(), want)
	}
}

func TestBindingKey(t *testing.T) {
	binding := model.Binding{
		Region: "eu-central-1", IdentityStoreID: "d-1", ProvisioningTenantID: "t-1", SCIMEndpoint: "https://scim.example",
		EntraTenantID: "e", ServicePrincipalID: "s", JobID: "j",
	}
	if !binding.Complete() {
		t.Error("a full binding is not complete")
	}
	other := binding
	other.SCIMEndpoint = "https://scim.example/moved"
	if binding.Key() != other.Key() {
		t.Error("the key depends on what may be spelt in several ways")
	}
	other.JobID = "j2"
	if binding.Key() == other.Key() {
		t.Error("another job has the same key")
	}
}

func TestFreshness(t *testing.T) {
	now := time.Now()
	status := model.SourceStatus{Interval: time.Minute, LastAttempt: now, LastSuccess: now.Add(-3 * time.Minute)}
	if !status.Fresh(now) || status.Fresh(now.Add(time.Second)) {
		t.Error("fresh means at most three intervals old")
	}
	if (model.SourceStatus{Interval: time.Minute}).Fresh(now) {
		t.Error("a source never read is fresh")
	}
}
