package identitycenter

import (
	"context"
	"errors"
	"net/http"
	"sync"

	"github.com/aws/aws-sdk-go-v2/aws"

	"entra-aws-exporter/internal/cloudhttp"
	"entra-aws-exporter/internal/model"
)

// SignInOptions says how a client of another AWS service signs in. Name and Region are
// required.
type SignInOptions struct {
	Name        string // for errors and logs
	Region      string
	Profile     string // of the shared AWS config files; "": the SDK's credential chain
	RoleARN     string // assumed on top of the chain's credentials
	ExternalID  string // that the role's trust policy asks for
	STSEndpoint string // that assumes the role; "": the region's

	cloudhttp.Options
}

// SignIn is the sign-in of a client of another AWS service, with the same credential
// chain, HTTP client and errors as an Instance.
type SignIn struct {
	session *session

	mu     sync.Mutex
	loaded *aws.Config // nil: not loaded
}

// NewSignIn makes no call and reads no file.
func NewSignIn(options SignInOptions) *SignIn {
	return &SignIn{session: NewCloud(options.Options).session(options.Name, signInKey{
		chainKey{options.Region, options.Profile}, options.RoleARN, options.ExternalID, Endpoints{STS: options.STSEndpoint},
	})}
}

// Config returns the SDK's configuration. It is loaded at the first call, and again after
// a refused sign-in.
func (s *SignIn) Config(ctx context.Context) (aws.Config, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.loaded == nil {
		loaded, err := s.session.load(ctx)
		if err != nil {
			return aws.Config{}, err
		}
		s.loaded = &loaded
	}
	return *s.loaded, nil
}

// HTTPClient returns the HTTP client for one service, which counts its requests.
func (s *SignIn) HTTPClient(service string) *http.Client { return s.session.http.client(service) }

// Classify turns an error of the SDK into a *model.Error; nil for nil. op says what was
// being done, action is the IAM action that allows it.
func (s *SignIn) Classify(op, action string, err error) *model.Error {
	if err == nil {
		return nil
	}
	var failure *model.Error
	if !errors.As(apiCall{op: op, action: action}.classify(err), &failure) {
		return &model.Error{Op: op, Reason: model.ReasonOther, Err: err} // classify returns no other type
	}
	if failure.Reason == model.ReasonAuth {
		s.mu.Lock()
		s.loaded = nil
		s.mu.Unlock()
	}
	return failure
}
