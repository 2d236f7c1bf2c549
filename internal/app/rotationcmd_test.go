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

// startRotation runs the command rotation start.
func (h *harness) startRotation(how StartOptions) string {
	h.t.Helper()
	how.Pace = 1
	return h.command(func(ctx context.Context, options Options) error { return RotationStart(ctx, options, how) })
}

// A dry run needs no state directory, and only mode enabled lets a command rotate.
func TestOnlyModeEnabledRotates(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHarness(t, []clouds.ConnectionSpec{clouds.Expiring("expiring")})
		h.edit("mode: enabled", "mode: dry_run")
		expectLines(t, h.startRotation(StartOptions{Connection: "expiring"}), "connection expiring: rotation.mode is dry_run: set it to enabled, or use --dry-run")
		h.edit("state: {directory: state}\n", "")
		expectLines(t, h.startRotation(StartOptions{Connection: "expiring", DryRun: true}), "dry run: a rotation would start", "dry run: then test it at AWS and from Entra")
		expectLines(t, h.startRotation(StartOptions{Connection: "expiring"}), "rotation needs a place for its journal and the new token: set state.directory or state.aws")
		expectLines(t, h.command(RotationList), "no rotations recorded")
		for operation := range h.Calls() {
			if operation == "CreateBearerToken" || operation == "DeleteBearerToken" || operation == "PUT secrets" {
				t.Errorf("called %s", operation)
			}
		}
	})
}

// Once a rotation has stored a value, the SCIM probe uses it even after rotation was
// disabled: the file holds the value that was retired.
func TestStoredTokenIsProbedAfterModeChange(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHarness(t, []clouds.ConnectionSpec{clouds.Expiring("expiring")})
		if output := h.startRotation(StartOptions{Connection: "expiring"}); !strings.Contains(output, "done: token") {
			t.Fatalf("the rotation: %s", output)
		}
		history := h.command(func(ctx context.Context, options Options) error { return RotationShow(ctx, options, "expiring") })
		if strings.Count(history, "outcome: done") != 1 || strings.Count(history, "exclusive\n") != 1 || !strings.HasSuffix(history, ": done\n") {
			t.Errorf("the outcome must appear once:\n%s", history)
		}
		for _, line := range []string{
			`(?m)^rotation \S+, started \d{4}-\d\d-\d\d \d\d:\d\d UTC by operator$`,
			`(?m)^  \d{4}-\d\d-\d\d \d\d:\d\d:\d\d UTC  plan `,
			`(?m)^  ended \d{4}-\d\d-\d\d \d\d:\d\d UTC: done$`,
		} {
			if !regexp.MustCompile(line).MatchString(history) {
				t.Errorf("no line %s in:\n%s", line, history)
			}
		}
		if list := h.command(RotationList); !regexp.MustCompile(`(?m)^\d{4}-\d\d-\d\d \d\d:\d\d UTC  expiring `).MatchString(list) {
			t.Errorf("a list without UTC:\n%s", list)
		}
		h.edit("mode: enabled", "mode: disabled")
		expectLines(t, h.doctor("expiring"), "ok      SCIM endpoint                  accepts the token (200)")
	})
}

// An unknown connection is reported before any call is made.
func TestUnknownConnection(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHarness(t, []clouds.ConnectionSpec{clouds.Healthy("corp"), clouds.Expiring("expiring")})
		const none = `unknown connection "typo"; configured: corp, expiring`
		if output := h.startRotation(StartOptions{Connection: "typo"}); output != none {
			t.Errorf("start: %s", output)
		}
		show := func(connection string) string {
			return h.command(func(ctx context.Context, options Options) error { return RotationShow(ctx, options, connection) })
		}
		if output := show("typo"); output != none {
			t.Errorf("show: %s", output)
		}
		if output := show("corp"); output != "no rotations recorded for corp\n" {
			t.Errorf("show without rotations: %s", output)
		}
		if calls := h.Calls(); len(calls) != 0 {
			t.Errorf("called %v", calls)
		}
		h.startRotation(StartOptions{Connection: "expiring"})
		h.edit("name: expiring", "name: renamed")
		expectLines(t, show("expiring"), "started ", "ended ") // the journal has it
	})
}

// A start reads only what could forbid it: whether two connections resolve to one identity
// store, and whether two rotations are blocked.
func TestStartPreconditions(t *testing.T) {
	undecided := func(name string) clouds.ConnectionSpec {
		spec := clouds.Expiring(name)
		spec.Tokens[1].Left = 30 * 24 * time.Hour
		return spec
	}
	synctest.Test(t, func(t *testing.T) {
		h := newHarness(t, []clouds.ConnectionSpec{undecided("one"), undecided("two"), clouds.Expiring("expiring")})
		h.startRotation(StartOptions{Connection: "expiring", DryRun: true})
		calls := h.Calls()
		for _, operation := range []string{"GET provisioning", "LookupEvents", "ListExternalIdPCertificates"} {
			if calls[operation] > 0 {
				t.Errorf("called %s, on which no beginning rests", operation)
			}
		}
		if calls["ListProvisioningTenants"] < 3 || calls["GET jobs"] < 3 {
			t.Errorf("not every connection was resolved: %v", calls)
		}
		expectLines(t, h.startRotation(StartOptions{Connection: "one"}), "one is blocked in phase plan (two_tokens)")
		expectLines(t, h.startRotation(StartOptions{Connection: "two"}), "two is blocked in phase plan (two_tokens)")
		expectLines(t, h.startRotation(StartOptions{Connection: "expiring"}), "connection expiring: ", "(fleet_halt): the rotations of one and two are blocked")
	})
}

// A token that an operator names is deleted, and nothing else is due: the command succeeds.
func TestRetireTokenSucceedsWithoutRotation(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		spec := clouds.Expiring("expiring") // the due token is the unused one
		spec.Tokens = []clouds.TokenSpec{{Age: 345 * 24 * time.Hour, Left: 20 * 24 * time.Hour}, {Age: 24 * time.Hour, Left: 364 * 24 * time.Hour, Saved: true}}
		h := newHarness(t, []clouds.ConnectionSpec{spec})
		output := h.command(func(ctx context.Context, options Options) error {
			err := RotationStart(ctx, options, StartOptions{Connection: "expiring", RetireToken: h.Connection.TokenIDs[0], Pace: 1})
			if err != nil {
				t.Errorf("the command fails: %v", err)
			}
			return err
		})
		expectLines(t, output, "(named)", "the named token is deleted and no other is due")
		if calls := h.Calls(); calls["DeleteBearerToken"] != 1 || calls["CreateBearerToken"] != 0 {
			t.Errorf("called %v", calls)
		}
	})
}

// A mistyped value costs no token: once AWS has rejected it, the operator can enter the
// right one.
func TestMistypedTokenCanBeCorrected(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHarness(t, []clouds.ConnectionSpec{clouds.Expiring("expiring")})
		h.edit("mode: enabled", "mode: enabled, issuer: operator")
		at, made := h.Connection, clouds.BearerToken{}
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
		history := h.command(func(ctx context.Context, options Options) error { return RotationShow(ctx, options, "expiring") })
		if !strings.Contains(history, "\n  stopped: blocked: new_token_rejected\n") || strings.Contains(history, "\n  ended") {
			t.Errorf("a blocked rotation has stopped, not ended:\n%s", history)
		}
		control := func(operation RotationCommand) string {
			return h.command(func(ctx context.Context, options Options) error { return operation(ctx, options, "expiring") })
		}
		if output := control(RotationReset); !strings.Contains(output, "reset: attempt count cleared") || !strings.Contains(output, "without one, run rotation start expiring") {
			t.Errorf("a reset: %s", output)
		}
		expectLines(t, control(RotationAbort), "aborting: ")
		expectLines(t, h.startRotation(StartOptions{Connection: "expiring"}), "resuming", "is in phase test", "aborted: an operator aborted it")
		expectLines(t, give(made.Value), "done: token "+made.ID+" is in use, proof exclusive")
		expectLines(t, give("another"), "which AWS does not refuse (it answers 200): is what you gave the value of that token?")
	})
}

func TestTokenFromStandardInput(t *testing.T) {
	for _, test := range []struct{ name, input, value, problem string }{
		{"a line", " value\r\n", "value", ""},
		{"UTF-8 with a byte order mark", "\xEF\xBB\xBFvalue\n", "value", ""},
		{"UTF-16", "\xFF\xFEv\x00", "", "reading the token: standard input is encoded in UTF-16; save it as UTF-8"},
		{"nothing", "", "", "reading the token from standard input: it is empty"},
	} {
		value, err := readTokenValue(Options{Stdin: strings.NewReader(test.input)})
		problem := ""
		if err != nil {
			problem = err.Error()
		}
		if value.Reveal() != test.value || problem != test.problem {
			t.Errorf("%s: got %q, %q; want %q, %q", test.name, value.Reveal(), problem, test.value, test.problem)
		}
	}
}
