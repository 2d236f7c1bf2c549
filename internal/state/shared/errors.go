package shared

import (
	"context"
	"errors"
	"net/http"
	"time"

	"entra-aws-exporter/internal/model"
)

const (
	// attempts is how often a call that changes something is tried. What fails longer is
	// retried by the caller, who knows how long it may wait.
	attempts = 5
	backoff  = 200 * time.Millisecond // before the second attempt; it doubles
)

// unavailableError is an error of a service. It hides the classification of the service's
// client, by which the rotation would take it for a refusal of Identity Center or Entra.
type unavailableError struct {
	cause  error
	passes bool
}

func (e *unavailableError) Error() string { return e.cause.Error() }

// Is implements errors.Is: an error that passes is a model.ErrUnavailable.
func (e *unavailableError) Is(target error) bool {
	return e.passes && target == model.ErrUnavailable ||
		target == context.Canceled && errors.Is(e.cause, target) || target == context.DeadlineExceeded && errors.Is(e.cause, target)
}

// Cause returns the error of a service that the error of a store hides, for a report.
func Cause(err error) error {
	var hidden *unavailableError
	if errors.As(err, &hidden) {
		return hidden.cause
	}
	return err
}

// storeError returns the error of a service as that of a store.
func storeError(err error) error {
	var failed *model.Error
	if err == nil || !errors.As(err, &failed) {
		return err
	}
	return &unavailableError{err, passes(failed)}
}

// passes tells whether the same call may succeed later without anybody's help.
func passes(failed *model.Error) bool {
	switch failed.Reason {
	case model.ReasonThrottled, model.ReasonTimeout, model.ReasonNetwork, model.ReasonInvalidResponse:
		return true
	default:
		return failed.Status >= http.StatusInternalServerError
	}
}

// mayPass is passes for any error.
func mayPass(err error) bool {
	var failed *model.Error
	return errors.Is(err, model.ErrUnavailable) || errors.As(err, &failed) && passes(failed)
}

// retry makes a call until it succeeds, or fails with an error that does not pass.
func retry(ctx context.Context, call func() error) error {
	var err error
	for attempt := range attempts {
		if err = call(); err == nil || !mayPass(err) || sleep(ctx, backoff<<attempt) != nil {
			break
		}
	}
	return err
}

func sleep(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-timer.C:
		return nil
	}
}
