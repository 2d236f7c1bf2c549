package token

import (
	"context"
	"net/http"
	"testing"
	"time"

	"entra-aws-exporter/internal/model"
	"entra-aws-exporter/rotate/journal"
)

// A save is the last of the reads before it, all fresh: the binding, AWS's answer to the
// value, and the credentials to be preserved.
func TestPut(t *testing.T) {
	secret := func(key, value string) model.Credential {
		return model.Credential{Key: key, Value: model.NewSecret(value)}
	}
	const endpoint = "https://scim.example.com/tenant/scim/v2"
	shown := func(s *scene) {
		s.credentials = []model.Credential{secret("BaseAddress", endpoint+"?aadOptscim062020"), secret("SecretToken", "*"), secret("SyncAll", "false")}
	}
	failed := func(count int) func(*scene) {
		return func(s *scene) {
			s.failing["save SecretToken=new-value"] = errNoAnswer
			for i := range count {
				s.record.Rotation.Operations[OperationPut] = append(s.record.Rotation.Operations[OperationPut],
					journal.Operation{Number: i + 2, Outcome: model.CallRefused})
			}
		}
	}
	inline := func(result model.TestResult) func(*scene) {
		return func(s *scene) {
			s.record.Rotation.Plan.ControlFailed = true
			s.tests = map[string]model.TestResult{"new-value": result}
		}
	}
	scenes := func() *scene {
		s := newScene(deleteRetire)
		s.record.Rotation.PendingPut, s.record.ThirdPartyChange = PutRecovery, s.ago(day)
		return s
	}
	testStep(t, scenes, func(ctx context.Context, r runner) (model.Phase, error) {
		return "", saver(r).put(ctx, "new", PutRecovery)
	}, []outcome{
		{"nothing was saved before", func(*scene) {}, `-; no pending_put; no third_party_change; operations.put.2=new recovery done; own_saves.1=now; own_saves.2=now; "saved token new to Entra (recovery): done"; save SecretToken=new-value`},
		{"other keys are sent back", shown, `-; no pending_put; no third_party_change; operations.put.2=new recovery done; own_saves.1=now; own_saves.2=now; "saved token new to Entra (recovery): done"; save BaseAddress=https://scim.example.com/tenant/scim/v2?aadOptscim062020,SecretToken=new-value,SyncAll=false`},
		{"the Tenant URL is masked", func(s *scene) { shown(s); s.credentials[0].Value = model.NewSecret("*") }, `-; no pending_put; no third_party_change; operations.put.2=new recovery done; own_saves.1=now; own_saves.2=now; "saved token new to Entra (recovery): done"; save BaseAddress=https://scim.example.com/tenant/scim/v2,SecretToken=new-value,SyncAll=false`},
		{"another Tenant URL was given", func(s *scene) {
			shown(s)
			s.credentials[0].Value, s.options.TenantURL = model.NewSecret("*"), "https://proxy.example.com"
		}, `-; no pending_put; no third_party_change; operations.put.2=new recovery done; own_saves.1=now; own_saves.2=now; "saved token new to Entra (recovery): done"; save BaseAddress=https://proxy.example.com,SecretToken=new-value,SyncAll=false`},
		{"another key is masked", func(s *scene) { shown(s); s.credentials[2].Value = model.NewSecret("*") }, `unknown_secret_keys: the application's credentials hold the secret key "SyncAll", which a save could erase`},
		{"it is another Tenant URL", func(s *scene) { shown(s); s.credentials[0].Value = model.NewSecret("https://else.example.com") }, "wrong_target: the application provisions to another Tenant URL than the connection's SCIM endpoint https://scim.example.com/tenant/scim/v2"},
		{"the value is lost", func(s *scene) { s.values = nil }, "token_value_lost: the token store does not have the value of token new"},
		{"the values cannot be listed", func(s *scene) { s.failing["values"] = errNoAnswer }, "listing the token store: no answer"},
		{"the binding cannot be resolved", func(s *scene) { s.failing["binding"] = errNoAnswer }, "no answer"},
		{"the credentials cannot be read", func(s *scene) { s.failing["credentials"] = errNoAnswer }, "no answer"},
		{"Graph's clock cannot be read", func(s *scene) { s.failing["job"] = errNoAnswer }, "no answer"},
		{"the lease is lost", func(s *scene) { s.then["job 1"] = s.takeOver }, "the lease is lost to another"},
		{"no answer", failed(0), `- after 1m0s; no pending_put; operations.put.2=new recovery unknown no answer; own_saves.1=-1m0s; waiting=settling; "saved token new to Entra (recovery): unknown: no answer"; save SecretToken=new-value`},
		{"no answer the second time", failed(1), `- after 2m0s; no pending_put; operations.put.3=new recovery unknown no answer; own_saves.1=-2m0s; waiting=settling; "saved token new to Entra (recovery): unknown: no answer"; save SecretToken=new-value`},
		{"no answer the third time", failed(2), `- after 4m0s; no pending_put; operations.put.4=new recovery unknown no answer; own_saves.1=-4m0s; waiting=settling; "saved token new to Entra (recovery): unknown: no answer"; save SecretToken=new-value`},
		{"no answer the fifth time", failed(4), `- after 8m0s; no pending_put; operations.put.6=new recovery unknown no answer; own_saves.1=-8m0s; waiting=settling; "saved token new to Entra (recovery): unknown: no answer"; save SecretToken=new-value`},
		{"no answer the first time after a reset", func(s *scene) { failed(4)(s); s.record.Rotation.ResetCount = 1 }, `- after 1m0s; no pending_put; operations.put.6=new recovery unknown no answer; own_saves.1=-1m0s; waiting=settling; "saved token new to Entra (recovery): unknown: no answer"; save SecretToken=new-value`},
		{"the process stops after that", func(s *scene) { failed(0)(s); s.stopped = 50 * time.Second }, `context canceled after 50s; no pending_put; operations.put.2=new recovery unknown no answer; own_saves.1=-50s; waiting=settling; "saved token new to Entra (recovery): unknown: no answer"; save SecretToken=new-value`},
		{"AWS does not accept the value", func(s *scene) { s.probe = http.StatusUnauthorized }, "new_token_rejected: token new is not saved to Entra: AWS does not accept it"},
		{"AWS refuses our address, Entra's test passes", func(s *scene) { inline(model.TestPassed)(s); s.probe = http.StatusForbidden }, `-; no pending_put; no third_party_change; operations.put.2=new recovery done; own_saves.1=now; own_saves.2=now; "saved token new to Entra (recovery): done"; save SecretToken=new-value`},
		{"AWS refuses our address, Entra's test fails", func(s *scene) { inline(model.TestFailed)(s); s.probe = http.StatusForbidden }, "endpoint_refuses_entra: token new is not saved to Entra: Entra's test with it fails, and AWS answers 403"},
		{"the endpoint fails, Entra's test passes", func(s *scene) { inline(model.TestPassed)(s); s.probe = http.StatusBadGateway }, `-; no pending_put; no third_party_change; operations.put.2=new recovery done; own_saves.1=now; own_saves.2=now; "saved token new to Entra (recovery): done"; save SecretToken=new-value`},
		{"the endpoint fails, Entra's test fails", func(s *scene) { inline(model.TestFailed)(s); s.probe = http.StatusBadGateway }, "endpoint_refuses_entra: token new is not saved to Entra: Entra's test with it fails, and AWS answers 502"},
		{"the endpoint fails, Entra's test says nothing", func(s *scene) { s.probe = http.StatusBadGateway }, "endpoint_refuses_entra: token new is not saved to Entra: Entra's inline test is no evidence, and AWS answers 502"},
		{"the endpoint fails, Entra does not test", func(s *scene) {
			inline("")(s)
			s.probe, s.failing["test new-value"] = http.StatusBadGateway, errNoAnswer
		}, "no answer"},
	})
}

// A save is stored when Entra's test of it passes twice, a minute apart, the last time two
// minutes after it.
func TestWaitStored(t *testing.T) {
	saved := func(ago time.Duration) func(*scene) {
		return func(s *scene) { s.put().Answered = s.aged(ago) }
	}
	late := func(s *scene) { saved(15 * time.Minute)(s); s.test = model.TestFailed }
	untested := func(ago time.Duration, err error) func(*scene) {
		return func(s *scene) { saved(ago)(s); s.test, s.failing["test"] = model.TestUnavailable, err }
	}
	scenes := func() *scene {
		s := newScene(deleteRetire)
		saved(0)(s)
		s.record.Rotation.Proof = Proof{}
		return s
	}
	testStep(t, scenes, func(ctx context.Context, r runner) (model.Phase, error) {
		stored, err := saver(r).waitStored(ctx)
		return said(stored), err
	}, []outcome{
		{"the tests pass", func(*scene) {}, "true after 2m0s; in_use=new; proof.level=stored; proof.put=1; proof.stored=now; waiting=settling"},
		{"they pass a minute after the save", saved(time.Minute - 1), "true after 2m0s; in_use=new; proof.level=stored; proof.put=1; proof.stored=now; waiting=settling"},
		{"they pass much later", saved(14 * time.Minute), "true after 1m0s; in_use=new; proof.level=stored; proof.put=1; proof.stored=now; waiting=settling"},
		{"one fails in between", func(s *scene) {
			s.then["test 2"] = func() { s.test = model.TestFailed }
			s.then["test 3"] = func() { s.test = model.TestPassed }
		}, "true after 3m0s; in_use=new; proof.level=stored; proof.put=1; proof.stored=now; waiting=settling"},
		{"it was not answered", func(s *scene) { s.put().Outcome = "" }, "false"},
		{"Entra does not test at first", func(s *scene) {
			untested(0, errNoAnswer)(s)
			s.then["test 2"] = func() { s.test, s.failing["test"] = model.TestPassed, nil }
		}, "true after 2m0s; in_use=new; proof.level=stored; proof.put=1; proof.stored=now; waiting=settling"},
		{"Entra does not test for long", untested(15*time.Minute, errNoAnswer), "switch_failed: token new was saved to Entra and could not be tested: no answer"},
		{"not quite as long", untested(15*time.Minute-1, errNoAnswer), "switch_failed: token new was saved to Entra and could not be tested: no answer after 1m0s; waiting=settling"},
		{"the job is gone", untested(15*time.Minute, &model.Error{Reason: model.ReasonNotFound, Op: "testing"}), "switch_failed: token new was saved to Entra and could not be tested: testing: not_found"},
		{"the job is another", func(s *scene) {
			untested(15*time.Minute, &model.Error{Reason: model.ReasonNotFound, Op: "testing"})(s)
			s.binding.JobID = "job-2"
		}, "binding_changed: the connection now resolves to job job-2 and provisioning tenant tenant, the rotation began with job job and provisioning tenant tenant"},
		{"the job is another, but Entra answers nothing", func(s *scene) {
			untested(15*time.Minute, errNoAnswer)(s)
			s.binding.JobID = "job-2"
		}, "switch_failed: token new was saved to Entra and could not be tested: no answer"},
		{"the test fails to the end", late, "false; failed_put=1"},
		{"AWS refuses Entra's address", func(s *scene) {
			late(s)
			s.record.Rotation.Plan.ControlFailed = true
			s.tests = map[string]model.TestResult{"new-value": model.TestFailed}
		}, "endpoint_refuses_entra: AWS accepts token new from here, but Entra's test of the endpoint with it fails"},
		{"the test takes place at the end only", func(s *scene) { saved(15 * time.Minute)(s) }, "true after 1m0s; in_use=new; proof.level=stored; proof.put=1; proof.stored=now; waiting=settling"},
		{"the process stops", func(s *scene) { s.stopped = 50 * time.Second }, "context canceled after 50s; waiting=settling"},
		{"Graph's clock cannot be read", func(s *scene) { s.failing["job"] = errNoAnswer }, "no answer after 2m0s; waiting=settling"},
		{"AWS's clock cannot be read", func(s *scene) { s.failing["list"] = errNoAnswer }, "no answer after 2m0s; waiting=settling"},
	})
}

func TestStoredKnowsAWSsClock(t *testing.T) {
	testStep(t, func() *scene { return newScene(deleteRetire) }, func(ctx context.Context, r runner) (model.Phase, error) {
		s := r.options.Provisioning.(*scene)
		if s.id == "known" {
			r.AWS.Set(time.Now().Add(skew))
		}
		err := saver(r).journalStored(ctx, *s.put())
		return said(s.made), err
	}, []outcome{
		{"it is read if it is unknown", func(*scene) {}, "[job list]; in_use=new; proof.stored=now"},
		{"it is known", func(s *scene) { s.id = "known" }, "[job]; in_use=new; proof.stored=now"},
	})
}

func TestRollBackTo(t *testing.T) {
	testStep(t, func() *scene { return newScene(deleteRetire) }, func(ctx context.Context, r runner) (model.Phase, error) {
		return "", saver(r).rollBackTo(ctx, "old")
	}, []outcome{
		{"saved again", func(s *scene) { s.values["old"] = "old-value" }, `-; operations.put.2=old rollback done; own_saves.1=now; own_saves.2=now; "saved token old to Entra (rollback): done"; save SecretToken=old-value`},
		{"the value is lost", func(*scene) {}, "token_value_lost: the token store does not have the value of token old"},
		{"no answer", func(s *scene) { s.values["old"], s.failing["save SecretToken=old-value"] = "old-value", errNoAnswer }, `saving token old again: other: no answer after 1m0s; operations.put.2=old rollback unknown no answer; own_saves.1=-1m0s; waiting=settling; "saved token old to Entra (rollback): unknown: no answer"; save SecretToken=old-value`},
	})
}

// What cannot be stored may be a dead token that Entra holds.
func TestReasonOfNotStored(t *testing.T) {
	testStep(t, func() *scene { return newScene(deleteRetire) }, func(_ context.Context, r runner) (model.Phase, error) {
		return said(r.notStoredReason()), nil
	}, []outcome{
		{"Entra holds the old token", func(*scene) {}, "switch_failed"},
		{"after a recovery", func(s *scene) { s.record.Rotation.Recoveries = 1 }, "entra_holds_dead_token"},
		{"its test failed from the start", func(s *scene) { s.record.Rotation.Plan.SavedTestFailed = true }, "entra_holds_dead_token"},
		{"the old one may be deleted", deletions(""), "entra_holds_dead_token"},
	})
}

func TestReasonOfRefusal(t *testing.T) {
	for _, test := range []struct {
		reason model.Reason
		text   string
		want   model.BlockedReason
	}{
		{model.ReasonPermission, "denied", model.BlockedPermission},
		{model.ReasonLicence, "denied", model.BlockedPermission},
		{model.ReasonAuth, "denied", model.BlockedOwnCredentialExpiring},
		{model.ReasonOther, "the size Limit is exceeded", model.BlockedStorageLimit},
		{model.ReasonOther, "denied", model.BlockedSwitchFailed},
	} {
		if got := refusalReason(journal.Operation{Reason: test.reason, Error: test.text}); got != test.want {
			t.Errorf("%s, %s: %s, want %s", test.reason, test.text, got, test.want)
		}
	}
}
