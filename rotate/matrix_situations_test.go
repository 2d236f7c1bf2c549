package rotate_test

import (
	"context"
	"fmt"
	"slices"
	"time"

	"entra-aws-exporter/test/harness"

	"entra-aws-exporter/internal/model"
	"entra-aws-exporter/internal/simulator/clouds"
	"entra-aws-exporter/rotate"
)

// The matrix: see the package's proof documentation (docs/rotation-proof.md).

// withHistory lets Entra call AWS for a while first, so that AWS's log has something to tell.
func withHistory(l *harness.Harness) {
	storeOldValue(l)
	time.Sleep(2 * time.Hour)
}

// situations are scenarios that lead where no single fault does.
func situations() []matrixCase {
	with := func(name string, allowed []string, change func(*harness.Scenario)) matrixCase {
		s := shortScenario()
		change(&s)
		return matrixCase{Scenario: s, name: "situation:" + name, allowed: allowed}
	}
	return []matrixCase{
		with("the save is dropped", []string{"blocked *", "done"}, func(s *harness.Scenario) {
			s.Quirks.PutSecrets = clouds.PutKeepsToken
			s.Quirks.CloudTrail = clouds.TrailAbsent
		}),
		with("the save is dropped, the log shows it", []string{"blocked proof_contradicted"}, func(s *harness.Scenario) {
			s.Quirks.PutSecrets = clouds.PutKeepsToken
			s.Policy.RetireAfter = 4 * time.Hour // the log needs its time to contradict
			s.Prepare = withHistory
		}),
		with("the log tells who calls", []string{"done"}, func(s *harness.Scenario) {
			s.Approves = false
			s.Prepare = withHistory
		}),
		with("the vault is full when the value comes", []string{"aborted"}, func(s *harness.Scenario) {
			s.BeforeCall = tokenStoreFillsUp()
		}),
		with("AWS never accepts the new token", []string{"aborted"}, func(s *harness.Scenario) { _ = s.Quirks.Set("new_lag", "240h") }),
		with("the new token is deleted and expired after the old one is gone", []string{"done", "blocked *"}, func(s *harness.Scenario) {
			s.Actions = map[string]func(*harness.Harness){}
			deleted := false
			s.BeforeCall = func(l *harness.Harness, name string) {
				if !deleted && l.CallCounts["aws.delete"] > 0 && name == "graph.test" {
					deleted = true
					harness.DeleteToken(l, harness.NewestToken(l))
				}
			}
		}),
		with("a person saved a listed token whose value is known", []string{"done", "blocked *", "aborted"}, func(s *harness.Scenario) {
			prepare := s.Prepare
			s.Prepare = func(l *harness.Harness) {
				prepare(l)
				l.SaveGarbage()
			}
		}),
	}
}

// outages are calls that go wrong every time from some phase on, whoever makes them: a
// permission withdrawn, an API that changed, a service that answers nobody.
func outages(trace []string) []matrixCase {
	var trials []matrixCase
	for _, phase := range []model.Phase{model.PhasePlan, model.PhaseTest, model.PhaseSwitch, model.PhaseVerify, model.PhaseRetire, model.PhaseConfirm} {
		for _, call := range slices.Compact(slices.Sorted(slices.Values(trace))) {
			for _, f := range []harness.Fault{harness.Refused, harness.Throttled, harness.Unparsable, harness.ResponseLost} {
				if !slices.Contains(kinds(call), f) || call == "journal.save" { // without a journal nothing is done
					continue
				}
				s := repairScenario()
				s.Limit = 36 * time.Hour
				s.BeforeCall = once(func(_ *harness.Harness, _ string, rot *harness.Rotation) bool { return rot.Phase == phase }, func(l *harness.Harness) {
					l.WithClouds(func(*clouds.Model) { l.FaultsByName, l.FaultLasts = map[string]harness.Fault{call: f}, true })
				})
				trials = append(trials, matrixCase{
					Scenario: s, name: fmt.Sprintf("outage:%s:%s:from %s on", call, f, phase),
					allowed: []string{"done", "aborted", "blocked *", "waiting *", "running *"},
				})
			}
		}
	}
	if full() {
		return trials
	}
	return slices.DeleteFunc(trials, func(tr matrixCase) bool { return number(tr.name)%8 != 0 })
}

// afterBlock are the scenarios that need a person in the end, one for each reason to be
// blocked: what happens on the way there is judged like everything else. And what
// happens if the person resets or adopts it at once, without having removed the cause.
func afterBlock() []matrixCase {
	var trials []matrixCase
	for _, reason := range model.BlockedReasons() {
		s := harness.BaseScenario()
		blockedScenarios[reason](&s)
		trials = append(trials, matrixCase{Scenario: s, name: "stalemate:" + string(reason), allowed: []string{"blocked " + string(reason)}})
		for name, operate := range map[string]func(*rotate.Engine, context.Context, string) error{
			"reset": (*rotate.Engine).Reset,
			"adopt": func(e *rotate.Engine, ctx context.Context, connection string) error {
				return e.Adopt(ctx, connection, "")
			},
		} {
			s := harness.BaseScenario()
			blockedScenarios[reason](&s)
			s.Until = andThen(s.Until, func(l *harness.Harness, current *harness.Process) {
				l.Adopted = name == "adopt"
				l.Note("a person: %s: %v", name, operate(current.Engine.Engine, l.Ctx, l.Connection.Name))
			})
			trials = append(trials, matrixCase{Scenario: s, name: "stalemate:" + string(reason) + ":" + name, allowed: []string{"blocked*", "done", "aborted"}})
		}
	}
	return trials
}

// andThen lets a person act when a play would be over, and goes on once.
func andThen(until func(*harness.Harness, *harness.Process) bool, person func(*harness.Harness, *harness.Process)) func(*harness.Harness, *harness.Process) bool {
	if until == nil {
		until = (*harness.Harness).IsOver
	}
	acted := false
	return func(l *harness.Harness, current *harness.Process) bool {
		over := until(l, current)
		if over && !acted {
			acted = true
			person(l, current)
			return false
		}
		return over
	}
}
