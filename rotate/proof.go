package rotate

import (
	"context"
	"slices"
	"time"

	"entra-aws-exporter/internal/model"
)

// rank orders the levels of proof; each includes the ones before it.
func rank(level model.ProofLevel) int {
	return slices.Index([]model.ProofLevel{model.ProofNone, model.ProofStored, model.ProofUsed, model.ProofAttributed, model.ProofExclusive}, level)
}

func (p proof) atLeast(level model.ProofLevel) bool { return rank(p.Level) >= rank(level) }

func (p *proof) raise(level model.ProofLevel) {
	if !p.atLeast(level) {
		p.Level = level
	}
}

// cycleAfter is how long after the moment in question a cycle must have begun to count.
const cycleAfter = 2 * time.Minute

// used is proof level two: a cycle that began well after the moment, on Graph's clock,
// and ended without a credential error. That one user fails in every cycle says nothing
// against the token.
func (r *run) used(job model.Job, since moment) bool {
	cycle := job.LastCycle
	if cycle == nil || since.Graph.IsZero() || job.Quarantine != nil || job.Status == model.JobQuarantine {
		return false
	}
	return cycle.Began.After(since.Graph.Add(cycleAfter/r.pace)) && cycle.Ended.After(cycle.Began) &&
		(cycle.State == model.CycleSucceeded || cycle.State == model.CycleEntryLevelErrors) &&
		cycle.ErrorCode != model.QuarantineCodeBadCredentials
}

// journalUsed notes level two, and whether the cycle really provisioned something.
func (r *run) journalUsed(ctx context.Context, job model.Job) error {
	strong := job.LastCycle.Entries[model.EntriesExported] > 0
	if !strong {
		exported, err := read(ctx, func(ctx context.Context) (int, error) {
			return r.connection.Clouds.Provisioning.Exports(ctx, job.LastCycle.Began)
		})
		strong = err == nil && exported > 0 // the log is an extra: it needs a licence
	}
	if !strong {
		var err error
		if strong, err = r.canaryArrived(ctx); err != nil {
			return err
		}
	}
	r.say("the cycle that began %s ended %s: used%s", day(job.LastCycle.Began), job.LastCycle.State,
		map[bool]string{true: ", and something was provisioned", false: ", though nothing was to be provisioned"}[strong])
	at := r.moment()
	return r.write(ctx, func(rec *record) {
		rec.Rotation.Proof.Used, rec.Rotation.Proof.Strong = at, strong
		rec.Rotation.Proof.raise(model.ProofUsed)
	})
}

// canaryArrived provisions the canary user on demand, once, and looks for it at AWS. It
// makes a proof stronger; alone it is none, for the call reads the saved token afresh.
func (r *run) canaryArrived(ctx context.Context) (bool, error) {
	user := r.connection.Policy.CanaryUserObjectID
	if user == "" || len(r.rotation().Canary) > 0 {
		return false, nil
	}
	var userName string
	a, err := r.carryOut(ctx, deed{
		list: canaries,
		call: func(ctx context.Context) error {
			var err error
			userName, err = r.connection.Clouds.Provisioning.ProvisionUser(ctx, user)
			return err
		},
	})
	if err != nil || !a.done() {
		return false, err
	}
	value, err := r.newValue(ctx)
	if err != nil {
		return false, err
	}
	arrived, err := read(ctx, func(ctx context.Context) (bool, error) {
		return r.connection.Clouds.SCIM.HasUser(ctx, value, userName)
	})
	return arrived && err == nil, nil // AWS may refuse our address: then the canary tells nothing
}

// attribution is what AWS's log, or the circumstances, say about who uses what.
type attribution int

const (
	unattributed attribution = iota // nothing can be said
	undecided                       // nothing can be said yet
	attributed                      // Entra uses the new token and no other
	contradicted                    // Entra goes on using another one
)

// attribute gathers proof level three. It returns contradicted if Entra was seen to use
// another token although it must have read the new one.
func (r *run) attribute(ctx context.Context, job model.Job) (attribution, error) {
	if r.rotation().Proof.atLeast(model.ProofAttributed) {
		return attributed, nil
	}
	found, how := unattributed, "circumstance"
	alone, err := r.onlyNewIsAlive(ctx)
	if err != nil {
		return unattributed, err
	}
	if alone {
		found = attributed
	} else if r.connection.Clouds.Calls != nil {
		how = "log"
		if found, err = r.readLog(ctx, job); err != nil {
			return unattributed, err
		}
	}
	if found != attributed {
		return found, nil
	}
	r.say("Entra uses the new token (%s): attributed", how)
	at := r.moment()
	return attributed, r.write(ctx, func(rec *record) {
		rec.Rotation.Proof.Attributed, rec.Rotation.Proof.How = at, how
		rec.Rotation.Proof.raise(model.ProofAttributed)
	})
}

// onlyNewIsAlive: every old token is listed and dead, expired or refused, and Entra's
// own test passes after that. A token that was deleted does not count: some of AWS's
// nodes may go on accepting it.
func (r *run) onlyNewIsAlive(ctx context.Context) (bool, error) {
	list, err := r.listTokens(ctx)
	if err != nil {
		return false, err
	}
	for _, old := range r.rotation().old() {
		if _, listed := find(list.Tokens, old.ID); !listed {
			return false, nil
		}
		if r.expired(old.Token) {
			continue
		}
		value, err := r.safe.of(ctx, old.ID)
		if err != nil {
			return false, err
		}
		if value.IsZero() || !r.rejectedTwice(ctx, value) {
			return false, nil
		}
	}
	if len(r.rotation().old()) == 0 || len(list.Tokens) != len(r.rotation().old())+1 {
		return false, nil
	}
	verdict, err := r.saved(ctx)
	return verdict == model.TestPassed, err
}

// rejectedTwice asks twice in a row: two nodes of AWS may answer differently.
func (r *run) rejectedTwice(ctx context.Context, value model.Secret) bool {
	return r.twice(ctx, value) == rejected
}

// twice asks twice, since AWS's nodes learn one after the other: accepted if one takes it.
func (r *run) twice(ctx context.Context, value model.Secret) answer {
	first, _ := r.probe(ctx, value)
	second, _ := r.probe(ctx, value)
	switch {
	case first == accepted || second == accepted:
		return accepted
	case first == second:
		return first
	default:
		return noVerdict
	}
}
