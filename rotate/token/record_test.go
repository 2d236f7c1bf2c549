package token

import (
	"bytes"
	"errors"
	"strings"
	"testing"
	"time"

	"entra-aws-exporter/internal/model"
	"entra-aws-exporter/rotate/journal"
	"entra-aws-exporter/rotate/policy"
)

func codec() journal.Codec { return journal.Codec{model.ProcedureToken: Types()} }

// fullRecord is a record with something in every field.
func fullRecord() *journal.Record {
	at := time.Date(2026, 11, 1, 12, 0, 0, 0, time.UTC)
	when := journal.Timestamps{Local: at, AWS: at, Graph: at}
	token := model.Token{ID: "t-1", Created: at, Expires: at.Add(365 * 24 * time.Hour)}
	rec := recordOf(codec().NewRecord(model.Binding{IdentityStoreID: "d-1234567890", JobID: "job"}, "corp"))
	rec.setKnownTokens([]model.Token{token})
	rec.Lease = journal.Lease{Holder: "process-1", Epoch: 3, Expires: at}
	rec.Trust = &Trust{At: at, Keys: []string{"BaseAddress", "SecretToken"}}
	rec.RateLimit = policy.RateLimit{Creations: []policy.CallWindow{{From: at, To: at, Resolved: true}}, Recoveries: []time.Time{at}}
	rec.Record.Rotation = &journal.Rotation{
		ID: "r-1", Kind: model.ProcedureToken, Trigger: model.TriggerAlert, Phase: model.PhaseRetire, Started: when,
		Phases: []journal.PhaseEntry{{Phase: model.PhasePlan, At: when}},
		Operations: map[journal.OperationKind][]journal.Operation{
			OperationCreate: {{Number: 1, Intent: when, Outcome: model.CallDone, Answered: when}},
			OperationPut:    {{Number: 1, Target: "t-1", Why: PutInitial, Intent: when}},
		},
		Approval: &journal.Approval{Target: "t-1", At: at},
		Blocked:  &journal.Block{Reason: model.BlockedTwoTokens, Message: "…", At: at}, Steps: []model.RotationStep{{At: at, Phase: model.PhasePlan, Text: "…"}},
		Progress: &Progress{
			Issuer: model.IssuerConsoleAPI, NewToken: &token, Plan: Plan{Tokens: []PlannedToken{{token, model.RoleInUse, "x"}}, Keys: []string{"SecretToken"}, ControlFailed: true},
			Proof: Proof{Level: model.ProofUsed, Put: 1, Stored: when, Used: when},
		},
	}
	rec.History = []model.RotationRecord{{Connection: "corp", ID: "r-0", Outcome: model.OutcomeDone}}
	return rec.Record
}

func FuzzJournal(f *testing.F) {
	rec := fullRecord()
	key := rec.Binding.Key()
	content, err := codec().Encode(rec)
	if err != nil {
		f.Fatal(err)
	}
	for _, seed := range [][]byte{content, content[:len(content)/2], []byte(`{}`), []byte(`null`), nil, []byte(`{"kind":"entra-aws-exporter/rotation","schema":2}`)} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, content []byte) {
		rec, err := codec().Decode(content, key)
		if err != nil {
			if !errors.Is(err, journal.ErrUnreadable) {
				t.Errorf("%q: %v", content, err)
			}
			return
		}
		again, err := codec().Encode(rec)
		if err != nil {
			return // a time that JSON decodes and cannot encode
		}
		twice, err := codec().Decode(again, key)
		if err != nil {
			t.Fatalf("a decoded record cannot be decoded again: %v", err)
		}
		if thrice, _ := codec().Encode(twice); !bytes.Equal(again, thrice) {
			t.Errorf("%s\nbecame\n%s", again, thrice)
		}
	})
}

func TestUnreadableRecords(t *testing.T) {
	rec := fullRecord()
	key := rec.Binding.Key()
	whole, err := codec().Encode(rec)
	if err != nil {
		t.Fatal(err)
	}
	change := func(old, replacement string) string { return strings.Replace(string(whole), old, replacement, 1) }
	for name, test := range map[string]struct{ content, key, want string }{
		"truncated":          {string(whole[:100]), key, "the journal cannot be read: corrupt: unexpected EOF"},
		"empty":              {"", key, "the journal cannot be read: corrupt: EOF"},
		"something else":     {"{}", key, "the journal cannot be read: not a record of this program: it has no kind"},
		"another program":    {`{"kind":"terraform"}`, key, `the journal cannot be read: not a record of this program: its kind is "terraform", not "entra-aws-exporter/rotation"`},
		"newer":              {change(`"schema":2`, `"schema":3,"nonce":"x"`), key, "the journal cannot be read: its schema is 3, this program knows 2"},
		"unknown field":      {change(`"schema":2`, `"schema":2,"nonce":"x"`), key, `the journal cannot be read: corrupt: json: unknown field "nonce"`},
		"another binding":    {string(whole), "ffff", "the journal cannot be read: it belongs to the binding " + key + ", not to ffff"},
		"no such phase":      {change(`"phase":"retire"`, `"phase":"idle"`), key, `the journal cannot be read: corrupt: rotation "r-1" in phase "idle"`},
		"operations missing": {change(`"put":[{"number":1`, `"put":[{"number":2`), key, "the journal cannot be read: corrupt: put operation 2 is at position 1"},
	} {
		if _, err := codec().Decode([]byte(test.content), test.key); err == nil || err.Error() != test.want {
			t.Errorf("%s: got  %v\nwant %s", name, err, test.want)
		}
	}
}
