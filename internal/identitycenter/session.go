package identitycenter

import (
	"context"
	"errors"
	"fmt"
	"os"
	"sync"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/credentials/stscreds"
	"github.com/aws/aws-sdk-go-v2/service/cloudtrail"
	"github.com/aws/aws-sdk-go-v2/service/ssoadmin"
	"github.com/aws/aws-sdk-go-v2/service/sts"
	"github.com/aws/smithy-go/logging"

	"entra-aws-exporter/internal/cloudhttp"
)

// session signs in to AWS: by the SDK's credential chain (environment, profile, web
// identity, container, instance role), and by a role assumed on top of it. It opens at
// the first call, and again after a refused sign-in, so that replaced credential files
// need no restart.
type session struct {
	region, profile, roleARN, externalID string
	endpoints                            Endpoints
	http                                 *httpClients

	mu      sync.Mutex
	clients *awsClients // nil: not open
}

// awsClients are the calls that one sign-in allows. They are functions, not the SDK's
// clients: a type that refers to a client brings every operation of its service into
// the binary, three megabytes in all.
type awsClients struct {
	credentials         aws.CredentialsProvider
	listInstances       listInstances
	lookupEvents        func(context.Context, *cloudtrail.LookupEventsInput, ...func(*cloudtrail.Options)) (*cloudtrail.LookupEventsOutput, error)
	getCallerIdentity   func(context.Context, *sts.GetCallerIdentityInput, ...func(*sts.Options)) (*sts.GetCallerIdentityOutput, error)
	getWebIdentityToken func(context.Context, *sts.GetWebIdentityTokenInput, ...func(*sts.Options)) (*sts.GetWebIdentityTokenOutput, error)
}

// listInstances implements ssoadmin.ListInstancesAPIClient.
type listInstances func(context.Context, *ssoadmin.ListInstancesInput, ...func(*ssoadmin.Options)) (*ssoadmin.ListInstancesOutput, error)

func (f listInstances) ListInstances(ctx context.Context, in *ssoadmin.ListInstancesInput, options ...func(*ssoadmin.Options)) (*ssoadmin.ListInstancesOutput, error) {
	return f(ctx, in, options...)
}

// assumeRole implements stscreds.AssumeRoleAPIClient.
type assumeRole func(context.Context, *sts.AssumeRoleInput, ...func(*sts.Options)) (*sts.AssumeRoleOutput, error)

func (f assumeRole) AssumeRole(ctx context.Context, in *sts.AssumeRoleInput, options ...func(*sts.Options)) (*sts.AssumeRoleOutput, error) {
	return f(ctx, in, options...)
}

// environment is held while the environment lacks AWS_CA_BUNDLE.
var environment sync.Mutex //nolint:gochecknoglobals // there is one environment

// loadConfig loads the SDK's configuration without AWS_CA_BUNDLE: the transport trusts
// that bundle already, and the SDK fails when it has to put one into an HTTP client that
// is not its own.
func loadConfig(ctx context.Context, options []func(*config.LoadOptions) error) (aws.Config, error) {
	const name = "AWS_CA_BUNDLE"
	environment.Lock()
	defer environment.Unlock()
	if bundle := os.Getenv(name); bundle != "" {
		if err := os.Unsetenv(name); err != nil {
			return aws.Config{}, err
		}
		defer os.Setenv(name, bundle) //nolint:errcheck // it was set before
	}
	return config.LoadDefaultConfig(ctx, options...)
}

// open returns the calls that the sign-in allows.
func (s *session) open(ctx context.Context) (*awsClients, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.clients != nil {
		return s.clients, nil
	}
	options := []func(*config.LoadOptions) error{
		config.WithRegion(s.region),
		config.WithHTTPClient(s.http.client("credentials")),
		config.WithRetryer(newRetryer),
		config.WithAppID(cloudhttp.Application),
		// The SDK's debug output shows bodies and signatures: off, whatever the environment says.
		config.WithClientLogMode(0),
		config.WithLogger(logging.Nop{}),
	}
	if s.profile != "" {
		options = append(options, config.WithSharedConfigProfile(s.profile))
	}
	loaded, err := loadConfig(ctx, options)
	if err != nil {
		return nil, &signInError{err: err}
	}
	if s.roleARN != "" {
		role := stscreds.NewAssumeRoleProvider(assumeRole(s.stsClient(loaded).AssumeRole), s.roleARN, func(o *stscreds.AssumeRoleOptions) {
			o.RoleSessionName = cloudhttp.Application
			if s.externalID != "" {
				o.ExternalID = aws.String(s.externalID)
			}
		})
		loaded.Credentials = aws.NewCredentialsCache(role, func(o *aws.CredentialsCacheOptions) { o.ExpiryWindow = time.Minute })
	}
	loaded.Credentials = &credentialProvider{loaded.Credentials, s.roleARN}
	s.clients = &awsClients{
		credentials: loaded.Credentials,
		listInstances: ssoadmin.NewFromConfig(loaded, func(o *ssoadmin.Options) {
			o.HTTPClient = s.http.client("sso_admin")
			o.BaseEndpoint = endpointOr(s.endpoints.SSOAdmin, o.BaseEndpoint)
		}).ListInstances,
		lookupEvents: cloudtrail.NewFromConfig(loaded, func(o *cloudtrail.Options) {
			o.HTTPClient = s.http.client("cloudtrail")
			o.BaseEndpoint = endpointOr(s.endpoints.CloudTrail, o.BaseEndpoint)
		}).LookupEvents,
		getCallerIdentity:   s.stsClient(loaded).GetCallerIdentity,
		getWebIdentityToken: s.stsClient(loaded).GetWebIdentityToken,
	}
	return s.clients, nil
}

// invalidate makes the next call sign in again.
func (s *session) invalidate() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.clients = nil
}

func (s *session) stsClient(loaded aws.Config) *sts.Client {
	return sts.NewFromConfig(loaded, func(o *sts.Options) {
		o.HTTPClient = s.http.client("sts")
		o.BaseEndpoint = endpointOr(s.endpoints.STS, o.BaseEndpoint)
	})
}

func endpointOr(endpoint string, otherwise *string) *string {
	if endpoint == "" {
		return otherwise
	}
	return &endpoint
}

// credentialProvider marks the errors of the credential chain, which the SDK otherwise
// reports as if the service had failed.
type credentialProvider struct {
	chain aws.CredentialsProvider
	role  string
}

// Retrieve implements aws.CredentialsProvider.
func (p *credentialProvider) Retrieve(ctx context.Context) (aws.Credentials, error) {
	if p.chain == nil {
		return aws.Credentials{}, &signInError{err: errors.New("no credentials are configured")}
	}
	credentials, err := p.chain.Retrieve(ctx)
	if err != nil {
		return credentials, &signInError{role: p.role, err: err}
	}
	return credentials, nil
}

// signInError says that there were no credentials to sign a request with.
type signInError struct {
	role string // that was to be assumed; "": none
	err  error
}

func (e *signInError) Error() string { return fmt.Sprintf("signing in to AWS: %v", e.err) }
func (e *signInError) Unwrap() error { return e.err }

// RetryableError tells the SDK's retryer that the chain has made its own retries.
func (*signInError) RetryableError() bool { return false }
