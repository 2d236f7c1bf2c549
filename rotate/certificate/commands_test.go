package certificate

import (
	"context"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"entra-aws-exporter/internal/model"
	"entra-aws-exporter/rotate/journal"
)

func TestParseFingerprint(t *testing.T) {
	digits := strings.Repeat("0a", 32)
	for text, want := range map[string]string{
		digits:                           digits,
		strings.ToUpper(digits):          digits,
		strings.Repeat("0A:", 31) + "0A": digits,
		"":                               `"" is not the SHA-256 fingerprint of a certificate: it has 64 hex digits`,
		digits[2:]:                       `"` + digits[2:] + `" is not the SHA-256 fingerprint of a certificate: it has 64 hex digits`,
		digits + "0":                     `"` + digits + `0" is not the SHA-256 fingerprint of a certificate: it has 64 hex digits`,
		digits + "0a":                    `"` + digits + `0a" is not the SHA-256 fingerprint of a certificate: it has 64 hex digits`,
		strings.Repeat("0g", 32):         `"` + strings.Repeat("0g", 32) + `" is not the SHA-256 fingerprint of a certificate: it has 64 hex digits`,
		strings.Repeat("0a", 20):         `"` + strings.Repeat("0a", 20) + `" is not the SHA-256 fingerprint of a certificate: it has 64 hex digits`,
	} {
		got, err := ParseFingerprint(text)
		if err != nil {
			got = err.Error()
		}
		if got != want {
			t.Errorf("%q: %s, want %s", text, got, want)
		}
	}
}

func TestCheckStart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newScene()
		time.Sleep(readGap)
		p := New(s.options)
		snapshot := model.Snapshot{Signing: &s.signing, Trusted: &[]model.Certificate{s.signing.Certificates[0]}}
		old := Fingerprint([]byte("old"))
		for name, test := range map[string]struct {
			snapshot model.Snapshot
			options  any
			want     string
		}{
			"an alert":                       {snapshot, nil, ""},
			"no fingerprint":                 {snapshot, StartOptions{}, ""},
			"a certificate of Entra":         {snapshot, StartOptions{Certificate: old}, ""},
			"in upper case":                  {snapshot, StartOptions{Certificate: strings.ToUpper(old)}, ""},
			"not a fingerprint":              {snapshot, StartOptions{Certificate: "0123"}, `"0123" is not the SHA-256 fingerprint of a certificate: it has 64 hex digits`},
			"not a fingerprint to be unused": {snapshot, StartOptions{Unused: "0123"}, `"0123" is not the SHA-256 fingerprint of a certificate: it has 64 hex digits`},
			"an unknown one":                 {snapshot, StartOptions{Certificate: strings.Repeat("0", 64)}, "neither Entra nor AWS shows a certificate with the fingerprint " + strings.Repeat("0", 64)},
			"nothing of Entra was read yet":  {model.Snapshot{Trusted: snapshot.Trusted}, StartOptions{Certificate: strings.Repeat("0", 64)}, ""},
			"nothing of AWS was read yet":    {model.Snapshot{Signing: snapshot.Signing}, StartOptions{Certificate: strings.Repeat("0", 64)}, ""},
		} {
			if got := errorText(p.CheckStart(test.snapshot, test.options)); got != test.want {
				t.Errorf("%s: %q, want %q", name, got, test.want)
			}
		}
		progress, forced := p.NewProgress(snapshot, StartOptions{Certificate: strings.ToUpper(old), Unused: old})
		if own, _ := progress.(*Progress); own.Named != old || own.Unused != old || !forced {
			t.Errorf("a rollover would begin with %+v, forced %t", own, forced)
		}
		progress, forced = p.NewProgress(snapshot, nil)
		if own, _ := progress.(*Progress); own.Named != "" || own.Unused != "" || forced {
			t.Errorf("an alert's rollover would begin with %+v, forced %t", own, forced)
		}
	})
}

// What an operator may do, by where the rollover is.
func TestOperatorCommands(t *testing.T) {
	requested := func(outcome model.CallOutcome) func() *scene {
		return func() *scene {
			s := planned()
			s.did(OperationCreate, time.Minute, journal.Operation{Target: "CN=new", Outcome: outcome})
			return s
		}
	}
	importing := func(o journal.Operation) func() *scene {
		return func() *scene {
			s := withNew()
			o.Target = s.record.Rotation.newName()
			s.did(OperationImport, time.Minute, o)
			return s
		}
	}
	attempted := func(o journal.Operation) func() *scene {
		return func() *scene {
			s := imported()
			s.activatedBefore(time.Minute, o)
			return s
		}
	}
	for _, test := range []struct {
		name                    string
		scenes                  func() *scene
		checkAbort, abort, left string // abort: the phase, if it is possible now
		resolves, reset         bool
		approval                string
	}{
		{"plan", newScene, "", "idle", "", true, false, "this rotation deletes nothing"},
		{"create", planned, "", "idle", "", true, false, "the new certificate is not active yet (phase create): approve once the rollover asks for it"},
		{"create, no answer", requested(model.CallUnknown), "", "not now", "", false, true, "the new certificate is not active yet (phase create): approve once the rollover asks for it"},
		{"create, refused", requested(model.CallRefused), "", "idle", "", true, false, "the new certificate is not active yet (phase create): approve once the rollover asks for it"},
		{"import", withNew, "", "not now", "certificate new stays in Entra, inactive, and AWS does not trust it", true, true, "the new certificate is not active yet (phase import): approve once the rollover asks for it"},
		{"import, no answer", importing(journal.Operation{Outcome: model.CallUnknown}), "", "not now", "certificate new stays in Entra, inactive, and AWS does not trust it", true, true, "the new certificate is not active yet (phase import): approve once the rollover asks for it"},
		{"import, refused", importing(journal.Operation{Outcome: model.CallRefused}), "", "idle", "certificate new stays in Entra, inactive, and AWS does not trust it", true, true, "the new certificate is not active yet (phase import): approve once the rollover asks for it"},
		{"import of a named one", named, "", "idle", "certificate new stays in Entra, inactive, and AWS does not trust it", true, true, "the new certificate is not active yet (phase import): approve once the rollover asks for it"},
		{"imported", imported, "", "idle", "certificate new stays in Entra, inactive, and AWS trusts it", true, true, "the new certificate is not active yet (phase activate): approve once the rollover asks for it"},
		{"activation never sent", attempted(journal.Operation{Outcome: model.CallRefused, Unsent: true}), "", "idle", "certificate new stays in Entra, inactive, and AWS trusts it", true, true, "the new certificate is not active yet (phase activate): approve once the rollover asks for it"},
		{"activation attempted", attempted(journal.Operation{}), "certificate new may be active already, so the rollover cannot be aborted; hold pauses it", "not now", "certificate new stays in Entra, inactive, and AWS trusts it", true, true, "the new certificate is not active yet (phase activate): approve once the rollover asks for it"},
		{"active", active, "certificate new may be active already, so the rollover cannot be aborted; hold pauses it", "not now", "certificate new stays in Entra, inactive, and AWS trusts it", true, true, ""},
		{"import only", func() *scene {
			s := named()
			s.record.Rotation.Plan.ImportOnly = true
			return s
		}, "", "idle", "certificate new stays in Entra, inactive, and AWS does not trust it", true, true, "this rotation deletes nothing"},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := test.scenes()
				p, r := New(s.options), s.record.Record.Rotation
				if got := s.named(errorText(p.CheckAbort(r))); got != test.checkAbort {
					t.Errorf("abort: %q, want %q", got, test.checkAbort)
				}
				phase, now := p.AbortPhase(r)
				abort := string(phase)
				if !now {
					abort = "not now"
				}
				if abort != test.abort {
					t.Errorf("abort: %s, want %s", abort, test.abort)
				}
				if got := s.named(p.Remainder(r)); got != test.left {
					t.Errorf("left: %q, want %q", got, test.left)
				}
				for _, options := range []StartOptions{{Certificate: strings.Repeat("0", 64)}, {Unused: strings.Repeat("0", 64)}} {
					if got := p.Resolves(r, options); got != test.resolves {
						t.Errorf("%+v resolves it: %t", options, got)
					}
				}
				if p.Resolves(r, StartOptions{}) || p.Resolves(&journal.Rotation{}, StartOptions{Certificate: "x"}) || p.Resolves(nil, StartOptions{Certificate: "x"}) {
					t.Error("a start without a name, or none, resolves it")
				}
				if got := s.named(errorText(p.CheckApproval(r, Fingerprint([]byte("old"))))); got != test.approval {
					t.Errorf("approval: %q, want %q", got, test.approval)
				}
				if got := p.Reset(s.record.Record, s.at); got != test.reset {
					t.Errorf("reset: %t", got)
				}
			})
		})
	}
}

func TestApprovalOfAnother(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := active()
		const want = "certificate new is not the one that this rollover wants to delete; that is old"
		if got := s.named(errorText(New(s.options).CheckApproval(s.record.Record.Rotation, Fingerprint([]byte("new"))))); got != want {
			t.Errorf("got  %s\nwant %s", got, want)
		}
	})
}

func TestReset(t *testing.T) {
	reset := func(ctx context.Context, r runner) (model.Phase, error) {
		p := New(r.options)
		if err := r.Write(ctx, func(rec *journal.Record) { p.Reset(rec, time.Now().UTC()) }); err != nil {
			return "", err
		}
		return r.Rotation().Phase, nil
	}
	testStep(t, used, reset, []outcome{
		{"used", unspoiled, "import; no proof.level; no proof.stored; no proof.used; no proof.used_by; phase=import; phases.7.at=now-~; phases.7.phase=import; reset_count=1"},
		{"in the phase of the import", func(s *scene) { s.record.Rotation.Phase = model.PhaseImport }, "import; no proof.level; no proof.stored; no proof.used; no proof.used_by; reset_count=1"},
	})
	testStep(t, planned, reset, []outcome{
		{"a creation without an answer", unanswered(time.Minute), "create; reset_count=1"},
	})
}

func TestResetOfBlocked(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := rolledBack()
		rot := s.record.Rotation
		rot.Refused, rot.Abort, rot.Waiting = Refusal{model.BlockedPolicyRefused, "x"}, "an operator", model.WaitingSettling
		rot.Blocked = &journal.Block{Reason: model.BlockedSignInFailing}
		rot.Asked, rot.Approval = rot.Plan.Old.SHA256, &journal.Approval{Target: rot.Plan.Old.SHA256}
		if !New(s.options).Reset(s.record.Record, s.at) || rot.Repair != nil || rot.Refused != (Refusal{}) || rot.Abort != "" || rot.Waiting != "" || rot.Blocked != nil || rot.Asked != "" || rot.Approval != nil {
			t.Errorf("after the reset: %+v %+v", rot.Rotation, rot.Progress)
		}
	})
}

func TestAdopt(t *testing.T) {
	adopt := func(ctx context.Context, r runner) (model.Phase, error) {
		edit, err := New(r.options).Adopt(ctx, "")
		if err != nil {
			return "", err
		}
		var refused error
		if err := r.Write(ctx, func(rec *journal.Record) { refused = edit(rec) }); err != nil || refused != nil {
			return "", errors.Join(err, refused)
		}
		if r.Rotation() == nil {
			return "ended", nil
		}
		return r.Rotation().Phase, nil
	}
	testStep(t, active, adopt, []outcome{
		{"the new one is active", unspoiled, "import; no proof.level; no proof.stored; phase=import; phases.6.at=now-~; phases.6.phase=import; plan.signing.2=NEW; plan.trusted.2=new; reset_count=1"},
		{"the old one is active", func(s *scene) { s.signing.ActiveThumbprint = s.certificates[0].Thumbprint }, "ended; ended=aborted stored adopted: an operator decided otherwise; outcomes.aborted=1; pending=new"},
		{"another one is active", func(s *scene) { s.activate(s.certificate("other", day, year)) }, "ended; ended=aborted stored adopted: an operator decided otherwise; known.other=other; outcomes.aborted=1; pending=new"},
		{"a named one, and another one is active", func(s *scene) {
			s.record.Rotation.New.Origin = OriginNamed
			s.activate(s.certificate("other", day, year))
		}, "ended; ended=aborted stored adopted: an operator decided otherwise; known.other=other; outcomes.aborted=1"},
		{"Entra does not list the new one", func(s *scene) { s.signing.Certificates = s.signing.Certificates[:1] }, "ended; ended=aborted stored adopted: an operator decided otherwise; outcomes.aborted=1"},
		{"AWS trusts another one", func(s *scene) {
			s.trust.Certificates = append(s.trust.Certificates, listed(s.certificate("other", day, year)))
		}, "import; known.other=other; no proof.level; no proof.stored; phase=import; phases.6.at=now-~; phases.6.phase=import; plan.signing.2=NEW; plan.trusted.2=new; plan.trusted.3=other; reset_count=1"},
		{"the bytes of one are unknown", func(s *scene) {
			s.add(s.certificate("other", day, year))
			s.signing.Certificates[2].DER = nil
		}, "import; known.OTHER=OTHER; no proof.level; no proof.stored; phase=import; phases.6.at=now-~; phases.6.phase=import; plan.signing.2=NEW; plan.signing.3=OTHER; plan.trusted.2=new; reset_count=1"},
		{"no reading", func(s *scene) { s.failing["entra"] = errNoAnswer }, "no answer"},
		{"no reading, and disabled", func(s *scene) { s.failing["trust"] = errNoAnswer; s.options.Policy.Mode = model.RotationDisabled }, "no answer"},
	})
	testStep(t, imported, adopt, []outcome{
		{"nothing was tried", unspoiled, "import; phase=import; phases.5.at=now-~; phases.5.phase=import; plan.signing.2=NEW; plan.trusted.2=new; reset_count=1"},
		{"nothing was tried, and the new one is active", func(s *scene) { s.signing.ActiveThumbprint = s.certificates[1].Thumbprint }, "import; phase=import; phases.5.at=now-~; phases.5.phase=import; plan.signing.2=NEW; plan.trusted.2=new; reset_count=1"},
		{"nothing was tried, and another one is active", func(s *scene) { s.activate(s.certificate("other", day, year)) }, "ended; ended=aborted  adopted: an operator decided otherwise; known.other=other; outcomes.aborted=1"},
	})
	testStep(t, planned, adopt, []outcome{{"no new one", unspoiled, "ended; ended=aborted  adopted: what is there is accepted; outcomes.aborted=1"}})
	testStep(t, newScene, adopt, []outcome{{"no plan", unspoiled, "ended; ended=aborted  adopted: what is there is accepted; known.old=old; outcomes.aborted=1"}})
}

// Without a rollover, what cannot be read need not be known: a connection whose certificate
// is not rolled over may lack the permissions.
func TestAdoptWithoutRollover(t *testing.T) {
	for name, test := range map[string]struct {
		mode   model.RotationMode
		reads  bool
		want   string
		learns bool
	}{
		"enabled":                  {model.RotationEnabled, true, "", true},
		"enabled, no reading":      {model.RotationEnabled, false, "no answer", false},
		"disabled":                 {model.RotationDisabled, true, "", true},
		"disabled, and no reading": {model.RotationDisabled, false, "", false},
	} {
		synctest.Test(t, func(t *testing.T) {
			s := newScene()
			s.record.Record.Rotation, s.options.Policy.Mode = nil, test.mode
			if !test.reads {
				s.failing["trust"] = errNoAnswer
			}
			edit, err := New(s.options).Adopt(t.Context(), "")
			if err == nil {
				err = edit(s.record.Record)
			}
			if got := errorText(err); got != test.want || (len(s.record.Known) > 0) != test.learns {
				t.Errorf("%s: %q, and %v are known", name, got, s.record.Known)
			}
		})
	}
}

func TestRebind(t *testing.T) {
	for _, test := range []struct {
		name   string
		change func(*model.Binding)
		want   bool // what is known goes along
	}{
		{"another job", func(b *model.Binding) { b.JobID = "another" }, true},
		{"another application", func(b *model.Binding) { b.ServicePrincipalID = "another" }, false},
		{"another identity store", func(b *model.Binding) { b.IdentityStoreID = "another" }, false},
	} {
		synctest.Test(t, func(t *testing.T) {
			s := withNew()
			binding := s.binding
			test.change(&binding)
			to := codec().NewRecord(binding, "corp")
			edit, err := New(s.options).Rebind(t.Context(), s.record.Record, binding.Key())
			if err != nil {
				t.Fatal(err)
			}
			if edit(to); (recordOf(to).Pending != nil) != test.want || (len(recordOf(to).Own) > 0) != test.want {
				t.Errorf("%s: %+v goes along", test.name, recordOf(to).Memory)
			}
		})
	}
}
