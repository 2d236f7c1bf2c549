package rotate_test

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"time"

	"entra-aws-exporter/internal/model"
	"entra-aws-exporter/internal/simulator/clouds"
	"entra-aws-exporter/rotate"
	"entra-aws-exporter/test/harness"
)

// The matrix: see docs/rotation-proof.md.

// withHistory lets Entra call AWS for two hours first, so that CloudTrail has calls.
func withHistory(h *harness.Harness) {
	storeOldValue(h)
	time.Sleep(2 * time.Hour)
}

// situations are scenarios with a course that no single fault causes.
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
		with("the save is dropped, CloudTrail shows it", []string{"blocked proof_contradicted"}, func(s *harness.Scenario) {
			s.Quirks.PutSecrets = clouds.PutKeepsToken
			s.Policy.RetireAfter = 4 * time.Hour // CloudTrail lags
			s.Prepare = withHistory
		}),
		with("CloudTrail attributes the calls", []string{"done"}, func(s *harness.Scenario) {
			s.Approves = false
			s.Prepare = withHistory
		}),
		with("the token store is full when the value is stored", []string{"aborted"}, func(s *harness.Scenario) {
			s.BeforeCall = tokenStoreFillsUp()
		}),
		with("AWS never accepts the new token", []string{"aborted"}, func(s *harness.Scenario) { _ = s.Quirks.Set("new_lag", "240h") }),
		with("the new token is deleted after the old one", []string{"done", "blocked *"}, func(s *harness.Scenario) {
			deleted := false
			s.BeforeCall = func(h *harness.Harness, name string) {
				if !deleted && h.CallCounts["aws.delete"] > 0 && name == "graph.test" {
					deleted = true
					harness.DeleteToken(h, harness.NewestToken(h))
				}
			}
		}),
		with("operator saved a mistyped token before", []string{"done", "blocked *", "aborted"}, func(s *harness.Scenario) {
			prepare := s.Prepare
			s.Prepare = func(h *harness.Harness) {
				prepare(h)
				h.SaveGarbage()
			}
		}),
	}
}

// lastingFaults are the cases in which one call fails every time, from one phase on: a
// withdrawn permission, a changed API, a service that is down.
func lastingFaults(prefix string, calls []string, base func() harness.Scenario, phases []model.Phase) []matrixCase {
	var cases []matrixCase
	for _, phase := range phases {
		for _, call := range slices.Compact(slices.Sorted(slices.Values(calls))) {
			for _, f := range []harness.Fault{harness.Refused, harness.Throttled, harness.Unparsable, harness.ResponseLost} {
				if !slices.Contains(faultsOf(call), f) || call == "journal.save" { // without the journal the engine only waits
					continue
				}
				s := base()
				s.Limit = 36 * time.Hour
				s.BeforeCall = inPhase(phase, "", func(h *harness.Harness) {
					h.WithClouds(func(*clouds.Model) { h.FaultsByName, h.FaultLasts = map[string]harness.Fault{call: f}, true })
				})
				cases = append(cases, matrixCase{
					Scenario: s, name: fmt.Sprintf("%slasting:%s:%s:from %s on", prefix, call, f, phase),
					allowed: []string{"done", "aborted", "blocked *", "waiting *", "running *"},
				})
			}
		}
	}
	return everyNth(8, cases)
}

// everyNth is a share of the cases, always the same; all of them with MATRIX=full.
func everyNth(n uint64, cases []matrixCase) []matrixCase {
	if fullMatrix() {
		return cases
	}
	return slices.DeleteFunc(cases, func(c matrixCase) bool { return hashOf(c.name)%n != 0 })
}

func tokenLastingFaults(calls []string) []matrixCase {
	return lastingFaults("", calls, repairScenario, []model.Phase{model.PhasePlan, model.PhaseTest, model.PhaseSwitch, model.PhaseVerify, model.PhaseRetire, model.PhaseConfirm})
}

// blockedCases are the scenarios that end blocked, one for each reason. Each also comes
// with an operator who resets it at once, and with one who adopts it, without having
// removed the cause.
func blockedCases(prefix string, base func() harness.Scenario, scenarios map[model.BlockedReason]func(*harness.Scenario)) []matrixCase {
	var cases []matrixCase
	for _, reason := range slices.Sorted(maps.Keys(scenarios)) {
		s := base()
		scenarios[reason](&s)
		name := prefix + "blocked:" + string(reason)
		cases = append(cases, matrixCase{Scenario: s, name: name, allowed: []string{"blocked " + string(reason)}})
		for command, run := range map[string]func(*rotate.Engine, context.Context, string) error{
			"reset": (*rotate.Engine).Reset,
			"adopt": func(e *rotate.Engine, ctx context.Context, connection string) error {
				return e.Adopt(ctx, connection, "")
			},
		} {
			s := base()
			scenarios[reason](&s)
			s.Until = continueAfter(s.Until, func(h *harness.Harness, current *harness.Process) {
				h.Adopted = command == "adopt"
				h.Note("operator runs rotation %s: %v", command, run(current.Engine.Engine, h.Ctx, h.Connection.Name))
			})
			cases = append(cases, matrixCase{Scenario: s, name: name + ":" + command, allowed: []string{"blocked*", "done", "aborted", "waiting proof_pending"}})
		}
	}
	return cases
}

func tokenBlockedCases() []matrixCase {
	return blockedCases("", harness.BaseScenario, blockedScenarios)
}

// continueAfter runs an action when a scenario would be over, and lets it continue once.
func continueAfter(until func(*harness.Harness, *harness.Process) bool, action func(*harness.Harness, *harness.Process)) func(*harness.Harness, *harness.Process) bool {
	if until == nil {
		until = (*harness.Harness).IsOver
	}
	continued := false
	return func(h *harness.Harness, current *harness.Process) bool {
		over := until(h, current)
		if over && !continued {
			continued = true
			action(h, current)
			return false
		}
		return over
	}
}
