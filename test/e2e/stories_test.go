//go:build e2e

package e2e

import (
	"encoding/json"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"entra-aws-exporter/internal/model"
	"entra-aws-exporter/internal/simulator"
)

const (
	fleetConnection = "connection-001"
	codePrefix      = "SystemForCrossDomainIdentityManagement"
)

// TestStories plays faults of AWS and Entra that once led to an outage, to a needless
// block, or to a wrong reading. STORIES_EXPORTER is another exporter's binary, to compare.
func TestStories(t *testing.T) {
	t.Parallel()
	for name, story := range map[string]func(*testing.T){
		"quarantine_with_another_code":        storyQuarantineCode,
		"endpoint_unreachable_during_confirm": storyUnavailableInConfirm,
		"endpoint_unreachable_at_the_start":   storyUnavailableAtStart,
		"test_says_invalid_credentials":       storyInvalidCredentials,
		"deletion_fails_for_a_while":          storyDeletionUnavailable,
		"new_token_deleted_after_the_save":    storyNewTokenDeleted,
		"entra_drops_the_save":                storyDroppedSave,
		"repair_while_another_waits":          storyRepairOvertakes,
		"access_token_revoked":                storyAccessTokenRevoked,
		"error_echoes_the_token":              storyEchoedToken,
		"only_token_is_not_in_use":            storyUnsavedToken,
		"credentials_of_another_instance":     storyWrongInstance,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			story(t)
		})
	}
}

func (c *simulatorProcess) calls(operation string) int {
	c.t.Helper()
	var calls map[string]int
	c.control(http.MethodGet, "calls", nil, &calls)
	return calls[operation]
}

// editConfig replaces what a pattern matches in the exporter's configuration.
func (c *simulatorProcess) editConfig(pattern, replacement string) {
	c.t.Helper()
	path := filepath.Join(c.directory, "config.yaml")
	text := read(c.t, path)
	edited := regexp.MustCompile(pattern).ReplaceAllString(text, replacement)
	if edited == text {
		c.t.Fatalf("the configuration has no %s", pattern)
	}
	write(c.t, path, edited)
}

// waitForPhase waits until the newest rotation of a connection is in a phase.
func (e *exporter) waitForPhase(connection string, phases ...model.Phase) {
	e.t.Helper()
	eventually(e.t, rotationTimeout, connection+" is in "+string(phases[0]), func() bool {
		list := e.rotations(connection)
		return len(list) > 0 && slices.Contains(phases, list[0].Phase)
	}, func() string { return e.get("/api/v1/rotations") })
}

// waitForOutcome waits until the newest rotation of a connection has an outcome. It fails
// if that is another.
func (e *exporter) waitForOutcome(connection string, want model.Outcome, reason string) {
	e.t.Helper()
	eventually(e.t, rotationTimeout, connection+" has an outcome", func() bool {
		list := e.rotations(connection)
		return len(list) > 0 && list[0].Outcome != ""
	}, func() string { return e.get("/api/v1/rotations") })
	newest := e.rotations(connection)[0]
	e.t.Logf("%s: %s %s %s", connection, newest.Outcome, newest.Reason, newest.Proof)
	if newest.Outcome != want || !strings.Contains(newest.Reason, reason) {
		steps, _ := json.MarshalIndent(newest.Steps, "", " ")
		e.t.Errorf("%s ended %s (%s), want %s %s\n%s", connection, newest.Outcome, newest.Reason, want, reason, steps)
	}
}

func (e *exporter) get(path string) string {
	e.t.Helper()
	response, err := http.Get(e.url + path)
	if err != nil {
		return err.Error()
	}
	defer func() { _ = response.Body.Close() }()
	content, err := io.ReadAll(response.Body)
	if err != nil {
		return err.Error()
	}
	return string(content)
}

// metric returns the lines of a family that contain each of some texts.
func (e *exporter) metric(family string, texts ...string) []string {
	e.t.Helper()
	var found []string
	for line := range strings.Lines(e.get("/metrics")) {
		if strings.HasPrefix(line, family+"{") && !slices.ContainsFunc(texts, func(text string) bool { return !strings.Contains(line, text) }) {
			found = append(found, strings.TrimSpace(line))
		}
	}
	return found
}

// storyQuarantineCode: Entra words the quarantine as in Microsoft's own sample.
func storyQuarantineCode(t *testing.T) {
	c := startSimulator(t, "demo")
	job := c.connection("quarantined").Binding.ServicePrincipalID
	code, _ := json.Marshal(codePrefix + "InvalidCredentials")
	c.fault(simulator.Fault{Operation: "GET job", Path: job, Effect: simulator.EffectEdit,
		Set: map[string]json.RawMessage{"/status/quarantine/error/code": code}})
	e := c.startExporter(freeAddress(t))
	eventually(t, time.Minute, "the repair has started", e.startedByAlert(c.bearer(), "quarantined"))
	e.waitForPhase("quarantined", model.PhaseSwitch, model.PhaseResume, model.PhaseVerify)
	c.clearFaults()
	e.waitForOutcome("quarantined", model.OutcomeDone, "")
}

// unavailable is Entra's response to "Test connection" when it cannot reach the endpoint.
var unavailable = simulator.Fault{Operation: "POST validateCredentials", Status: http.StatusBadRequest,
	Code: codePrefix + "CredentialValidationUnavailable", Message: "We could not reach the endpoint."}

// storyUnavailableInConfirm: Entra cannot reach the endpoint for a while after the old
// token is deleted. That is no reason to save the token again.
func storyUnavailableInConfirm(t *testing.T) {
	c := startSimulator(t, "fleet-1")
	c.age("250d")
	before := c.connection(fleetConnection)
	e := c.startExporter(freeAddress(t))
	eventually(t, time.Minute, "the rotation has started", e.startedByAlert(c.bearer(), fleetConnection))
	e.waitForPhase(fleetConnection, model.PhaseConfirm)
	saves := c.calls("PUT secrets")
	c.fault(unavailable)
	time.Sleep(20 * time.Second) // 100 minutes of the simulator
	if again := c.calls("PUT secrets") - saves; again != 0 {
		t.Errorf("the token was saved %d times more", again)
	}
	c.clearFaults()
	e.waitForOutcome(fleetConnection, model.OutcomeDone, "")
	c.assertRotated(before)
}

// storyUnavailableAtStart: Entra cannot reach the endpoint when a due rotation starts. The
// rotation does not end as done with the old token.
func storyUnavailableAtStart(t *testing.T) {
	c := startSimulator(t, "fleet-1")
	c.age("250d")
	before := c.connection(fleetConnection)
	c.fault(unavailable)
	e := c.startExporter(freeAddress(t))
	eventually(t, time.Minute, "the rotation has started", e.startedByAlert(c.bearer(), fleetConnection))
	time.Sleep(20 * time.Second)
	c.clearFaults()
	eventually(t, rotationTimeout, "a rotation is done", func() bool {
		_, _ = e.post(c.bearer(), alertPayload(fleetConnection))
		list := e.rotations(fleetConnection)
		return len(list) > 0 && list[0].Outcome == model.OutcomeDone
	}, func() string { return e.get("/api/v1/rotations") })
	c.assertRotated(before)
}

// storyInvalidCredentials: "Test connection" calls the dead token InvalidCredentials. The
// repair takes that for a failed test.
func storyInvalidCredentials(t *testing.T) {
	c := startSimulator(t, "demo")
	c.fault(simulator.Fault{Operation: "POST validateCredentials", Path: c.connection("quarantined").Binding.ServicePrincipalID,
		Status: http.StatusBadRequest, Code: codePrefix + "InvalidCredentials"})
	e := c.startExporter(freeAddress(t))
	eventually(t, time.Minute, "the repair has started", e.startedByAlert(c.bearer(), "quarantined"))
	e.waitForPhase("quarantined", model.PhaseTest, model.PhaseSwitch)
	c.clearFaults()
	e.waitForOutcome("quarantined", model.OutcomeDone, "")
}

// storyDeletionUnavailable: AWS answers the deletion five times with 503.
func storyDeletionUnavailable(t *testing.T) {
	c := startSimulator(t, "fleet-1")
	c.age("250d")
	before := c.connection(fleetConnection)
	c.fault(simulator.Fault{Operation: "DeleteBearerToken", Status: http.StatusServiceUnavailable, Code: "ServiceUnavailableException", Times: 5})
	e := c.startExporter(freeAddress(t))
	eventually(t, time.Minute, "the rotation has started", e.startedByAlert(c.bearer(), fleetConnection))
	e.waitForOutcome(fleetConnection, model.OutcomeDone, "")
	c.assertRotated(before)
}

// storyNewTokenDeleted: an operator deletes the new token right after it was saved, in the
// first rotation, whose old token has no known value.
func storyNewTokenDeleted(t *testing.T) {
	c := startSimulator(t, "fleet-1")
	c.age("250d")
	c.editConfig(` *scim_token_file: .*\n`, "")
	e := c.startExporter(freeAddress(t))
	eventually(t, time.Minute, "the rotation has started", e.startedByAlert(c.bearer(), fleetConnection))
	eventually(t, time.Minute, "the new token is saved", func() bool { return c.calls("PUT secrets") > 0 })
	deleted := e.rotations(fleetConnection)[0].NewTokenID
	c.performAction(simulator.Action{Do: "delete_token", Connection: fleetConnection, TokenID: deleted}, nil)
	var state simulator.ConnectionState
	eventually(t, rotationTimeout, "Entra holds another token that AWS accepts", func() bool {
		state = c.connection(fleetConnection)
		return state.SavedTokenID != deleted && slices.ContainsFunc(state.Tokens, func(token simulator.TokenState) bool { return token.ID == state.SavedTokenID })
	}, func() string { return e.get("/api/v1/rotations") })
	t.Logf("an outage of %.0f s", state.OutageSeconds)
}

// storyDroppedSave: Entra answers 204 and keeps the old token. CloudTrail shows that the
// old one is in use, and no approval is asked for.
func storyDroppedSave(t *testing.T) {
	c := startSimulator(t, "fleet-1")
	c.age("250d")
	c.quirk("put_secrets", "keeps_token")
	before := c.connection(fleetConnection)
	e := c.startExporter(freeAddress(t))
	// CloudTrail can tell tokens apart only if it shows calls from before the new one: wait
	// for a cycle, and for CloudTrail's delay.
	time.Sleep(12 * time.Second)
	eventually(t, time.Minute, "the rotation has started", e.startedByAlert(c.bearer(), fleetConnection))
	e.waitForOutcome(fleetConnection, model.OutcomeBlocked, string(model.BlockedProofContradicted))
	after := c.connection(fleetConnection)
	if after.OutageSeconds != before.OutageSeconds || !slices.ContainsFunc(after.Tokens, func(token simulator.TokenState) bool { return token.ID == before.SavedTokenID }) {
		t.Errorf("the token in use was deleted: an outage of %.0f s", after.OutageSeconds-before.OutageSeconds)
	}
}

// storyRepairOvertakes: one rotation waits for approval while another connection's token
// expires. The repair does not wait.
func storyRepairOvertakes(t *testing.T) {
	c := startSimulator(t, "fleet-2")
	c.age("250d")
	path := filepath.Join(c.directory, "config.yaml")
	write(t, path, editConnection(t, read(t, path), fleetConnection, "approval: never, cooldown", "approval: always, cooldown"))
	e := c.startExporter(freeAddress(t))
	eventually(t, time.Minute, "the first rotation has started", e.startedByAlert(c.bearer(), fleetConnection))
	eventually(t, rotationTimeout, "it waits for approval", func() bool {
		return len(e.metric("entra_aws_rotation_waiting_info", fleetConnection, `reason="approval"`)) > 0
	})
	const dying = "connection-002"
	c.performAction(simulator.Action{Do: "expire_token", Connection: dying, TokenID: c.connection(dying).SavedTokenID}, nil)
	eventually(t, rotationTimeout, "the repair has started", e.startedByAlert(c.bearer(), dying), func() string { return e.get("/api/v1/rotations") })
	e.waitForOutcome(dying, model.OutcomeDone, "")
	if first := e.rotations(fleetConnection)[0]; first.Outcome != "" {
		t.Errorf("the first rotation ended %s", first.Outcome)
	}
}

// storyAccessTokenRevoked: Graph rejects the access token once.
func storyAccessTokenRevoked(t *testing.T) {
	c := startSimulator(t, "fleet-1")
	e := c.startExporter(freeAddress(t))
	up := func(value string) func() bool {
		return func() bool {
			return slices.ContainsFunc(e.metric("entra_aws_source_up", `source="job"`, fleetConnection), func(line string) bool { return strings.HasSuffix(line, " "+value) })
		}
	}
	eventually(t, time.Minute, "the job is read", up("1"))
	signIns := c.calls("POST token")
	c.fault(simulator.Fault{Operation: "GET job", Status: http.StatusUnauthorized, Code: "InvalidAuthenticationToken", Message: "Continuous access evaluation", Times: 1})
	eventually(t, 30*time.Second, "the exporter signs in again", func() bool { return c.calls("POST token") > signIns })
	eventually(t, 30*time.Second, "the job is read again", up("1"))
}

// storyEchoedToken: the token service's error contains the value of the token in use.
func storyEchoedToken(t *testing.T) {
	c := startSimulator(t, "fleet-1")
	value := strings.TrimSpace(read(t, filepath.Join(c.directory, "scim-token-"+fleetConnection)))
	c.fault(simulator.Fault{Operation: "ListBearerTokens", Status: http.StatusBadRequest, Code: "ValidationException", Message: "Invalid request near " + value})
	e := c.launchExporter(freeAddress(t))
	eventually(t, time.Minute, "the source is down", func() bool {
		return len(e.metric("entra_aws_source_up", `source="tokens"`)) > 0 && strings.Contains(e.output(), "ValidationException")
	})
	_, _ = e.post(c.bearer(), alertPayload(fleetConnection))
	time.Sleep(3 * time.Second)
	for _, path := range []string{"/", "/api/v1/connections", "/api/v1/rotations", "/metrics"} {
		if strings.Contains(e.get(path), value) {
			t.Errorf("%s shows the token's value", path)
		}
	}
	if strings.Contains(e.output(), value) {
		t.Error("the log shows the token's value")
	}
	for _, arguments := range [][]string{{"rotation", "show", fleetConnection}, {"rotation", "start", "--dry-run", fleetConnection}, {"status"}, {"doctor"}, {"metrics"}} {
		log := filepath.Join(c.directory, "command-"+arguments[0]+"-"+strconv.Itoa(len(arguments))+".log")
		p := start(t, log, c.environment, exporterBinary(t), append([]string{"--config.file=" + filepath.Join(c.directory, "config.yaml")}, arguments...)...)
		select {
		case <-p.exited:
		case <-time.After(time.Minute):
			t.Errorf("%v does not exit", arguments)
		}
		if strings.Contains(p.output(), value) {
			t.Errorf("%v shows the token's value", arguments)
		}
	}
	err := filepath.WalkDir(filepath.Join(c.directory, "state", "journal"), func(path string, entry os.DirEntry, err error) error {
		if err == nil && !entry.IsDir() && strings.Contains(read(t, path), value) {
			t.Errorf("%s has the token's value", filepath.Base(path))
		}
		return nil // the directory may not exist yet
	})
	if err != nil {
		t.Error(err)
	}
}

// storyUnsavedToken: an operator deletes the token that Entra holds, creates another, and
// forgets to save it. The listed one is not in use.
func storyUnsavedToken(t *testing.T) {
	c := startSimulator(t, "fleet-1")
	e := c.startExporter(freeAddress(t))
	const roles = "entra_aws_scim_token_info"
	eventually(t, time.Minute, "the token's role is known", func() bool { return len(e.metric(roles, `role="in_use"`)) > 0 }, func() string { return e.get("/metrics") })
	c.performAction(simulator.Action{Do: "delete_token", Connection: fleetConnection, TokenID: c.connection(fleetConnection).SavedTokenID}, nil)
	var created struct {
		TokenID string `json:"token_id"`
	}
	c.performAction(simulator.Action{Do: "create_token", Connection: fleetConnection}, &created)
	eventually(t, time.Minute, "the new token is shown", func() bool { return len(e.metric(roles, created.TokenID)) > 0 }, func() string { return e.get("/metrics") })
	for began := time.Now(); time.Since(began) < 30*time.Second; time.Sleep(time.Second) {
		if wrong := e.metric(roles, created.TokenID, `role="in_use"`); len(wrong) > 0 {
			t.Fatalf("a token that Entra never got is in use: %s", wrong[0])
		}
	}
	t.Log(e.metric(roles, created.TokenID))
}

// storyWrongInstance: the application belongs to another instance than the AWS credentials.
func storyWrongInstance(t *testing.T) {
	c := startSimulator(t, "fleet-2")
	first, second := c.connection(fleetConnection).Binding.ServicePrincipalID, c.connection("connection-002").Binding.ServicePrincipalID
	c.editConfig(first, "SWAP")
	c.editConfig(second, first)
	c.editConfig("SWAP", second)
	e := c.startExporter(freeAddress(t))
	var page string
	eventually(t, time.Minute, "the API tells that the target is wrong", func() bool {
		page = e.get("/api/v1/connections")
		return strings.Contains(page, `"reason": "wrong_target"`)
	}, func() string { return page })
	t.Log(regexp.MustCompile(`"message": ?"[^"]*identity store[^"]*"`).FindString(page))
	if wrong := e.metric("entra_aws_scim_token_info"); len(wrong) > 0 {
		t.Errorf("tokens of the wrong instance are shown: %v", wrong)
	}
}
