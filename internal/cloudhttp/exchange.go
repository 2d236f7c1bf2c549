package cloudhttp

import (
	"context"
	"fmt"
	"math"
	"mime"
	"net/http"
	"strconv"
	"time"
)

// MaxRetryAfter is the longest wait that RetryAfter returns: a service that asks for more
// is asked again after it, since an absurd value must not stop the polls for long.
const MaxRetryAfter = 10 * time.Minute

// Exchange records the requests of one call, of which an SDK may make several. It
// belongs to the goroutine that makes the call.
type Exchange struct {
	Sent        bool          // a request may have reached the service
	Status      int           // of the last response; 0: there was none
	ContentType string        // of the last response
	Date        time.Time     // the service's clock; zero: unknown
	RetryAfter  time.Duration // how long the service asked to wait; 0: it did not
	ErrorBody   []byte        // the beginning of the last response's body, if its status is 400 or above
	NotJSON     bool          // a write was answered with something that is not JSON
	Err         error         // why the last request got no response
}

type exchangeKey struct{}

// WithExchange makes all requests with this context be recorded.
func WithExchange(ctx context.Context, exchange *Exchange) context.Context {
	return context.WithValue(ctx, exchangeKey{}, exchange)
}

// ExchangeOf returns the record of the context's call; never nil.
func ExchangeOf(ctx context.Context) *Exchange {
	if exchange, ok := ctx.Value(exchangeKey{}).(*Exchange); ok {
		return exchange
	}
	return &Exchange{}
}

// String describes the last response: "HTTP status 200 with text/html".
func (x *Exchange) String() string {
	kind, _, err := mime.ParseMediaType(x.ContentType)
	if err != nil || kind == "" {
		return fmt.Sprintf("HTTP status %d without a content type", x.Status)
	}
	return fmt.Sprintf("HTTP status %d with %s", x.Status, kind)
}

// Date returns the service's clock when it responded; zero: unknown.
func Date(response *http.Response) time.Time {
	date, err := http.ParseTime(response.Header.Get("Date"))
	if err != nil {
		return time.Time{}
	}
	return date
}

// RetryAfter returns how long a service asks to wait, in whole seconds; 0: not at all,
// or in a way that cannot be read. A date is compared with the service's own clock.
func RetryAfter(response *http.Response) time.Duration {
	value := response.Header.Get("Retry-After")
	seconds, err := strconv.ParseFloat(value, 64)
	if err != nil {
		at, err := http.ParseTime(value)
		if err != nil {
			return 0
		}
		now := Date(response)
		if now.IsZero() {
			now = time.Now()
		}
		seconds = at.Sub(now).Seconds()
	}
	if math.IsNaN(seconds) || seconds <= 0 {
		return 0
	}
	return time.Duration(math.Ceil(min(seconds, MaxRetryAfter.Seconds()))) * time.Second
}
