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

	"entra-aws-exporter/internal/model"
)

const (
	applicationName = "entra-aws-exporter"
	userAgentName   = applicationName + "/"
)

// access is how a connection signs in to AWS: the SDK's credential chain
// (environment, profile, web identity, container, instance role), and a role assumed
// on top of it. It is opened at first use and again after a refused sign-in, so that
// replaced credential files need no restart.
type access struct {
	region, profile, roleARN, externalID string
	endpoints                            Endpoints
	web                                  *web

	mu   sync.Mutex
	open *clients // nil: not yet, or forgotten
}

// clients are the calls that one sign-in allows. They are functions, not the SDK's
// clients: a client that a type leads to brings every operation of its service into the
// binary, three megabytes in all.
type clients struct {
	credentials         aws.CredentialsProvider
	listInstances       listInstances
	lookupEvents        func(context.Context, *cloudtrail.LookupEventsInput, ...func(*cloudtrail.Options)) (*cloudtrail.LookupEventsOutput, error)
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

func (a *access) clients(ctx context.Context) (*clients, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.open != nil {
		return a.open, nil
	}
	if os.Getenv("AWS_CA_BUNDLE") != "" {
		return nil, errCABundle
	}
	options := []func(*config.LoadOptions) error{
		config.WithRegion(a.region),
		config.WithHTTPClient(a.web.client("credentials")),
		config.WithRetryer(newRetryer),
		config.WithAppID(applicationName),
		// The SDK's debug output shows bodies and signatures: off, whatever the environment says.
		config.WithClientLogMode(0),
		config.WithLogger(logging.Nop{}),
	}
	if a.profile != "" {
		options = append(options, config.WithSharedConfigProfile(a.profile))
	}
	loaded, err := config.LoadDefaultConfig(ctx, options...)
	if err != nil {
		return nil, &signInError{err: err}
	}
	if a.roleARN != "" {
		loaded.Credentials = aws.NewCredentialsCache(stscreds.NewAssumeRoleProvider(assumeRole(a.stsClient(loaded).AssumeRole), a.roleARN,
			func(o *stscreds.AssumeRoleOptions) {
				o.RoleSessionName = applicationName
				if a.externalID != "" {
					o.ExternalID = aws.String(a.externalID)
				}
			}), func(o *aws.CredentialsCacheOptions) { o.ExpiryWindow = time.Minute })
	}
	loaded.Credentials = &chain{provider: loaded.Credentials, role: a.roleARN}
	a.open = &clients{
		credentials: loaded.Credentials,
		listInstances: ssoadmin.NewFromConfig(loaded, func(o *ssoadmin.Options) {
			o.HTTPClient = a.web.client("sso_admin")
			o.BaseEndpoint = override(a.endpoints.SSOAdmin, o.BaseEndpoint)
		}).ListInstances,
		lookupEvents: cloudtrail.NewFromConfig(loaded, func(o *cloudtrail.Options) {
			o.HTTPClient = a.web.client("cloudtrail")
			o.BaseEndpoint = override(a.endpoints.CloudTrail, o.BaseEndpoint)
		}).LookupEvents,
		getWebIdentityToken: a.stsClient(loaded).GetWebIdentityToken,
	}
	return a.open, nil
}

// errCABundle: the SDK gives up when it is to put a bundle into an HTTP client that is not its
// own, and the exporter's is not.
var errCABundle = &model.Error{
	Reason: model.ReasonAuth, Unsent: true, Detail: "AWS_CA_BUNDLE is set, which the exporter does not read",
	Advice: "unset it and set http_client.tls_config.ca_file",
}

func (a *access) stsClient(loaded aws.Config) *sts.Client {
	return sts.NewFromConfig(loaded, func(o *sts.Options) {
		o.HTTPClient = a.web.client("sts")
		o.BaseEndpoint = override(a.endpoints.STS, o.BaseEndpoint)
	})
}

// forget makes the next call sign in afresh.
func (a *access) forget() {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.open = nil
}

func override(endpoint string, otherwise *string) *string {
	if endpoint == "" {
		return otherwise
	}
	return aws.String(endpoint)
}

// chain marks the errors of the credential chain, which the SDK otherwise reports as
// if the service had failed.
type chain struct {
	provider aws.CredentialsProvider
	role     string
}

// Retrieve implements aws.CredentialsProvider.
func (c *chain) Retrieve(ctx context.Context) (aws.Credentials, error) {
	if c.provider == nil {
		return aws.Credentials{}, &signInError{err: errors.New("no credentials are configured")}
	}
	credentials, err := c.provider.Retrieve(ctx)
	if err != nil {
		return credentials, &signInError{role: c.role, err: err}
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

// RetryableError tells the SDK's retryer that the chain has done its own retries.
func (*signInError) RetryableError() bool { return false }
