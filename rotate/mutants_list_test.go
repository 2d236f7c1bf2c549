package rotate

import (
	"fmt"
	"time"

	"entra-aws-exporter/internal/bridge"
	"entra-aws-exporter/internal/simulator/world"
)

// The matrix: see the package's proof documentation (docs/rotation-proof.md).

// traps are scenarios in which a particular mistake would do harm.
func traps() []trial {
	with := func(name string, allowed []string, change func(*scenario)) trial {
		s := short()
		change(&s)
		return trial{scenario: s, base: short, prefix: "trap ", name: "trap:" + name, allowed: allowed}
	}
	blind := func(s *scenario) { s.quirks.CloudTrail = world.TrailAbsent }
	return []trial{
		with("dropped once", []string{"done"}, func(s *scenario) {
			blind(s)
			s.quirks.PutSecrets = world.PutKeepsToken
			s.hands = map[string]func(*lab){"aws.delete#1": func(l *lab) {
				l.locked(func(w *world.World) { _ = w.SetQuirk("put_secrets", world.PutMerges) })
			}}
		}),
		with("nobody approves", []string{"waiting approval"}, func(s *scenario) {
			blind(s)
			s.approves = false
			s.limit = 3 * 24 * time.Hour
		}),
		with("nobody approves, one id for all", []string{"waiting approval"}, func(s *scenario) {
			s.quirks.CloudTrail = world.TrailConstant
			s.prepare = withHistory
			s.approves = false
			s.limit = 3 * 24 * time.Hour
		}),
		with("nobody approves, the log is blind", []string{"waiting approval"}, func(s *scenario) {
			s.quirks.CloudTrail = world.TrailBlind
			s.prepare = withHistory
			s.approves = false
			s.limit = 3 * 24 * time.Hour
		}),
		with("repaired, killed before the start", []string{"done"}, func(s *scenario) {
			*s = repair()
			s.named = map[string]fault{"graph.start#1": killedBefore}
		}),
		with("a person resets it after the PUT", []string{"done"}, func(s *scenario) {
			s.quirks.PutSecrets = world.PutKeepsToken
			s.hands = map[string]func(*lab){"graph.app#4": func(l *lab) { l.saveByHand(world.ActorTerraform, l.at.TokenIDs[0]) }}
			s.until = func(l *lab, current *session) bool {
				if l.isOver(current) && current.engine.Status(l.at.Name).Blocked != "" && l.counts["a reset"] == 0 {
					l.counts["a reset"]++
					l.locked(func(w *world.World) { _ = w.SetQuirk("put_secrets", world.PutMerges) })
					l.note("a person resets it: %v", current.engine.Reset(l.ctx, l.at.Name))
					return false
				}
				return l.isOver(current)
			}
		}),
		with("the old token shows another creation", []string{"blocked foreign_token"}, func(s *scenario) {
			s.hands = map[string]func(*lab){"graph.put#1": skewed(3*time.Minute, 0)} // within what clocks may differ
		}),
		with("the new token is deleted before it is saved", []string{"blocked new_token_rejected"}, func(s *scenario) {
			s.every = func(l *lab, name string) {
				rec := l.current.engine.bookFor(l.at.Name).last()
				if name == "resolve" && l.counts["a deletion"] == 0 && rec != nil && rec.Rotation != nil && rec.Rotation.Phase == bridge.PhaseSwitch {
					l.counts["a deletion"]++
					deleteByHand(l, newest(l))
					time.Sleep(2 * time.Minute)
				}
			}
		}),
		with("the only valid token is of no use", []string{"blocked *"}, func(s *scenario) {
			*s = repair()
			s.prepare = func(l *lab) { rememberOld(l); l.valueLost = true }
			s.named = map[string]fault{}
			for n := 4; n < 10; n++ {
				s.named[fmt.Sprintf("vault.write#%d", n)] = refused
			}
		}),
		with("lists that flicker", []string{"done"}, func(s *scenario) {
			s.quirks.Nodes = world.NodesApart
			_ = s.quirks.Set("list_lag", "1m30s")
		}),
		with("deleted tokens live on", []string{"done"}, func(s *scenario) { _ = s.quirks.Set("deleted_lag", "1h0m0s") }),
		with("one user fails", []string{"done"}, func(s *scenario) { s.quirks.FailingUser = world.OneUserFails }),
		with("replaces", []string{"done"}, func(s *scenario) { s.quirks.PutSecrets = world.PutReplaces }),
		with("replaces, masked", []string{"done"}, func(s *scenario) {
			s.quirks.PutSecrets, s.quirks.BaseAddress = world.PutReplaces, world.AddressMasked
		}),
		with("replaces, a flag", []string{"done"}, func(s *scenario) {
			s.quirks.PutSecrets, s.quirks.BaseAddress = world.PutReplaces, world.AddressQuery
		}),
		with("replaces, an extra key", []string{"done"}, func(s *scenario) {
			s.quirks.PutSecrets, s.quirks.ExtraKeys = world.PutReplaces, world.ExtraClear
		}),
		with("a masked key", []string{"blocked unknown_secret_keys"}, func(s *scenario) { s.quirks.ExtraKeys = world.ExtraMasked }),
		with("keys absent", []string{"done"}, func(s *scenario) { s.quirks.SettingsKeys = world.KeysAbsent }),
		with("engine caches", []string{"done"}, func(s *scenario) { s.quirks.EngineReads = world.ReadsHourly }),
		with("engine caches, the save comes right after a cycle", []string{"done"}, func(s *scenario) {
			blind(s)
			s.quirks.EngineReads = world.ReadsHourly
			s.policy.Approval = ApproveNever
			s.prepare = func(l *lab) {
				rememberOld(l)
				time.Sleep(6 * time.Minute)
			}
		}),
		with("a stranger's token and a lost answer", []string{"blocked orphan_token", "aborted"}, func(s *scenario) {
			s.named = map[string]fault{"aws.create#1": killedBefore}
			came := false
			s.every = func(l *lab, name string) {
				if !came && name == "aws.list" && l.counts["aws.create"] > 0 {
					came = true
					time.Sleep(time.Minute) // well outside of the window
					l.createByHand()
				}
			}
		}),
		with("a list that lags behind a lost answer", []string{"done", "aborted"}, func(s *scenario) {
			s.named = map[string]fault{"aws.create#1": answerLost}
			_ = s.quirks.Set("list_lag", "1m30s")
		}),
		with("paused", []string{"blocked job_stopped"}, func(s *scenario) {
			s.hands = map[string]func(*lab){"graph.put#1": byHand(pauseJob)}
		}),
		with("too many deletes", []string{"blocked quarantine_other"}, func(s *scenario) {
			s.hands = map[string]func(*lab){"graph.put#1": byHand(func(l *lab, w *world.World) error {
				return w.QuarantineForDeletes(l.at.EntraTenantID, l.at.ServicePrincipalID, l.at.JobID)
			})}
		}),
		with("again and again", []string{"aborted", "blocked budget_exhausted"}, func(s *scenario) {
			s.named = map[string]fault{"aws.create": throttled}
			s.policy.Cooldown, s.policy.MaxAttempts = time.Minute, 100
			s.alerts = 20 * time.Minute
			s.limit = 20 * time.Hour
			s.until = func(*lab, *session) bool { return false }
		}),
		with("the journal is put back to before the PUT", []string{"blocked state_restored", "done"}, func(s *scenario) {
			prepare := s.prepare
			s.prepare = func(l *lab) { prepare(l); l.memory.keepPast, l.valueLost = true, true }
			s.hands = map[string]func(*lab){"graph.test#6": func(l *lab) { l.memory.putBack(len(l.memory.past) * 2 / 3) }}
		}),
		with("given up after the PUT", []string{"done"}, func(s *scenario) {
			s.hands = map[string]func(*lab){"graph.test#5": func(l *lab) {
				current := l.current
				go func() { _ = current.engine.Abort(l.ctx, l.at.Name) }()
			}}
		}),
	}
}

// mutants are the mistakes of which each must be caught; the first ones with every test.
var mutants = []mutant{
	{"undo after an attempted PUT (G7)", "rotation.go", "func (r *rotation) putAttempted() bool { return len(r.Puts) > 0 }", "func (r *rotation) putAttempted() bool { return false }", "trap:given up", nil},
	{"an intent is not written", "act.go", "*d.list(rec.Rotation) = append((*d.list(rec.Rotation))[:a.Number-1], a)\n", "", "^whole", nil},
	{"confirm right after the delete", "confirm.go", "if !r.used(job, r.rotation().Proof.Settled) {", "if false {", "^whole", nil},
	{"no approval, no trust, no attribution", "retire.go", "return rot.Proof.atLeast(bridge.ProofAttributed) || rot.Plan.Trusted", "return true", "trap:nobody", nil},
	{"create is sent again after an unknown answer", "create.go", "if rot.creating() {", "if false && rot.creating() {", "aws.create:(answer|killed)", nil},
	{"absent keys added", "payload.go", "	if !replaced {", "	sent = append(sent, bridge.Credential{Key: \"SkipOutOfScopeDeletions\", Value: bridge.NewSecret(\"True\")})\n	if !replaced {", "^whole", nil},

	{"delete before proof (no retire_after, no floor)", "retire.go", "func (r *run) retireAfter() time.Duration {", "func (r *run) retireAfter() time.Duration {\n	return 0\n", "trap:engine", []patch{{"retire.go", "if found == undecided {", "if false {"}}},
	{"a cycle begun before stored is use", "proof.go", "return cycle.Began.After(since.Graph.Add(cycleAfter/r.pace)) && cycle", "return cycle", "^whole", nil},
	{"only succeeded is use", "proof.go", "(cycle.State == bridge.CycleSucceeded || cycle.State == bridge.CycleEntryLevelErrors)", "cycle.State == bridge.CycleSucceeded", "trap:one user", nil},
	{"\"*\" is sent", "payload.go", "			c.Value = bridge.NewSecret(r.tenantURL())\n", "", "trap:replaces, masked", nil},
	{"a clear key left out", "payload.go", "		sent = append(sent, c)\n	}\n	if !replaced", "		if c.Key != \"SkipOutOfScopeDeletions\" {\n			sent = append(sent, c)\n		}\n	}\n	if !replaced", "trap:replaces, an extra", nil},
	{"the masked key of a stranger is no obstacle", "payload.go", "c.Masked() && c.Key != bridge.CredentialKeySecretToken", "false && c.Key != bridge.CredentialKeySecretToken", "trap:a masked", nil},
	{"attribution without calibration", "calllog.go", "	return id, before > 0\n", "	return id, true\n", "trap:nobody", nil},
	{"an id seen before the creation may be the new token's", "calllog.go", "			if call.AccessKeyID == id {\n				return \"\", false\n			}", "			_ = id", "trap:nobody", nil},
	{"no rescue after the delete", "confirm.go", "			return r.rescue(ctx)\n		}\n		dead", "			return bridge.PhaseConfirm, r.wait(ctx, time.Minute, Settling)\n		}\n		dead", "trap:dropped", nil},
	{"the vault is cleared before the deletion settles", "confirm.go", "	refusals := 0\n", "	refusals := 0\n	_ = r.safe.destroyAllBut(ctx, r.rotation().newID())\n", "trap:deleted tokens", nil},
	{"\"not created\" after one list", "create.go", "waited > listFor && id == \"\"", "waited > 0 && id == \"\"", "trap:a list|aws.create", nil},
	{"orphan deleted without its hour of grace", "guard.go", "if r.passed(token.Created.Add(-r.aws.offset)) < orphanGrace {", "if false {", "aws.create:(answer|killed|unpars)", nil},
	{"orphan deleted whenever it was made", "guard.go", "!strangers[0].Created.Before(asked.From.Add(-windowSlack)) && !strangers[0].Created.After(asked.To.Add(windowSlack))", "true", "trap:a stranger", nil},
	{"the vault is not looked at on resume", "create.go", "id, err := r.keptBy(ctx, rot.Entry)", "id, err := \"\", error(nil)", "vault.write:killed_after|journal.save:killed", nil},
	{"start on a paused job", "resume.go", "	if runs(job) {", "	if !runs(job) {\n		_ = r.connection.Clouds.Provisioning.StartJob(ctx)\n	}\n	if runs(job) {", "trap:paused", nil},
	{"start on a deletion quarantine", "resume.go", "if q := job.Quarantine; q != nil && !q.Credentials() {", "if q := job.Quarantine; q != nil && !q.Credentials() {\n		_ = r.connection.Clouds.Provisioning.StartJob(ctx)", "trap:too many", nil},
	{"start sent again on an unknown answer", "resume.go", "if start.Mark.Equal(q.CurrentBegan) {", "if false {", "trap:repaired, killed", nil},
	{"no lease check before an act", "book.go", "if r.Lease.Holder != g.holder || r.Lease.Epoch != g.epoch {", "if false {", "^replica", nil},
	{"the new token is saved from memory, not from the vault", "create.go", "kept = r.keep(context.WithoutCancel(ctx), name, issued)", "_ = kept", "^whole", nil},
	{"G1: one list is enough", "reading.go", "	for range 6 {", "	if first.Date.After(time.Time{}) {\n		return first, nil\n	}\n	for range 6 {", "^whole", nil},
	{"G3: any token of this id", "guard.go", "!ok || !journalled.Created.Equal(listed.Created)", "!ok || journalled.ID == \"\"", "trap:the old token shows", nil},
	{"G4: the last valid token may go", "guard.go", "if why != deleteExpired {", "if false {", "trap:the only valid", nil},
	{"G6: any clock will do", "reading.go", "if r.aws.offset.Abs() > clockLimit {", "if false {", "clock", nil},
	{"no second save before the old token goes", "guard.go", "if put.Why != putAgain || !put.done() || rot.Proof.Put != put.Number || r.passed(rot.Proof.Stored.Local) > storedFresh {", "if !put.done() {", "^whole", []patch{
		{"retire.go", "if put.Why != putAgain || !put.done() || r.passed(put.Answered.Local) > storedFresh {", "if false {"},
	}},
	{"a token is saved that AWS refuses", "switch.go", "if verdict == rejected {", "if false {", "trap:the new token is deleted", nil},
	{"round-trip of the vault left out, and reserve", "create.go", "if err := r.safe.reserve(ctx, name); err != nil {", "if err := error(nil); err != nil {", "^whole", nil},
	{"reset back to plan after a PUT", "record.go", "		if rot.putAttempted() {\n			rot.Want = putSwitch\n		}", "		rot.Phase, rot.NewToken = bridge.PhasePlan, nil", "trap:a person resets", nil},
	{"budget counted on success only", "create.go", "			if outcome == bridge.OutcomeDone {\n				rec.created(issued.Token)\n			}\n", "			if outcome == bridge.OutcomeDone {\n				rec.created(issued.Token)\n			} else {\n				rec.Budget.Creates[len(rec.Budget.Creates)-1].From = time.Time{}\n			}\n", "trap:again", nil},
	{"a hundred tokens a day", "policy.go", "case day >= createsPerDay:", "case day >= 100:", "trap:again and again", nil},
	{"switch at once, whatever the tests say", "test.go", "	if passed {", "	if true || passed {", "actor:a person deletes the new|situation:AWS never", nil},
	{"delete by position", "delete.go", "return r.connection.Clouds.Tokens.DeleteToken(ctx, leave.token.ID)", "return r.connection.Clouds.Tokens.DeleteToken(ctx, r.rotation().newID())", "^whole", nil},
}
