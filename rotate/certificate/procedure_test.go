package certificate

import (
	"context"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"entra-aws-exporter/internal/model"
)

// snapshot is what the poller has read of a scene.
func (s *scene) snapshot() model.Snapshot {
	trusted := trustedCertificates(sides{trust: s.trust})
	return model.Snapshot{Signing: &s.signing, Trusted: &trusted, Binding: s.binding}
}

// What the engine asks before a rollover begins.
func TestStart(t *testing.T) {
	unread := func(s *model.Snapshot) { s.Signing = nil }
	const due = -20 * day // the old certificate expires in 40 days, and 60 are needed
	for name, test := range map[string]struct {
		spoil     func(*scene)
		change    func(*model.Snapshot)
		ready     bool
		due       time.Duration // from now, by the old certificate's clock
		never     bool
		repairs   bool
		inventory string
	}{
		"read":                   {unspoiled, nil, true, due, false, false, "certificates: old, active in Entra, trusted by AWS"},
		"nothing of Entra":       {unspoiled, unread, false, 0, true, false, "certificates: not read"},
		"nothing of AWS":         {unspoiled, func(s *model.Snapshot) { s.Trusted = nil }, false, due, false, false, "certificates: old, active in Entra"},
		"an incomplete binding":  {unspoiled, func(s *model.Snapshot) { s.Binding.JobID = "" }, false, due, false, false, "certificates: old, active in Entra, trusted by AWS"},
		"AWS does not trust it":  {func(s *scene) { s.trust.Certificates = nil }, nil, true, 0, false, true, "certificates: old, active in Entra"},
		"the active one unknown": {func(s *scene) { s.signing.ActiveKnown = false }, nil, true, 0, true, false, "certificates: old, inactive in Entra, trusted by AWS"},
		"expired, and AWS does not trust what signs": {func(s *scene) {
			s.signing.Certificates[0].NotAfter = time.Now()
			s.add(s.certificate("spare", year, year))
		}, nil, true, 0, false, true, "certificates: old, active in Entra, trusted by AWS; spare, inactive in Entra"},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newScene()
				test.spoil(s)
				p, snapshot := New(s.options), s.snapshot()
				if test.change != nil {
					test.change(&snapshot)
				}
				if err := p.Ready(snapshot); (err == nil) != test.ready {
					t.Errorf("ready: %v", err)
				}
				now := time.Now()
				want := now
				if test.never {
					want = time.Time{}
				} else if !test.repairs {
					want = s.at.Add(s.skew + test.due)
				}
				if got := p.Due(snapshot, nil, now); !got.Equal(want) {
					t.Errorf("due %s, want %s", got, want)
				}
				if got := p.Repairs(snapshot, nil); got != test.repairs {
					t.Errorf("repairs: %t", got)
				}
				if got := s.named(p.Inventory(snapshot, nil)); got != test.inventory {
					t.Errorf("inventory: %s", got)
				}
			})
		})
	}
}

func TestInventoryOfRecord(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := planned()
		if got := s.named(New(s.options).Inventory(model.Snapshot{}, s.record.Record)); got != "certificates: old" {
			t.Error(got)
		}
		s.play(t, func(ctx context.Context, r runner) {
			if got := r.Inventory(); got != "" {
				t.Errorf("before anything was read: %s", got)
			}
			if _, err := r.readSides(ctx); err != nil {
				t.Fatal(err)
			}
			if got := s.named(r.Inventory()); got != "certificates: old, active in Entra, trusted by AWS" {
				t.Error(got)
			}
		})
	})
}

// An operation that may have changed a side is said, until both are read again.
func TestInventoryAfterOperation(t *testing.T) {
	const before, now = "certificates before the last change: old", "certificates: old"
	done, refused := error(nil), &model.Error{Reason: model.ReasonOther, Op: "importing", Status: 400}
	for name, test := range map[string]struct {
		answers []error
		read    bool // afterwards
		want    string
	}{
		"done":              {[]error{done}, false, before},
		"no answer":         {[]error{errNoAnswer}, false, before},
		"refused":           {[]error{refused}, false, now},
		"done and refused":  {[]error{done, refused}, false, before},
		"done, and read":    {[]error{done}, true, now},
		"refused, and done": {[]error{refused, done}, false, before},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := withNew()
				s.play(t, func(ctx context.Context, r runner) {
					if _, err := r.readSides(ctx); err != nil {
						t.Fatal(err)
					}
					for _, answer := range test.answers {
						s.failing["import new for SIGNING"] = answer
						if err := guard(r).importCertificate(ctx, operationPermit{known(s.certificates[1]), importCreated, "", time.Now()}); err != nil {
							t.Fatal(err)
						}
					}
					if test.read {
						_, _ = r.readSides(ctx)
					}
					if got := s.named(r.Inventory()); !strings.HasPrefix(got, test.want) {
						t.Errorf("got %s, want %s", got, test.want)
					}
				})
			})
		})
	}
}

// What a status shows of a rollover.
func TestStatus(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := used()
		p := New(s.options)
		var status model.RotationStatus
		p.Describe(&status, model.Snapshot{}, nil, s.at)
		if status.Proof != "" {
			t.Errorf("without a record: %+v", status)
		}
		p.Describe(&status, model.Snapshot{}, s.record.Record, s.at)
		if status.Proof != model.ProofUsed || status.Message != "" {
			t.Errorf("used: %+v", status)
		}
		s.record.Rotation.Waiting = model.WaitingApproval
		p.Describe(&status, model.Snapshot{}, s.record.Record, s.at)
		const want = "corp is waiting for approval to delete certificate old at AWS; the new one is new, and users sign in since the new one is active; next: rotation approve corp old."
		if got := s.named(status.Message); got != want {
			t.Errorf("got  %s\nwant %s", got, want)
		}
		var shown model.RotationRecord
		s.record.Rotation.Describe(&shown)
		if s.named(shown.OldCertificate+" "+shown.NewCertificate) != "old new" || shown.Proof != model.ProofUsed {
			t.Errorf("shown: %+v", shown)
		}
		s.record.Record.Rotation, status = nil, model.RotationStatus{}
		p.Describe(&status, model.Snapshot{}, s.record.Record, s.at)
		if status.Proof != "" {
			t.Errorf("without a rollover: %+v", status)
		}
	})
}

// While a rollover changes its connection, those of other connections wait.
func TestChanging(t *testing.T) {
	for _, test := range []struct {
		name  string
		phase model.Phase
		spoil func(*scene)
		want  bool
	}{
		{"plan", model.PhasePlan, unspoiled, false},
		{"create", model.PhaseCreate, unspoiled, true},
		{"import", model.PhaseImport, unspoiled, true},
		{"import only", model.PhaseImport, func(s *scene) { s.record.Rotation.Plan.ImportOnly = true }, false},
		{"settle", model.PhaseSettle, unspoiled, true},
		{"activate", model.PhaseActivate, unspoiled, true},
		{"verify for a day", model.PhaseVerify, func(s *scene) { s.activatedSince(day + readGap) }, false},
		{"verify for less", model.PhaseVerify, func(s *scene) { s.activatedSince(day + readGap - 1) }, true},
		{"retire", model.PhaseRetire, unspoiled, false},
		{"confirm", model.PhaseConfirm, unspoiled, false},
	} {
		synctest.Test(t, func(t *testing.T) {
			s := active()
			test.spoil(s)
			s.record.Rotation.Phase = test.phase
			if got := New(s.options).Changing(s.record.Record.Rotation); got != test.want {
				t.Errorf("%s: changing: %t", test.name, got)
			}
		})
	}
}

// Each phase is run under its name.
func TestRunPhase(t *testing.T) {
	for _, test := range []struct {
		phase  model.Phase
		scenes func() *scene
		want   string
	}{
		{model.PhasePlan, newScene, "create after 30s; …"},
		{model.PhaseCreate, withNew, "import"},
		{model.PhaseImport, imported, "settle after 30s"},
		{model.PhaseSettle, imported, "activate after 30s"},
		{model.PhaseActivate, imported, "activate after 30s; …"},
		{model.PhaseVerify, active, "verify after 15m0s; …"},
		{model.PhaseRetire, used, "retire after 30s; …"},
		{model.PhaseConfirm, gone, "idle; …"},
		{"paused", used, `journal_unreadable: the journal is in the unknown phase "paused" at once`},
	} {
		testStep(t, test.scenes, func(ctx context.Context, r runner) (model.Phase, error) { return r.RunPhase(ctx, test.phase) }, []outcome{
			{string(test.phase), unspoiled, test.want},
		})
	}
}
