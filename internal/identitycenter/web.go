package identitycenter

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/netip"
	"strconv"
	"sync/atomic"
	"time"
)

const (
	attemptLimit  = 20 * time.Second // one HTTP request, its answer's body included
	metadataLimit = 3 * time.Second  // the same for the metadata services, which are next door or not there
	bodyLimit     = 8 << 20          // bytes; the largest legitimate answer is a page of CloudTrail
	skewWorthNote = 2 * time.Minute
)

// web makes every HTTP request of a connection: the one place for limits, counting
// and a look at the clocks.
type web struct {
	connection string
	userAgent  string
	transport  http.RoundTripper
	metadata   http.RoundTripper // to link-local addresses, which no proxy can reach
	observe    func(service, code string)
	logger     *slog.Logger
	skew       atomic.Int64 // how far AWS's clock is ahead, as time.Duration; 0 while it is not worth a note
}

func newWeb(connection, version string, transport http.RoundTripper, observe func(service, code string), logger *slog.Logger) *web {
	if version == "" {
		version = "unknown"
	}
	if transport == nil {
		transport = http.DefaultTransport
	}
	if observe == nil {
		observe = func(string, string) {}
	}
	if logger == nil {
		logger = slog.New(slog.DiscardHandler)
	}
	return &web{
		connection: connection,
		userAgent:  userAgentName + version,
		transport:  transport,
		metadata:   &http.Transport{DisableKeepAlives: true},
		observe:    observe,
		logger:     logger,
	}
}

// client returns the HTTP client for one service, a name that Observe is told. It
// follows no redirect: a signature or a token is meant for one host.
func (w *web) client(service string) *http.Client {
	return &http.Client{
		Transport:     &exchange{web: w, service: service},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}

// exchange sends one request and reads the whole answer within the limits, so that
// neither a trickle nor a flood reaches the SDK.
type exchange struct {
	*web
	service string
}

// RoundTrip implements http.RoundTripper.
func (e *exchange) RoundTrip(request *http.Request) (*http.Response, error) {
	transport, limit := e.transport, attemptLimit
	nextDoor := isMetadata(request.URL.Hostname())
	if nextDoor {
		transport, limit = e.metadata, metadataLimit
	}
	ctx, cancel := context.WithTimeout(request.Context(), limit)
	defer cancel()

	response, err := transport.RoundTrip(request.WithContext(ctx))
	if err != nil {
		e.observe(e.service, "error")
		return nil, explain(request.Context(), ctx, limit, err)
	}
	defer func() { _ = response.Body.Close() }()
	body, err := io.ReadAll(io.LimitReader(response.Body, bodyLimit+1))
	if err == nil && ctx.Err() != nil {
		err = ctx.Err() // a transport may end the body instead of failing it
	}
	if err != nil {
		e.observe(e.service, "error")
		return nil, explain(request.Context(), ctx, limit, err)
	}
	e.observe(e.service, strconv.Itoa(response.StatusCode))
	if len(body) > bodyLimit {
		return nil, &tooLargeError{service: e.service}
	}
	if !nextDoor {
		e.compareClocks(response)
	}
	response.Body = io.NopCloser(bytes.NewReader(body))
	response.ContentLength = int64(len(body))
	return response, nil
}

// isMetadata recognises the addresses of AWS's metadata services: EC2's, ECS's and EKS's.
// https://docs.aws.amazon.com/sdkref/latest/guide/feature-container-credentials.html
func isMetadata(host string) bool {
	address, err := netip.ParseAddr(host)
	return err == nil && (address.Is4() && address.IsLinkLocalUnicast() ||
		netip.MustParsePrefix("fd00:ec2::/32").Contains(address))
}

// explain tells our own limit from the caller's deadline: after ours another attempt makes sense.
func explain(caller, attempt context.Context, limit time.Duration, err error) error {
	if caller.Err() == nil && attempt.Err() != nil {
		return &noAnswerError{limit: limit}
	}
	return err
}

// compareClocks notes when the machine's clock and AWS's part. The SDK signs by AWS's
// clock, so readings go on; the watch is what warns, once for all connections.
func (e *exchange) compareClocks(response *http.Response) {
	date := dateOf(response)
	if date.IsZero() || response.Header.Get("Age") != "" {
		return
	}
	skew := time.Until(date).Round(time.Second)
	large := skew.Abs() >= skewWorthNote
	if !large {
		skew = 0
	}
	if before := e.skew.Swap(int64(skew)); (before != 0) == large {
		return
	}
	if large {
		e.logger.Debug("this machine's clock differs from AWS's; requests are signed by AWS's clock, but set this one right",
			"connection", e.connection, "service", e.service, "aws_is_ahead_by", skew.String())
		return
	}
	e.logger.Debug("this machine's clock agrees with AWS's again", "connection", e.connection)
}

// now is the time by AWS's clock, as far as an answer has told it.
func (w *web) now() time.Time { return time.Now().Add(time.Duration(w.skew.Load())) }

// dateOf returns the service's clock when it answered; zero: unknown.
func dateOf(response *http.Response) time.Time {
	date, err := http.ParseTime(response.Header.Get("Date"))
	if err != nil {
		return time.Time{}
	}
	return date
}

// noAnswerError says that one attempt took too long.
type noAnswerError struct{ limit time.Duration }

func (e *noAnswerError) Error() string { return fmt.Sprintf("no complete answer within %s", e.limit) }

// Timeout implements net.Error's part that the SDK's retryer asks for.
func (*noAnswerError) Timeout() bool { return true }

// tooLargeError says that an answer was cut off.
type tooLargeError struct{ service string }

func (e *tooLargeError) Error() string {
	return fmt.Sprintf("the answer is larger than %d MiB", bodyLimit>>20)
}

// RetryableError tells the SDK's retryer not to ask for the same flood again.
func (*tooLargeError) RetryableError() bool { return false }
