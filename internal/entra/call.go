package entra

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"time"

	kiota "github.com/microsoft/kiota-abstractions-go"

	"entra-aws-exporter/internal/model"
)

// The application permissions, as an administrator finds them.
const (
	readApplications = "Application.Read.All"
	readJobs         = "Synchronization.Read.All"
	readLog          = "ProvisioningLog.Read.All (AuditLog.Read.All in older tenants)"
	readAudits       = "AuditLog.Read.All"
	readUsers        = "User.Read.All"
	writeJobs        = "Application.ReadWrite.OwnedBy as an owner of the application, or Synchronization.ReadWrite.All,"
)

// call is one question to Graph as its errors tell it.
type call struct {
	doing        string        // "reading the provisioning job"
	needs        string        // the permission it takes
	missing      string        // what to do when the object is not there
	limit        time.Duration // 0: readLimit
	undocumented bool          // an API that may change without notice
	sensitive    bool          // an error's message may hold secrets or personal data
}

var (
	errNothing    = errors.New("the answer is empty")
	errUnexpected = errors.New("the answer is not Graph's")
)

// ask makes a call for something. An answer without it is an error.
func ask[T any](ctx context.Context, t *Tenant, c call, send func(context.Context) (T, error)) (T, *exchange, error) {
	var result T
	x, err := t.do(ctx, c, func(ctx context.Context) (err error) {
		if result, err = send(ctx); err == nil && any(result) == nil {
			err = errNothing
		}
		return err
	})
	return result, x, err
}

// do makes a call with its deadline and classifies its failure.
func (t *Tenant) do(ctx context.Context, c call, send func(context.Context) error) (x *exchange, err error) {
	limit := c.limit
	if limit == 0 {
		limit = readLimit
	}
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	x = &exchange{}
	err = guard(func() error { return send(withExchange(ctx, x)) })
	if err == nil && (x.status < 200 || x.status > 299 || x.foreign) {
		err = errUnexpected
	}
	if err == nil {
		return x, nil
	}
	failed := explain(c, x, err)
	if failed.Status == http.StatusUnauthorized || failed.Status == http.StatusForbidden {
		t.identity.doubt()
	}
	return x, failed
}

// guard turns a panic of the SDK into an error: its generated code trusts the answer.
func guard(send func() error) (err error) {
	defer func() {
		if cause := recover(); cause != nil {
			err = fmt.Errorf("the Graph SDK panicked: %v", cause)
		}
	}()
	return send()
}

// raw sends what the SDK has no method or no words for, through the same adapter.
func (t *Tenant) raw(ctx context.Context, method kiota.HttpMethod, template string, parameters map[string]string, query map[string]string, body any) ([]byte, error) {
	request := kiota.NewRequestInformation()
	request.Method, request.UrlTemplate = method, "{+baseurl}"+template
	for key, value := range parameters {
		request.PathParameters[key] = value
	}
	for key, value := range query {
		request.QueryParameters[key] = value
	}
	request.PathParameters["baseurl"] = t.adapter.GetBaseUrl()
	request.Headers.TryAdd("Accept", "application/json")
	if body != nil {
		content, err := json.Marshal(body)
		if err != nil {
			return nil, err
		}
		request.SetStreamContentAndContentType(content, "application/json")
	}
	return t.send(ctx, request)
}

// send returns the body of the answer, nil if it has none.
func (t *Tenant) send(ctx context.Context, request *kiota.RequestInformation) ([]byte, error) {
	answer, err := t.adapter.SendPrimitive(ctx, request, "[]byte", nil)
	if err != nil {
		return nil, err
	}
	content, _ := answer.([]byte)
	return content, nil
}

// decode reads a JSON answer of raw.
func decode(content []byte, into any) error {
	if len(content) == 0 {
		return errNothing
	}
	return json.Unmarshal(content, into)
}

// invalid is an answer that was read and makes no sense.
func invalid(c call, x *exchange, detail string) *model.Error {
	return &model.Error{Reason: model.ReasonInvalidResponse, Op: c.doing, Status: x.status, Detail: detail}
}

func text(s *string) string {
	if s == nil {
		return ""
	}
	return *s
}
