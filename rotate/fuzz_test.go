package rotate

import (
	"bytes"
	"errors"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"entra-aws-exporter/internal/model"
)

func FuzzWebhookBody(f *testing.F) {
	for _, seed := range []string{
		firing(alertFor("corp", "firing")), firing(), firing(alertFor("nobody", "resolved"), `{"labels":null}`), `{"version":"4"}`,
		`{"version":4}`, `[]`, `null`, ``, `{"version":"4","alerts":[null,{"status":"firing","labels":{"connection":"corp","rotate":"scim-token"}}]}`,
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, body string) {
		w := newWebhook(deciders{"corp": DecisionStarted, "idle": DecisionNotDue})
		answer := post(w, body)
		if !slices.Contains([]int{http.StatusOK, http.StatusAccepted, http.StatusBadRequest, http.StatusRequestEntityTooLarge}, answer.Code) {
			t.Errorf("answered %d to %q", answer.Code, body)
		}
		if started := w.counters.(*counted).decisions[DecisionStarted]; started > 1 {
			t.Errorf("%d rotations were started by one payload", started)
		}
	})
}

// journalled is a record with something in every field.
func journalled() *record {
	at := time.Date(2026, 11, 1, 12, 0, 0, 0, time.UTC)
	when := moment{Local: at, AWS: at, Graph: at}
	token := model.Token{ID: "t-1", Created: at, Expires: at.Add(365 * 24 * time.Hour)}
	rec := newRecord(model.Binding{IdentityStoreID: "d-1234567890", JobID: "job"}, "corp")
	rec.account([]model.Token{token})
	rec.Lease = lease{Holder: "process-1", Epoch: 3, Expires: at}
	rec.Trust = &trust{At: at, Keys: []string{"BaseAddress", "SecretToken"}}
	rec.Budget = budget{Creates: []window{{From: at, To: at, Known: true}}, Rescues: []time.Time{at}}
	rec.Rotation = &rotation{
		ID: "r-1", Trigger: TriggerAlert, Issuer: model.IssuerConsoleAPI, Phase: model.PhaseRetire, Started: when, NewToken: &token,
		Phases: []passage{{model.PhasePlan, when}}, Plan: plan{Tokens: []planned{{token, model.RoleInUse, "x"}}, Keys: []string{"SecretToken"}, Control: true},
		Creates: []act{{Number: 1, Intent: when, Outcome: model.CallDone, Answered: when}},
		Puts:    []act{{Number: 1, TokenID: "t-1", Why: putSwitch, Intent: when}},
		Proof:   proof{Level: model.ProofUsed, Put: 1, Stored: when, Used: when}, Approval: &approval{TokenID: "t-1", At: at},
		Blocked: &block{Reason: TwoTokens, Sentence: "…", At: at}, Steps: []model.RotationStep{{At: at, Phase: model.PhasePlan, Text: "…"}},
	}
	rec.History = []model.RotationRecord{{Connection: "corp", ID: "r-0", Outcome: model.OutcomeDone}}
	return rec
}

func FuzzJournal(f *testing.F) {
	rec := journalled()
	key := rec.Binding.Key()
	content, err := rec.encode()
	if err != nil {
		f.Fatal(err)
	}
	for _, seed := range [][]byte{content, content[:len(content)/2], []byte(`{}`), []byte(`null`), nil, []byte(`{"kind":"entra-aws-exporter/rotation","schema":2}`)} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, content []byte) {
		rec, err := decodeRecord(content, key)
		if err != nil {
			if !errors.Is(err, errUnreadable) {
				t.Errorf("%q: %v", content, err)
			}
			return
		}
		again, err := rec.encode()
		if err != nil {
			return // a time that JSON can read but not write
		}
		twice, err := decodeRecord(again, key)
		if err != nil {
			t.Fatalf("what was read cannot be read again: %v", err)
		}
		if thrice, _ := twice.encode(); !bytes.Equal(again, thrice) {
			t.Errorf("%s\nbecame\n%s", again, thrice)
		}
	})
}

func TestJournalsThatAreNotOurs(t *testing.T) {
	rec := journalled()
	key := rec.Binding.Key()
	whole, err := rec.encode()
	if err != nil {
		t.Fatal(err)
	}
	change := func(old, replacement string) string { return strings.Replace(string(whole), old, replacement, 1) }
	for name, test := range map[string]struct{ content, key, want string }{
		"truncated":       {string(whole[:100]), key, "the journal cannot be read: corrupt: unexpected EOF"},
		"empty":           {"", key, "the journal cannot be read: corrupt: EOF"},
		"something else":  {"{}", key, "the journal cannot be read: foreign: it does not say what it is"},
		"another program": {`{"kind":"terraform"}`, key, `the journal cannot be read: foreign: its kind is "terraform", not "entra-aws-exporter/rotation"`},
		"newer":           {change(`"schema":1`, `"schema":2,"nonce":"x"`), key, "the journal cannot be read: its schema is 2, this program knows 1"},
		"unknown field":   {change(`"schema":1`, `"schema":1,"nonce":"x"`), key, `the journal cannot be read: corrupt: json: unknown field "nonce"`},
		"another binding": {string(whole), "ffff", "the journal cannot be read: foreign: it belongs to the binding " + key + ", not to ffff"},
		"no such phase":   {change(`"phase":"retire"`, `"phase":"idle"`), key, `the journal cannot be read: corrupt: rotation "r-1" in phase "idle"`},
		"acts missing":    {change(`"puts":[{"number":1`, `"puts":[{"number":2`), key, "the journal cannot be read: corrupt: act 2 stands at place 1"},
	} {
		if _, err := decodeRecord([]byte(test.content), test.key); err == nil || err.Error() != test.want {
			t.Errorf("%s: got  %v\nwant %s", name, err, test.want)
		}
	}
}

func FuzzVaultEntry(f *testing.F) {
	whole, err := encodeEntry("binding", "t-1", model.NewSecret("the-value"))
	if err != nil {
		f.Fatal(err)
	}
	for _, seed := range []string{whole.Reveal(), whole.Reveal()[:40], `{}`, `null`, ``} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, content string) {
		id, value, err := decodeEntry(model.NewSecret(content), "binding")
		switch {
		case err == nil && (id == "" || value.IsZero()):
			t.Errorf("%q: nothing, without an error", content)
		case err != nil && !errors.Is(err, errValueLost):
			t.Errorf("%q: %v", content, err)
		case err != nil && len(content) > 12 && strings.Contains(err.Error(), content):
			t.Errorf("the error shows the content: %v", err)
		}
	})
}
