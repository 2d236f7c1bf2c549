package app

import (
	"context"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"entra-aws-exporter/internal/model"
	"entra-aws-exporter/internal/simulator"
	"entra-aws-exporter/internal/simulator/clouds"
)

// startIfDue runs rotation start --if-due; connection "": all. It returns the error, of
// which the exit code is 1, and the output.
func (h *harness) startIfDue(connection string) (string, error) {
	h.t.Helper()
	var failed error
	output := h.command(func(ctx context.Context, options Options) error {
		failed = RotationStart(ctx, options, StartOptions{Connection: connection, IfDue: true, Pace: 1})
		return failed
	})
	return output, failed
}

func (h *harness) list() string { return h.command(RotationList) }

// Each run of rotation start --if-due does what can be done now. What waits for hours
// waits in the journal.
func TestStartIfDue(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		specs := []clouds.ConnectionSpec{clouds.Healthy("idle"), clouds.Expiring("off"), clouds.Expiring("trial"), clouds.Expiring("due")}
		h := newHarness(t, specs)
		for connection, mode := range map[string]string{"off": "disabled", "trial": "dry_run"} {
			part := connectionSection(h.read("exporter.yml"), connection)
			h.edit(part, strings.Replace(part, "rotation: {mode: enabled", "rotation: {mode: "+mode, 1))
		}
		part := connectionSection(h.read("exporter.yml"), "due")
		h.edit(part, strings.Replace(part, "approval: never", "approval: always", 1))
		none := []struct{ connection, want string }{
			{"idle", "idle: not due until "}, {"off", "off: rotation.mode is disabled"}, {"trial", "trial: rotation.mode is dry_run"},
		}
		for _, test := range none {
			output, err := h.startIfDue(test.connection)
			if err != nil || !strings.Contains(output, test.want) || !strings.HasSuffix(output, "; nothing started\n") {
				t.Errorf("%s: %v, output:\n%s", test.connection, err, output)
			}
		}
		if list := h.list(); list != "no rotations recorded\n" || h.mutations() != 0 {
			t.Fatalf("%d mutations and a record although nothing was due:\n%s", h.mutations(), list)
		}

		began := time.Now()
		output, err := h.startIfDue("")
		if err != nil {
			t.Fatalf("%v\n%s", err, output)
		}
		expectLines(t, output, "idle: not due until ", "off: rotation.mode is disabled", "trial: rotation.mode is dry_run",
			"waits in phase retire (retire_wait); the next run continues it, or a running server")
		if took := time.Since(began); took > 12*time.Hour {
			t.Errorf("the run waited %s", took)
		}
		if list := h.list(); strings.Count(list, "due ") < 2 || !strings.Contains(list, "in retire") {
			t.Errorf("the rotations are\n%s", list)
		}

		t.Log("an hour later the old token still stays")
		time.Sleep(time.Hour)
		done := h.mutations()
		if output, err := h.startIfDue("due"); err != nil || !strings.Contains(output, "(retire_wait)") || h.mutations() != done {
			t.Errorf("%d mutations, %v\n%s", h.mutations()-done, err, output)
		}
		time.Sleep(36 * time.Hour)
		if output, err := h.startIfDue(""); err != nil || !strings.Contains(output, "waits in phase retire (approval)") {
			t.Fatalf("%v\n%s", err, output)
		}
		old := h.Credentials.Connections[3].TokenIDs[0]
		h.command(func(ctx context.Context, o Options) error { return RotationApprove(ctx, o, "due", old) })
		if output, err := h.startIfDue(""); err != nil || !strings.Contains(output, "done: token ") {
			t.Errorf("%v\n%s", err, output)
		}
		if output, err := h.startIfDue("due"); err != nil || !strings.Contains(output, "nothing started") {
			t.Errorf("%v\n%s", err, output)
		}
		if list := h.list(); strings.Count(list, "\n") != 2 || !strings.Contains(list, "done") {
			t.Errorf("the rotations are\n%s", list)
		}
	})
}

// While a server works on the rotation, a run leaves it alone, and it is no failure.
func TestStartIfDueBesideAServer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHarness(t, []clouds.ConnectionSpec{clouds.Expiring("due")})
		h.edit(fastIntervals, slowIntervals)
		h.holderIsDead = func(string) bool { return false }
		h.start()
		time.Sleep(15 * time.Minute)
		if status, answer := h.post(firingAlerts("due")); status != 202 {
			t.Fatalf("%d %s", status, answer)
		}
		time.Sleep(5 * time.Minute)
		output, err := h.startIfDue("due")
		if err != nil || !strings.Contains(output, "another process works on it") {
			t.Errorf("%v\n%s", err, output)
		}
		if record := h.waitForOutcome("due"); record.Outcome != model.OutcomeDone || len(h.rotations("due")) != 1 {
			t.Errorf("%+v", record)
		}
	})
}

// A rotation that is blocked, and one about which nothing can be told, fail each run.
func TestStartIfDueFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		undecided := clouds.Expiring("undecided")
		undecided.Tokens[1].Left = 30 * 24 * time.Hour
		h := newHarness(t, []clouds.ConnectionSpec{undecided, clouds.Healthy("idle")})
		for range 2 {
			output, err := h.startIfDue("")
			if err == nil || !strings.Contains(err.Error(), "undecided is blocked in phase plan (two_tokens)") || !strings.Contains(output, "idle: not due") {
				t.Errorf("%v\n%s", err, output)
			}
		}
		if list := h.list(); strings.Count(list, "\n") != 2 {
			t.Errorf("more than one rotation:\n%s", list)
		}
		h.edit(`token_service: "https://127.0.0.1:10198/aws/identitystore/"`, `token_service: "https://127.0.0.1:10198/aws/nothing/"`)
		if output, err := h.startIfDue("idle"); err == nil || !strings.Contains(err.Error(), "cannot tell whether a rotation is due") {
			t.Errorf("%v\n%s", err, output)
		}
	})
}

// A run whose calls fail for an hour ends, so that its schedule shows the failure.
func TestStartIfDueEndsWhenStalled(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHarness(t, []clouds.ConnectionSpec{clouds.Expiring("due")})
		if output, err := h.startIfDue("due"); err != nil {
			t.Fatalf("%v\n%s", err, output)
		}
		h.InjectFault(simulator.Fault{Operation: "ListBearerTokens", Effect: simulator.EffectReset, Times: 500})
		began := time.Now()
		output, err := h.startIfDue("due")
		if took := time.Since(began); err == nil || !strings.Contains(err.Error(), "was left in phase retire") || took > 3*time.Hour {
			t.Errorf("after %s: %v\n%.3000s", took, err, output)
		}
	})
}

// With rotation.trigger: due the exporter begins what is due, without an alert. Another
// connection waits for its alert.
func TestTriggerDue(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		specs := []clouds.ConnectionSpec{clouds.Expiring("due"), clouds.Expiring("waiting"), clouds.Healthy("idle"), clouds.Expiring("trial")}
		h := newHarness(t, specs)
		h.edit(fastIntervals, slowIntervals)
		for _, connection := range []string{"due", "idle", "trial"} {
			part := connectionSection(h.read("exporter.yml"), connection)
			mode := "enabled"
			if connection == "trial" {
				mode = "dry_run"
			}
			h.edit(part, strings.Replace(part, "rotation: {mode: enabled", "rotation: {trigger: due, mode: "+mode, 1))
		}
		h.edit("webhook: {bearer_token_file: webhook-token}\n", "")
		h.start()
		record := h.waitForOutcome("due")
		if record.Outcome != model.OutcomeDone || record.Trigger != model.TriggerDue {
			t.Errorf("%+v", record)
		}
		for _, connection := range []string{"waiting", "idle", "trial"} {
			if list := h.rotations(connection); len(list) != 0 {
				t.Errorf("%s: %+v", connection, list)
			}
		}
		time.Sleep(24 * time.Hour)
		if list := h.rotations("due"); len(list) != 1 {
			t.Errorf("%d rotations", len(list))
		}
		log := h.logs.String()
		if n := strings.Count(log, `msg="rotation started" connection=due trigger=due`); n != 1 {
			t.Errorf("%d lines about the start", n)
		}
		if !strings.Contains(log, "dry run: a rotation would start") || strings.Contains(log, "without a webhook section: only the command") && !strings.Contains(log, "connections[1]") {
			t.Errorf("the log is\n%.4000s", log)
		}
	})
}
