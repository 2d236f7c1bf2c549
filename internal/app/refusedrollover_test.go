package app

import (
	"errors"
	"fmt"
	"net/http"
	"os"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"entra-aws-exporter/internal/model"
	"entra-aws-exporter/internal/simulator"
	"entra-aws-exporter/internal/simulator/clouds"
	"entra-aws-exporter/rotate"
	"entra-aws-exporter/rotate/certificate"
)

// refusal is a call that is refused for lack of a permission, since another one was made.
type refusal struct{ call, since string }

// The moments that are no call: before the first poll, and after it.
const (
	beforePoll     = "the start"
	beforeRollover = "the first poll"
)

func (c refusal) name() string { return c.call + " since " + c.since }

// refusedRollover is a rollover during which a call is refused: its permission is missing.
type refusedRollover struct {
	*callInjector
	command *cliContext
	refusal refusal        // without a call: nothing is refused
	polled  map[string]int // the calls of the first poll
	made    int            // how often the call was made before it was refused; -1: it is not refused yet
	asked   []string       // what an operator was asked to approve
	ended   string         // what the operator read at the end; "": it is done
}

// rollOverRefused rolls over until the end, or until an operator must do more than approve.
func rollOverRefused(t *testing.T, what refusal) *refusedRollover {
	t.Helper()
	spec := clouds.ExpiringCertificate("corp")
	spec.SignInEvery = 20 * time.Minute
	m := newModel(spec)
	h := buildHarness(t, m)
	const role = "arn:aws:iam::" + clouds.DefaultAccount + ":role/certificate-rotator"
	m.AddRole(clouds.Role{ARN: role, Account: clouds.DefaultAccount, Actor: clouds.ActorExporter})
	h.edit("saml: {aws_certificates: console_api}", strings.Replace(rolloverEnabled, "approval: never", "approval: never, role_arn: "+role, 1))
	h.edit(fastIntervals, slowIntervals)
	r := &refusedRollover{callInjector: &callInjector{harness: h, next: h.Transport(), target: -1}, refusal: what, made: -1}
	var err error
	r.command, err = newCLIContext(Options{ConfigFile: h.path("exporter.yml"), Stdout: h.logs, Transport: r, Logger: discardLogger()}, 1)
	if err != nil {
		t.Fatal(err)
	}
	r.refuseSince(beforePoll)
	if err := pollOnce(t.Context(), r.command.poller); err != nil {
		t.Fatal(err)
	}
	r.polled = h.Calls()
	r.counting.Store(true)
	r.refuseSince(beforeRollover)
	r.start(t)
	return r
}

// RoundTrip implements http.RoundTripper.
func (r *refusedRollover) RoundTrip(request *http.Request) (*http.Response, error) {
	response, err := r.callInjector.RoundTrip(request)
	if r.counting.Load() {
		r.mu.Lock()
		last := r.trace[len(r.trace)-1]
		r.mu.Unlock()
		r.refuseSince(last)
	}
	return response, err
}

// refuseSince refuses the call from now on, if the moment has come.
func (r *refusedRollover) refuseSince(moment string) {
	call := r.refusal.call
	if call == "" || r.made >= 0 || moment != r.refusal.since {
		return
	}
	r.made = r.harness.Calls()[call]
	fault := simulator.Fault{Operation: call, Status: http.StatusBadRequest, Code: "AccessDeniedException", Message: "Not authorized."}
	switch {
	case call == "POST token": // by which the exporter signs in
		fault.Status, fault.Code, fault.Message = http.StatusUnauthorized, "AADSTS7000222", "The provided client secret keys are expired."
	case strings.Contains(call, " "): // a method and a path: Graph's
		fault.Status, fault.Code, fault.Message = http.StatusForbidden, "Authorization_RequestDenied", "Insufficient privileges."
	}
	r.harness.InjectFault(fault)
}

// start starts a rollover as an operator, and runs it.
func (r *refusedRollover) start(t *testing.T) {
	t.Helper()
	err := r.command.rotation.engine.Start(t.Context(), "corp", model.ProcedureCertificate, rotate.StartOptions{Force: true})
	if err != nil {
		r.ended = err.Error()
		return
	}
	r.run(t)
}

// run runs the open rollover to its end. An operator approves what it asks for.
func (r *refusedRollover) run(t *testing.T) {
	t.Helper()
	engine := r.command.rotation.engine
	ended := make(chan error)
	go func() {
		record, err := engine.RunToCompletion(t.Context(), "corp", r.command)
		if err == nil {
			err = r.command.printResult(record)
		}
		ended <- err
	}()
	r.ended = ""
	for {
		select {
		case err := <-ended:
			if err != nil {
				r.ended = err.Error()
			}
			return
		case <-time.After(time.Hour):
		}
		if status := r.command.rotation.statusOf("corp", model.ProcedureCertificate); status.Waiting == model.WaitingApproval {
			r.asked = append(r.asked, status.Message)
			if err := engine.Approve(t.Context(), "corp", engine.Records()[0].OldCertificate); err != nil {
				t.Error(err)
			}
		}
	}
}

// permit ends the refusal, and does what the message says.
func (r *refusedRollover) permit(t *testing.T) {
	t.Helper()
	r.harness.ClearFaults()
	if err := r.command.rotation.engine.Reset(t.Context(), "corp"); err != nil {
		t.Error(err)
	}
	if r.command.rotation.statusOf("corp", model.ProcedureCertificate).Started.IsZero() { // nothing was changed, and the reset has ended it
		r.start(t)
	} else {
		r.run(t)
	}
	if r.ended != "" {
		t.Errorf("with the permission, and after a reset: %s", r.ended)
	}
}

// changes are what the exporter has changed on both sides, by the simulator's record.
func (r *refusedRollover) changes() string {
	var made []string
	r.harness.With(func(m *clouds.Model) {
		for _, entry := range m.Timeline() {
			if entry.Stamped().Actor != clouds.ActorExporter {
				continue
			}
			switch entry.(type) {
			case clouds.CertificateCreation:
				made = append(made, "made in Entra")
			case clouds.CertificateImport:
				made = append(made, "imported at AWS")
			case clouds.CertificateActivation:
				made = append(made, "made active in Entra")
			case clouds.CertificateDeletion:
				made = append(made, "the old one deleted at AWS")
			}
		}
	})
	if len(made) == 0 {
		return "nothing"
	}
	return strings.Join(made, ", ")
}

// describe says what an operator sees of the rollover.
func (r *refusedRollover) describe() string {
	var text strings.Builder
	for _, asked := range r.asked {
		fmt.Fprintf(&text, "  asks:    %s\n", asked)
	}
	if r.ended != "" {
		fmt.Fprintf(&text, "  ends:    %s\n", r.ended)
	} else {
		for _, step := range r.command.rotation.engine.Records()[0].Steps {
			if strings.Contains(step.Text, "sign-ins in 7 days") || strings.Contains(step.Text, "outcome: ") {
				fmt.Fprintf(&text, "  logs:    %s\n", step.Text)
			}
		}
	}
	fmt.Fprintf(&text, "  changed: %s", r.changes())
	return r.readable(text.String())
}

var (
	shownTime     = regexp.MustCompile(`\d{4}-\d\d-\d\d \d\d:\d\d UTC`)
	shownRotation = regexp.MustCompile(`20\d{6}T\d{6}-[a-z0-9]{6}(-1-[a-z0-9]{6})?`)
)

// readable replaces what differs between two runs.
func (r *refusedRollover) readable(text string) string {
	r.harness.With(func(m *clouds.Model) {
		at := r.harness.Connection
		for i, listed := range m.Signing(at.EntraTenantID, at.ServicePrincipalID).Certificates {
			text = strings.ReplaceAll(text, certificate.Fingerprint(listed.DER()), []string{"OLD", "NEW"}[i])
		}
	})
	return shownRotation.ReplaceAllString(shownTime.ReplaceAllString(text, "TIME"), "ROTATION")
}

// TestRefusedRollover refuses each call of a rollover for lack of a permission, as a recorded
// one made them: from the start, and from later moments on. The file shows what an operator
// reads. Nobody's sign-in fails, and with the permission the rollover is done. MATRIX=full
// plays every case, and can update the file; the default is a sample.
func TestRefusedRollover(t *testing.T) {
	newHarness(t, []clouds.ConnectionSpec{clouds.ExpiringCertificate("corp")}) // sets the environment
	cases := recordRefusals(t)
	full := strings.HasPrefix(os.Getenv("MATRIX"), "full")
	const file = "testdata/refused-rollover.txt"
	content, err := os.ReadFile(file)
	if err != nil && !*update {
		t.Fatal(err)
	}
	want := map[string]string{}
	for block := range strings.SplitSeq(strings.TrimSuffix(string(content), "\n"), "\n\n") {
		name, text, _ := strings.Cut(block, "\n")
		want[name] = text
	}
	var mu sync.Mutex
	got := map[string]string{}
	t.Run("call", func(t *testing.T) {
		for _, c := range cases {
			if _, described := want[c.name()]; !described && !*update {
				t.Errorf("%s does not describe %q", file, c.name())
			}
			if !full && hashed(c.name())%8 != 0 {
				continue
			}
			t.Run(c.name(), func(t *testing.T) {
				t.Parallel()
				synctest.Test(t, func(t *testing.T) {
					text := c.play(t)
					mu.Lock()
					defer mu.Unlock()
					got[c.name()] = text
				})
			})
		}
	})
	if *update && full {
		var text []string
		for _, c := range cases {
			text = append(text, c.name()+"\n"+got[c.name()])
		}
		if err := errors.Join(os.MkdirAll("testdata", 0o750), os.WriteFile(file, []byte(strings.Join(text, "\n\n")+"\n"), 0o600)); err != nil {
			t.Fatal(err)
		}
		return
	}
	if len(want) != len(cases) {
		t.Errorf("%s describes %d cases, want %d", file, len(want), len(cases))
	}
	for name, text := range got {
		if diff := cmp.Diff(want[name], text); diff != "" {
			t.Errorf("%s: %s (-want +got):\n%s", file, name, diff)
		}
	}
}

// recordRefusals lists the cases that follow from the calls of an undisturbed rollover.
func recordRefusals(t *testing.T) (cases []refusal) {
	t.Helper()
	var undisturbed *refusedRollover
	synctest.Test(t, func(t *testing.T) {
		if undisturbed = rollOverRefused(t, refusal{}); undisturbed.ended != "" {
			t.Fatal(undisturbed.ended)
		}
	})
	trace := append([]string{beforePoll, beforeRollover}, undisturbed.trace...)
	for _, since := range []string{beforePoll, beforeRollover, "POST addTokenSigningCertificate", "PATCH servicePrincipal", "DeleteExternalIdPCertificate"} {
		for _, call := range trace[slices.Index(trace, since)+1:] {
			switch c := (refusal{call, since}); {
			case slices.Contains(cases, c), call == beforeRollover:
			case call == "GET openid-configuration": // which anybody may read
			case since == beforeRollover && undisturbed.polled[call] == 0: // as from the start
			default:
				cases = append(cases, c)
			}
		}
	}
	return cases
}

// play says what an operator sees when the call is refused.
func (c refusal) play(t *testing.T) string {
	t.Helper()
	r := rollOverRefused(t, c)
	if r.made < 0 || r.harness.Calls()[c.call] == r.made {
		t.Error("the call was not made after it was refused")
	}
	r.harness.checkSignIns(t)
	text := r.describe()
	if strings.Contains(r.ended, " is blocked in phase ") {
		r.permit(t)
		r.harness.checkSignIns(t)
	}
	return text
}
