package rotate

import (
	"time"

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
		with("nobody approves, the log begins with the story", []string{"waiting approval"}, func(s *scenario) {
			s.approves = false
			s.limit = 3 * 24 * time.Hour
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
		with("a stranger's token and a lost answer", []string{"blocked orphan_token", "aborted"}, func(s *scenario) {
			s.named = map[string]fault{"aws.create#1": throttled}
			s.hands = map[string]func(*lab){"aws.list#8": func(l *lab) { l.createByHand() }}
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
	{"undo after an attempted PUT (G7)", "guard.go", "if rot.putAttempted() || !rot.created(token.ID) {", "if !rot.created(token.ID) {", "trap:given up"},
	{"an intent is not written", "act.go", "*d.list(rec.Rotation) = append((*d.list(rec.Rotation))[:a.Number-1], a)\n", "", "^whole"},
	{"confirm right after the delete", "confirm.go", "if !r.used(job, r.rotation().Proof.Settled) {", "if false {", "^whole"},
	{"no approval, no trust, no attribution", "retire.go", "return rot.Proof.atLeast(bridge.ProofAttributed) || rot.Plan.Trusted", "return true", "trap:nobody"},
	{"create is sent again after an unknown answer", "create.go", "if rot.creating() {", "if false && rot.creating() {", "aws.create:(answer|killed)"},
	{"absent keys added", "payload.go", "	if !replaced {", "	sent = append(sent, bridge.Credential{Key: \"SkipOutOfScopeDeletions\", Value: bridge.NewSecret(\"True\")})\n	if !replaced {", "^whole"},

	{"delete before proof (retire_after and floor)", "guard.go", "if !rot.Proof.atLeast(bridge.ProofUsed) || r.passed(rot.Proof.Used.Local) < r.retireAfter() {", "if false {", "^whole|trap:engine"},
	{"a cycle begun before stored is use", "proof.go", "return cycle.Began.After(since.Graph.Add(cycleAfter/r.pace)) && cycle", "return cycle", "^whole"},
	{"only succeeded is use", "proof.go", "(cycle.State == bridge.CycleSucceeded || cycle.State == bridge.CycleEntryLevelErrors)", "cycle.State == bridge.CycleSucceeded", "trap:one user"},
	{"\"*\" is sent", "payload.go", "			c.Value = bridge.NewSecret(r.tenantURL())\n", "", "trap:replaces, masked"},
	{"a clear key left out", "payload.go", "		sent = append(sent, c)\n	}\n	if !replaced", "		if c.Key != \"SkipOutOfScopeDeletions\" {\n			sent = append(sent, c)\n		}\n	}\n	if !replaced", "trap:replaces, an extra"},
	{"the masked key of a stranger is no obstacle", "payload.go", "c.Masked() && c.Key != bridge.CredentialKeySecretToken", "false && c.Key != bridge.CredentialKeySecretToken", "trap:a masked"},
	{"attribution without calibration", "proof.go", "	if seen < len(probes) || before == 0 {\n		return \"\"\n	}\n	return id", "	return id", "trap:nobody"},
	{"an id seen before the creation may be the new token's", "proof.go", "			if call.AccessKeyID == id {\n				return \"\"\n			}", "			_ = id", "trap:nobody"},
	{"no rescue after the delete", "confirm.go", "			return r.rescue(ctx)\n		}\n		dead", "			return bridge.PhaseConfirm, r.wait(ctx, time.Minute, Settling)\n		}\n		dead", "trap:dropped"},
	{"the vault is cleared before the deletion settles", "confirm.go", "	refusals := 0\n", "	refusals := 0\n	_ = r.safe.destroyAllBut(ctx, r.rotation().newID())\n", "trap:deleted tokens"},
	{"\"not created\" after one list", "create.go", "waited > listFor && id == \"\"", "waited > 0 && id == \"\"", "trap:a list|aws.create"},
	{"orphan deleted without its hour of grace", "guard.go", "if r.passed(token.Created.Add(-r.aws.offset)) < orphanGrace {", "if false {", "aws.create:(answer|killed|unpars)"},
	{"orphan deleted whenever it was made", "guard.go", "if !asked.Known && ", "if true || ", "trap:a stranger|aws.create:effect"},
	{"the vault is not looked at on resume", "create.go", "id, err := r.keptBy(ctx, rot.Entry)", "id, err := \"\", error(nil)", "vault.write:killed_after|journal.save:killed"},
	{"start on a paused job", "resume.go", "	if runs(job) {", "	if !runs(job) {\n		_ = r.connection.Clouds.Provisioning.StartJob(ctx)\n	}\n	if runs(job) {", "trap:paused"},
	{"start on a deletion quarantine", "resume.go", "if q := job.Quarantine; q != nil && !q.Credentials() {", "if q := job.Quarantine; q != nil && !q.Credentials() {\n		_ = r.connection.Clouds.Provisioning.StartJob(ctx)", "trap:too many"},
	{"start sent again on an unknown answer", "resume.go", "if start.Mark.Equal(q.CurrentBegan) {", "if false {", "repair"},
	{"no lease check before an act", "book.go", "if r.Lease.Holder != g.holder || r.Lease.Epoch != g.epoch {", "if false {", "^replica"},
	{"the new token is saved from memory, not from the vault", "create.go", "kept = r.keep(context.WithoutCancel(ctx), name, issued)", "_ = kept", "^whole"},
	{"G1: one list is enough", "reading.go", "if sameTokens(first.Tokens, second.Tokens) {", "if true {", "aws.list:stale"},
	{"G3: any token of this id", "guard.go", "!ok || !journalled.Created.Equal(listed.Created)", "!ok || journalled.ID == \"\"", "clock"},
	{"G4: the last valid token may go", "guard.go", "if why != deleteExpired {", "if false {", "actor:the new token"},
	{"G6: any clock will do", "reading.go", "if r.aws.offset.Abs() > clockLimit {", "if false {", "clock"},
	{"G7: an unknown token is no obstacle", "guard.go", "!known && token.ID != rot.newID()", "false && !known && token.ID != rot.newID()", "actor:a person creates"},
	{"no second save before the old token goes", "guard.go", "if put.Why != putAgain || !put.done() || rot.Proof.Put != put.Number || r.passed(rot.Proof.Stored.Local) > storedFresh {", "if false && put.done() {", "^whole"},
	{"a token is saved that AWS refuses", "switch.go", "if verdict == rejected {", "if false {", "actor:a person deletes the new"},
	{"round-trip of the vault left out, and reserve", "create.go", "if err := r.safe.reserve(ctx, name); err != nil {", "if err := error(nil); err != nil {", "^whole"},
	{"reset back to plan after a PUT", "record.go", "putAttempted() bool { return len(r.Puts) > 0 }", "putAttempted() bool { return false }", "graph.put"},
	{"budget counted on success only", "create.go", "			if outcome == bridge.OutcomeDone {\n				rec.created(issued.Token)\n			}\n", "			if outcome == bridge.OutcomeDone {\n				rec.created(issued.Token)\n			} else {\n				rec.Budget.Creates[len(rec.Budget.Creates)-1].From = time.Time{}\n			}\n", "trap:again"},
	{"a hundred tokens a day", "policy.go", "case day >= createsPerDay:", "case day >= 100:", "trap:again and again"},
	{"switch at once, whatever the tests say", "test.go", "	if passed {", "	if true || passed {", "actor:a person deletes the new|situation:AWS never"},
	{"delete by position", "delete.go", "r.connection.Clouds.Tokens.DeleteToken(ctx, leave.token.ID)", "r.connection.Clouds.Tokens.DeleteToken(ctx, r.rotation().newID())", "^whole"},
}
