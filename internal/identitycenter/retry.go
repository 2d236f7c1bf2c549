package identitycenter

import (
	"context"
	"errors"
	"net/http"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/aws/retry"
	smithyhttp "github.com/aws/smithy-go/transport/http"
	"golang.org/x/time/rate"

	"entra-aws-exporter/internal/cloudhttp"
)

const (
	maxBackoff = 5 * time.Second // of the standard retryer's three attempts
	maxWait    = time.Minute     // that a service may ask for; beyond it, the next poll is the better retry
)

var errNoTimeToRetry = errors.New("no time for another attempt")

// retryAfterRetryer is the SDK's standard retryer with three differences. It waits as
// long as a Retry-After asks. It retries a 429 whatever its code is. It returns the
// service's own error at once if the deadline leaves no time for the wait.
type retryAfterRetryer struct{ aws.RetryerV2 }

func newRetryer() aws.Retryer { return newRetryAfterRetryer() }

func newRetryAfterRetryer() retryAfterRetryer {
	return retryAfterRetryer{retry.NewStandard(func(o *retry.StandardOptions) {
		o.Retryables = append(o.Retryables, retry.RetryableHTTPStatusCode{Codes: map[int]struct{}{http.StatusTooManyRequests: {}}})
	})}
}

// GetRetryToken implements aws.Retryer.
func (r retryAfterRetryer) GetRetryToken(ctx context.Context, cause error) (func(error) error, error) {
	wait := max(retryAfter(cause), maxBackoff)
	if deadline, limited := ctx.Deadline(); wait > maxWait || limited && time.Until(deadline) <= wait {
		return nil, errNoTimeToRetry
	}
	return r.RetryerV2.GetRetryToken(ctx, cause)
}

// RetryDelay implements aws.Retryer.
func (r retryAfterRetryer) RetryDelay(attempt int, cause error) (time.Duration, error) {
	delay, err := r.RetryerV2.RetryDelay(attempt, cause)
	return max(delay, retryAfter(cause)), err
}

// limitedRetryer keeps all attempts below a rate, not only the first ones.
type limitedRetryer struct {
	retryAfterRetryer
	limit *rate.Limiter
}

// GetAttemptToken implements aws.RetryerV2.
func (r limitedRetryer) GetAttemptToken(ctx context.Context) (func(error) error, error) {
	if err := r.limit.Wait(ctx); err != nil {
		if ctx.Err() == nil {
			err = context.DeadlineExceeded // the next turn would come after it
		}
		return nil, err //nolint:wrapcheck // the SDK wraps it
	}
	return r.RetryerV2.GetAttemptToken(ctx)
}

// retryAfter reads an error response's Retry-After; 0: it has none.
func retryAfter(cause error) time.Duration {
	var failed *smithyhttp.ResponseError
	if !errors.As(cause, &failed) || failed.Response == nil || failed.Response.Response == nil {
		return 0
	}
	return cloudhttp.RetryAfter(failed.Response.Response)
}
