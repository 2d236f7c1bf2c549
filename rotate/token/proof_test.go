package token

import (
	"context"
	"net/http"
	"slices"
	"testing"
	"time"

	"entra-aws-exporter/internal/model"
	"entra-aws-exporter/rotate/journal"
	"entra-aws-exporter/rotate/policy"
)

// A cycle counts as use if it began well after the save, ended well, and nobody refused it.
func TestCycleShowsUse(t *testing.T) {
	scenes := func() *scene {
		s := newScene(deleteRetire)
		s.record.Rotation.Proof.Stored = s.timestamps(30 * time.Minute)
		return s
	}
	began := func(ago time.Duration) func(*scene) {
		return func(s *scene) { s.job.LastCycle.Began = s.ago(30*time.Minute - ago) }
	}
	testStep(t, scenes, func(_ context.Context, r runner) (model.Phase, error) {
		return said(prover(r).used(r.options.Provisioning.(*scene).job, r.rotation().Proof.Stored)), nil
	}, []outcome{
		{"a good cycle", func(*scene) {}, "true"},
		{"single users failed", func(s *scene) { s.job.LastCycle.State = model.CycleEntryLevelErrors }, "true"},
		{"it failed", func(s *scene) { s.job.LastCycle.State = model.CycleFailed }, "false"},
		{"none", func(s *scene) { s.job.LastCycle = nil }, "false"},
		{"the save's time is unknown", func(s *scene) { s.record.Rotation.Proof.Stored.Graph = time.Time{} }, "false"},
		{"it began two minutes after the save", began(2 * time.Minute), "false"},
		{"it began later", began(2*time.Minute + 1), "true"},
		{"it has not ended", func(s *scene) { s.job.LastCycle.Ended = time.Time{} }, "false"},
		{"it ended when it began", func(s *scene) { s.job.LastCycle.Ended = s.job.LastCycle.Began }, "false"},
		{"AWS refused the credentials", func(s *scene) { s.job.LastCycle.ErrorCode = model.QuarantineCodeBadCredentials }, "false"},
		{"another error", func(s *scene) { s.job.LastCycle.ErrorCode = "other" }, "true"},
		{"quarantine", func(s *scene) { s.job.Quarantine = &model.Quarantine{} }, "false"},
		{"the status of quarantine", func(s *scene) { s.job.Status = model.JobQuarantine }, "false"},
	})
}

// Entra's engine may use for 65 minutes what it read before the last save.
func TestLastSaveIsUsed(t *testing.T) {
	stored := func(ago time.Duration) func(*scene) {
		return func(s *scene) { s.record.Rotation.Proof.Stored = s.aged(ago) }
	}
	testStep(t, func() *scene { return newScene(deleteRetire) }, func(_ context.Context, r runner) (model.Phase, error) {
		return said(prover(r).lastSaveUsed(r.options.Provisioning.(*scene).job)), nil
	}, []outcome{
		{"65 minutes ago", stored(65 * time.Minute), "true"},
		{"later", stored(65*time.Minute - 1), "false"},
		{"no cycle", func(s *scene) { s.job.LastCycle = nil }, "false"},
	})
}

func TestWaitForUse(t *testing.T) {
	quarantined := func(s *scene) {
		s.job.Quarantine = &model.Quarantine{Reason: model.QuarantineReasonException, CurrentBegan: s.ago(2 * time.Hour)}
		s.options.Policy.VerifyTimeout = 0
	}
	scenes := func() *scene {
		s := newScene(deleteRetire)
		s.options.Policy.VerifyTimeout = time.Hour
		return s
	}
	// What a stopped process writes may be refused for that alone, or not.
	stops := slices.Repeat([]outcome{
		{"the process stops", func(s *scene) { s.stopped = 50 * time.Second }, "context canceled after 50s; waiting=proof_pending"},
	}, 16)
	testStep(t, scenes, func(ctx context.Context, r runner) (model.Phase, error) {
		return "", prover(r).waitForUse(ctx, r.options.Provisioning.(*scene).job)
	}, append([]outcome{
		{"the clock of the wait runs", func(*scene) {}, "- after 5m0s; proof.waited=5m0s; waiting=proof_pending"},
		{"its time is almost over", func(s *scene) { s.record.Rotation.Proof.Waited = time.Hour - 1 }, "- after 5m0s; proof.waited=1h4m59.999999999s; waiting=proof_pending"},
		{"its time is over", func(s *scene) { s.record.Rotation.Proof.Waited = time.Hour }, "proof_timeout: for 1h0m0s no provisioning cycle has shown that token new is used"},
		{"it stands still in a quarantine", func(s *scene) { quarantined(s); s.job.LastCycle = nil }, "- after 5m0s; waiting=quarantine_retry"},
		{"a quarantine that no good cycle ends", quarantined, "job_stopped: the provisioning job stays in quarantine since 1999-12-31 22:00 UTC, although token new was saved and tested and the job was started 0 times; next: restart provisioning in Entra, then rotation reset CONNECTION"},
	}, stops...))
}

// That Entra uses the token is journalled once, and ends the wait and an approval of before.
func TestUsedIsJournalled(t *testing.T) {
	scenes := func() *scene {
		s := newScene(deleteRetire)
		s.record.Rotation.Phase = model.PhaseVerify
		s.record.Rotation.Proof = Proof{Level: model.ProofStored, Put: 1, Stored: s.timestamps(80 * time.Minute), Waited: time.Minute}
		return s
	}
	testStep(t, scenes, func(ctx context.Context, r runner) (model.Phase, error) {
		return "", prover(r).journalUsed(ctx, r.options.Provisioning.(*scene).job)
	}, []outcome{
		{"something was provisioned", func(s *scene) { s.exports = 1 }, `-; no approval.at; no approval.target; no proof.waited; proof.level=used; proof.strong=true; proof.used=now-~; "the cycle that began 1999-12-31 23:50 UTC ended succeeded: used (something was provisioned)"`},
		{"nothing had to be", func(*scene) {}, `-; no approval.at; no approval.target; no proof.waited; proof.level=used; proof.used=now-~; "the cycle that began 1999-12-31 23:50 UTC ended succeeded: used (nothing had to be provisioned)"`},
		{"it is not known", func(s *scene) {
			s.options.Policy.CanaryUserObjectID, s.values = "user", nil
		}, "the token store holds no readable value; operations.canary.1=done; provision user"},
	})
}

// Something was provisioned: the cycle says so, the provisioning log, or the canary arrived.
func TestProvisioned(t *testing.T) {
	scenes := func() *scene {
		s := newScene(deleteRetire)
		s.options.Policy.CanaryUserObjectID = "user"
		s.hasUser = true
		return s
	}
	testStep(t, scenes, func(ctx context.Context, r runner) (model.Phase, error) {
		strong, err := prover(r).provisioned(ctx, r.options.Provisioning.(*scene).job)
		return said(strong), err
	}, []outcome{
		{"the cycle counts an export", func(s *scene) { s.job.LastCycle.Entries = map[model.EntryKind]int64{model.EntriesExported: 1} }, "true"},
		{"the log shows one", func(s *scene) { s.exports = 1 }, "true"},
		{"the log cannot be read", func(s *scene) {
			s.exports, s.failing["exports"], s.options.Policy.CanaryUserObjectID = 1, errNoAnswer, ""
		}, "false"},
		{"no canary", func(s *scene) { s.options.Policy.CanaryUserObjectID = "" }, "false"},
		{"the canary arrived", func(*scene) {}, "true; operations.canary.1=done; provision user"},
		{"it did not", func(s *scene) { s.hasUser = false }, "false; operations.canary.1=done; provision user"},
		{"AWS does not say", func(s *scene) { s.failing["user name with new-value"] = errNoAnswer }, "false; operations.canary.1=done; provision user"},
		{"Entra refuses it", func(s *scene) { s.failing["provision user"] = errNoAnswer }, "false; operations.canary.1=unknown no answer; provision user"},
		{"it was provisioned before", func(s *scene) {
			s.record.Rotation.Operations[OperationCanary] = []journal.Operation{{Number: 1, Outcome: model.CallDone}}
		}, "false"},
		{"the new value is lost", func(s *scene) { s.values = nil }, "the token store holds no readable value; operations.canary.1=done; provision user"},
		{"the lease is lost meanwhile", func(s *scene) { s.then["provision user 1"] = s.takeOver }, "the lease is lost to another; provision user"},
		{"the journal cannot be written", func(s *scene) { s.then["exports 1"] = s.takeOver }, "the lease is lost to another"},
	})
}

// The new token is in use if nothing else can be: every old one is listed and dead.
func TestAttributedByCircumstance(t *testing.T) {
	scenes := func() *scene {
		s := newScene(deleteRetire)
		s.values["old"], s.probes = "old-value", map[string]int{"old-value": http.StatusUnauthorized}
		return s
	}
	expired := func(s *scene) {
		s.list.Tokens[0] = s.created("old", year+2*time.Hour)
		s.plan(s.list.Tokens[0])
	}
	testStep(t, scenes, func(ctx context.Context, r runner) (model.Phase, error) {
		found, err := prover(r).attribute(ctx, r.options.Provisioning.(*scene).job)
		return said(found == policy.Attributed), err
	}, []outcome{
		{"AWS refuses the old one", func(*scene) {}, `true; proof.attributed=now~; proof.attributed_by=circumstance; proof.level=attributed; "Entra uses the new token (circumstance): attributed"`},
		{"it has expired, and is not probed", func(s *scene) { expired(s); s.values = nil }, `true; proof.attributed=now~; proof.attributed_by=circumstance; proof.level=attributed; "Entra uses the new token (circumstance): attributed"`},
		{"it is accepted", func(s *scene) { s.probes = nil }, "false"},
		{"it is accepted once", func(s *scene) { s.then["probe old-value 2"] = func() { s.probes = nil } }, "false"},
		{"its value is unknown", func(s *scene) { delete(s.values, "old") }, "false"},
		{"it is not listed", func(s *scene) { s.list.Tokens = s.list.Tokens[1:] }, "false"},
		{"another is listed in its place", func(s *scene) { s.list.Tokens[0].ID = "third" }, "false"},
		{"a second one is not", func(s *scene) {
			s.plan(s.created("old", 300*day), s.created("older", 301*day))
			s.list.Tokens = append(s.list.Tokens, s.created("third", day))
		}, "false"},
		{"there was none", func(s *scene) { s.plan() }, "false"},
		{"there was none, and none is", func(s *scene) { s.plan(); s.list.Tokens = s.list.Tokens[1:] }, "false"},
		{"another is listed", func(s *scene) { s.list.Tokens = append(s.list.Tokens, s.created("third", day)) }, "false"},
		{"Entra's test fails", func(s *scene) { s.test = model.TestFailed }, "false"},
		{"Entra does not test", func(s *scene) { s.test, s.failing["test"] = model.TestUnavailable, errNoAnswer }, "no answer"},
		{"no list", func(s *scene) { s.failing["list"] = errNoAnswer }, "no answer"},
		{"the token store does not answer", func(s *scene) { s.failing["values"] = errNoAnswer }, "listing the token store: no answer"},
		{"it was attributed before", func(s *scene) { s.record.Rotation.Proof.Level, s.probes = model.ProofAttributed, nil }, "true"},
		{"it is exclusive", func(s *scene) { s.record.Rotation.Proof.Level, s.probes = model.ProofExclusive, nil }, "true"},
	})
}

// CloudTrail knows the new token by the id of our own two calls with it.
func TestAttributedByCloudTrail(t *testing.T) {
	// Since the save two hours ago have passed the 65 minutes in which Entra may use what it
	// read before; CloudTrail is complete until 15 minutes ago, and a cycle and 15 minutes before.
	scenes := func() *scene {
		s := newScene(deleteRetire)
		proof := &s.record.Rotation.Proof
		proof.Stored = s.aged(3 * time.Hour)
		proof.Probes = []journal.Timestamps{s.aged(170 * time.Minute), s.aged(160 * time.Minute)}
		s.calls = []model.SCIMCall{
			s.calledAgo(26*time.Hour, "old", "entra"),
			s.calledAgo(170*time.Minute, "new", "entra-aws-exporter/1"),
			s.calledAgo(160*time.Minute, "new", "entra-aws-exporter/1"),
			s.calledAgo(20*time.Minute, "new", "entra"),
		}
		s.options.CloudTrail = s
		return s
	}
	savedAgo := func(ago time.Duration) func(*scene) {
		return func(s *scene) { s.record.Rotation.Proof.Stored = s.aged(ago) }
	}
	savedAgain := func(outcome model.CallOutcome) func(*scene) {
		return func(s *scene) {
			s.record.Rotation.Operations[OperationPut] = append(s.record.Rotation.Operations[OperationPut],
				journal.Operation{Number: s.record.Rotation.Proof.Put + 1, Target: "new", Why: PutBeforeDelete, Outcome: outcome})
		}
	}
	testStep(t, scenes, func(ctx context.Context, r runner) (model.Phase, error) {
		r.AWS.Set(time.Now().Add(skew))
		found, err := prover(r).attribute(ctx, r.options.Provisioning.(*scene).job)
		return map[policy.Attribution]model.Phase{policy.Attributed: "attributed", policy.Contradicted: "contradicted", policy.Undecided: "undecided", policy.Unattributed: "unattributed"}[found], err
	}, []outcome{
		{"Entra uses the new token", func(*scene) {}, `attributed; proof.attributed=now~; proof.attributed_by=cloudtrail; proof.level=attributed; "Entra uses the new token (cloudtrail): attributed"`},
		{"CloudTrail is not read", func(s *scene) { s.options.CloudTrail = nil }, "unattributed"},
		{"Entra uses both", func(s *scene) { s.calls = append(s.calls, s.calledAgo(16*time.Minute, "old", "entra")) }, "unattributed"},
		{"Entra uses the old one", func(s *scene) { s.calls[3].AccessKeyID = "old" }, "contradicted"},
		{"Entra uses none", func(s *scene) { s.calls = s.calls[:3] }, "unattributed"},
		{"none yet", func(s *scene) { s.calls = s.calls[:3]; savedAgo(175*time.Minute - 1)(s) }, "undecided"},
		{"none when CloudTrail has told all", func(s *scene) { s.calls = s.calls[:3]; savedAgo(175 * time.Minute)(s) }, "unattributed"},
		{"the old one may still be used", func(s *scene) { s.calls[3].AccessKeyID = "old"; savedAgo(135*time.Minute - 1)(s) }, "undecided"},
		{"it may not", func(s *scene) { s.calls[3].AccessKeyID = "old"; savedAgo(135 * time.Minute)(s) }, "contradicted"},
		{"the time since the save is just long enough", savedAgo(70 * time.Minute), `attributed; proof.attributed=now~; proof.attributed_by=cloudtrail; proof.level=attributed; "Entra uses the new token (cloudtrail): attributed"`},
		{"it is too short", savedAgo(70*time.Minute - 1), "undecided"},
		{"it was saved again and not found stored yet", savedAgain(model.CallDone), "unattributed"},
		{"it may have been saved again", savedAgain(model.CallUnknown), "unattributed"},
		{"another save was refused", savedAgain(model.CallRefused), `attributed; proof.attributed=now~; proof.attributed_by=cloudtrail; proof.level=attributed; "Entra uses the new token (cloudtrail): attributed"`},
		{"it was saved again, and Entra uses the old one", func(s *scene) { savedAgain(model.CallDone)(s); s.calls[3].AccessKeyID = "old" }, "contradicted"},
		{"the calls come too late", func(s *scene) { s.calls[3] = s.calledAgo(14*time.Minute, "new", "entra") }, "unattributed"},
		{"the probes are not shown yet", func(s *scene) { s.calls = s.calls[3:]; savedAgo(2 * time.Hour)(s) }, "undecided"},
		{"the probes are not shown", func(s *scene) { s.calls = s.calls[3:] }, "unattributed"},
		{"tokens are not told apart", func(s *scene) { s.calls[0].AccessKeyID = "new"; savedAgo(2 * time.Hour)(s) }, "unattributed"},
		{"a day before the new token is enough", func(s *scene) { s.calls = append(s.calls, s.calledAgo(29*time.Hour, "new", "entra")) }, `attributed; proof.attributed=now~; proof.attributed_by=cloudtrail; proof.level=attributed; "Entra uses the new token (cloudtrail): attributed"`},
		{"no permission", func(s *scene) {
			s.failing["calls"] = &model.Error{Reason: model.ReasonPermission, Op: "reading"}
			savedAgo(2 * time.Hour)(s)
		}, `unattributed; "reading CloudTrail failed: reading: permission"`},
		{"no answer yet", func(s *scene) { s.failing["calls"] = errNoAnswer; savedAgo(2 * time.Hour)(s) }, `undecided; "reading CloudTrail failed: no answer"`},
		{"no answer", func(s *scene) { s.failing["calls"] = errNoAnswer }, `unattributed; "reading CloudTrail failed: no answer"`},
		{"it takes two minutes", func(s *scene) { s.then["calls 1"] = func() { time.Sleep(2*time.Minute - 1) } }, `attributed after 1m59.999999999s; proof.attributed=now~; proof.attributed_by=cloudtrail; proof.level=attributed; "Entra uses the new token (cloudtrail): attributed"`},
		{"it takes longer", func(s *scene) { s.then["calls 1"] = func() { time.Sleep(2*time.Minute + 1) } }, `unattributed after 2m0.000000001s; "reading CloudTrail failed: context deadline exceeded"`},
		{"one probe is made", func(s *scene) { s.record.Rotation.Proof.Probes = s.record.Rotation.Proof.Probes[:1] }, "unattributed after 12s; proof.probes.2=-6s~"},
		{"the new value is lost", func(s *scene) { s.record.Rotation.Proof.Probes, s.values = nil, nil }, "the token store holds no readable value"},
	})
}

// A failure of CloudTrail is said once, and again when it is another one.
func TestCloudTrailFailureIsSaidOnce(t *testing.T) {
	testStep(t, func() *scene { return newScene(deleteRetire) }, func(ctx context.Context, r runner) (model.Phase, error) {
		for range 4 {
			if _, err := prover(r).callLog(ctx); err == nil {
				t.Error("CloudTrail is read")
			}
		}
		return "", nil
	}, []outcome{
		{"twice the one, twice another", func(s *scene) {
			s.options.CloudTrail, s.failing["calls"] = s, errNoAnswer
			s.then["calls 3"] = func() { s.failing["calls"] = &model.Error{Reason: model.ReasonThrottled, Op: "reading"} }
		}, `-; "reading CloudTrail failed: no answer"; "reading CloudTrail failed: reading: throttled"`},
	})
}

// The call by which CloudTrail knows the new token stands alone, six seconds from any other.
func TestProbeForCloudTrailStandsAlone(t *testing.T) {
	stops := slices.Repeat([]outcome{
		{"the process stops after", func(s *scene) { s.stopped = 12*time.Second - 1 }, "[values probe new-value], context canceled after 11.999999999s"},
	}, 16)
	testStep(t, func() *scene { return newScene(deleteRetire) }, func(ctx context.Context, r runner) (model.Phase, error) {
		err := prover(r).probeForCloudTrail(ctx)
		return said(r.options.Provisioning.(*scene).made, ", ", err), nil
	}, append([]outcome{
		{"alone", func(*scene) {}, "[values probe new-value], <nil> after 12s; proof.probes.1=-6s-~"},
		{"the new value is lost", func(s *scene) { s.values = nil }, "[values], the token store holds no readable value"},
		{"the process stops before", func(s *scene) { s.stopped = 6*time.Second - 1 }, "[values], context canceled after 5.999999999s"},
	}, stops...))
}
