package identitycenter

import (
	"context"
	"errors"
	"net/http"
	"strconv"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/aws/retry"
	smithyhttp "github.com/aws/smithy-go/transport/http"
)

const (
	longestBackoff = 5 * time.Second // of the standard retryer's three attempts
	longestWait    = time.Minute     // that a service may ask for; beyond, the next reading is the better retry
)

var errNoTimeToRetry = errors.New("no time for another attempt")

// patientRetryer is the SDK's standard retryer with three manners more: it waits as
// long as a Retry-After asks, whatever the code of a 429 is, and it gives up at once
// where the deadline leaves no room for that, so that the service's own error is what
// the caller sees.
type patientRetryer struct{ aws.RetryerV2 }

func newRetryer() aws.Retryer {
	return patientRetryer{retry.NewStandard(func(o *retry.StandardOptions) {
		o.Retryables = append(o.Retryables, retry.RetryableHTTPStatusCode{Codes: map[int]struct{}{http.StatusTooManyRequests: {}}})
	})}
}

// GetRetryToken implements aws.Retryer.
func (r patientRetryer) GetRetryToken(ctx context.Context, cause error) (func(error) error, error) {
	wait := max(retryAfter(cause), longestBackoff)
	if deadline, limited := ctx.Deadline(); limited && time.Until(deadline) <= wait {
		return nil, errNoTimeToRetry
	}
	if wait > longestWait {
		return nil, errNoTimeToRetry
	}
	return r.RetryerV2.GetRetryToken(ctx, cause)
}

// RetryDelay implements aws.Retryer.
func (r patientRetryer) RetryDelay(attempt int, cause error) (time.Duration, error) {
	delay, err := r.RetryerV2.RetryDelay(attempt, cause)
	return max(delay, retryAfter(cause)), err
}

// retryAfter reads a refusal's Retry-After: seconds, or a date by the service's clock.
func retryAfter(cause error) time.Duration {
	var answer *smithyhttp.ResponseError
	if !errors.As(cause, &answer) || answer.Response == nil || answer.Response.Response == nil {
		return 0
	}
	value := answer.Response.Header.Get("Retry-After")
	if seconds, err := strconv.ParseUint(value, 10, 31); err == nil {
		return time.Duration(seconds) * time.Second
	}
	at, err := http.ParseTime(value)
	if err != nil {
		return 0
	}
	now := dateOf(answer.Response.Response)
	if now.IsZero() {
		now = time.Now()
	}
	return max(0, at.Sub(now))
}
