package clouds

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

func TestOutagesNameTheirCause(t *testing.T) {
	const minute = time.Minute
	for name, test := range map[string]struct {
		quirks []string
		do     func(*harness)
		want   []Outage
	}{
		"a good rotation has none": {
			[]string{"new_lag=20s", "deleted_lag=5m"},
			func(s *harness) {
				token := s.create(ActorExporter)
				s.advance(minute)
				s.must(s.put(ActorExporter, token.Value))
				s.advance(minute)
				s.delete(ActorExporter, s.TokenIDs[0])
				s.advance(time.Hour)
			}, nil,
		},
		"the saved token deleted": {
			[]string{"deleted_lag=5m"},
			func(s *harness) {
				s.delete(ActorExporter, s.TokenIDs[0])
				s.advance(7 * minute)
				s.must(s.SaveToken(ActorOperator, s.EntraTenantID, s.ServicePrincipalID, s.create(ActorOperator).ID))
				s.advance(time.Hour)
			},
			[]Outage{{TokenID: "old", Cause: CauseDeleted, CausedBy: ActorExporter, Began: noon.Add(5 * minute), Ended: noon.Add(7 * minute)}},
		},
		"deleted after a save that was dropped": {
			[]string{"put_secrets=keeps_token", "deleted_lag=0s"},
			func(s *harness) {
				s.must(s.put(ActorExporter, s.create(ActorExporter).Value))
				s.advance(minute)
				s.delete(ActorExporter, s.TokenIDs[0])
			},
			[]Outage{{TokenID: "old", Cause: CauseDeleted, CausedBy: ActorExporter, Began: noon.Add(minute)}},
		},
		"an expired token deleted": {
			nil,
			func(s *harness) {
				s.must(s.Expire(ActorTime, s.TokenIDs[0]))
				s.advance(minute)
				s.delete(ActorExporter, s.TokenIDs[0])
				s.advance(minute)
			},
			[]Outage{{TokenID: "old", Cause: CauseExpired, CausedBy: ActorTime, Began: noon}},
		},
		"a dead token written back": {
			[]string{"deleted_lag=0s"},
			func(s *harness) {
				token := s.create(ActorExporter)
				s.must(s.put(ActorExporter, token.Value))
				s.delete(ActorExporter, s.TokenIDs[0])
				s.advance(minute)
				s.must(s.SaveToken(ActorTerraform, s.EntraTenantID, s.ServicePrincipalID, s.TokenIDs[0]))
				s.advance(minute)
				s.must(s.put(ActorExporter, token.Value))
			},
			[]Outage{{TokenID: "old", Cause: CauseSaved, CausedBy: ActorTerraform, Began: noon.Add(minute), Ended: noon.Add(2 * minute)}},
		},
		"deleted at the moment it was written back": {
			[]string{"deleted_lag=0s"},
			func(s *harness) {
				s.must(s.put(ActorExporter, s.create(ActorExporter).Value))
				s.must(s.SaveToken(ActorTerraform, s.EntraTenantID, s.ServicePrincipalID, s.TokenIDs[0]))
				s.delete(ActorExporter, s.TokenIDs[0])
			},
			[]Outage{{TokenID: "old", Cause: CauseDeleted, CausedBy: ActorExporter, Began: noon}},
		},
		"written back at the moment it was deleted": {
			[]string{"deleted_lag=0s"},
			func(s *harness) {
				s.must(s.put(ActorExporter, s.create(ActorExporter).Value))
				s.delete(ActorExporter, s.TokenIDs[0])
				s.must(s.SaveToken(ActorTerraform, s.EntraTenantID, s.ServicePrincipalID, s.TokenIDs[0]))
			},
			[]Outage{{TokenID: "old", Cause: CauseSaved, CausedBy: ActorTerraform, Began: noon}},
		},
		"saved too early": {
			[]string{"new_lag=20s"},
			func(s *harness) { s.must(s.put(ActorExporter, s.create(ActorExporter).Value)); s.advance(minute) },
			[]Outage{{TokenID: "new", Cause: CausePropagating, CausedBy: ActorExporter, Began: noon, Ended: noon.Add(20 * time.Second)}},
		},
		"saved before all nodes knew it": {
			[]string{"new_lag=20s", "nodes=apart"},
			func(s *harness) { s.must(s.put(ActorExporter, s.create(ActorExporter).Value)); s.advance(minute) },
			[]Outage{{TokenID: "new", Cause: CausePropagating, CausedBy: ActorExporter, Began: noon, Ended: noon.Add(20 * time.Second), Partial: true}},
		},
		"mistyped": {
			nil, func(s *harness) { s.breakToken() },
			[]Outage{{Cause: CauseSaved, CausedBy: ActorOperator, Began: noon}},
		},
		"the address erased": {
			[]string{"put_secrets=replaces"},
			func(s *harness) {
				s.must(s.PutSecrets(CallerFor(ActorExporter), s.EntraTenantID, s.ServicePrincipalID, []Secret{{"SecretToken", s.TokenValue(s.TokenIDs[0])}}))
			},
			[]Outage{{TokenID: "old", Cause: CauseSaved, CausedBy: ActorExporter, Began: noon}},
		},
		"expiry by time": {
			nil, func(s *harness) { s.advance(300 * day) },
			[]Outage{{TokenID: "old", Cause: CauseExpired, CausedBy: ActorTime, Began: noon.Add(265 * day)}},
		},
		"manual expiry": {
			nil, func(s *harness) { s.advance(minute); s.must(s.Expire(ActorOperator, s.TokenIDs[0])) },
			[]Outage{{TokenID: "old", Cause: CauseExpired, CausedBy: ActorOperator, Began: noon.Add(minute)}},
		},
		"aged to death": {
			nil, func(s *harness) { s.Age(266 * day) },
			[]Outage{{TokenID: "old", Cause: CauseExpired, CausedBy: ActorTime, Began: noon}},
		},
		"tenant recreated": {
			nil, func(s *harness) {
				_, err := s.RecreateProvisioningTenant(ActorOperator, s.IdentityStoreID)
				s.must(err)
			},
			[]Outage{{TokenID: "old", Cause: CauseTenant, CausedBy: ActorOperator, Began: noon}},
		},
	} {
		t.Run(name, func(t *testing.T) {
			s := newHarness(t, Healthy("corp"), append(test.quirks, "test_lag=0s", "empty_cycles=silent")...)
			test.do(s)
			got := s.Outages()
			for i, outage := range got {
				switch outage.TokenID {
				case s.TokenIDs[0]:
					got[i].TokenID = "old"
				case "":
				default:
					got[i].TokenID = "new"
				}
			}
			if diff := cmp.Diff(test.want, got, cmpopts.IgnoreFields(Outage{}, "ServicePrincipalID"), cmpopts.EquateEmpty()); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

func TestCachedTokenCounts(t *testing.T) {
	s := newHarness(t, Healthy("corp"), "engine_reads=hourly", "deleted_lag=0s", "empty_cycles=silent")
	s.nextCycle()
	read := s.job().LastCycle.Began
	token := s.create(ActorExporter)
	s.must(s.put(ActorExporter, token.Value))
	holding, ok := s.EntraState(s.ServicePrincipalID)
	if !ok || holding.Saved.TokenID != token.ID || holding.Cached.TokenID != s.TokenIDs[0] || holding.Cached.Accepted != AcceptedByAll {
		t.Errorf("holding %+v", holding)
	}
	s.delete(ActorExporter, s.TokenIDs[0])
	deleted := s.time
	for deletion := range EntriesOf[Deletion](s.Model) {
		if len(deletion.WasSaved) != 0 || len(deletion.WasCached) != 1 || deletion.WasCached[0] != s.ServicePrincipalID || deletion.Remaining != 1 || deletion.CreatedBy != ActorSetup {
			t.Errorf("recorded %+v", deletion)
		}
	}
	s.advance(3 * time.Hour)
	outages := s.Outages()
	if len(outages) != 1 || !outages[0].Cached || outages[0].CausedBy != ActorExporter || !outages[0].Began.Equal(deleted) || !outages[0].Ended.Equal(read.Add(time.Hour)) {
		t.Errorf("outages %v, want one until the engine's hour is over (%s)", outages, read.Add(time.Hour))
	}
}

func TestEntraStateIsRecordedAtEveryTransition(t *testing.T) {
	s := newHarness(t, Healthy("corp"), "new_lag=20s", "deleted_lag=5m")
	token := s.create(ActorOperator)
	s.must(s.put(ActorOperator, token.Value))
	s.advance(time.Minute)
	s.delete(ActorOperator, token.ID)
	s.advance(time.Hour)
	type line struct {
		After    time.Duration
		Accepted Acceptance
		Cause    Cause
	}
	var got []line
	for h := range EntriesOf[EntraState](s.Model) {
		got = append(got, line{h.At.Sub(noon), h.Saved.Accepted, h.Saved.Cause})
	}
	want := []line{
		{0, AcceptedByAll, ""},
		{0, AcceptedByNone, CausePropagating},
		{20 * time.Second, AcceptedByAll, ""},
		{6 * time.Minute, AcceptedByNone, CauseDeleted},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}
