package identitycenter

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials/stscreds"
	"github.com/aws/aws-sdk-go-v2/service/cloudtrail"
	"github.com/aws/aws-sdk-go-v2/service/ssoadmin"
	"github.com/aws/aws-sdk-go-v2/service/ssoadmin/types"
	"github.com/aws/aws-sdk-go-v2/service/sts"
	"golang.org/x/time/rate"

	"entra-aws-exporter/internal/cloudhttp"
)

// session is a sign-in to AWS: by a credential chain, and by a role assumed on top of it.
// It opens at the first call, and again after a refused sign-in, so that replaced
// credential files need no restart.
type session struct {
	signInKey
	chain   *chain
	http    *httpClients
	lookups *rate.Limiter // of LookupEvents

	mu      sync.Mutex
	clients *awsClients // nil: not open

	listing chan struct{} // full while instances are listed
	listed  atomic.Pointer[instanceList]
}

// instanceList is what the credentials saw at a time.
type instanceList struct {
	at        time.Time
	instances []types.InstanceMetadata
}

// instanceListTTL is how long a list serves the other connections of the account.
const instanceListTTL = time.Minute

// signInKey says who signs in, and where.
type signInKey struct {
	chainKey
	roleARN, externalID string
	endpoints           Endpoints
}

// awsClients are the calls that one sign-in allows. They are functions, not the SDK's
// clients: a type that refers to a client brings every operation of its service into
// the binary, three megabytes in all.
type awsClients struct {
	credentials         aws.CredentialsProvider
	listInstances       listInstances
	lookupEvents        func(context.Context, *cloudtrail.LookupEventsInput, ...func(*cloudtrail.Options)) (*cloudtrail.LookupEventsOutput, error)
	assumeRole          assumeRole
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

// open returns the calls that the sign-in allows. Those of the chain are made with the
// session's credentials, endpoints and HTTP clients, and each with a retryer of its own:
// what AWS throttles for one account uses up no retries of another.
func (s *session) open(ctx context.Context) (*awsClients, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.clients != nil {
		return s.clients, nil
	}
	chain, err := s.chain.open(ctx)
	if err != nil {
		return nil, err
	}
	credentials := s.credentials(chain.credentials, chain.assumeRole)
	asInstances := func(o *ssoadmin.Options) {
		o.Credentials, o.Retryer, o.HTTPClient = credentials, newRetryer(), s.http.client("sso_admin")
		o.BaseEndpoint = endpointOr(s.endpoints.SSOAdmin, o.BaseEndpoint)
	}
	asEvents := func(o *cloudtrail.Options) {
		o.Credentials, o.HTTPClient = credentials, s.http.client("cloudtrail")
		o.Retryer = limitedRetryer{newRetryAfterRetryer(), s.lookups}
		o.BaseEndpoint = endpointOr(s.endpoints.CloudTrail, o.BaseEndpoint)
	}
	asCaller := func(o *sts.Options) {
		s.useSTS(o)
		o.Credentials = credentials
	}
	s.clients = &awsClients{
		credentials: credentials,
		listInstances: func(ctx context.Context, in *ssoadmin.ListInstancesInput, options ...func(*ssoadmin.Options)) (*ssoadmin.ListInstancesOutput, error) {
			return chain.listInstances(ctx, in, append(options, asInstances)...)
		},
		lookupEvents: func(ctx context.Context, in *cloudtrail.LookupEventsInput, options ...func(*cloudtrail.Options)) (*cloudtrail.LookupEventsOutput, error) {
			return chain.lookupEvents(ctx, in, append(options, asEvents)...)
		},
		getCallerIdentity: func(ctx context.Context, in *sts.GetCallerIdentityInput, options ...func(*sts.Options)) (*sts.GetCallerIdentityOutput, error) {
			return chain.getCallerIdentity(ctx, in, append(options, asCaller)...)
		},
		getWebIdentityToken: func(ctx context.Context, in *sts.GetWebIdentityTokenInput, options ...func(*sts.Options)) (*sts.GetWebIdentityTokenOutput, error) {
			return chain.getWebIdentityToken(ctx, in, append(options, asCaller)...)
		},
	}
	return s.clients, nil
}

// credentials are the chain's or, on top of them, those of the role.
func (s *session) credentials(chain aws.CredentialsProvider, assume assumeRole) aws.CredentialsProvider {
	if s.roleARN == "" {
		return &credentialProvider{chain, ""}
	}
	asChain := func(ctx context.Context, in *sts.AssumeRoleInput, options ...func(*sts.Options)) (*sts.AssumeRoleOutput, error) {
		return assume(ctx, in, append(options, s.useSTS)...)
	}
	role := stscreds.NewAssumeRoleProvider(assumeRole(asChain), s.roleARN, func(o *stscreds.AssumeRoleOptions) {
		o.RoleSessionName = cloudhttp.Application
		if s.externalID != "" {
			o.ExternalID = aws.String(s.externalID)
		}
	})
	return &credentialProvider{aws.NewCredentialsCache(role, withExpiryWindow), s.roleARN}
}

func withExpiryWindow(o *aws.CredentialsCacheOptions) { o.ExpiryWindow = time.Minute }

// instances lists the instances that the credentials see, in all regions.
func (s *session) instances(ctx context.Context) ([]types.InstanceMetadata, error) {
	select {
	case s.listing <- struct{}{}:
		defer func() { <-s.listing }()
	case <-ctx.Done():
		return nil, cloudhttp.NotSent(cloudhttp.Classify(ctx.Err()))
	}
	if known := s.listed.Load(); known != nil && time.Since(known.at) < instanceListTTL {
		return known.instances, nil
	}
	clients, err := s.open(ctx)
	if err != nil {
		return nil, err
	}
	var instances []types.InstanceMetadata
	pages := ssoadmin.NewListInstancesPaginator(clients.listInstances, &ssoadmin.ListInstancesInput{RegionScope: types.RegionScopeAllRegions},
		func(o *ssoadmin.ListInstancesPaginatorOptions) { o.StopOnDuplicateToken = true })
	for pages.HasMorePages() && len(instances) < 1000 {
		page, err := pages.NextPage(ctx)
		if err != nil {
			return nil, err
		}
		for _, instance := range page.Instances {
			if aws.ToString(instance.IdentityStoreId) != "" {
				instances = append(instances, instance)
			}
		}
	}
	s.listed.Store(&instanceList{time.Now(), instances})
	return instances, nil
}

// forgetInstances makes the next connection list them again.
func (s *session) forgetInstances() { s.listed.Store(nil) }

func (s *session) useSTS(o *sts.Options) {
	o.Retryer, o.HTTPClient = newRetryer(), s.http.client("sts")
	o.BaseEndpoint = endpointOr(s.endpoints.STS, o.BaseEndpoint)
}

// load loads the SDK's configuration with the credentials of the sign-in, for clients of
// other services.
func (s *session) load(ctx context.Context) (aws.Config, error) {
	loaded, err := s.chain.load(ctx)
	if err != nil {
		return aws.Config{}, err
	}
	loaded.Credentials = s.credentials(loaded.Credentials, sts.NewFromConfig(loaded).AssumeRole)
	return loaded, nil
}

// invalidate makes the next call sign in again.
func (s *session) invalidate() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.clients = nil
	s.forgetInstances()
	s.chain.invalidate()
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
