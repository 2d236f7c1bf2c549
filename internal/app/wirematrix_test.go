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
	"entra-aws-exporter/internal/simulator"
	"entra-aws-exporter/internal/simulator/clouds"
	"entra-aws-exporter/rotate"
)

// The engine's own matrix (package rotate) plays every fault against its ports. This one
// plays single faults on the wire: real clients, real protocols, a real state directory.

// wireRun is one rotation through the real clients, with at most one accident.
type wireRun struct {
	*harness
	*callInjector
	expired bool // the token in use was, from the start
	outcome string
}

// rotateOnce lets a command line rotate, and if it dies, a server take it up.
func rotateOnce(t *testing.T, spec func(string) clouds.ConnectionSpec, at int, what wireFault) *wireRun {
	t.Helper()
	w := clouds.New(clouds.Options{Seed: 1})
	w.Add(spec("corp"))
	h := buildHarness(t, w)
	h.edit(fastIntervals, "intervals: {tokens: 1d, scim: 1d, usage: 1d, job: 1d, events: 1d, certificates: 1d, app_credentials: 1d}")
	transport := simulator.Transport(h.Simulator)
	defer transport.Wait()
	ctx, kill := context.WithCancel(t.Context())
	defer kill()
	c := &callInjector{harness: h, next: transport, target: at, fault: what}
	c.onKill = func() { // from now on it writes nothing
		if err := os.Rename(h.path("state"), h.path("left behind")); err != nil {
			t.Error(err)
		}
		kill()
	}
	run := &wireRun{harness: h, callInjector: c}
	run.expired = w.TokenAccepted(h.credentials.Connections[0].TokenIDs[0]) != clouds.AcceptedByAll
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
		if err := os.Rename(h.path("left behind"), h.path("state")); err != nil {
			t.Fatal(err)
		}
		record = run.resumeInServer()
	} else if err != nil {
		t.Errorf("the rotation was left: %v", err)
	}
	run.outcome = strings.TrimSpace(string(record.Outcome) + " " + record.Reason)
	return run
}

// resumeInServer starts an exporter on what the dead one left, and waits for the rotation's end.
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

// allowedOutcomes are the endings that an accident to a call may lead to. Only around the
// creation may a rotation be given up: then nothing was made that has to be kept.
func allowedOutcomes(operation string, what wireFault) []string {
	if operation != "CreateBearerToken" {
		return []string{"done"}
	}
	allowed := []string{"done", "aborted"}
	if what == faultLateEffect { // it appears after everybody was sure that nothing was created
		allowed = append(allowed, "blocked orphan_token")
	}
	return allowed
}

// checkInvariants reads the truth of the world, never what the program says of itself.
func (w *wireRun) checkInvariants(t *testing.T, allowed []string) {
	t.Helper()
	ended, _, _ := strings.Cut(w.outcome, " ")
	if !slices.Contains(allowed, ended) && !slices.Contains(allowed, w.outcome) {
		t.Errorf("it ended %q, want one of %q", w.outcome, allowed)
	}
	at := w.credentials.Connections[0]
	var values []string
	w.With(func(now *clouds.Model) {
		for _, gap := range now.Outages() {
			if gap.CausedBy == clouds.ActorExporter {
				t.Errorf("Entra held a token that AWS refused: %s", gap)
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
				t.Errorf("aborted, and token %s was left behind", token.ID)
			}
		}
		if ended != "done" && w.expired {
			return // what was dead still is
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
		var story strings.Builder
		w.With(func(now *clouds.Model) { _ = now.WriteTimeline(&story) })
		t.Logf("the clouds:\n%s\nthe program:\n%s", story.String(), w.logs)
	}
}

// TestWireMatrix records the calls of one rotation, and then lets every accident befall
// every one of them, each in a rotation of its own: of a token that expires soon, and of
// one that has expired, whose job is in quarantine. MATRIX=full plays all,
// MATRIX=full/12 one accident at every call; otherwise all at the acts and a sample of the
// rest that is always the same.
func TestWireMatrix(t *testing.T) {
	for name, spec := range map[string]func(string) clouds.ConnectionSpec{"rotation": clouds.Expiring, "repair": clouds.Quarantined} {
		newHarness(t, []clouds.ConnectionSpec{spec("corp")}) // for its environment
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
		played, endings := 0, map[string]int{}
		t.Run(name, func(t *testing.T) {
			for number, operation := range trace {
				for kind, what := range wireFaults() {
					trial := fmt.Sprintf("%s:%s:%d", operation, what, number)
					if !selectedCase(trial, operation, number+kind) {
						continue
					}
					t.Run(trial, func(t *testing.T) {
						t.Parallel()
						synctest.Test(t, func(t *testing.T) {
							run := rotateOnce(t, spec, number, what)
							if len(run.trace) <= number || run.trace[number] != operation && what != faultKilledBefore {
								t.Fatalf("call %d was another one: %v", number, run.trace[max(0, len(run.trace)-3):])
							}
							run.checkInvariants(t, allowedOutcomes(operation, what))
							ending, _, _ := strings.Cut(run.outcome, ":")
							mu.Lock()
							defer mu.Unlock()
							played++
							endings[ending]++
						})
					})
				}
			}
		})
		t.Logf("%s: %d calls of %d operations, %d accidents played, endings: %v", name, len(trace), len(countOperations(trace)), played, endings)
	}
}

// selectedCase: acts always, the rest one in a hundred and fifty; by MATRIX=full everything, by
// MATRIX=full/12 every twelfth, which is one of the twelve accidents at every call.
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
