package rotate

import (
	"context"
	"errors"
	"time"

	"entra-aws-exporter/internal/model"
)

const (
	// testFor is how long a new token may be refused before it is given up.
	testFor = 2 * time.Hour
	// switchAfter is the least time between creating a token and saving it to Entra. It
	// is longer than silenceLimit, so a journal without gaps cannot be an older copy
	// that knows of the creation but not of the saving.
	switchAfter = 6 * time.Minute
)

// testPhase tries the new token, as it was kept, at AWS itself and from Entra, before
// anything depends on it.
func testPhase(ctx context.Context, r *run) (model.Phase, error) {
	rot := r.rotation()
	if rot.Tests.Began.IsZero() {
		now := time.Now().UTC()
		if err := r.write(ctx, func(rec *record) { rec.Rotation.Tests.Began = now }); err != nil {
			return "", err
		}
		rot = r.rotation()
	}
	value, err := r.newValue(ctx)
	if errors.Is(err, errValueLost) {
		return r.testFailed(TokenValueLost, err.Error())
	}
	if err != nil {
		return "", err
	}
	if life, known := lifeOf(*rot.NewToken); known && rot.created(rot.newID()) && life < r.connection.Policy.shortestRotation() {
		return r.testFailed(LifetimeTooShort, "it would not outlive the rotation")
	}
	passed, finding, err := r.tryTwice(ctx, value)
	if err != nil {
		return "", err
	}
	if passed {
		r.say("token %s works at AWS, and from Entra", rot.newID())
		at := r.moment()
		return model.PhaseSwitch, r.write(ctx, func(rec *record) { rec.Rotation.Tests.Passed = at })
	}
	if finding.text != rot.Tests.Last {
		r.say("token %s: %s", rot.newID(), finding.text)
		if err := r.write(ctx, func(rec *record) { rec.Rotation.Tests.Last = finding.text }); err != nil {
			return "", err
		}
	}
	if r.passed(rot.Tests.Began) >= testFor {
		return r.testFailed(finding.reason, finding.text)
	}
	return model.PhaseTest, r.wait(ctx, time.Minute, notWaiting)
}

// testFailed gives the token up if nobody else can hold it; else a person must look.
func (r *run) testFailed(reason Blocked, detail string) (model.Phase, error) {
	rot := r.rotation()
	if !rot.outOfHand() && rot.created(rot.newID()) {
		r.say("giving up: %s", detail)
		return model.PhaseUndo, nil
	}
	return "", blocked(reason, "token %s: %s", rot.newID(), detail)
}

// finding is why a trial was not good.
type finding struct {
	reason Blocked
	text   string
}

// tryTwice makes two trials and returns true if both were good, and if it is long
// enough since the token was made.
func (r *run) tryTwice(ctx context.Context, value model.Secret) (bool, finding, error) {
	for try := range 2 {
		if try > 0 {
			if err := r.wait(ctx, max(testsApart, switchAfter-r.sinceCreated()), notWaiting); err != nil {
				return false, finding{}, err
			}
		}
		if good, found, err := r.try(ctx, value); !good {
			return false, found, err
		}
	}
	return true, finding{}, nil
}

func (r *run) sinceCreated() time.Duration {
	rot := r.rotation()
	if !rot.created(rot.newID()) {
		return switchAfter
	}
	return r.passed(rot.Creates[len(rot.Creates)-1].Intent.Local)
}

// try asks AWS whether it takes the value, and Entra whether it gets through with it.
// One of the two may be unable to tell, not both. An error is an impasse, which has nothing
// to do with the token.
func (r *run) try(ctx context.Context, value model.Secret) (bool, finding, error) {
	verdict, detail := r.probe(ctx, value)
	if verdict == rejected {
		return false, finding{NewTokenRejected, "AWS does not accept it: " + detail}, nil
	}
	if !r.rotation().Plan.Control {
		return verdict == accepted, finding{EndpointRefusesEntra, "nobody can tell whether it works: Entra's inline test is no evidence, and " + detail}, nil
	}
	inline, err := r.inlineVerdict(ctx, value)
	switch {
	case impasseOf(err) != nil:
		return false, finding{}, err
	case err != nil:
		return false, finding{EndpointRefusesEntra, "Entra's test did not take place: " + err.Error()}, nil //nolint:nilerr // it is in the finding, and may pass
	case inline == rejected && verdict == accepted && r.rotation().Plan.Dead:
		return true, finding{}, nil // it may have tested what is saved; there is nothing to lose
	case inline == rejected && verdict == accepted:
		return false, finding{EndpointRefusesEntra, "AWS accepts it from here, but Entra's test of the endpoint with it fails"}, nil
	case inline == rejected:
		return false, finding{NewTokenRejected, "Entra's test with it fails, and " + detail}, nil
	default:
		return true, finding{}, nil
	}
}

// inlineVerdict makes Entra test a value without saving it. An error means that the
// test did not take place; without control it tells nothing, and says so.
func (r *run) inlineVerdict(ctx context.Context, value model.Secret) (answer, error) {
	if !r.rotation().Plan.Control {
		return noVerdict, nil
	}
	current, err := r.credentials(ctx)
	if err != nil {
		return noVerdict, err
	}
	verdict, err := r.verdict(ctx, r.inline(current, value))
	switch {
	case err != nil:
		return noVerdict, err
	case verdict == model.TestPassed:
		return accepted, nil
	default:
		return rejected, nil
	}
}

// newValue reads the new token's value from the vault, never from memory: what counts
// is what would be there after a crash.
func (r *run) newValue(ctx context.Context) (model.Secret, error) {
	value, err := r.safe.of(ctx, r.rotation().newID())
	if err == nil && value.IsZero() {
		err = errValueLost
	}
	return value, err
}
