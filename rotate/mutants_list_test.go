package rotate_test

// The matrix: see the package's proof documentation (docs/rotation-proof.md).

// quickMutants are tried with every test, the others by make mutants.
const quickMutants = 24

// mistakes are those of the contract, each of which must be caught.
var mistakes = []mistake{
	{"delete before proof", "verify.go", "if r.used(job, r.rotation().Proof.Stored) {", "if true {", "^whole", nil},
	{"PUT before its intent", "switch.go", "	a, err := r.carryOut(ctx, deed{\n		list: puts,", "	early := r.connection.Clouds.Provisioning.SaveCredentials(ctx, payload)\n	a, err := r.carryOut(ctx, deed{\n		list: puts,", "^whole", []patch{
		{"switch.go", "call: func(ctx context.Context) error { return r.connection.Clouds.Provisioning.SaveCredentials(ctx, payload) }", "call: func(context.Context) error { return early }"},
	}},
	{"undo after an attempted PUT", "rotation.go", "func (r *rotation) putAttempted() bool { return len(r.Puts) > 0 }", "func (r *rotation) putAttempted() bool { return false }", "trap:given up", nil},
	{"confirm right after the delete", "confirm.go", "if !r.used(job, r.rotation().Proof.Propagated) {", "if false {", "^whole", nil},
	{"no approval, no trust, no attribution", "retire.go", "return rot.Proof.Level.AtLeast(model.ProofAttributed) || rot.Plan.Trusted", "return true", "trap:nobody", nil},
	{"create sent again after an unknown answer", "create.go", "if rot.creating() {", "if false && rot.creating() {", "aws.create:(answer|killed)", nil},
	{"create retried silently", "create.go", "				kept = r.keep(context.WithoutCancel(ctx), name, issued)\n			}\n			return err", "				kept = r.keep(context.WithoutCancel(ctx), name, issued)\n			} else if issued, err = r.connection.Clouds.Tokens.CreateToken(ctx); err == nil {\n				issued.Token = plausible(issued.Token)\n				kept = r.keep(context.WithoutCancel(ctx), name, issued)\n			}\n			return err", "aws.create:(refused|answer)", nil},
	{"a canary alone as proof", "verify.go", "if r.used(job, r.rotation().Proof.Stored) {", "if arrived, _ := r.canaryArrived(ctx); arrived || r.used(job, r.rotation().Proof.Stored) {", "trap:a canary", nil},
	{"an inline test counted as use", "verify.go", "if r.used(job, r.rotation().Proof.Stored) {", "value, _ := r.newValue(ctx)\n	if works, _ := r.inlineVerdict(ctx, value); works == accepted || r.used(job, r.rotation().Proof.Stored) {", "^whole", nil},
	{"an act on the request's context: whoever hangs up cuts it off", "act.go", "context.WithTimeout(context.WithoutCancel(ctx), callTimeout)", "context.WithTimeout(ctx, callTimeout)", "aws.create:stopped", nil},
	{"absent keys added", "payload.go", "	if !replaced {", "	sent = append(sent, model.Credential{Key: \"SkipOutOfScopeDeletions\", Value: model.NewSecret(\"True\")})\n	if !replaced {", "^whole", nil},
	{"no rescue after the delete", "confirm.go", "	return r.rescue(ctx)\n}\n\n// stillAccepted", "	return r.rotation().Phase, r.wait(ctx, time.Minute, model.WaitingSettling)\n}\n\n// stillAccepted", "trap:dropped", nil},

	{"G1: one list is enough", "reading.go", "	for range 6 {", "	if first.Date.After(time.Time{}) {\n		return first, nil\n	}\n	for range 6 {", "^whole", nil},
	{"G1: lists of any age", "delete.go", "			if leave.stale() {", "			if false {", "journal.save:slept_after", []patch{{"act.go", "a.Unsent = time.Since(a.Intent.Local) > intentFresh; a.Unsent", "false"}}},
	{"G2: whatever the binding is by now", "guard.go", "	if err := r.checkBinding(ctx); err != nil { // G2\n		return permit{}, err\n	}\n", "", "trap:another job", nil},
	{"G3: any token of this id", "guard.go", "!ok || !sameCreation(journalled, listed)", "!ok || journalled.ID == \"\"", "trap:the old token shows", nil},
	{"G4: the last valid token may go", "guard.go", "if why != deleteExpired {", "if false {", "trap:the only valid", nil},
	{"G5: an act without looking at the lease", "act.go", "	if err := r.ensureLease(ctx); err != nil {\n		return a, err\n	}\n", "", "journal.save:slept_after", []patch{{"act.go", "a.Unsent = time.Since(a.Intent.Local) > intentFresh; a.Unsent", "false"}}},
	{"G6: any clock will do", "reading.go", "if r.aws.offset.Abs() > harness.MaxClockSkew {", "if false {", "clock", nil},
	{"G7: undo whatever was saved", "guard.go", "case rot.putAttempted() || !rot.created(token.ID):", "case false && rot.putAttempted():", "trap:a person resets it after the PUT, and", []patch{{"test.go", "if !rot.outOfHand() && rot.created(rot.newID()) {", "if rot.created(rot.newID()) {"}}},
	{"G7: undo what a person may have entered in Entra", "guard.go", "case rot.Exposed:", "case false && rot.Exposed:", "trap:(a copy|shown)", []patch{{"rotation.go", "return r.putAttempted() || r.Exposed", "return r.putAttempted()"}}},
	{"G7: retired without the new value at hand", "guard.go", "	if err := r.newIsAccepted(ctx); err != nil {\n		return err\n	}\n", "", "trap:the vault loses the new value before the old", nil},
	{"G7: retired while a cycle runs", "guard.go", "	if r.cycleRunning(job) {\n		return errNotYet\n	}\n	return nil", "	_ = job\n	return nil", "^whole|trap:engine", []patch{{"retire.go", "	if r.cycleRunning(job) {\n		return model.PhaseRetire, r.wait(ctx, time.Minute, model.WaitingSettling)\n	}\n", ""}}},
	{"G8: the intent is not written, only the outcome", "act.go", "		*d.list(rec.Rotation) = append((*d.list(rec.Rotation))[:a.Number-1], a)\n		if d.intend", "		if d.intend", "^whole", []patch{
		{"act.go", "		(*d.list(rec.Rotation))[a.Number-1] = a\n", "		*d.list(rec.Rotation) = append((*d.list(rec.Rotation))[:a.Number-1], a)\n"},
	}},

	{"the old token goes at once (no retire_after, no floor)", "retire.go", "func (r *run) retireAfter() time.Duration {", "func (r *run) retireAfter() time.Duration {\n	return 0\n", "trap:engine", []patch{{"retire.go", "if found == undecided {", "if false {"}}},
	{"a cycle begun before stored is use", "proof.go", "return cycle.Began.After(since.Graph.Add(cycleAfter/r.pace)) && cycle", "return cycle", "^whole", nil},
	{"only succeeded is use", "proof.go", "(cycle.State == model.CycleSucceeded || cycle.State == model.CycleEntryLevelErrors)", "cycle.State == model.CycleSucceeded", "trap:one user", nil},
	{"the journal's role as proof beside a foreign token", "roles.go", "listed && len(r.unaccounted(tokens)) == 0 && r.ForeignChange.IsZero()", "listed", "trap:a stranger's token beside", nil},
	{"trust whatever the keys are", "plan.go", "slices.Equal(rec.Trust.Keys, f.keys)", "(true || slices.Equal(rec.Trust.Keys, f.keys))", "trap:trusted with other keys", nil},
	{"attribution without calibration", "calllog.go", "	return id, before > 0\n", "	return id, true\n", "trap:nobody", nil},
	{"an id seen before the creation may be the new token's", "calllog.go", "			if call.AccessKeyID == id {\n				return \"\", false\n			}", "			_ = id", "trap:nobody", nil},

	{"the vault is cleared before the deletion settles", "confirm.go", "	refusals := 0\n", "	refusals := 0\n	_ = r.safe.destroyAllBut(ctx, r.rotation().newID())\n", "trap:deleted tokens", nil},
	{"the vault is not looked at on resume", "create.go", "id, err := r.keptBy(ctx, rot.Entry)", "id, err := \"\", error(nil)", "vault.write:killed_after|journal.save:killed", nil},
	{"no room is reserved in the vault", "create.go", "if err := r.safe.reserve(ctx, name); err != nil {", "if err := error(nil); err != nil {", "^whole", nil},
	{"tested with the value in memory", "test.go", "	value, err := r.safe.of(ctx, r.rotation().newID())\n", "	if !r.issued.IsZero() {\n		return r.issued, nil\n	}\n	value, err := r.safe.of(ctx, r.rotation().newID())\n", "trap:the vault loses the new value before it is tried", []patch{
		{"run.go", "	doubt      doubt\n}", "	doubt      doubt\n	issued     model.Secret\n}"},
		{"create.go", "				issued.Token = plausible(issued.Token)\n", "				issued.Token = plausible(issued.Token)\n				r.issued = issued.Value\n"},
	}},
	{"the new value stays in memory until it works", "create.go", "kept = r.keep(context.WithoutCancel(ctx), name, issued)", "r.issued = issued.Value", "^whole", []patch{
		{"run.go", "	doubt      doubt\n}", "	doubt      doubt\n	issued     model.Secret\n}"},
		{"test.go", "	value, err := r.safe.of(ctx, r.rotation().newID())\n", "	if !r.issued.IsZero() {\n		return r.issued, nil\n	}\n	value, err := r.safe.of(ctx, r.rotation().newID())\n"},
		{"switch.go", "	value, err := r.safe.of(ctx, tokenID)\n", "	value, err := r.newValue(ctx)\n"},
	}},

	{"\"not created\" after one list", "create.go", "waited > listFor && id == \"\"", "waited > 0 && id == \"\"", "trap:a list|aws.create", nil},
	{"orphan deleted without its hour of grace", "guard.go", "if r.passed(token.Created.Add(-r.aws.offset)) < orphanGrace {", "if false {", "aws.create:(answer|killed|unpars)", nil},
	{"orphan deleted whenever it was made", "guard.go", "!strangers[0].Created.Before(asked.From.Add(-windowSlack)) && !strangers[0].Created.After(asked.To.Add(windowSlack))", "true", "trap:a stranger's token and", nil},

	{"delete by position: the first", "delete.go", "return r.connection.Clouds.Tokens.DeleteToken(ctx, leave.token.ID)", "return r.connection.Clouds.Tokens.DeleteToken(ctx, r.listed[0].ID)", "^whole|^repaired|trap:", nil},
	{"delete by position: the last", "delete.go", "return r.connection.Clouds.Tokens.DeleteToken(ctx, leave.token.ID)", "return r.connection.Clouds.Tokens.DeleteToken(ctx, r.listed[len(r.listed)-1].ID)", "^whole|^repaired|trap:", nil},
	{"delete by date order: the oldest", "delete.go", "return r.connection.Clouds.Tokens.DeleteToken(ctx, leave.token.ID)", "oldest := slices.MinFunc(r.listed, func(a, b model.Token) int { return a.Created.Compare(b.Created) })\n			return r.connection.Clouds.Tokens.DeleteToken(ctx, oldest.ID)", "trap:the given token is the older", nil},
	{"the local clock for expiry", "reading.go", "token.Expired(r.aws.now().Add(-policy.ExpiryGrace))", "token.Expired(time.Now().Add(-policy.ExpiryGrace))", "trap:expired by our clock", nil},
	{"expired without an hour of grace", "reading.go", "token.Expired(r.aws.now().Add(-policy.ExpiryGrace))", "token.Expired(r.aws.now())", "trap:expired by our clock", nil},

	{"BaseAddress left out", "payload.go", "		sent = append(sent, c)\n	}\n	if !replaced", "		if c.Key != model.CredentialKeyBaseAddress {\n			sent = append(sent, c)\n		}\n	}\n	if !replaced", "trap:replaces", nil},
	{"another clear key left out", "payload.go", "		sent = append(sent, c)\n	}\n	if !replaced", "		if c.Key != \"SkipOutOfScopeDeletions\" {\n			sent = append(sent, c)\n		}\n	}\n	if !replaced", "trap:replaces, an extra", nil},
	{"\"*\" is sent", "payload.go", "			c.Value = model.NewSecret(r.tenantURL())\n", "", "trap:replaces, masked", nil},
	{"the masked key of a stranger is no obstacle", "payload.go", "c.Masked() && c.Key != model.CredentialKeySecretToken", "false && c.Key != model.CredentialKeySecretToken", "trap:a masked", nil},

	{"start on a paused job", "resume.go", "	if runs(job) {", "	if !runs(job) {\n		_ = r.connection.Clouds.Provisioning.StartJob(ctx)\n	}\n	if runs(job) {", "trap:paused", nil},
	{"start on a deletion quarantine", "resume.go", "if q := job.Quarantine; q != nil && !q.Credentials() {", "if q := job.Quarantine; q != nil && !q.Credentials() {\n		_ = r.connection.Clouds.Provisioning.StartJob(ctx)", "trap:too many", nil},
	{"start sent again on an unknown answer", "resume.go", "if start.Mark.Equal(q.CurrentBegan) && !start.Refused() {", "if false {", "trap:repaired, killed", nil},
	{"a refused start sent again at once, for ever", "resume.go", "if start.Unsent {", "if start.Unsent || start.Refused() {", "trap:every start", []patch{{"resume.go", "	return r.wait(ctx, lookEvery, model.WaitingQuarantineRetry)\n}", "	return nil\n}"}}},

	{"no lease check: whoever lost it may write", "book.go", "if r.Lease.Holder != g.holder || r.Lease.Epoch != g.epoch {", "if false {", "^replica", nil},
	{"a stop loses the outcome of the act in flight", "run.go", "	if err == nil || ctx.Err() == nil || lasting(err) {\n		return err", "	if true {\n		return err", ":stopped:", nil},
	{"budget counted on success only", "create.go", "			if outcome == model.OutcomeDone {\n				rec.created(issued.Token)\n			}\n", "			if outcome == model.OutcomeDone {\n				rec.created(issued.Token)\n			} else {\n				rec.Budget.Creates[len(rec.Budget.Creates)-1].From = time.Time{}\n			}\n", "trap:again", nil},
	{"a hundred tokens a day", "policy.go", "case day >= createsPerDay:", "case day >= 100:", "trap:again and again", nil},
	{"switch at once, whatever the tests say", "test.go", "	if passed {", "	if true || passed {", "actor:a person deletes the new|situation:AWS never", nil},
	{"a token is saved that AWS refuses", "switch.go", "if verdict == rejected {", "if false {", "trap:the new token is deleted", nil},
	{"no second save before the old token goes", "guard.go", "if put.Why != putAgain || !put.Done() || rot.Proof.Put != put.Number || r.passed(put.Answered.Local) > storedFresh {", "if !put.Done() {", "^whole", []patch{
		{"retire.go", "if put.Why != putAgain || !put.Done() || r.passed(put.Answered.Local) > storedFresh {", "if false {"},
	}},
	{"reset back to plan after a PUT", "record.go", "		if rot.putAttempted() {\n			rot.Want = putSwitch\n		}", "		rot.Phase, rot.NewToken = model.PhasePlan, nil", "trap:a person resets", nil},
}
