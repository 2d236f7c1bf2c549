package rotate_test

import (
	"context"
	"fmt"
	"slices"
	"time"

	"entra-aws-exporter/internal/model"
	"entra-aws-exporter/internal/simulator/clouds"
	"entra-aws-exporter/rotate"
)

// The matrix: see the package's proof documentation (docs/rotation-proof.md).

// withHistory lets Entra call AWS for a while first, so that AWS's log has something to tell.
func withHistory(l *lab) {
	rememberOld(l)
	time.Sleep(2 * time.Hour)
}

// situations are scenarios that lead where no single fault does.
func situations() []trial {
	with := func(name string, allowed []string, change func(*scenario)) trial {
		s := short()
		change(&s)
		return trial{scenario: s, name: "situation:" + name, allowed: allowed}
	}
	return []trial{
		with("the save is dropped", []string{"blocked *", "done"}, func(s *scenario) {
			s.quirks.PutSecrets = clouds.PutKeepsToken
			s.quirks.CloudTrail = clouds.TrailAbsent
		}),
		with("the save is dropped, the log shows it", []string{"blocked proof_contradicted"}, func(s *scenario) {
			s.quirks.PutSecrets = clouds.PutKeepsToken
			s.policy.RetireAfter = 4 * time.Hour // the log needs its time to contradict
			s.prepare = withHistory
		}),
		with("the log tells who calls", []string{"done"}, func(s *scenario) {
			s.approves = false
			s.prepare = withHistory
		}),
		with("the vault is full when the value comes", []string{"aborted"}, func(s *scenario) {
			s.every = vaultFillsUp()
		}),
		with("AWS never accepts the new token", []string{"aborted"}, func(s *scenario) { _ = s.quirks.Set("new_lag", "240h") }),
		with("the new token is deleted and expired after the old one is gone", []string{"done", "blocked *"}, func(s *scenario) {
			s.hands = map[string]func(*lab){}
			deleted := false
			s.every = func(l *lab, name string) {
				if !deleted && l.counts["aws.delete"] > 0 && name == "graph.test" {
					deleted = true
					deleteByHand(l, newest(l))
				}
			}
		}),
		with("a person saved a listed token whose value is known", []string{"done", "blocked *", "aborted"}, func(s *scenario) {
			prepare := s.prepare
			s.prepare = func(l *lab) {
				prepare(l)
				l.saveGarbage()
			}
		}),
	}
}

// outages are calls that go wrong every time from some phase on, whoever makes them: a
// permission withdrawn, an API that changed, a service that answers nobody.
func outages(trace []string) []trial {
	var trials []trial
	for _, phase := range []model.Phase{model.PhasePlan, model.PhaseTest, model.PhaseSwitch, model.PhaseVerify, model.PhaseRetire, model.PhaseConfirm} {
		for _, call := range slices.Compact(slices.Sorted(slices.Values(trace))) {
			for _, f := range []fault{refused, throttled, unparsable, answerLost} {
				if !slices.Contains(kinds(call), f) || call == "journal.save" { // without a journal nothing is done
					continue
				}
				s := repair()
				s.limit = 36 * time.Hour
				s.every = once(func(_ *lab, _ string, rot *rotation) bool { return rot.Phase == phase }, func(l *lab) {
					l.locked(func(*clouds.Model) { l.named, l.lasting = map[string]fault{call: f}, true })
				})
				trials = append(trials, trial{
					scenario: s, name: fmt.Sprintf("outage:%s:%s:from %s on", call, f, phase),
					allowed: []string{"done", "aborted", "blocked *", "waiting *", "running *"},
				})
			}
		}
	}
	if full() {
		return trials
	}
	return slices.DeleteFunc(trials, func(tr trial) bool { return number(tr.name)%8 != 0 })
}

// stalemates are the scenarios that need a person in the end, one for each reason to be
// blocked: what happens on the way there is judged like everything else. And what
// happens if the person resets or adopts it at once, without having removed the cause.
func stalemates() []trial {
	var trials []trial
	for _, reason := range model.BlockedReasons() {
		s := usual()
		stuck[reason](&s)
		trials = append(trials, trial{scenario: s, name: "stalemate:" + string(reason), allowed: []string{"blocked " + string(reason)}})
		for name, operate := range map[string]func(*rotate.Engine, context.Context, string) error{
			"reset": (*rotate.Engine).Reset,
			"adopt": func(e *rotate.Engine, ctx context.Context, connection string) error {
				return e.Adopt(ctx, connection, "")
			},
		} {
			s := usual()
			stuck[reason](&s)
			s.until = andThen(s.until, func(l *lab, current *session) {
				l.adopted = name == "adopt"
				l.note("a person: %s: %v", name, operate(current.engine.Engine, l.ctx, l.at.Name))
			})
			trials = append(trials, trial{scenario: s, name: "stalemate:" + string(reason) + ":" + name, allowed: []string{"blocked*", "done", "aborted"}})
		}
	}
	return trials
}

// andThen lets a person act when a play would be over, and goes on once.
func andThen(until func(*lab, *session) bool, person func(*lab, *session)) func(*lab, *session) bool {
	if until == nil {
		until = (*lab).isOver
	}
	acted := false
	return func(l *lab, current *session) bool {
		over := until(l, current)
		if over && !acted {
			acted = true
			person(l, current)
			return false
		}
		return over
	}
}
