package token

import (
	"context"
	"errors"
	"time"

	"entra-aws-exporter/internal/model"
	"entra-aws-exporter/rotate"
	"entra-aws-exporter/rotate/policy"
)

const (
	// maxTestTime is how long a new token may be refused before it is given up.
	maxTestTime = 2 * time.Hour
	// minSwitchDelay is the least time between creating a token and saving it to Entra. It
	// is longer than journal.MaxGap, so a journal without gaps cannot be an older copy that
	// knows of the creation but not of the save.
	minSwitchDelay = 6 * time.Minute
)

// testPhase tests the new token, as it was stored, at AWS itself and from Entra, before
// anything depends on it.
type testPhase struct{ observer }

func (p testPhase) run(ctx context.Context) (model.Phase, error) {
	if p.rotation().Trial.Began.IsZero() {
		now := time.Now().UTC()
		if err := p.write(ctx, func(r *record) { r.Rotation.Trial.Began = now }); err != nil {
			return "", err
		}
	}
	rot := p.rotation()
	value, err := p.newValue(ctx)
	if errors.Is(err, errValueLost) {
		return p.fail(model.BlockedTokenValueLost, err.Error())
	}
	if err != nil {
		return "", err
	}
	if lifetime, known := policy.Lifetime(*rot.NewToken); known && rot.created(rot.newID()) && lifetime < p.options.Policy.MinLifetime() {
		return p.fail(model.BlockedLifetimeTooShort, "it would not outlive the rotation")
	}
	passed, found, err := p.testTwice(ctx, value)
	if err != nil {
		return "", err
	}
	if passed {
		p.LogStep("token %s works at AWS, and from Entra", rot.newID())
		at := p.Timestamps()
		return model.PhaseSwitch, p.write(ctx, func(r *record) { r.Rotation.Trial.Passed = at })
	}
	if found.text != rot.Trial.LastFinding {
		p.LogStep("token %s: %s", rot.newID(), found.text)
		if err := p.write(ctx, func(r *record) { r.Rotation.Trial.LastFinding = found.text }); err != nil {
			return "", err
		}
	}
	if p.Elapsed(rot.Trial.Began) >= maxTestTime {
		return p.fail(found.reason, found.text)
	}
	return model.PhaseTest, p.Wait(ctx, time.Minute, "")
}

// fail gives the token up if nobody else can hold it; else an operator must look.
func (p testPhase) fail(reason model.BlockedReason, detail string) (model.Phase, error) {
	rot := p.rotation()
	unused := !rot.mayBeInUse()
	if unused && rot.created(rot.newID()) {
		p.LogStep("giving up: %s", detail)
		return model.PhaseUndo, nil
	}
	blocked := &rotate.BlockedError{Reason: reason, Detail: "token " + rot.newID() + ": " + detail}
	if reason == model.BlockedNewTokenRejected && unused {
		blocked.Command = commandOtherValue // an operator created it
	}
	return "", blocked
}

// finding is why a test was not passed.
type finding struct {
	reason model.BlockedReason
	text   string
}

// testTwice returns true if two tests passed, and if the token is old enough to be saved.
func (p testPhase) testTwice(ctx context.Context, value model.Secret) (bool, finding, error) {
	for attempt := range 2 {
		if attempt > 0 {
			if err := p.Wait(ctx, max(testGap, minSwitchDelay-p.sinceCreated()), ""); err != nil {
				return false, finding{}, err
			}
		}
		if passed, found, err := p.test(ctx, value); !passed {
			return false, found, err
		}
	}
	return true, finding{}, nil
}

func (p testPhase) sinceCreated() time.Duration {
	rot := p.rotation()
	if !rot.created(rot.newID()) {
		return minSwitchDelay
	}
	creation, _ := rot.LastOperation(OperationCreate)
	return p.Elapsed(creation.Intent.Local)
}

// test asks AWS whether it accepts the value, and Entra whether it reaches AWS with it. One
// of the two may be unable to tell, not both. An error has nothing to do with the token: it
// is a reason to block, or Entra's credentials could not be read.
func (p testPhase) test(ctx context.Context, value model.Secret) (bool, finding, error) {
	result, detail := p.probe(ctx, value)
	if result == unauthorized {
		return false, finding{model.BlockedNewTokenRejected, "AWS does not accept it: " + detail}, nil
	}
	if !p.rotation().Plan.ControlFailed {
		return result == accepted, finding{model.BlockedEndpointRefusesEntra, "it cannot be tested: Entra's inline test is no evidence, and " + detail}, nil
	}
	current, err := p.credentials(ctx)
	if err != nil {
		return false, finding{}, err
	}
	inline, err := p.testInline(ctx, current, value)
	switch {
	case asBlocked(err) != nil:
		return false, finding{}, err
	case err != nil:
		return false, finding{model.BlockedEndpointRefusesEntra, "Entra's test did not take place: " + err.Error()}, nil //nolint:nilerr // it is in the finding, and may pass
	case result == accepted && p.rotation().Plan.SavedTestFailed:
		return true, finding{}, nil // Entra may have tested what is saved; there is nothing to lose
	case inline == unauthorized && result == accepted:
		return false, finding{model.BlockedEndpointRefusesEntra, "AWS accepts it from here, but Entra's test of the endpoint with it fails"}, nil
	case inline == unauthorized:
		return false, finding{model.BlockedNewTokenRejected, "Entra's test with it fails, and " + detail}, nil
	default:
		return true, finding{}, nil
	}
}
