package certificate

import (
	"bytes"
	"errors"
	"strings"
	"testing"
	"testing/synctest"

	"entra-aws-exporter/internal/model"
	"entra-aws-exporter/rotate/journal"
)

// full is a scene whose record has something in every field.
func full() *scene {
	s := gone()
	rot := s.record.Rotation
	rot.Named, rot.Unused, rot.Subject = "named", "unused", "CN=new"
	rot.Refused = Refusal{model.BlockedPolicyRefused, "the policy forbids it"}
	rot.Repair = &Repair{Kind: RepairRollback, Reason: model.BlockedSignInFailing, Detail: "more fail", Began: s.timestamps(0)}
	rot.Plan.DueReason, rot.Plan.ImportOnly = "due", true
	rot.Plan.Issued = rot.Plan.Accepted
	rot.Proof.Exclusive = s.timestamps(0)
	old := *rot.Plan.Old
	s.record.Pending, s.record.Created, s.record.Trust = &old, append(s.record.Created, s.at), s.at
	return s
}

func TestRecordRoundTrip(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		record := full().record.Record
		content, err := codec().Encode(record)
		if err != nil {
			t.Fatal(err)
		}
		decoded, err := codec().Decode(content, record.Binding.Key())
		if err != nil {
			t.Fatal(err)
		}
		if again, err := codec().Encode(decoded); err != nil || !bytes.Equal(content, again) {
			t.Errorf("%v\n%s\nbecame\n%s", err, content, again)
		}
		for _, empty := range []string{`:null`, `:[]`, `:{}`} {
			if strings.Contains(string(content), empty) {
				t.Errorf("the record has an empty field: %s", content)
			}
		}
	})
}

func TestUnreadableRecords(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		record := full().record.Record
		content, err := codec().Encode(record)
		if err != nil {
			t.Fatal(err)
		}
		const prefix = "the journal cannot be read: corrupt: "
		fresh := recordOf(record).Rotation.New
		for name, test := range map[string]struct{ old, replacement, want string }{
			"unknown field":                      {`"origin":`, `"origins":`, prefix + `json: unknown field "origins"`},
			"other bytes of the old certificate": {`"der":"b2xk"`, `"der":"b2xj"`, prefix + "the bytes of certificate " + recordOf(record).Rotation.Plan.Old.SHA256 + " are not its own"},
			"another thumbprint of the new one":  {`"thumbprint":"` + fresh.Thumbprint + `"`, `"thumbprint":"0123"`, prefix + "the bytes of certificate " + fresh.SHA256 + " are not its own"},
			"another fingerprint of the new one": {`"sha256":"` + fresh.SHA256 + `"`, `"sha256":"0123"`, prefix + "the bytes of certificate 0123 are not its own"},
			"a certificate that is not base64":   {`"der":"b2xk"`, `"der":"?"`, prefix + "illegal base64 data at input byte 0"},
		} {
			_, rotation, _ := strings.Cut(string(content), `"rotation":`)
			changed := strings.Replace(string(content), rotation, strings.ReplaceAll(rotation, test.old, test.replacement), 1)
			if _, err := codec().Decode([]byte(changed), record.Binding.Key()); err == nil || err.Error() != test.want {
				t.Errorf("%s: got  %v\nwant %s", name, err, test.want)
			}
		}
	})
}

func TestCheck(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for _, phase := range []model.Phase{model.PhasePlan, model.PhaseCreate, model.PhaseImport, model.PhaseSettle, model.PhaseActivate, model.PhaseVerify, model.PhaseRetire, model.PhaseConfirm} {
			want := ""
			if phase != model.PhasePlan && phase != model.PhaseCreate {
				want = "phase " + string(phase) + " without a new certificate"
			}
			if got := errorText((&Progress{}).Check(&journal.Rotation{Phase: phase})); got != want {
				t.Errorf("%s: %q, want %q", phase, got, want)
			}
		}
	})
}

func FuzzJournal(f *testing.F) {
	s := full() // outside of a bubble: the dates differ from run to run, the seed's shape does not
	key := s.record.Binding.Key()
	content, err := codec().Encode(s.record.Record)
	if err != nil {
		f.Fatal(err)
	}
	for _, seed := range [][]byte{content, content[:len(content)/2], []byte(`{}`), []byte(`null`), nil} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, content []byte) {
		record, err := codec().Decode(content, key)
		if err != nil {
			if !errors.Is(err, journal.ErrUnreadable) {
				t.Errorf("%q: %v", content, err)
			}
			return
		}
		_ = record.Inventory()
		again, err := codec().Encode(record)
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
