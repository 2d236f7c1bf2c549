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
	"net/url"
	"strings"
	"sync/atomic"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	awsmiddleware "github.com/aws/aws-sdk-go-v2/aws/middleware"
	"github.com/aws/aws-sdk-go-v2/aws/protocol/restjson"
	"github.com/aws/aws-sdk-go-v2/aws/retry"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"
	"github.com/aws/smithy-go"
	"github.com/aws/smithy-go/middleware"
	smithyhttp "github.com/aws/smithy-go/transport/http"

	"entra-aws-exporter/internal/model"
)

// consoleAPI speaks one of AWS's JSON services: those behind the console, which the SDK
// has no client for, and the documented one that is needed for a single call. It is the
// SDK's own attempt loop, clock correction and signer around a request and an answer
// that are read here, because every answer may have changed.
type consoleAPI struct {
	endpoint    string
	jsonVersion string // of the Content-Type
	target      string // the prefix of X-Amz-Target
	signingName string
	region      string
	userAgent   string
	http        *http.Client
	skew        atomic.Int64 // how far AWS's clock is ahead of ours, as time.Duration
}

// call sends input and decodes the answer into output. It returns the service's
// clock when it answered (zero: unknown) and errors for operation.failed.
func (c *consoleAPI) call(
	ctx context.Context, credentials aws.CredentialsProvider, retryer aws.Retryer, operation string, input, output any,
) (time.Time, error) {
	body, err := json.Marshal(input)
	if err != nil {
		return time.Time{}, err
	}
	stack := middleware.NewStack(operation, smithyhttp.NewStackRequest)
	attempts := retry.NewAttemptMiddleware(retryer, smithyhttp.RequestCloner, func(o *retry.Attempt) { o.ClientSkew = &c.skew })
	err = errors.Join(
		stack.Serialize.Add(middleware.SerializeMiddlewareFunc("Request", func(
			ctx context.Context, in middleware.SerializeInput, next middleware.SerializeHandler,
		) (middleware.SerializeOutput, middleware.Metadata, error) {
			if err := c.fill(in.Request.(*smithyhttp.Request), operation, body); err != nil {
				return middleware.SerializeOutput{}, middleware.Metadata{}, err
			}
			return next.HandleSerialize(ctx, in)
		}), middleware.After),
		stack.Finalize.Add(attempts, middleware.After),
		stack.Finalize.Add(middleware.FinalizeMiddlewareFunc("Sign", func(
			ctx context.Context, in middleware.FinalizeInput, next middleware.FinalizeHandler,
		) (middleware.FinalizeOutput, middleware.Metadata, error) {
			if err := c.sign(ctx, in.Request.(*smithyhttp.Request).Request, credentials, body); err != nil {
				return middleware.FinalizeOutput{}, middleware.Metadata{}, err
			}
			return next.HandleFinalize(ctx, in)
		}), middleware.After),
		stack.Deserialize.Add(middleware.DeserializeMiddlewareFunc("Answer", func(
			ctx context.Context, in middleware.DeserializeInput, next middleware.DeserializeHandler,
		) (middleware.DeserializeOutput, middleware.Metadata, error) {
			out, metadata, err := next.HandleDeserialize(ctx, in)
			if err != nil {
				return out, metadata, err
			}
			if skew, known := awsmiddleware.GetAttemptSkew(metadata); known {
				c.skew.Store(int64(skew))
			}
			response := out.RawResponse.(*smithyhttp.Response)
			defer func() { _ = response.Body.Close() }()
			if err := read(response.Response, output); err != nil {
				return out, metadata, &smithyhttp.ResponseError{Response: response, Err: err}
			}
			return out, metadata, nil
		}), middleware.After),
		stack.Deserialize.Add(&awsmiddleware.RecordResponseTiming{}, middleware.After),
	)
	if err != nil {
		return time.Time{}, err
	}
	_, metadata, err := middleware.DecorateHandler(smithyhttp.NewClientHandlerWithOptions(c.http), stack).Handle(ctx, nil)
	date, _ := awsmiddleware.GetServerTime(metadata)
	return date, err
}

// fill makes the request of an operation in AWS's JSON protocol.
// https://smithy.io/2.0/aws/protocols/aws-json-1_1-protocol.html
func (c *consoleAPI) fill(request *smithyhttp.Request, operation string, body []byte) error {
	endpoint, err := url.Parse(c.endpoint)
	if err != nil {
		return err
	}
	if endpoint.Path == "" {
		endpoint.Path = "/"
	}
	request.Method, request.URL = http.MethodPost, endpoint
	request.ContentLength = int64(len(body))
	request.Header.Set("Content-Type", "application/x-amz-json-"+c.jsonVersion)
	request.Header.Set("X-Amz-Target", c.target+"."+operation)
	request.Header.Set("User-Agent", c.userAgent)
	stream, err := request.SetStream(bytes.NewReader(body))
	if err != nil {
		return err
	}
	*request = *stream
	return nil
}

// sign signs one attempt by AWS's clock, as far as an answer has told it.
func (c *consoleAPI) sign(ctx context.Context, request *http.Request, credentials aws.CredentialsProvider, body []byte) error {
	identity, err := credentials.Retrieve(ctx)
	if err != nil {
		return err
	}
	hash := sha256.Sum256(body)
	at := time.Now().Add(time.Duration(c.skew.Load()))
	return v4.NewSigner().SignHTTP(ctx, identity, request, hex.EncodeToString(hash[:]), c.signingName, c.region, at)
}

// read decodes an answer into output, or tells how it is not one.
func read(response *http.Response, output any) error {
	body, err := io.ReadAll(io.LimitReader(response.Body, bodyLimit))
	if err != nil {
		return err
	}
	isHTML := strings.HasPrefix(response.Header.Get("Content-Type"), "text/html") || bytes.HasPrefix(bytes.TrimSpace(body), []byte("<"))
	switch {
	case response.StatusCode >= 300 && response.StatusCode <= 399:
		return &model.Error{Reason: model.ReasonAPIChanged, Detail: fmt.Sprintf("the endpoint redirects (status %d)%s",
			response.StatusCode, destination(response))}
	case isHTML && response.StatusCode < 500 && response.StatusCode != http.StatusTooManyRequests:
		return &model.Error{Reason: model.ReasonAPIChanged, Detail: fmt.Sprintf("the endpoint answers with a web page (status %d)",
			response.StatusCode)}
	case response.StatusCode < 200 || response.StatusCode > 299:
		return errorOf(response, body)
	}
	if err := json.Unmarshal(body, output); err != nil {
		return unreadable(err)
	}
	return nil
}

// errorOf reads the error code and message of a refusal; the code may be empty.
func errorOf(response *http.Response, body []byte) error {
	code, message, err := restjson.GetErrorInfo(json.NewDecoder(bytes.NewReader(body)))
	if err != nil {
		message = "" // not JSON: the status has to do
	}
	if header := response.Header.Get("X-Amzn-Errortype"); header != "" {
		code = restjson.SanitizeErrorCode(header)
	}
	return &smithy.GenericAPIError{Code: code, Message: message}
}

// unreadable tells an answer that was cut off from one whose shape has changed. The
// decoder's own text is not used: it can quote the answer.
func unreadable(err error) error {
	var shape *json.UnmarshalTypeError
	var changed *model.Error
	switch {
	case errors.As(err, &changed):
		return changed
	case errors.As(err, &shape):
		return &model.Error{Reason: model.ReasonAPIChanged, Detail: fmt.Sprintf("the answer's field %q is a JSON %s",
			clip(shape.Field), jsonKind(shape.Value))}
	case errors.Is(err, io.ErrUnexpectedEOF), strings.Contains(err.Error(), "unexpected end of JSON input"):
		return &model.Error{Reason: model.ReasonInvalidResponse, Detail: "the answer is cut off"}
	default:
		return &model.Error{Reason: model.ReasonAPIChanged, Detail: "the answer is not JSON"}
	}
}

// jsonKind leaves the value out of what encoding/json says of a number.
func jsonKind(value string) string {
	kind, _, _ := strings.Cut(value, " ")
	return kind
}

// destination names the host that a redirect leads to.
func destination(response *http.Response) string {
	location, err := response.Location()
	if err != nil {
		return ""
	}
	return " to " + clip(location.Host)
}
