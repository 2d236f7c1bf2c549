package certificate

import (
	"context"
	"time"

	"entra-aws-exporter/internal/model"
	"entra-aws-exporter/rotate"
	"entra-aws-exporter/rotate/journal"
	"entra-aws-exporter/rotate/policy"
)

const (
	baselineTime  = 7 * 24 * time.Hour // before the rollover, in which sign-ins are counted
	gateTime      = time.Hour          // after the activation, before anything proves its use
	deliveryTime  = 15 * time.Minute   // how late CloudTrail's events may be
	watchInterval = 5 * time.Minute    // between two looks at the sign-ins while they are decisive
	quietInterval = 15 * time.Minute   // later
	recentTime    = time.Hour          // in which a rise of failures is looked for
	signInTimeout = 2 * time.Minute    // for reading a log
)

// The logs that count sign-ins.
const (
	byCloudTrail = "CloudTrail"
	byEntra      = "Entra's sign-in log"
	byOperator   = "an operator"
)

// prover counts sign-ins. No log names the certificate of a sign-in: while AWS trusts both,
// successes show only that nothing is broken.
type prover struct{ observer }

// signIns counts the sign-ins since then, by AWS's log or, if there is none, by Entra's:
// what Entra issued, AWS may have refused.
func (p prover) signIns(ctx context.Context, since time.Time) (counts model.SignIns, baseline policy.SignInBaseline, by string, err error) {
	plan := p.rotation().Plan
	if counts, err = readLog(ctx, p.options.Instance.SignIns, since); err != nil || isLogged(plan.Accepted) || isLogged(policy.BaselineOf(counts)) {
		return counts, plan.Accepted, byCloudTrail, err
	}
	issued, err := readLog(ctx, p.options.Application.SignIns, since)
	if err == nil && !issued.Available { // then the empty log of AWS is all there is
		return counts, plan.Accepted, byCloudTrail, nil
	}
	return issued, plan.Issued, byEntra, err
}

// isLogged tells whether a log has any sign-in: one without may not be kept.
func isLogged(counts policy.SignInBaseline) bool {
	return counts.Available && counts.Successes+counts.Failures > 0
}

func readLog(ctx context.Context, read func(context.Context, time.Time) (model.SignIns, error), since time.Time) (model.SignIns, error) {
	bounded, cancel := context.WithTimeout(ctx, signInTimeout)
	defer cancel()
	return read(bounded, since)
}

// baseline counts the sign-ins before the rollover, by both logs.
func (p prover) baseline(ctx context.Context) (accepted, issued policy.SignInBaseline, err error) {
	since := p.now().Add(-baselineTime)
	fromAWS, err := readLog(ctx, p.options.Instance.SignIns, since)
	if err != nil {
		return accepted, issued, err
	}
	fromEntra, err := readLog(ctx, p.options.Application.SignIns, since)
	return policy.BaselineOf(fromAWS), policy.BaselineOf(fromEntra), err
}

// failing tells whether more sign-ins fail than before the rollover: since the last change
// of what is trusted or active, or of late.
func (p prover) failing(ctx context.Context) (bool, error) {
	changed := p.changed()
	for _, since := range []time.Time{changed, p.now().Add(-p.Shortened(recentTime))} {
		if since.Before(changed) {
			continue
		}
		counts, baseline, _, err := p.signIns(ctx, since)
		if err != nil {
			return false, err
		}
		if counts.Available && baseline.Failing(counts) {
			return true, nil
		}
	}
	return false, nil
}

// changed is when what Entra signs with, or what AWS trusts, was changed last, by AWS's clock.
func (p prover) changed() time.Time {
	rot := p.rotation()
	at := rot.Proof.Stored
	if at.Local.IsZero() {
		activation, _ := rot.LastOperation(OperationActivate)
		at = activation.Intent
	}
	if gone := rot.Proof.Gone; !gone.Local.IsZero() {
		at = gone
	}
	return p.onAWS(at)
}

// onAWS is a time that was written down, by AWS's clock.
func (o observer) onAWS(at journal.Timestamps) time.Time {
	if !at.AWS.IsZero() {
		return at.AWS
	}
	return at.Local.Add(o.AWS.Offset)
}

// since is how long ago something was written down, by the clock that says less: it may have
// been written by another replica, whose clock is five minutes ahead.
func (o observer) since(at journal.Timestamps) time.Duration {
	passed := o.Elapsed(at.Local)
	if now := o.AWS.Now(); !now.IsZero() && !at.AWS.IsZero() {
		passed = min(passed, o.Elapsed(time.Now().Add(at.AWS.Sub(now))))
	}
	return passed
}

// used tells what shows that users sign in since the activation; "": nothing does. An
// operator may have compared a captured response with the new certificate.
func (p prover) used(ctx context.Context) (by string, counts model.SignIns, err error) {
	rot := p.rotation()
	if rot.approved() {
		return byOperator, counts, nil
	}
	counts, baseline, by, err := p.signIns(ctx, p.onAWS(rot.Proof.Stored))
	if err != nil || p.since(rot.Proof.Stored) < gateTime || !baseline.Proves(counts) {
		return "", counts, err
	}
	return by, counts, nil
}

// exclusive tells what shows that users sign in although AWS trusts the old certificate
// nowhere; "": nothing does.
func (p prover) exclusive(ctx context.Context) (by string, counts model.SignIns, err error) {
	rot := p.rotation()
	if rot.approved() {
		return byOperator, counts, nil
	}
	counts, baseline, by, err := p.signIns(ctx, p.onAWS(rot.Proof.Gone).Add(p.Shortened(deliveryTime)))
	if err != nil || !baseline.Proves(counts) {
		return "", counts, err
	}
	return by, counts, nil
}

// health checks, after the activation, that what was reached still holds.
type health struct{ observer }

// check returns true if a repair was begun, which comes first.
func (h health) check(ctx context.Context, s sides) (repairing bool, err error) {
	rot := h.rotation()
	fresh, old := rot.New.Certificate, *rot.Plan.Old
	if s.signing.SSOMode != model.SingleSignOnSAML {
		if s, err = h.stableSides(ctx); err != nil {
			return false, err
		}
		if s.signing.SSOMode != model.SingleSignOnSAML {
			return false, wrongMode(s)
		}
	}
	active := s.active()
	switch {
	case active == fresh.Thumbprint && lost(s, fresh) == "":
	case active == fresh.Thumbprint:
		if s, err = h.stableSides(ctx); err != nil || lost(s, fresh) == "" || s.active() != fresh.Thumbprint {
			return false, err
		}
		return true, repairer(h).begin(ctx, s, model.BlockedForeignCertificate, lost(s, fresh))
	case active == old.Thumbprint && h.settling():
		return false, nil
	default:
		if s, err = h.stableSides(ctx); err != nil || s.active() == fresh.Thumbprint {
			return false, err
		}
		return false, reverted(s, fresh)
	}
	failing, err := prover(h).failing(ctx)
	if !failing {
		return false, err
	}
	return true, repairer(h).begin(ctx, s, model.BlockedSignInFailing, "more sign-ins fail since "+rotate.FormatTime(prover(h).changed())+" than before")
}

// lost says which side has the new certificate no longer; "": both have it. Entra signs with
// another one then, whatever it says is active.
func lost(s sides, fresh Certificate) string {
	switch _, listed := s.signs(fresh.SHA256); {
	case !s.trusts(fresh):
		return "AWS does not list the new certificate " + fresh.String() + " any more"
	case !listed:
		return "Entra does not list the new certificate " + fresh.String() + " with its private key any more"
	default:
		return ""
	}
}

// settling tells whether a replica of Entra may still show what was active before.
func (h health) settling() bool {
	last, _ := h.rotation().LastOperation(OperationActivate)
	return h.since(last.Intent) < replicaTime
}
