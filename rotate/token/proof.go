package token

import (
	"context"
	"time"

	"entra-aws-exporter/internal/model"
	"entra-aws-exporter/rotate"
	"entra-aws-exporter/rotate/journal"
	"entra-aws-exporter/rotate/policy"
)

const (
	// minCycleDelay is how long after the moment in question a cycle must have begun to count.
	minCycleDelay = 2 * time.Minute

	cloudTrailDelay   = 15 * time.Minute // how late CloudTrail's events may be
	cloudTrailTimeout = 2 * time.Minute  // for some 10,000 calls: 50 in a page, two pages a second
	cloudTrailBefore  = 24 * time.Hour   // how long before the creation CloudTrail is read
	probesNeeded      = 2                // of our own, to learn the new token's access key id

	// cloudTrailDecides is when, after the save, CloudTrail has told what it can tell:
	// Entra's engine has read the new token, a cycle has passed, and its calls are delivered.
	cloudTrailDecides = engineCache + 2*defaultInterval + 2*cloudTrailDelay
)

// prover gathers the evidence that Entra uses the new token.
type prover struct{ observer }

// used is proof level two: a cycle that began well after the moment, on Graph's clock, and
// ended without a credential error. That one user fails in every cycle says nothing against
// the token.
func (p prover) used(job model.Job, since journal.Timestamps) bool {
	return job.Quarantine == nil && job.Status != model.JobQuarantine && p.goodCycleSince(job, since)
}

// goodCycleSince tells whether the last cycle began well after the moment and was good.
func (p prover) goodCycleSince(job model.Job, since journal.Timestamps) bool {
	cycle := job.LastCycle
	return cycle != nil && !since.Graph.IsZero() && cycle.Began.After(since.Graph.Add(p.Shortened(minCycleDelay))) && cycle.Ended.After(cycle.Began) &&
		(cycle.State == model.CycleSucceeded || cycle.State == model.CycleEntryLevelErrors) &&
		!model.IsCredentialCode(cycle.ErrorCode)
}

// lastSaveUsed tells whether Entra has used what was saved last, and can use nothing that it
// read before: somebody may have saved the old token until then, and nothing shows it.
func (p prover) lastSaveUsed(job model.Job) bool {
	return p.used(job, p.rotation().Proof.Stored) && !p.mayUseOlder()
}

// waitForUse waits for the next look at the job, until its cycles had their time.
func (p prover) waitForUse(ctx context.Context, job model.Job) error {
	if job.Quarantine != nil {
		if err := jobWatch(p).checkQuarantine(job); err != nil {
			return err
		}
		return p.Wait(ctx, jobInterval, model.WaitingQuarantineRetry)
	}
	if waited := p.rotation().Proof.Waited; waited >= p.options.Policy.VerifyTimeout {
		return rotate.Blocked(model.BlockedProofTimeout, "for %s no provisioning cycle has shown that token %s is used", waited, p.rotation().newID())
	}
	if err := p.Wait(ctx, jobInterval, model.WaitingProofPending); err != nil {
		return err
	}
	return p.write(ctx, func(r *record) { r.Rotation.Proof.Waited += jobInterval })
}

// journalUsed journals level two, and whether the cycle provisioned something.
func (p prover) journalUsed(ctx context.Context, job model.Job) error {
	strong, err := p.provisioned(ctx, job)
	if err != nil {
		return err
	}
	effect := "nothing had to be provisioned"
	if strong {
		effect = "something was provisioned"
	}
	p.LogStep("the cycle that began %s ended %s: used (%s)", rotate.FormatTime(job.LastCycle.Began), job.LastCycle.State, effect)
	at := p.Timestamps()
	return p.write(ctx, func(r *record) {
		proof := &r.Rotation.Proof
		proof.Used, proof.Strong, proof.Waited = at, strong, 0
		proof.raise(model.ProofUsed)
		r.Rotation.Approval = nil // an earlier one was given for another save
	})
}

// provisioned tells whether something was provisioned since the cycle began.
func (p prover) provisioned(ctx context.Context, job model.Job) (bool, error) {
	if job.LastCycle.Entries[model.EntriesExported] > 0 {
		return true, nil
	}
	exported, err := rotate.Read(ctx, func(ctx context.Context) (int, error) {
		return p.options.Provisioning.Exports(ctx, job.LastCycle.Began)
	})
	if err == nil && exported > 0 { // the provisioning log is optional: it needs a licence
		return true, nil
	}
	return p.canaryArrived(ctx)
}

// canaryArrived provisions the canary user on demand, once, and looks for it at AWS. It
// makes a proof stronger; alone it is none, since the call reads the saved token afresh.
func (p prover) canaryArrived(ctx context.Context) (bool, error) {
	user := p.options.Policy.CanaryUserObjectID
	if user == "" || len(p.rotation().Operations[OperationCanary]) > 0 {
		return false, nil
	}
	var userName string
	written, err := p.execute(ctx, operation{
		kind: OperationCanary,
		call: func(ctx context.Context) error {
			var err error
			userName, err = p.options.Provisioning.ProvisionUser(ctx, user)
			return err
		},
	})
	if err != nil || !written.Done() {
		return false, err
	}
	value, err := p.newValue(ctx)
	if err != nil {
		return false, err
	}
	arrived, err := rotate.Read(ctx, func(ctx context.Context) (bool, error) {
		return p.options.SCIM.HasUser(ctx, value, userName)
	})
	return arrived && err == nil, nil // AWS may refuse our address: then the canary tells nothing
}

// attribute gathers proof level three. Contradicted: Entra was seen to use another token
// although it must have read the new one.
func (p prover) attribute(ctx context.Context, job model.Job) (policy.Attribution, error) {
	if p.rotation().Proof.Level.AtLeast(model.ProofAttributed) {
		return policy.Attributed, nil
	}
	found, by := policy.Unattributed, "circumstance"
	alone, err := p.onlyNewTokenAccepted(ctx)
	if err != nil {
		return policy.Unattributed, err
	}
	if alone {
		found = policy.Attributed
	} else if p.options.CloudTrail != nil {
		by = "cloudtrail"
		if found, err = p.readCloudTrail(ctx, job); err != nil {
			return policy.Unattributed, err
		}
	}
	if found != policy.Attributed {
		return found, nil
	}
	p.LogStep("Entra uses the new token (%s): attributed", by)
	at := p.Timestamps()
	return policy.Attributed, p.write(ctx, func(r *record) {
		proof := &r.Rotation.Proof
		proof.Attributed, proof.AttributedBy = at, by
		proof.raise(model.ProofAttributed)
	})
}

// onlyNewTokenAccepted: every old token is listed and dead, expired or refused, and Entra's
// own test passes after that. A deleted token does not count: some of AWS's nodes may still
// accept it.
func (p prover) onlyNewTokenAccepted(ctx context.Context) (bool, error) {
	list, err := p.listTokens(ctx)
	if err != nil {
		return false, err
	}
	old := p.rotation().oldTokens()
	for _, token := range old {
		if _, listed := policy.FindToken(list.Tokens, token.ID); !listed {
			return false, nil
		}
		if p.expired(token.Token) {
			continue
		}
		value, err := p.tokens.find(ctx, token.ID)
		if err != nil {
			return false, err
		}
		if value.IsZero() || p.probeTwice(ctx, value) != unauthorized {
			return false, nil
		}
	}
	if len(old) == 0 || len(list.Tokens) != len(old)+1 {
		return false, nil
	}
	result, err := p.testSaved(ctx)
	return result == model.TestPassed, err
}

// readCloudTrail learns from CloudTrail which access key id stands for the new token, by
// two calls of our own, and then who calls with which id.
func (p prover) readCloudTrail(ctx context.Context, job model.Job) (policy.Attribution, error) {
	rot := p.rotation()
	pending := policy.Undecided
	if p.Elapsed(rot.Proof.Stored.Local) >= cloudTrailDecides {
		pending = policy.Unattributed
	}
	if len(rot.Proof.Probes) < probesNeeded {
		return pending, p.probeForCloudTrail(ctx)
	}
	log, err := p.callLog(ctx)
	if err != nil {
		if model.ReasonOf(err) == model.ReasonPermission {
			pending = policy.Unattributed
		}
		return pending, nil //nolint:nilerr // CloudTrail is optional; callLog has logged it
	}
	id, usable := log.AccessKeyID()
	switch {
	case !usable:
		return policy.Unattributed, nil
	case id == "":
		return pending, nil
	}
	until := p.AWS.Now().Add(-p.Shortened(cloudTrailDelay))
	from := until.Add(-p.interval(job) - p.Shortened(cloudTrailDelay))
	if from.Before(rot.Proof.Stored.AWS) {
		return pending, nil
	}
	withID, withOther := log.UsesBetween(from, until, id)
	switch {
	case withID > 0 && withOther == 0 && !rot.savedSinceStored():
		return policy.Attributed, nil
	case withOther > 0 && withID == 0 && !from.Before(rot.Proof.Stored.AWS.Add(p.Shortened(engineCache))):
		return policy.Contradicted, nil
	default:
		return pending, nil
	}
}

// callLog reads CloudTrail. A failure is logged once per reason.
func (p prover) callLog(ctx context.Context) (policy.CallLog, error) {
	rot := p.rotation()
	log := policy.CallLog{Created: rot.NewToken.Created}
	for _, probe := range rot.Proof.Probes {
		log.Probes = append(log.Probes, probe.AWS)
	}
	bounded, cancel := context.WithTimeout(ctx, cloudTrailTimeout)
	defer cancel()
	var err error
	if log.Calls, err = p.options.CloudTrail.CallsSince(bounded, log.Created.Add(-cloudTrailBefore)); err != nil {
		if reason := model.ReasonOf(err); p.lastCloudTrailFail != reason {
			p.lastCloudTrailFail = reason
			p.LogStep("reading CloudTrail failed: %s", err)
		}
		return log, err
	}
	return log, nil
}

// probeForCloudTrail makes a call with the new value that CloudTrail must show. It stands
// alone: no other call of ours, such as one with the old value, may be taken for it. The
// speedup cannot shorten its distance: CloudTrail's times have whole seconds.
func (p prover) probeForCloudTrail(ctx context.Context) error {
	value, err := p.newValue(ctx)
	if err != nil {
		return err
	}
	if err := rotate.Sleep(ctx, 2*policy.ProbeTolerance); err != nil {
		return err
	}
	p.probe(ctx, value)
	at := p.Timestamps()
	if err := rotate.Sleep(ctx, 2*policy.ProbeTolerance); err != nil {
		return err
	}
	return p.write(ctx, func(r *record) { r.Rotation.Proof.Probes = append(r.Rotation.Proof.Probes, at) })
}
