package app

import (
	"context"
	"encoding/json"
	"fmt"
	"hash/fnv"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"entra-aws-exporter/internal/model"
	"entra-aws-exporter/internal/simulator/clouds"
	"entra-aws-exporter/rotate"
)

// The matrix of package rotate injects every fault at its ports. This one injects single
// faults on the wire: real clients, real protocols, a real state directory.

// wireRun is one rotation through the real clients, with at most one fault.
type wireRun struct {
	*harness
	*callInjector
	expired bool // the token in use has expired from the start
	outcome string
}

// rotateOnce runs rotation start. If the process is killed, a server resumes the rotation.
func rotateOnce(t *testing.T, spec func(string) clouds.ConnectionSpec, at int, what wireFault) *wireRun {
	t.Helper()
	w := newModel(spec("corp"))
	h := buildHarness(t, w)
	h.edit(fastIntervals, "intervals: {tokens: 1d, scim: 1d, usage: 1d, job: 1d, events: 1d, certificates: 1d, app_credentials: 1d}")
	transport := h.Transport()
	defer transport.Wait()
	ctx, kill := context.WithCancel(t.Context())
	defer kill()
	c := &callInjector{harness: h, next: transport, target: at, fault: what}
	c.onKill = func() { // from now on nothing is written
		if err := os.Rename(h.path("state"), h.path("state.aside")); err != nil {
			t.Error(err)
		}
		kill()
	}
	run := &wireRun{harness: h, callInjector: c}
	run.expired = w.TokenAccepted(h.Connection.TokenIDs[0]) != clouds.AcceptedByAll
	d, err := newCLIContext(Options{ConfigFile: h.path("exporter.yml"), Stdout: h.logs, Transport: c, Logger: discardLogger()}, 1)
	if err != nil {
		t.Fatal(err)
	}
	if err := pollOnce(ctx, d.poller); err != nil {
		t.Fatal(err)
	}
	c.counting.Store(true)
	if err := d.rotation.engine.Start(ctx, "corp", model.ProcedureToken, rotate.StartOptions{}); err != nil {
		t.Fatal(err)
	}
	record, err := d.rotation.engine.RunToCompletion(ctx, "corp", d)
	if c.dead.Load() {
		if err := os.Rename(h.path("state.aside"), h.path("state")); err != nil {
			t.Fatal(err)
		}
		record = run.resumeInServer()
	} else if err != nil {
		t.Errorf("the rotation failed: %v", err)
	}
	run.outcome = strings.TrimSpace(string(record.Outcome) + " " + record.Reason)
	return run
}

// resumeInServer starts an exporter on the dead one's state, and waits for the outcome.
func (w *wireRun) resumeInServer() model.RotationRecord {
	w.t.Helper()
	w.start()
	defer w.stop()
	for range 3 * 24 {
		time.Sleep(time.Hour)
		var answer struct{ Rotations []model.RotationRecord }
		if err := json.Unmarshal([]byte(w.get("/api/v1/rotations")), &answer); err != nil {
			w.t.Fatal(err)
		}
		if len(answer.Rotations) == 1 && answer.Rotations[0].Outcome != "" {
			return answer.Rotations[0]
		}
	}
	return model.RotationRecord{Outcome: "open"}
}

// allowedOutcomes are the outcomes that a fault of a call may have. Only a fault around
// the creation may abort a rotation: then no token exists that must be kept.
func allowedOutcomes(operation string, what wireFault) []string {
	if operation != "CreateBearerToken" {
		return []string{"done"}
	}
	allowed := []string{"done", "aborted"}
	if what == faultLateEffect { // the token appears after the creation was declared failed
		allowed = append(allowed, "blocked orphan_token")
	}
	return allowed
}

// checkInvariants checks the simulator's state, never what the program reports.
func (w *wireRun) checkInvariants(t *testing.T, allowed []string) {
	t.Helper()
	ended, _, _ := strings.Cut(w.outcome, " ")
	if !slices.Contains(allowed, ended) && !slices.Contains(allowed, w.outcome) {
		t.Errorf("the outcome is %q, want one of %q", w.outcome, allowed)
	}
	at := w.Connection
	var values []string
	w.With(func(now *clouds.Model) {
		for _, outage := range now.Outages() {
			if outage.CausedBy == clouds.ActorExporter {
				t.Errorf("Entra held a token that AWS rejected: %s", outage)
			}
		}
		for d := range clouds.EntriesOf[clouds.Deletion](now) {
			if len(d.WasSaved)+len(d.WasCached) > 0 && !d.Expired {
				t.Errorf("in use when it was deleted: %s", d)
			}
		}
		created := 0
		for range clouds.EntriesOf[clouds.Creation](now) {
			created++
		}
		if created > 2 {
			t.Errorf("%d tokens were created", created)
		}
		tokens, err := now.ListBearerTokens(clouds.CallerFor(clouds.ActorOperator), at.IdentityStoreID, at.ProvisioningTenantID)
		if err != nil {
			t.Fatal(err)
		}
		saved := now.SavedToken(at.ServicePrincipalID)
		for _, token := range tokens {
			if ended == "aborted" && !slices.Contains(at.TokenIDs, token.ID) {
				t.Errorf("aborted, and token %s remains", token.ID)
			}
		}
		if ended != "done" && w.expired {
			return // still without a working token
		}
		if accepted := now.TokenAccepted(saved); accepted != clouds.AcceptedByAll {
			t.Errorf("Entra holds token %s, accepted by %s", saved, accepted)
		}
		if ended == "done" && (len(tokens) != 1 || tokens[0].ID != saved || slices.Contains(at.TokenIDs, saved)) {
			t.Errorf("done, with %d tokens, and Entra holds %s", len(tokens), saved)
		}
		if ended == "aborted" && saved != at.TokenIDs[0] {
			t.Errorf("aborted, and Entra holds %s", saved)
		}
		for c := range clouds.EntriesOf[clouds.Creation](now) {
			values = append(values, now.TokenValue(c.TokenID))
		}
	})
	for _, value := range values {
		if strings.Contains(w.logs.String(), value) {
			t.Error("a token's value is in the log")
		}
	}
	if t.Failed() {
		var timeline strings.Builder
		w.With(func(now *clouds.Model) { _ = now.WriteTimeline(&timeline) })
		t.Logf("the simulator:\n%s\nthe program:\n%s", timeline.String(), w.logs)
	}
}

// TestWireMatrix records the calls of one rotation, then injects every fault into every
// call, each in a rotation of its own: of a token that expires soon, and of one that has
// expired, with its job in quarantine. MATRIX=full runs every case, MATRIX=full/12 one
// fault per call. The default is all mutations and a fixed sample of the rest.
func TestWireMatrix(t *testing.T) {
	for name, spec := range map[string]func(string) clouds.ConnectionSpec{"rotation": clouds.Expiring, "repair": clouds.Quarantined} {
		newHarness(t, []clouds.ConnectionSpec{spec("corp")}) // sets the environment
		var trace []string
		synctest.Test(t, func(t *testing.T) {
			undisturbed := rotateOnce(t, spec, -1, faultNone)
			undisturbed.checkInvariants(t, []string{"done"})
			trace = undisturbed.trace
		})
		if t.Failed() {
			return
		}
		var mu sync.Mutex
		injected, outcomes := 0, map[string]int{}
		t.Run(name, func(t *testing.T) {
			for number, operation := range trace {
				for kind, what := range wireFaults() {
					caseName := fmt.Sprintf("%s:%s:%d", operation, what, number)
					if !selectedCase(caseName, operation, number+kind) {
						continue
					}
					t.Run(caseName, func(t *testing.T) {
						t.Parallel()
						synctest.Test(t, func(t *testing.T) {
							run := rotateOnce(t, spec, number, what)
							if len(run.trace) <= number || run.trace[number] != operation && what != faultKilledBefore {
								t.Fatalf("call %d was another one: %v", number, run.trace[max(0, len(run.trace)-3):])
							}
							run.checkInvariants(t, allowedOutcomes(operation, what))
							outcome, _, _ := strings.Cut(run.outcome, ":")
							mu.Lock()
							defer mu.Unlock()
							injected++
							outcomes[outcome]++
						})
					})
				}
			}
		})
		t.Logf("%s: %d calls of %d operations, %d faults injected, outcomes: %v", name, len(trace), len(countOperations(trace)), injected, outcomes)
	}
}

// selectedCase selects all mutations, and of the rest one in 150; with MATRIX=full
// everything, with MATRIX=full/12 every twelfth, which is one fault per call.
func selectedCase(name, operation string, turn int) bool {
	switch operation {
	case "CreateBearerToken", "DeleteBearerToken", "PUT secrets", "POST start":
		return true
	}
	if share, full := strings.CutPrefix(os.Getenv("MATRIX"), "full"); full {
		every, err := strconv.Atoi(strings.TrimPrefix(share, "/"))
		return err != nil || every < 1 || turn%every == 0
	}
	h := fnv.New32a()
	_, _ = h.Write([]byte(name))
	return h.Sum32()%150 == 0
}

func countOperations(trace []string) map[string]int {
	counted := map[string]int{}
	for _, operation := range trace {
		counted[operation]++
	}
	return counted
}
