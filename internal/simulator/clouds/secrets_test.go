package clouds

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"entra-aws-exporter/internal/model"
)

func (s *harness) secrets() map[string]string {
	s.t.Helper()
	list, err := s.Secrets(CallerFor(ActorExporter), s.EntraTenantID, s.ServicePrincipalID)
	s.must(err)
	values := map[string]string{}
	for _, secret := range list {
		values[secret.Key] = secret.Value
	}
	return values
}

func lastSave(s *harness) Save {
	var last Save
	for save := range EntriesOf[Save](s.Model) {
		last = save
	}
	return last
}

func TestSecretsAreMasked(t *testing.T) {
	settings := `{"Enabled":true,"Recipients":"identity-team@example.com","DeleteThresholdEnabled":true,"DeleteThresholdValue":500}`
	for _, test := range []struct {
		quirks []string
		want   func(endpoint string) map[string]string
	}{
		{nil, func(endpoint string) map[string]string {
			return map[string]string{"BaseAddress": endpoint, "SecretToken": "*", "SyncAll": "false", "SyncNotificationSettings": settings}
		}},
		{[]string{"base_address=masked", "settings_keys=absent"}, func(string) map[string]string {
			return map[string]string{"BaseAddress": "*", "SecretToken": "*"}
		}},
		{[]string{"base_address=query", "settings_keys=absent", "extra_keys=clear"}, func(endpoint string) map[string]string {
			return map[string]string{"BaseAddress": endpoint + "?aadOptscim062020", "SecretToken": "*", ExtraClearKey: "True"}
		}},
		{[]string{"extra_keys=masked", "settings_keys=absent"}, func(endpoint string) map[string]string {
			return map[string]string{"BaseAddress": endpoint, "SecretToken": "*", ExtraMaskedKey: "*"}
		}},
	} {
		s := newHarness(t, Healthy("corp"), test.quirks...)
		if diff := cmp.Diff(test.want(s.SCIMEndpoint), s.secrets()); diff != "" {
			t.Errorf("%v (-want +got):\n%s", test.quirks, diff)
		}
		s = newHarness(t, Healthy("corp")) // the same, switched on later
		for _, quirk := range test.quirks {
			name, value, _ := strings.Cut(quirk, "=")
			s.must(s.SetQuirk(name, value))
		}
		if diff := cmp.Diff(test.want(s.SCIMEndpoint), s.secrets()); diff != "" {
			t.Errorf("%v set later (-want +got):\n%s", test.quirks, diff)
		}
		if s.SavedToken(s.ServicePrincipalID) != s.TokenIDs[0] || s.testSaved() != nil {
			t.Errorf("%v: the saved credential no longer works", test.quirks)
		}
	}
	s := newHarness(t, Healthy("corp"), "secrets_get=gone")
	_, err := s.Secrets(CallerFor(ActorExporter), s.EntraTenantID, s.ServicePrincipalID)
	wantText(t, err, "graph: 404 Request_ResourceNotFound: Resource not found for the segment 'secrets'.")
}

func TestPutSecrets(t *testing.T) {
	const both, tokenOnly = "everything", "only the token"
	for _, test := range []struct {
		quirk, payload string
		saved          bool // the new token is in effect
		lost           []string
		code           string
	}{
		{PutMerges, both, true, nil, ""},
		{PutMerges, tokenOnly, true, nil, ""},
		{PutReplaces, both, true, nil, ""},
		{PutReplaces, tokenOnly, true, []string{"BaseAddress", "SyncNotificationSettings", "SyncAll"}, ""},
		{PutNeedsAll, both, true, nil, ""},
		{PutNeedsAll, tokenOnly, false, nil, ""},
		{PutKeepsToken, both, false, nil, ""},
		{PutLimited, both, false, nil, "CredentialStorageLimitExceeded"},
	} {
		t.Run(test.quirk+" "+test.payload, func(t *testing.T) {
			s := newHarness(t, Healthy("corp"), "put_secrets="+test.quirk)
			token := s.create(ActorExporter)
			var err error
			if test.payload == both {
				err = s.put(ActorExporter, token.Value)
			} else {
				err = s.PutSecrets(CallerFor(ActorExporter), s.EntraTenantID, s.ServicePrincipalID, []Secret{{model.CredentialKeySecretToken, token.Value}})
			}
			if code(err) != test.code {
				t.Fatalf("error %v, want code %q", err, test.code)
			}
			want := s.TokenIDs[0]
			if test.saved {
				want = token.ID
			}
			if got := s.SavedToken(s.ServicePrincipalID); got != want {
				t.Errorf("saved token %s, want %s", got, want)
			}
			if test.code != "" {
				return
			}
			save := lastSave(s)
			if save.Actor != ActorExporter || save.Before != s.TokenIDs[0] || save.After != want || cmp.Diff(test.lost, save.Lost) != "" || save.Added != nil {
				t.Errorf("recorded %+v", save)
			}
		})
	}
}

func TestLimitIsSharedWithTheCertificate(t *testing.T) {
	spec := Healthy("corp")
	spec.Certificates = nil // two applications: one signs, one provisions
	s := newHarness(t, spec, "put_secrets=limit")
	token := s.create(ActorExporter)
	s.must(s.put(ActorExporter, token.Value))
	if s.SavedToken(s.ServicePrincipalID) != token.ID {
		t.Error("not saved, though it fits")
	}
}

func TestPutSecretsSaysWhatItDid(t *testing.T) {
	s := newHarness(t, Healthy("corp"), "base_address=masked")
	err := s.PutSecrets(CallerFor(ActorTerraform), s.EntraTenantID, s.ServicePrincipalID, []Secret{
		{model.CredentialKeyBaseAddress, Masked}, {model.CredentialKeySecretToken, "typo"}, {"Domain", "x"},
	})
	s.must(err)
	save := lastSave(s)
	want := Save{
		Stamp: Stamp{noon, ActorTerraform}, ServicePrincipalID: s.ServicePrincipalID, Before: s.TokenIDs[0],
		AddressBefore: s.SCIMEndpoint, AddressAfter: "*", Added: []string{"Domain"}, Overwritten: []string{"BaseAddress"},
	}
	if diff := cmp.Diff(want, save); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if strings.Contains(save.String(), "typo") {
		t.Error("the timeline shows a value")
	}
	err = s.PutSecrets(CallerFor(ActorTerraform), s.EntraTenantID, s.ServicePrincipalID, []Secret{{"secretToken", "x"}})
	wantText(t, err, "graph: 500 InternalError: Requested value 'secretToken' was not found.")
}

func TestTestConnection(t *testing.T) {
	s := newHarness(t, Healthy("corp"), "test_lag=1m", "deleted_lag=0s")
	inline := func(address, value string) error {
		return s.TestConnection(CallerFor(ActorExporter), s.EntraTenantID, s.ServicePrincipalID, s.JobID, []Secret{
			{model.CredentialKeyBaseAddress, address}, {model.CredentialKeySecretToken, value},
		})
	}
	s.must(s.testSaved())
	token := s.create(ActorExporter)
	s.must(inline(s.SCIMEndpoint, token.Value))
	s.must(inline(s.SCIMEndpoint+"/?aadOptscim062020", token.Value))
	if err := inline(s.SCIMEndpoint, "garbage"); status(err) != 400 || code(err) != CodeFailure {
		t.Errorf("garbage: %v", err)
	}
	if err := inline("https://elsewhere.example.com/scim/v2", token.Value); code(err) != CodeUnavailable {
		t.Errorf("another address: %v", err)
	}
	wantText(t, inline("", token.Value), "graph: 400 RequestMissingRequiredParameter: A required credential parameter is missing.")
	if err := s.TestConnection(CallerFor(ActorExporter), s.EntraTenantID, s.ServicePrincipalID, "nonesuch", nil); code(err) != "JobNotFound" {
		t.Errorf("another job: %v", err)
	}

	s.must(s.put(ActorExporter, token.Value))
	s.advance(59 * time.Second)
	if err := s.testSaved(); code(err) != CodeUnavailable {
		t.Errorf("within the lag: %v", err)
	}
	s.advance(time.Second)
	s.must(s.testSaved())
	s.delete(ActorOperator, token.ID)
	if err := s.testSaved(); code(err) != CodeFailure {
		t.Errorf("after the deletion: %v", err)
	}
	s.must(s.SetQuirk("inline_test", InlineIgnored))
	if err := inline(s.SCIMEndpoint, s.TokenValue(s.TokenIDs[0])); code(err) != CodeFailure {
		t.Errorf("inline_test=ignored must test the saved token: %v", err)
	}
}

func TestErrorsAreNested(t *testing.T) {
	for value, want := range map[string]bool{ErrorsNested: true, ErrorsPlain: false} {
		s := newHarness(t, Healthy("corp"), "graph_errors="+value, "deleted_lag=0s")
		s.delete(ActorOperator, s.TokenIDs[0])
		if err := s.testSaved(); err.(*Error).Nested != want { //nolint:errorlint // it is made here
			t.Errorf("graph_errors=%s: %+v", value, err)
		}
	}
}
