package rotate_test

// quickMutants are tested with every test run, the others by make mutants.
const quickMutants = 24

// rotationMutants are the bugs that the cases of the matrices must catch.
var rotationMutants = []rotationMutant{
	{"delete before proof", "^whole", []edit{
		{"token/verifyPhase.run", "proof.used(job, p.rotation().Proof.Stored)", "true"},
	}},
	{"PUT before its intent", "^whole", []edit{
		{"token/saver.put", "return s.options.Provisioning.SaveCredentials(ctx, payload)", "return early"},
		{"token/saver.put", "payload := s.payload(current, value)", "$\nearly := s.options.Provisioning.SaveCredentials(ctx, payload)"},
	}},
	{"undo after an attempted PUT", "edge:aborted", []edit{
		{"token/rotation.putAttempted", "len(r.Operations[OperationPut]) > 0", "false"},
	}},
	{"confirm right after the delete", "^whole", []edit{
		{"token/confirmPhase.run", "!proof.used(job, p.rotation().Proof.Propagated)", "$ && false"},
	}},
	{"no approval, no trust, no attribution", "edge:no approval", []edit{
		{"policy/Policy.Approved", "level.AtLeast(model.ProofAttributed) || trusted", "true"},
	}},
	{"create sent again after an unknown answer", "aws.create:(response|killed)", []edit{
		{"token/createPhase.run", "rot.creating()", "false"},
	}},
	{"create retried silently", "aws.create:(refused|response)", []edit{
		{"token/createPhase.create", "return err", `if err != nil {
			if issued, err = p.options.Tokens.CreateToken(ctx); err == nil {
				issued.Token = policy.Sanitize(issued.Token)
				notStored = p.storeValue(context.WithoutCancel(ctx), name, issued)
			}
		}
		$`},
	}},
	{"a canary alone as proof", "edge:a canary", []edit{
		{"token/verifyPhase.run", "proof.used(job, p.rotation().Proof.Stored)", "func() bool { arrived, _ := proof.canaryArrived(ctx); return arrived }() || $"},
	}},
	{"an inline test counted as use", "^whole", []edit{
		{"token/verifyPhase.run", "proof.used(job, p.rotation().Proof.Stored)", `func() bool {
			value, _ := p.newValue(ctx)
			result, _ := p.testValue(ctx, value)
			return result == accepted
		}() || $`},
	}},
	{"an operation on the request's context: a client that hangs up stops it", "aws.create:terminated", []edit{
		{"Session.Execute", "context.WithoutCancel(ctx)", "ctx"},
	}},
	{"absent keys added", "^whole", []edit{
		{"token/saver.payload", "if !replaced", `sent = append(sent, model.Credential{Key: "SkipOutOfScopeDeletions", Value: model.NewSecret("True")})
		$`},
	}},
	{"no recovery after the delete", "edge:the save is dropped", []edit{
		{"token/recovery.verifySaved", "return r.run(ctx)", "return r.rotation().Phase, r.Wait(ctx, time.Minute, model.WaitingSettling)"},
	}},

	{"G1: one list is enough", "^whole", []edit{
		{"token/observer.stableTokens", "for range listReads", "if !first.Date.IsZero() { return first, nil }\n$"},
	}},
	{"G1: lists of any age", "journal.save:suspended_after", []edit{
		{"token/guard.delete", "p.stale()", "false"},
		{"Session.Execute", "time.Since(written.Intent.Local) > maxIntentAge", "false"},
	}},
	{"G2: the binding is not looked up again", "edge:the job is replaced", []edit{
		{"token/guard.authorize", "if err := g.checkBinding(ctx); err != nil", ""},
	}},
	{"G3: any token of this id", "edge:the old token has", []edit{
		{"token/guard.matchJournal", "!sameCreation(journalled, listed)", `journalled.ID == ""`},
	}},
	{"G4: the last valid token may be deleted", "edge:the only valid", []edit{
		{"token/guard.authorize", "why != deleteExpired", "false"},
	}},
	{"G5: an operation without a look at the lease", "journal.save:suspended_after", []edit{
		{"Session.Execute", "if err := s.ensureLease(ctx); err != nil", ""},
		{"Session.Execute", "time.Since(written.Intent.Local) > maxIntentAge", "false"},
	}},
	{"G6: any clock will do", "clock", []edit{
		{"token/observer.checkClock", "o.AWS.Offset.Abs() > maxClockSkew", "false"},
	}},
	{"G7: undo whatever was saved", "edge:operator resets it after the PUT, and", []edit{
		{"token/guard.checkUndo", "rot.putAttempted() || !rot.created(token.ID)", "false"},
		{"token/testPhase.fail", "!rot.mayBeInUse()", "true"},
	}},
	{"G7: undo what an operator may have entered in Entra", "edge:(a journal from|shown)", []edit{
		{"token/guard.checkUndo", "rot.ShownToOperator", "false"},
		{"token/rotation.mayBeInUse", "r.ShownToOperator", "false"},
	}},
	{"G7: retired although the new value is not available", "edge:the new value is lost before the old", []edit{
		{"token/guard.checkRetire", "if err := g.requireNewAccepted(ctx); err != nil", ""},
	}},
	{"G7: retired while a cycle runs", "edge:a cycle runs", []edit{
		{"token/guard.checkRetire", "g.cycleRunning(job)", "$ && false"},
		{"token/retirePhase.retire", "p.cycleRunning(job)", "$ && false"},
	}},
	{"G8: the intent is not written, only the outcome", "^whole", []edit{
		{"Session.Execute", "if o.JournalIntent != nil", "r.Rotation.Operations[o.Kind] = r.Rotation.Operations[o.Kind][:written.Number-1]\n$"},
	}},

	{"the old token is deleted at once (no retire_after, no minimum)", "edge:a long retire_after", []edit{
		{"policy/Token.RetentionTime", "", "return 0"},
		{"token/retirePhase.waitOrRetire", "found == policy.Undecided", "false"},
	}},
	{"a cycle that began before stored is use", "^whole", []edit{
		{"token/prover.goodCycleSince", "cycle.Began.After(since.Graph.Add(p.Shortened(minCycleDelay)))", "true"},
	}},
	{"only succeeded is use", "edge:one user", []edit{
		{"token/prover.goodCycleSince", "cycle.State == model.CycleEntryLevelErrors", "false"},
	}},
	{"the journal's role as proof beside a foreign token", "edge:the journal's token beside", []edit{
		{"policy/Evidence.TokenInUse", "listed && len(e.UnknownTokens(tokens)) == 0 && e.ThirdPartyChange.IsZero()", "listed"},
	}},
	{"trust whatever the keys are", "edge:trusted with other keys", []edit{
		{"token/planPhase.journalPlan", "slices.Equal(known.Trust.Keys, found.keys)", "true || $"},
	}},
	{"attribution without calibration", "edge:no approval", []edit{
		{"policy/CallLog.AccessKeyID", "before > 0", "before >= 0"},
	}},
	{"an id seen before the creation may be the new token's", "edge:no approval", []edit{
		{"policy/CallLog.AccessKeyID", "if call.AccessKeyID == id", ""},
	}},

	{"the token store is cleared before the deletion has propagated", "edge:AWS accepts deleted", []edit{
		{"token/confirmPhase.waitForPropagation", "refusals := 0", "$\n_ = p.tokens.destroyAllExcept(ctx, p.rotation().newID())"},
	}},
	{"the token store is not read on resume", "tokens.write:killed_after|journal.save:killed", []edit{
		{"token/createPhase.reconcile", "p.tokens.idUnder(ctx, rot.StoreEntry)", `"", error(nil)`},
	}},
	{"no room is reserved in the token store", "^whole", []edit{
		{"token/createPhase.run", "if err := p.tokens.reserve(ctx, name); err != nil", ""},
	}},
	{"tested with the value in memory", "edge:the new value is lost before it is tested", []edit{
		{"token/session", "", "$\nissued model.Secret"},
		{"token/observer.newValue", "", "if !o.issued.IsZero() { return o.issued, nil }\n$"},
		{"token/createPhase.create", "issued.Token = policy.Sanitize(issued.Token)", "$\np.issued = issued.Value"},
	}},
	{"the new value stays in memory until it works", "^whole", []edit{
		{"token/session", "", "$\nissued model.Secret"},
		{"token/observer.newValue", "", "if !o.issued.IsZero() { return o.issued, nil }\n$"},
		{"token/createPhase.create", "notStored = p.storeValue(context.WithoutCancel(ctx), name, issued)", "p.issued = issued.Value"},
		{"token/saver.put", "s.tokens.find(ctx, tokenID)", "s.newValue(ctx)"},
	}},

	{"\"not created\" after one list", "edge:a list|aws.create", []edit{
		{"token/createPhase.reconcile", "waited > maxListDelay", "waited > 0"},
	}},
	{"orphan deleted without its hour of grace", "aws.create:(response|killed|unpars)", []edit{
		{"token/guard.checkOrphan", "g.Elapsed(token.Created.Add(-g.AWS.Offset)) < orphanGrace", "false"},
	}},
	{"orphan deleted whenever it was created", "edge:a third-party token and", []edit{
		{"token/observer.orphan", "creation.Contains(unknown[0].Created)", "true"},
	}},

	{"delete by position: the first", "^whole|^repaired|edge:", []edit{
		{"token/guard.delete", "g.options.Tokens.DeleteToken(ctx, p.token.ID)", "g.options.Tokens.DeleteToken(ctx, g.listed[0].ID)"},
	}},
	{"delete by position: the last", "^whole|^repaired|edge:", []edit{
		{"token/guard.delete", "g.options.Tokens.DeleteToken(ctx, p.token.ID)", "g.options.Tokens.DeleteToken(ctx, g.listed[len(g.listed)-1].ID)"},
	}},
	{"delete by date order: the oldest", "edge:the operator's token is the older", []edit{
		{"token/guard.delete", "return g.options.Tokens.DeleteToken(ctx, p.token.ID)", `oldest := g.listed[0]
			for _, listed := range g.listed {
				if listed.Created.Before(oldest.Created) {
					oldest = listed
				}
			}
			return g.options.Tokens.DeleteToken(ctx, oldest.ID)`},
	}},
	{"the local clock for expiry", "edge:expired by the local clock", []edit{
		{"token/observer.expired", "o.AWS.Now()", "time.Now()"},
	}},
	{"expired without an hour of grace", "edge:expired by the local clock", []edit{
		{"token/observer.expired", "o.AWS.Now().Add(-policy.ExpiryGrace)", "o.AWS.Now()"},
	}},

	{"BaseAddress left out", "edge:PUT replaces", []edit{
		{"token/saver.payload", "sent = append(sent, c)", "if c.Key != model.CredentialKeyBaseAddress { $ }"},
	}},
	{"another clear key left out", "edge:PUT replaces all keys, there is", []edit{
		{"token/saver.payload", "sent = append(sent, c)", `if c.Key != "SkipOutOfScopeDeletions" { $ }`},
	}},
	{"\"*\" is sent", "edge:PUT replaces all keys, the Tenant URL is masked", []edit{
		{"token/saver.payload", "c.Value = model.NewSecret(s.tenantURL())", ""},
	}},
	{"an unknown masked key is ignored", "edge:a masked", []edit{
		{"token/observer.credentials", "c.Masked() && c.Key != model.CredentialKeySecretToken", "false"},
	}},

	{"start on a paused job", "edge:the job is paused", []edit{
		{"token/jobWatch.waitIfStopped", "if isRunning(job)", "if !isRunning(job) { _ = w.options.Provisioning.StartJob(ctx) }\n$"},
	}},
	{"start on a deletion quarantine", "edge:quarantine for too many", []edit{
		{"token/jobWatch.waitIfStopped", "if q := job.Quarantine; q != nil && q.Cause() == model.QuarantineOther", "if q := job.Quarantine; q != nil && q.Cause() == model.QuarantineOther { _ = w.options.Provisioning.StartJob(ctx) }\n$"},
	}},
	{"start sent again on an unknown answer", "edge:repair, killed", []edit{
		{"token/alreadyStarted", "start.Target == target && !start.Refused()", "false"},
	}},
	{"a refused start is sent again at once, without end", "edge:every start", []edit{
		{"token/jobWatch.startsLeft", "start.Unsent", "start.Unsent || start.Refused()"},
		{"token/resumePhase.start", "return p.Wait(ctx, jobInterval, model.WaitingQuarantineRetry)", "return nil"},
	}},

	{"no lease check: a process that lost it may write", "^replica", []edit{
		{"journal/Holding.Write", "r.Lease.Holder != h.holder || r.Lease.Epoch != h.epoch", "false"},
	}},
	{"a stop loses the outcome of the operation in flight", ":terminated:", []edit{
		{"Session.writeOutcome", "err == nil || ctx.Err() == nil || isPermanent(err)", "true"},
	}},
	{"rate limit counted on success only", "edge:repeated alerts", []edit{
		{"token/createPhase.create", "if written.Done()", "$ else { r.lastCreation().From = time.Time{} }"},
	}},
	{"a hundred tokens a day", "edge:repeated alerts", []edit{
		{"policy/RateLimit.CreationsExceeded", "day >= maxCreationsPerDay", "day >= 100"},
	}},
	{"switch at once, whatever the tests say", "action:operator deletes the new|situation:AWS never", []edit{
		{"token/testPhase.run", "if passed", "passed = true\n$"},
	}},
	{"a token is saved that AWS refuses", "edge:the new token is deleted", []edit{
		{"token/saver.checkAccepted", "result == unauthorized", "false"},
	}},
	{"no second save before the old token is deleted", "edge:a long retire_after", []edit{
		{"token/guard.checkRetire", "put.Why != PutBeforeDelete || !put.Done() || rot.Proof.Put != put.Number || g.putOutdated(put, job)", "!put.Done()"},
		{"token/retirePhase.saveAgain", "!p.savedAgain(job)", "false"},
	}},
	{"the last save need not be used", "^whole|edge:the old token is saved back", []edit{
		{"token/guard.checkRetire", "!prover(g).lastSaveUsed(job)", "false"},
		{"token/retirePhase.retire", "p.mayUseOlder()", "false"},
		{"token/retirePhase.retire", "!proof.lastSaveUsed(job)", "false"},
	}},
	{"the second start comes at once", "edge:repair that needs a start while", []edit{
		{"token/jobWatch.startsLeft", "!w.mayUseOlder()", "true"},
	}},
	{"a quarantine that nothing ends is waited for without end", "edge:repair that needs a start, and", []edit{
		{"token/jobWatch.checkQuarantine", "w.mayUseOlder()", "true"},
	}},
	{"a restricted endpoint is repaired", "edge:the endpoint refuses", []edit{
		{"token/observer.checkEndpoint", "inline != unauthorized", "$ || true"},
	}},
	{"reset back to plan after a PUT", "edge:operator resets", []edit{
		{"token/rotation.resumeAfterReset", "if r.putAttempted()", "r.Phase, r.NewToken = model.PhasePlan, nil"},
	}},

	{"an orphan although several tokens are unknown", "edge:two unknown tokens", []edit{
		{"token/observer.orphan", "len(unknown) != 1", "len(unknown) == 0"},
	}},
	{"attribution by calls from before stored", "edge:a cycle is missed", []edit{
		{"token/prover.readCloudTrail", "from.Before(rot.Proof.Stored.AWS)", "false"},
	}},
	{"the second probe is the first one", "edge:some nodes accept", []edit{
		{"token/observer.probeTwice", "second, _ := o.probe(ctx, value)", "second := first"},
	}},
	{"no answer before the deletion is acceptance", "edge:the endpoint answers nothing", []edit{
		{"token/guard.requireNewAccepted", "result != accepted", "result == unauthorized"},
	}},
	{"the proof outlives a recovery", "edge:attributed, and the new token", []edit{
		{"token/recovery.begin", "rot.Proof, rot.PendingPut = Proof{}, PutRecovery", "rot.PendingPut = PutRecovery"},
	}},
	{"the proof outlives another save", "edge:attributed, and Entra", []edit{
		{"token/health.restartProof", "r.Rotation.PendingPut, r.Rotation.Proof = PutInitial, Proof{}", "r.Rotation.PendingPut = PutInitial"},
	}},
	{"one refusal settles the deletion", "edge:some nodes accept", []edit{
		{"token/confirmPhase.waitForPropagation", "refusals >= confirmRefusals || (result != accepted && since >= propagationTime)", "refusals >= 1 || (result != accepted && since >= propagationTime)"},
	}},
}
