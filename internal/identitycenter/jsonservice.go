package identitycenter

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/aws/protocol/restjson"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"
	"github.com/aws/smithy-go"
	smithyhttp "github.com/aws/smithy-go/transport/http"

	"entra-aws-exporter/internal/cloudhttp"
	"entra-aws-exporter/internal/model"
)

// jsonService calls one of AWS's JSON services: those behind the console, for which the
// SDK has no client, and the documented one that is needed for a single call. The SDK's
// retryer and signer are used. The responses are read here, because every one of an
// undocumented service may have changed.
type jsonService struct {
	endpoint    string
	jsonVersion string // of the Content-Type
	target      string // the prefix of X-Amz-Target
	signingName string
	http        *http.Client
	session     *session
}

// read sends an operation that changes nothing, with retries.
func (s *jsonService) read(ctx context.Context, operation string, input, output any) (time.Time, error) {
	return s.call(ctx, newRetryer(), operation, input, output)
}

// write sends an operation exactly once.
func (s *jsonService) write(ctx context.Context, operation string, input, output any) (time.Time, error) {
	ctx, cancel := context.WithTimeout(ctx, writeTimeout)
	defer cancel()
	return s.call(ctx, aws.NopRetryer{}, operation, input, output)
}

// call decodes the response into output and returns the service's clock; zero: unknown.
// Its errors are for apiCall.classify.
func (s *jsonService) call(ctx context.Context, retryer aws.Retryer, operation string, input, output any) (time.Time, error) {
	clients, err := s.session.open(ctx)
	if err != nil {
		return time.Time{}, err
	}
	if ctx.Err() != nil {
		return time.Time{}, cloudhttp.NotSent(cloudhttp.Classify(ctx.Err()))
	}
	body, err := json.Marshal(input)
	if err != nil {
		return time.Time{}, err
	}
	for attempt := 1; ; attempt++ {
		signedAt := s.session.http.now()
		response, err := s.send(ctx, clients.credentials, operation, body, signedAt) //nolint:bodyclose // decodeResponse closes it
		if err == nil {
			if err = decodeResponse(response, output); err == nil {
				return cloudhttp.Date(response), nil
			}
			err = &smithyhttp.ResponseError{Response: &smithyhttp.Response{Response: response}, Err: err}
		}
		wrongClock := s.session.http.now().Sub(signedAt).Abs() > minSkew && isSignInCode(errorCode(err))
		if attempt >= retryer.MaxAttempts() || !wrongClock && !retryer.IsErrorRetryable(err) {
			return time.Time{}, err
		}
		if _, noTime := retryer.GetRetryToken(ctx, err); noTime != nil {
			return time.Time{}, err
		}
		delay, _ := retryer.RetryDelay(attempt, err)
		select {
		case <-time.After(delay):
		case <-ctx.Done():
			return time.Time{}, &smithy.CanceledError{Err: ctx.Err()}
		}
	}
}

// send signs and sends one request of AWS's JSON protocol.
// https://smithy.io/2.0/aws/protocols/aws-json-1_1-protocol.html
func (s *jsonService) send(ctx context.Context, credentials aws.CredentialsProvider, operation string, body []byte, at time.Time) (*http.Response, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, s.endpoint, bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	if request.URL.Path == "" {
		request.URL.Path = "/"
	}
	request.Header.Set("Content-Type", "application/x-amz-json-"+s.jsonVersion)
	request.Header.Set("X-Amz-Target", s.target+"."+operation)
	request.Header.Set("User-Agent", s.session.http.UserAgent())
	identity, err := credentials.Retrieve(ctx)
	if err != nil {
		return nil, err
	}
	hash := sha256.Sum256(body)
	if err := v4.NewSigner().SignHTTP(ctx, identity, request, hex.EncodeToString(hash[:]), s.signingName, s.session.region, at); err != nil {
		return nil, err
	}
	response, err := s.http.Do(request)
	switch {
	case err != nil && ctx.Err() != nil:
		return nil, &smithy.CanceledError{Err: ctx.Err()}
	case err != nil:
		return nil, &smithyhttp.RequestSendError{Err: err}
	}
	return response, nil
}

// decodeResponse decodes a response into output, or says why that is not possible.
func decodeResponse(response *http.Response, output any) error {
	defer func() { _ = response.Body.Close() }()
	body, err := io.ReadAll(io.LimitReader(response.Body, maxBody))
	if err != nil {
		return err
	}
	isHTML := strings.HasPrefix(response.Header.Get("Content-Type"), "text/html") || bytes.HasPrefix(bytes.TrimSpace(body), []byte("<"))
	refusedByProxy := cloudhttp.ProxyRefusal(response.StatusCode, response.Header.Get("Content-Type"), body)
	switch {
	case refusedByProxy != nil:
		return refusedByProxy
	case response.StatusCode >= 300 && response.StatusCode <= 399:
		target := ""
		if location, err := response.Location(); err == nil {
			target = " to " + truncate(location.Host)
		}
		return &model.Error{Reason: model.ReasonAPIChanged, Detail: fmt.Sprintf("the endpoint redirects (status %d)%s", response.StatusCode, target)}
	case isHTML && response.StatusCode < 500 && response.StatusCode != http.StatusTooManyRequests:
		return &model.Error{Reason: model.ReasonAPIChanged, Detail: fmt.Sprintf("the endpoint returns a web page (status %d)", response.StatusCode)}
	case response.StatusCode < 200 || response.StatusCode > 299:
		return decodeError(response, body)
	}
	if err := json.Unmarshal(body, output); err != nil {
		return decodeFailure(err)
	}
	return nil
}

// serviceError is an error response. Its Reason may tell what the code does not.
type serviceError struct {
	smithy.GenericAPIError
	reason string
}

// decodeError reads code, message and reason of an error response; each may be empty.
func decodeError(response *http.Response, body []byte) error {
	code, message, err := restjson.GetErrorInfo(json.NewDecoder(bytes.NewReader(body)))
	if err != nil {
		message = "" // not JSON: only the status is known
	}
	if header := response.Header.Get("X-Amzn-Errortype"); header != "" {
		code = restjson.SanitizeErrorCode(header)
	}
	var cause struct{ Reason string }
	_ = json.Unmarshal(body, &cause) // most errors have none
	return &serviceError{smithy.GenericAPIError{Code: code, Message: message}, cause.Reason}
}

// decodeFailure distinguishes a truncated response from one whose shape has changed. It
// does not repeat the decoder's text, which can quote the response.
func decodeFailure(err error) error {
	var shape *json.UnmarshalTypeError
	var changed *model.Error
	switch {
	case errors.As(err, &changed):
		return changed
	case errors.As(err, &shape):
		kind, _, _ := strings.Cut(shape.Value, " ") // without the value of a number
		return &model.Error{Reason: model.ReasonAPIChanged, Detail: fmt.Sprintf("the response's field %q is a JSON %s", truncate(shape.Field), kind)}
	case errors.Is(err, io.ErrUnexpectedEOF), strings.Contains(err.Error(), "unexpected end of JSON input"):
		return &model.Error{Reason: model.ReasonInvalidResponse, Detail: "the response is truncated"}
	default:
		return &model.Error{Reason: model.ReasonAPIChanged, Detail: "the response is not JSON"}
	}
}

// apiChanged says that an undocumented API no longer responds as known.
func apiChanged(what string) *model.Error {
	return &model.Error{Reason: model.ReasonAPIChanged, Detail: "the response has " + what}
}

// otherJSONVersion is the setting to try when a service does not know an operation.
func otherJSONVersion(service, version string) string {
	other := "1.0"
	if version == other {
		other = "1.1"
	}
	return fmt.Sprintf("aws.endpoints.%s_json_version: %q", service, other)
}
