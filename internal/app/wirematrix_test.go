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

// wireProcedure is what is rotated through the real clients.
type wireProcedure struct {
	name string
	kind model.Procedure
	spec clouds.ConnectionSpec
	// Of so many cases with a call that changes nothing, and with one that changes something,
	// one is in the sample.
	reads, changes uint32
}

func wireProcedures() []wireProcedure {
	certificate := clouds.ExpiringCertificate("corp")
	certificate.SignInEvery = 30 * time.Minute
	return []wireProcedure{
		{"rotation", model.ProcedureToken, clouds.Expiring("corp"), 150, 1},
		{"repair", model.ProcedureToken, clouds.Quarantined("corp"), 150, 1},
		{"rollover", model.ProcedureCertificate, certificate, 600, 4},
	}
}

// wireRun is one rotation through the real clients, with at most one fault.
type wireRun struct {
	*harness
	*callInjector
	expired bool // the token in use has expired from the start
	outcome string
}

// rotateOnce runs rotation start. If the process is killed, a server resumes the rotation.
func rotateOnce(t *testing.T, p wireProcedure, at int, what wireFault) *wireRun {
	t.Helper()
	w := newModel(p.spec)
	h := buildHarness(t, w)
	if p.kind == model.ProcedureCertificate {
		h.edit("saml: {aws_certificates: console_api}", rolloverEnabled)
	}
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
	if err := d.rotation.engine.Start(ctx, "corp", p.kind, rotate.StartOptions{}); err != nil {
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
// the creation may abort a rotation: then no token exists that must be kept. A certificate
// that is refused once needs an operator.
func allowedOutcomes(operation string, what wireFault) []string {
	allowed := []string{"done"}
	switch operation {
	case "CreateBearerToken":
		allowed = append(allowed, "aborted")
		if what == faultLateEffect { // the token appears after the creation was declared failed
			allowed = append(allowed, "blocked orphan_token")
		}
	case "POST addTokenSigningCertificate", "ImportExternalIdPCertificate", "PATCH servicePrincipal":
		if what == faultRefused {
			return []string{"blocked permission"}
		}
		if withoutEffect := []wireFault{faultUnavailable, faultReset, faultHTMLPage, faultHang, faultKilledBefore}; operation == "POST addTokenSigningCertificate" && slices.Contains(withoutEffect, what) {
			return []string{"aborted"} // a certificate is created once, or not at all
		}
	}
	return allowed
}

// checkInvariants checks the simulator's state, never what the program reports.
func (w *wireRun) checkInvariants(t *testing.T, kind model.Procedure, allowed []string) {
	t.Helper()
	ended, _, _ := strings.Cut(w.outcome, " ")
	if !slices.Contains(allowed, ended) && !slices.Contains(allowed, w.outcome) {
		t.Errorf("the outcome is %q, want one of %q", w.outcome, allowed)
	}
	if kind == model.ProcedureCertificate {
		w.checkCertificates(t, ended)
	} else {
		w.checkTokens(t, ended)
	}
	if t.Failed() {
		var timeline strings.Builder
		w.With(func(now *clouds.Model) { _ = now.WriteTimeline(&timeline) })
		t.Logf("the simulator:\n%s\nthe program:\n%s", timeline.String(), w.logs)
	}
}

// checkCertificates demands that every sign-in succeeded, and that one certificate at most
// was made. At the end, AWS trusts the new one alone or still the old one.
func (w *wireRun) checkCertificates(t *testing.T, ended string) {
	t.Helper()
	w.checkSignIns(t)
	at := w.Connection
	w.With(func(now *clouds.Model) {
		created := map[string]bool{}
		for c := range clouds.EntriesOf[clouds.CertificateCreation](now) {
			created[c.Thumbprint] = true
		}
		if len(created) > 1 {
			t.Errorf("%d certificates were made", len(created))
		}
		trusted := now.Trusted(at.IdentityStoreID)
		signer, accepted, err := now.Signer(at.EntraTenantID, at.ServicePrincipalID)
		if err != nil || !accepted {
			t.Errorf("AWS does not accept what %s signs: %v", signer, err)
		}
		if done := ended == "done"; created[signer] != done || done && (len(trusted) != 1 || trusted[0].Thumbprint() != signer) {
			t.Errorf("%s, Entra signs with %s, and AWS trusts %d certificates", ended, signer, len(trusted))
		}
	})
}

func (w *wireRun) checkTokens(t *testing.T, ended string) {
	t.Helper()
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
}

// TestWireMatrix records the calls of one rotation, then injects every fault into every
// call, each in a rotation of its own: of a token that expires soon, of one that has
// expired, with its job in quarantine, and of a certificate. MATRIX=full runs every case, MATRIX=full/12 one
// fault per call. The default is all mutations and a fixed sample of the rest.
func TestWireMatrix(t *testing.T) {
	for _, p := range wireProcedures() {
		newHarness(t, []clouds.ConnectionSpec{p.spec}) // sets the environment
		var trace []string
		synctest.Test(t, func(t *testing.T) {
			undisturbed := rotateOnce(t, p, -1, faultNone)
			undisturbed.checkInvariants(t, p.kind, []string{"done"})
			trace = undisturbed.trace
		})
		if t.Failed() {
			return
		}
		var mu sync.Mutex
		injected, outcomes := 0, map[string]int{}
		t.Run(p.name, func(t *testing.T) {
			for number, operation := range trace {
				for kind, what := range wireFaults() {
					caseName := fmt.Sprintf("%s:%s:%d", operation, what, number)
					if !p.selected(caseName, operation, number+kind) {
						continue
					}
					t.Run(caseName, func(t *testing.T) {
						t.Parallel()
						synctest.Test(t, func(t *testing.T) {
							run := rotateOnce(t, p, number, what)
							if len(run.trace) <= number || run.trace[number] != operation && what != faultKilledBefore {
								t.Fatalf("call %d was another one: %v", number, run.trace[max(0, len(run.trace)-3):])
							}
							run.checkInvariants(t, p.kind, allowedOutcomes(operation, what))
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
		t.Logf("%s: %d calls of %d operations, %d faults injected, outcomes: %v", p.name, len(trace), len(countOperations(trace)), injected, outcomes)
	}
}

// selected selects a sample; with MATRIX=full everything, with MATRIX=full/12 the changes and
// every twelfth of the rest, which is one fault per call.
func (p wireProcedure) selected(name, operation string, turn int) bool {
	changes := slices.Contains([]string{
		"CreateBearerToken", "DeleteBearerToken", "PUT secrets", "POST start",
		"POST addTokenSigningCertificate", "ImportExternalIdPCertificate", "PATCH servicePrincipal", "DeleteExternalIdPCertificate",
	}, operation)
	text, full := strings.CutPrefix(os.Getenv("MATRIX"), "full")
	share, _ := strconv.Atoi(strings.TrimPrefix(text, "/"))
	switch {
	case full:
		return changes || turn%max(share, 1) == 0
	case changes:
		return hashed(name)%p.changes == 0
	default:
		return hashed(name)%p.reads == 0
	}
}

func hashed(name string) uint32 {
	h := fnv.New32a()
	_, _ = h.Write([]byte(name))
	return h.Sum32()
}

func countOperations(trace []string) map[string]int {
	counted := map[string]int{}
	for _, operation := range trace {
		counted[operation]++
	}
	return counted
}
