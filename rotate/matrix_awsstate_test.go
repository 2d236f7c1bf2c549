package rotate_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"entra-aws-exporter/internal/simulator/clouds"
	"entra-aws-exporter/rotate/journal"
	"entra-aws-exporter/test/harness"
)

// The matrix: see docs/rotation-proof.md.

// faultsOfService are the faults that a call of DynamoDB or Secrets Manager can have.
func faultsOfService(name string) []harness.Fault {
	reads := []harness.Fault{harness.Refused, harness.KilledBefore, harness.Throttled, harness.Unavailable, harness.Unparsable, harness.SuspendedBefore}
	changes := append(slices.Clone(reads), harness.ResponseLost, harness.EffectDelayed, harness.KilledAfter, harness.SuspendedAfter, harness.Terminated, harness.ThrottledForHour)
	switch name {
	case "table.put":
		return append(changes, harness.Conflict, harness.TableMissing)
	case "secrets.create":
		return append(changes, harness.SecretDeleted)
	case "secrets.delete":
		return changes
	case "secrets.value":
		return append(reads, harness.StaleRead)
	default:
		return reads
	}
}

// scenarioInAWS is the scenario of the crash matrix with its state in AWS.
func scenarioInAWS() harness.Scenario {
	s := shortScenario()
	s.Prepare = func(h *harness.Harness) {
		h.KeepStateInAWS()
		old, key := h.Connection.TokenIDs[0], h.Connection.Key()
		if err := h.StoreInAWS(key+"/earlier", harness.StoredEntry(key, old, h.Clouds.TokenValue(old))); err != nil {
			panic(err)
		}
	}
	return s
}

// recordServiceCalls records the calls of a rotation whose state is in AWS, until it is
// over, and the state before each.
func recordServiceCalls(t *testing.T) (calls []string, states []uint64) {
	s := scenarioInAWS()
	s.BeforeCall = func(h *harness.Harness, _ string) { states = append(states, stateOf(h)) }
	s.Until = func(h *harness.Harness, p *harness.Process) bool {
		h.WithClouds(func(*clouds.Model) { calls = slices.Clone(h.Calls) })
		return h.IsOver(p)
	}
	harness.Run(t, s, func(t *testing.T, r harness.Result) {
		if r.Outcome != "done" {
			t.Fatalf("without any fault, the outcome is %s\n%s", r.Outcome, r.Harness.Timeline())
		}
	})
	return calls, states
}

// besideAnother is the scenario with a second process, whose clock is elsewhere.
func besideAnother(ahead time.Duration) harness.Scenario {
	s := scenarioInAWS()
	s.Begin = func(h *harness.Harness, first *harness.Process) {
		h.ClockAhead = ahead
		h.ExtraProcesses = append(h.ExtraProcesses, serveBeside(h.Ctx, h))
		h.ClockAhead = 0
		h.Alert(h.Ctx, first)
	}
	return s
}

// serviceFaults are the cases with one fault at one call of DynamoDB or Secrets Manager, and
// those in which a second process takes over from one that was suspended or stopped. A
// reading call that is repeated while nothing changes gets its faults once.
func serviceFaults(calls []string, states []uint64) []matrixCase {
	var cases []matrixCase
	seen := map[string]bool{}
	for number, call := range calls {
		if !strings.HasPrefix(call, "table.") && !strings.HasPrefix(call, "secrets.") {
			continue
		}
		around := fmt.Sprint(states[number], calls[max(0, number-2):min(number+2, len(calls))])
		if (call == "table.get" || call == "secrets.value") && seen[around] {
			continue
		}
		seen[around] = true
		for _, f := range faultsOfService(call) {
			one := injection{number, call, f, nextCall(calls, number)}
			cases = append(cases, withFaults(scenarioInAWS, "state ", []injection{one}))
			if call != "table.put" || f != harness.SuspendedBefore && f != harness.SuspendedAfter && f != harness.Terminated {
				continue
			}
			for _, ahead := range []time.Duration{0, journal.MaxClockSkew, -journal.MaxClockSkew} {
				s := besideAnother(ahead)
				s.Faults = map[int]harness.Fault{number: f}
				cases = append(cases, matrixCase{Scenario: s, name: fmt.Sprintf("state replica:ahead %s:%s", ahead, one), allowed: []string{"done", "aborted"}})
			}
		}
	}
	return cases
}

// TestStateMatrix runs a rotation whose state is in AWS, once for each fault that each call
// of DynamoDB and Secrets Manager can have.
func TestStateMatrix(t *testing.T) {
	c := newCoverage()
	calls, states := recordServiceCalls(t)
	cases := serviceFaults(calls, states)
	count, all := map[string]int{}, len(cases)
	for _, call := range calls {
		count[call]++
	}
	if !fullMatrix() {
		cases = slices.DeleteFunc(cases, func(tested matrixCase) bool { return hashOf(tested.name)%12 != 0 })
	}
	c.run(t, sampled(cases))
	t.Logf("%d of %d scenarios; calls of one rotation: %d DescribeTable, %d GetItem, %d UpdateItem, %d CreateSecret, %d GetSecretValue, %d DeleteSecret", c.count, all,
		count["table.describe"], count["table.get"], count["table.put"], count["secrets.create"], count["secrets.value"], count["secrets.delete"])
	c.report(t)
}
