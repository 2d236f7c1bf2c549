package app

import (
	"context"
	"regexp"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"entra-aws-exporter/internal/simulator/clouds"
)

// startRotation is the command rotation start.
func (h *harness) startRotation(how StartOptions) string {
	h.t.Helper()
	how.Pace = 1
	return h.command(func(ctx context.Context, options Options) error { return RotationStart(ctx, options, how) })
}

// A dry run needs no place to keep anything, and nothing but enabled lets a command act.
func TestOnlyModeEnabledRotates(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHarness(t, []clouds.ConnectionSpec{clouds.Expiring("expiring")})
		h.edit("mode: enabled", "mode: dry_run")
		expectLines(t, h.startRotation(StartOptions{Connection: "expiring"}), "connection expiring: rotation.mode is dry_run: set it to enabled, or ask for --dry-run")
		h.edit("state: {directory: state}\n", "")
		expectLines(t, h.startRotation(StartOptions{Connection: "expiring", DryRun: true}), "dry run: a rotation would begin", "dry run: then test it at AWS and from Entra")
		expectLines(t, h.startRotation(StartOptions{Connection: "expiring"}), "rotation needs a state directory for its journal and the new token: set state.directory")
		expectLines(t, h.command(RotationList), "no rotations recorded")
		for operation := range h.Calls() {
			if operation == "CreateBearerToken" || operation == "DeleteBearerToken" || operation == "PUT secrets" {
				t.Errorf("called %s", operation)
			}
		}
	})
}

// Once a rotation has put a value into the vault, that is what is probed with, even if
// no rotation is wanted any more: the file holds the value that was retired.
func TestStoredTokenIsProbedAfterModeChange(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHarness(t, []clouds.ConnectionSpec{clouds.Expiring("expiring")})
		if said := h.startRotation(StartOptions{Connection: "expiring"}); !strings.Contains(said, "done: token") {
			t.Fatalf("the rotation: %s", said)
		}
		story := h.command(func(ctx context.Context, options Options) error { return RotationShow(ctx, options, "expiring") })
		if strings.Count(story, "ended: done") != 1 || strings.Count(story, "exclusive\n") != 1 || !strings.HasSuffix(story, ": done\n") {
			t.Errorf("a story that tells its end once:\n%s", story)
		}
		for _, line := range []string{
			`(?m)^rotation \S+, started \d{4}-\d\d-\d\d \d\d:\d\d UTC by operator$`,
			`(?m)^  \d{4}-\d\d-\d\d \d\d:\d\d:\d\d UTC  plan `,
			`(?m)^  ended \d{4}-\d\d-\d\d \d\d:\d\d UTC: done$`,
		} {
			if !regexp.MustCompile(line).MatchString(story) {
				t.Errorf("no line %s in:\n%s", line, story)
			}
		}
		if list := h.command(RotationList); !regexp.MustCompile(`(?m)^\d{4}-\d\d-\d\d \d\d:\d\d UTC  expiring `).MatchString(list) {
			t.Errorf("a list without UTC:\n%s", list)
		}
		h.edit("mode: enabled", "mode: disabled")
		expectLines(t, h.doctor("expiring"), "ok      SCIM endpoint                  accepts the token (200)")
	})
}

// A name that is none of a connection's is found out before anything is asked.
func TestUnknownConnection(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHarness(t, []clouds.ConnectionSpec{clouds.Healthy("corp"), clouds.Expiring("expiring")})
		const none = `no connection "typo" is configured; configured: corp, expiring`
		if said := h.startRotation(StartOptions{Connection: "typo"}); said != none {
			t.Errorf("start: %s", said)
		}
		show := func(connection string) string {
			return h.command(func(ctx context.Context, options Options) error { return RotationShow(ctx, options, connection) })
		}
		if said := show("typo"); said != none {
			t.Errorf("show: %s", said)
		}
		if said := show("corp"); said != "no rotations recorded for corp\n" {
			t.Errorf("show of what never rotated: %s", said)
		}
		if calls := h.Calls(); len(calls) != 0 {
			t.Errorf("called %v", calls)
		}
		h.startRotation(StartOptions{Connection: "expiring"})
		h.edit("name: expiring", "name: renamed")
		expectLines(t, show("expiring"), "started ", "ended ") // the journal knows it
	})
}

// To begin a rotation not everything is read, but what forbids it is: that two connections
// lead to one identity store, and that two rotations are blocked.
func TestStartPreconditions(t *testing.T) {
	doubtful := func(name string) clouds.ConnectionSpec {
		spec := clouds.Expiring(name)
		spec.Tokens[1].Left = 30 * 24 * time.Hour
		return spec
	}
	synctest.Test(t, func(t *testing.T) {
		h := newHarness(t, []clouds.ConnectionSpec{doubtful("one"), doubtful("two"), clouds.Expiring("expiring")})
		h.startRotation(StartOptions{Connection: "expiring", DryRun: true})
		calls := h.Calls()
		for _, operation := range []string{"GET provisioning", "LookupEvents", "ListExternalIdPCertificates"} {
			if calls[operation] > 0 {
				t.Errorf("called %s, on which no beginning rests", operation)
			}
		}
		if calls["ListInstances"] < 3 || calls["GET jobs"] < 3 {
			t.Errorf("not every connection was resolved: %v", calls)
		}
		expectLines(t, h.startRotation(StartOptions{Connection: "one"}), "one is blocked in phase plan (two_tokens)")
		expectLines(t, h.startRotation(StartOptions{Connection: "two"}), "two is blocked in phase plan (two_tokens)")
		expectLines(t, h.startRotation(StartOptions{Connection: "expiring"}), "connection expiring: ", "(fleet_halt): the rotations of one and two are blocked")
	})
}

// A slip of the hand costs no token: once AWS refuses the value that was given, the right
// one may be given after it.
func TestMistypedTokenCanBeCorrected(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHarness(t, []clouds.ConnectionSpec{clouds.Expiring("expiring")})
		h.edit("mode: enabled", "mode: enabled, issuer: operator")
		at, made := h.credentials.Connections[0], clouds.BearerToken{}
		h.With(func(w *clouds.Model) {
			expired := at.TokenIDs[1]
			if err := w.DeleteBearerToken(clouds.CallerFor(clouds.ActorOperator), at.IdentityStoreID, at.ProvisioningTenantID, expired); err != nil {
				t.Fatal(err)
			}
			var err error
			if made, err = w.CreateBearerToken(clouds.CallerFor(clouds.ActorOperator), at.IdentityStoreID, at.ProvisioningTenantID); err != nil {
				t.Fatal(err)
			}
		})
		give := func(value string) string {
			return h.command(func(ctx context.Context, options Options) error {
				options.Stdin = strings.NewReader(value + "\n")
				return RotationStart(ctx, options, StartOptions{Connection: "expiring", Force: true, TokenStdin: true, TokenID: made.ID, Pace: 1})
			})
		}
		expectLines(t, give("mistyped"), "new_token_rejected")
		story := h.command(func(ctx context.Context, options Options) error { return RotationShow(ctx, options, "expiring") })
		if !strings.Contains(story, "\n  stopped: blocked: new_token_rejected\n") || strings.Contains(story, "\n  ended") {
			t.Errorf("what is blocked has stopped and not ended:\n%s", story)
		}
		steer := func(act RotationCommand) string {
			return h.command(func(ctx context.Context, options Options) error { return act(ctx, options, "expiring") })
		}
		if said := steer(RotationReset); !strings.Contains(said, "reset: attempt count cleared") || !strings.Contains(said, "without one, run rotation start expiring") {
			t.Errorf("a reset: %s", said)
		}
		expectLines(t, steer(RotationAbort), "aborting: ")
		expectLines(t, h.startRotation(StartOptions{Connection: "expiring"}), "resuming", "is in phase test", "aborted: a person aborted it")
		expectLines(t, give(made.Value), "done: token "+made.ID+" is in use, proof exclusive")
		expectLines(t, give("another"), "which AWS does not refuse (it answers 200): is what you gave the value of that token?")
	})
}
