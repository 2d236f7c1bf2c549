package rotate_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"entra-aws-exporter/internal/model"
	"entra-aws-exporter/internal/simulator/clouds"
	"entra-aws-exporter/rotate/journal"
	"entra-aws-exporter/test/harness"
)

// wayOut is one way out of a blocked rotation: an operator does what the message says, then
// runs the command that it prints.
type wayOut struct {
	reason   model.BlockedReason
	change   func(*harness.Scenario)                         // nil: the scenario of the reason
	operator string                                          // what the operator does
	do       func(*harness.Harness, *harness.Process) string // returns the id or fingerprint for the command; nil: nothing
	command  string                                          // as printed, with ID or SHA256; several are separated by ", "; "": none
	leads    string                                          // done | not due | closed
}

// waysOut are the ways out of the blocked rotations of one kind.
type waysOut struct {
	kind    model.Procedure
	ways    []wayOut
	section string // of docs/rotation-reasons.md
	base    func() harness.Scenario
	blocked map[model.BlockedReason]func(*harness.Scenario)
	id      *regexp.Regexp // what stands for shown in a message
	shown   string
	accept  func(h *harness.Harness, id string) // tells the checks what the operator did
	start   func(h *harness.Harness, p *harness.Process, flag func(string) bool, id string) error
	check   func(*testing.T, *harness.Harness) // that users or the provisioning have what they need
}

// cured ends what goes wrong by itself in the scenario.
func cured(h *harness.Harness) {
	h.WithClouds(func(*clouds.Model) { h.FaultsByName, h.Actions, h.BeforeCall = nil, nil, nil })
}

var printedCommand = regexp.MustCompile(`rotation (?:reset|adopt|abort|start|show) (?:corp|each of them)(?: --[a-z-]+(?: ID| SHA256| certificate)?)*`)

// run plays every blocked reason with an operator who does what the message says and runs
// the command that it prints: none leads back to a blocked rotation.
func (k waysOut) run(t *testing.T) {
	var table strings.Builder
	table.WriteString("| Reason | Operator | Command | Leads to |\n|---|---|---|---|\n")
	for _, reason := range model.BlockedReasonsOf(k.kind) {
		if !slices.ContainsFunc(k.ways, func(w wayOut) bool { return w.reason == reason }) {
			t.Errorf("%s has no way out", reason)
		}
	}
	for _, w := range k.ways {
		t.Run(string(w.reason)+": "+w.operator, func(t *testing.T) {
			leads := k.play(t, w)
			if leads != w.leads {
				t.Errorf("leads to %s, want %s", leads, w.leads)
			}
			command := "none"
			if w.command != "" {
				command = "`" + strings.NewReplacer("corp", "CONNECTION", "each of them", "CONNECTION", ", ", "`, `").Replace(w.command) + "`"
			}
			row := fmt.Sprintf("| [%s](#%s) | %s | %s | %s |\n", w.reason, w.reason, w.operator, command, leads)
			t.Log(row)
			table.WriteString(row)
		})
	}
	compareSection(t, "../docs/rotation-reasons.md", k.section, table.String())
}

// play returns where a way out leads.
func (k waysOut) play(t *testing.T, w wayOut) (leads string) {
	t.Helper()
	s := k.base()
	k.blocked[w.reason](&s)
	if w.change != nil {
		s = k.base()
		w.change(&s)
	}
	s.AlertInterval, s.Limit, s.WatchAfter = time.Hour, 60*day, 0
	until := s.Until
	if until == nil {
		until = (*harness.Harness).IsOver
	}
	var played time.Time
	s.Until = func(h *harness.Harness, p *harness.Process) bool {
		if !played.IsZero() {
			return isBlocked(h, p) || hasEnded(h, p, played)
		}
		over, status := until(h, p), p.Engine.Status(h.Connection.Name)
		if !over && status.Blocked != model.BlockedJournalUnreadable {
			return false
		}
		if status.Blocked != w.reason {
			t.Errorf("blocked for %q", status.Blocked)
			return true
		}
		played = time.Now()
		k.operate(t, h, p, w, status.Message)
		return false
	}
	harness.Run(t, s, func(t *testing.T, r harness.Result) {
		p := r.Harness.Current.Load()
		decision := r.Harness.Alert(context.Background(), p)
		record := recordOf(r.Harness, p)
		switch {
		case r.Status.Blocked != "" || record == nil || record.Rotation != nil:
			leads = r.Outcome
		case decision == model.DecisionUnknownConnection:
			leads = "closed"
		case decision == model.DecisionNotDue && !isDone(record, played):
			leads = "not due"
		default:
			leads = string(record.History[len(record.History)-1].Outcome)
		}
		k.check(t, r.Harness)
		if t.Failed() || leads != w.leads {
			t.Log(r.Harness.Timeline())
		}
	})
	return leads
}

// operate does what the message says, and runs the commands in another process.
func (k waysOut) operate(t *testing.T, h *harness.Harness, p *harness.Process, w wayOut, message string) {
	_, next, _ := strings.Cut(message, "next: ")
	printed := printedCommand.FindAllString(k.id.ReplaceAllString(next, k.shown), -1)
	cured(h)
	id := ""
	if w.do != nil {
		id = w.do(h, p)
	}
	k.accept(h, id)
	time.Sleep(time.Hour)
	server := h.Current.Load()
	commandLine := h.Open() // with the present configuration
	h.Current.Store(server)
	for command := range strings.SplitSeq(w.command, ", ") {
		if command == "" {
			continue
		}
		if !slices.Contains(printed, command) {
			t.Errorf("%q is not printed: %s", command, next)
		}
		if err := k.runPrinted(h, commandLine, command, id); err != nil {
			t.Errorf("%s: %v", command, err)
		}
		time.Sleep(10 * time.Minute)
	}
}

// runPrinted runs a command as an operator would.
func (k waysOut) runPrinted(h *harness.Harness, p *harness.Process, command, id string) error {
	ctx, e, name := h.Ctx, p.Engine, h.Connection.Name
	words := strings.Fields(command)
	flag := func(flag string) bool { return slices.Contains(words, flag) }
	switch words[1] {
	case "reset":
		if words[2] == "each" {
			return errors.Join(e.Reset(ctx, "first"), e.Reset(ctx, "second"))
		}
		return e.Reset(ctx, name)
	case "show":
		return nil
	case "abort":
		return e.Abort(ctx, name)
	case "adopt":
		if !flag("--in-use") {
			id = ""
		}
		return e.Adopt(ctx, name, id)
	default:
		return k.start(h, p, flag, id)
	}
}

// recordOf is the connection's record as its process knows it; nil: there is none.
func recordOf(h *harness.Harness, p *harness.Process) *journal.Record {
	if entry := p.Engine.Lookup(h.Connection.Name); entry != nil {
		return entry.Record()
	}
	return nil
}

func isBlocked(h *harness.Harness, p *harness.Process) bool {
	return p.Engine.Status(h.Connection.Name).Blocked != ""
}

// hasEnded tells whether a rotation was done since then, or none is open although the alert
// was repeated after the cooldown.
func hasEnded(h *harness.Harness, p *harness.Process, since time.Time) bool {
	record := recordOf(h, p)
	return record != nil && record.Rotation == nil && (isDone(record, since) || time.Since(since) > 3*day)
}

// isDone tells whether the last rotation was done after this time.
func isDone(record *journal.Record, since time.Time) bool {
	last := len(record.History) - 1
	return last >= 0 && record.History[last].Outcome == model.OutcomeDone && record.History[last].Ended.After(since)
}

// compareSection compares a part of a page, between two comments, with what a test found.
func compareSection(t *testing.T, file, name, want string) {
	t.Helper()
	content, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	begin, end := "<!-- "+name+" -->\n", "<!-- end of "+name+" -->\n"
	before, rest, _ := strings.Cut(string(content), begin)
	section, after, found := strings.Cut(rest, end)
	if !found {
		t.Fatalf("%s has no section %q", file, name)
	}
	if section == want {
		return
	}
	if !*update {
		t.Errorf("%s: the section %q differs; write it with -update", file, name)
		return
	}
	if err := os.WriteFile(file, []byte(before+begin+want+end+after), 0o600); err != nil {
		t.Fatal(err)
	}
}
