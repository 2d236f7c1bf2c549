package token

import (
	"context"
	"net/http"
	"testing"
	"time"

	"entra-aws-exporter/internal/model"
)

// trialScene is one in which the new token was created and is to be tested.
func trialScene() *scene {
	s := switchScene()
	s.record.Rotation.Phase = model.PhaseTest
	s.record.Rotation.Plan.ControlFailed = true
	s.tests = map[string]model.TestResult{"new-value": model.TestPassed}
	return s
}

// The new token must pass two tests, a minute apart, before it is saved.
func TestTrial(t *testing.T) {
	rejected := func(s *scene) { s.probe = http.StatusUnauthorized }
	began := func(ago time.Duration) func(*scene) {
		return func(s *scene) { rejected(s); s.record.Rotation.Trial.Began = s.aged(ago).Local }
	}
	byOperator := func(s *scene) { s.record.Rotation.OperatorToken = "new" }
	created := func(ago time.Duration) func(*scene) {
		return func(s *scene) { s.record.Rotation.Operations[OperationCreate][0].Intent = s.aged(ago) }
	}
	lifetime := func(lifetime time.Duration) func(*scene) {
		return func(s *scene) {
			s.record.Rotation.NewToken.Expires = s.record.Rotation.NewToken.Created.Add(lifetime)
		}
	}
	const least = 7*day + 75*time.Minute
	testStep(t, trialScene, func(ctx context.Context, r runner) (model.Phase, error) {
		if s := r.options.Provisioning.(*scene); s.id == "taken over" {
			s.takeOver()
		}
		return testPhase(r).run(ctx)
	}, []outcome{
		{"passed", func(*scene) {}, `switch after 1m0s; trial.began=-1m0s; trial.passed=now-~; "token new works at AWS, and from Entra"`},
		{"it began before a crash", func(s *scene) { s.record.Rotation.Trial.Began = s.ago(time.Minute) }, `switch after 1m0s; trial.passed=now-~; "token new works at AWS, and from Entra"`},
		{"it was created a moment ago", created(0), `switch after 6m0s; trial.began=-6m0s; trial.passed=now-~; "token new works at AWS, and from Entra"`},
		{"it was created five minutes ago", created(5*time.Minute + 30*time.Second), `switch after 1m0s; trial.began=-1m0s; trial.passed=now-~; "token new works at AWS, and from Entra"`},
		{"an operator created it", func(s *scene) { created(0)(s); byOperator(s) }, `switch after 1m0s; trial.began=-1m0s; trial.passed=now-~; "token new works at AWS, and from Entra"`},
		{"the lease is lost", func(s *scene) { s.id = "taken over" }, "the lease is lost to another"},
		{"its value is lost", func(s *scene) { s.values = nil }, `undo; trial.began=now; "giving up: the token store holds no readable value"`},
		{"its value is lost, and an operator created it", func(s *scene) { s.values = nil; byOperator(s) }, "token_value_lost: token new: the token store holds no readable value; trial.began=now"},
		{"its value is lost, and it was saved", func(s *scene) { s.values = nil; puts(0, "")(s) }, "token_value_lost: token new: the token store holds no readable value; trial.began=now"},
		{"the values cannot be listed", func(s *scene) { s.failing["values"] = errNoAnswer }, "listing the token store: no answer; trial.began=now"},
		{"it lives just long enough", lifetime(least), `switch after 1m0s; trial.began=-1m0s; trial.passed=now-~; "token new works at AWS, and from Entra"`},
		{"it does not live long enough", lifetime(least - 1), `undo; trial.began=now; "giving up: it would not outlive the rotation"`},
		{"it does not live long enough, and an operator created it", func(s *scene) { lifetime(least - 1)(s); byOperator(s) }, `switch after 1m0s; trial.began=-1m0s; trial.passed=now-~; "token new works at AWS, and from Entra"`},
		{"its lifetime is not known", func(s *scene) { s.record.Rotation.NewToken.Expires = time.Time{} }, `switch after 1m0s; trial.began=-1m0s; trial.passed=now-~; "token new works at AWS, and from Entra"`},
		{"AWS does not accept it", rejected, `test after 1m0s; trial.began=-1m0s; trial.last_finding=AWS does not accept it: AWS answers 401; "token new: AWS does not accept it: AWS answers 401"`},
		{"AWS does not accept it, as before", func(s *scene) {
			rejected(s)
			s.record.Rotation.Trial.LastFinding = "AWS does not accept it: AWS answers 401"
		}, "test after 1m0s; trial.began=-1m0s"},
		{"AWS does not accept it, and the lease is lost", func(s *scene) { rejected(s); s.then["probe new-value 1"] = s.takeOver }, `the lease is lost to another; trial.began=now; "token new: AWS does not accept it: AWS answers 401"`},
		{"the second time AWS does not accept it", func(s *scene) { s.then["probe new-value 2"] = func() { rejected(s) } }, `test after 2m0s; trial.began=-2m0s; trial.last_finding=AWS does not accept it: AWS answers 401; "token new: AWS does not accept it: AWS answers 401"`},
		{"the credentials cannot be read", func(s *scene) { s.failing["credentials"] = errNoAnswer }, "no answer; trial.began=now"},
		{"the process stops between the tests", func(s *scene) { s.stopped = 50 * time.Second }, "context canceled after 50s; trial.began=-50s"},
		{"AWS did not accept it for almost two hours", began(2*time.Hour - 1), `test after 1m0s; trial.last_finding=AWS does not accept it: AWS answers 401; "token new: AWS does not accept it: AWS answers 401"`},
		{"AWS did not accept it for two hours", began(2 * time.Hour), `undo; trial.last_finding=AWS does not accept it: AWS answers 401; "token new: AWS does not accept it: AWS answers 401"; "giving up: AWS does not accept it: AWS answers 401"`},
		{"AWS did not accept an operator's for two hours", func(s *scene) { began(2 * time.Hour)(s); byOperator(s) }, `new_token_rejected: token new: AWS does not accept it: AWS answers 401; next: rotation abort CONNECTION, then rotation start CONNECTION --force --token-stdin --token-id ID with the right value; trial.last_finding=AWS does not accept it: AWS answers 401; "token new: AWS does not accept it: AWS answers 401"`},
		{"AWS did not accept an operator's that was saved", func(s *scene) { began(2 * time.Hour)(s); byOperator(s); puts(0, "")(s) }, `new_token_rejected: token new: AWS does not accept it: AWS answers 401; trial.last_finding=AWS does not accept it: AWS answers 401; "token new: AWS does not accept it: AWS answers 401"`},
		{"AWS did not accept it, and an operator was shown it", func(s *scene) { began(2 * time.Hour)(s); s.record.Rotation.ShownToOperator = true }, `new_token_rejected: token new: AWS does not accept it: AWS answers 401; trial.last_finding=AWS does not accept it: AWS answers 401; "token new: AWS does not accept it: AWS answers 401"`},
		{"an operator's could not be tested for two hours", func(s *scene) {
			began(2 * time.Hour)(s)
			byOperator(s)
			s.probe, s.record.Rotation.Plan.ControlFailed = http.StatusForbidden, false
		}, `endpoint_refuses_entra: token new: it cannot be tested: Entra's inline test is no evidence, and AWS answers 403; trial.last_finding=it cannot be tested: Entra's inline test is no evidence, and AWS answers 403; "token new: it cannot be tested: Entra's inline test is no evidence, and AWS answers 403"`},
	})
}

// AWS and Entra are asked about the new token; one of the two may be unable to tell.
func TestOneTrial(t *testing.T) {
	inline := func(result model.TestResult) func(*scene) {
		return func(s *scene) { s.tests["new-value"] = result }
	}
	testStep(t, trialScene, func(ctx context.Context, r runner) (model.Phase, error) {
		passed, found, err := testPhase(r).test(ctx, model.NewSecret("new-value"))
		return said([]any{passed, found.reason, found.text}), err
	}, []outcome{
		{"both accept it", func(*scene) {}, "[true  ]"},
		{"AWS refuses it", func(s *scene) { s.probe = http.StatusUnauthorized }, "[false new_token_rejected AWS does not accept it: AWS answers 401]"},
		{"AWS accepts it, and inline tests say nothing", func(s *scene) { s.record.Rotation.Plan.ControlFailed = false }, "[true endpoint_refuses_entra it cannot be tested: Entra's inline test is no evidence, and ]"},
		{"AWS refuses our address, and inline tests say nothing", func(s *scene) { s.probe, s.record.Rotation.Plan.ControlFailed = http.StatusForbidden, false }, "[false endpoint_refuses_entra it cannot be tested: Entra's inline test is no evidence, and AWS answers 403]"},
		{"AWS refuses our address, Entra's test passes", func(s *scene) { s.probe = http.StatusForbidden }, "[true  ]"},
		{"AWS refuses our address, Entra's test fails", func(s *scene) { s.probe = http.StatusForbidden; inline(model.TestFailed)(s) }, "[false new_token_rejected Entra's test with it fails, and AWS answers 403]"},
		{"AWS accepts it, Entra's test fails", inline(model.TestFailed), "[false endpoint_refuses_entra AWS accepts it from here, but Entra's test of the endpoint with it fails]"},
		{"AWS accepts it, Entra's test fails as it did before", func(s *scene) { inline(model.TestFailed)(s); s.record.Rotation.Plan.SavedTestFailed = true }, "[true  ]"},
		{"AWS refuses our address, Entra's test fails as it did before", func(s *scene) {
			s.probe, s.record.Rotation.Plan.SavedTestFailed = http.StatusForbidden, true
			inline(model.TestFailed)(s)
		}, "[false new_token_rejected Entra's test with it fails, and AWS answers 403]"},
		{"Entra does not test", func(s *scene) { inline("")(s); s.failing["test new-value"] = errNoAnswer }, "[false endpoint_refuses_entra Entra's test did not take place: no answer]"},
		{"Entra refuses to test", func(s *scene) {
			inline("")(s)
			s.failing["test new-value"] = &model.Error{Reason: model.ReasonPermission, Op: "testing"}
		}, "testing: permission"},
		{"the credentials cannot be read", func(s *scene) { s.failing["credentials"] = errNoAnswer }, "no answer"},
	})
}
