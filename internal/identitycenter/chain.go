package identitycenter

import (
	"context"
	"net/http"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"
	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/service/cloudtrail"
	"github.com/aws/aws-sdk-go-v2/service/ssoadmin"
	"github.com/aws/aws-sdk-go-v2/service/sts"
	"github.com/aws/smithy-go/logging"

	"entra-aws-exporter/internal/cloudhttp"
)

// chain is the SDK's credential chain (environment, profile, web identity, container,
// instance role) with the SDK's clients, for all sessions of one profile and region.
type chain struct {
	chainKey
	http *httpClients

	mu      sync.Mutex
	clients *awsClients // nil: not loaded
}

type chainKey struct{ region, profile string }

// open returns the calls with the chain's own credentials.
func (c *chain) open(ctx context.Context) (*awsClients, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.clients != nil {
		return c.clients, nil
	}
	loaded, err := c.load(ctx)
	if err != nil {
		return nil, err
	}
	if c.profile != "" && loaded.Credentials != nil {
		loaded.Credentials = aws.NewCredentialsCache(&profileCredentials{c, loaded.Credentials}, withExpiryWindow)
	}
	loaded.Retryer = func() aws.Retryer { return aws.NopRetryer{} } // each call has its own
	tokens := sts.NewFromConfig(loaded, func(o *sts.Options) { o.HTTPSignerV4 = signer{} })
	c.clients = &awsClients{
		credentials:         loaded.Credentials,
		listInstances:       ssoadmin.NewFromConfig(loaded, func(o *ssoadmin.Options) { o.HTTPSignerV4 = signer{} }).ListInstances,
		lookupEvents:        cloudtrail.NewFromConfig(loaded, func(o *cloudtrail.Options) { o.HTTPSignerV4 = signer{} }).LookupEvents,
		assumeRole:          tokens.AssumeRole,
		getCallerIdentity:   tokens.GetCallerIdentity,
		getWebIdentityToken: tokens.GetWebIdentityToken,
	}
	return c.clients, nil
}

// load reads the SDK's configuration.
func (c *chain) load(ctx context.Context) (aws.Config, error) {
	options := []func(*config.LoadOptions) error{
		config.WithRegion(c.region),
		config.WithHTTPClient(c.http.client("credentials")),
		config.WithRetryer(newRetryer),
		config.WithAppID(cloudhttp.Application),
		// The SDK's debug output shows bodies and signatures: off, whatever the environment says.
		config.WithClientLogMode(0),
		config.WithLogger(logging.Nop{}),
	}
	if c.profile != "" {
		options = append(options, config.WithSharedConfigProfile(c.profile))
	}
	loaded, err := loadConfig(ctx, options)
	if err != nil {
		return aws.Config{}, &signInError{err: err}
	}
	return loaded, nil
}

// invalidate makes the next call load the configuration again.
func (c *chain) invalidate() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.clients = nil
}

// signer is the SDK's without its cache, which takes four kilobytes of each client.
type signer struct{}

// SignHTTP implements the services' HTTPSignerV4.
func (signer) SignHTTP(ctx context.Context, credentials aws.Credentials, request *http.Request, hash, service, region string, at time.Time,
	options ...func(*v4.SignerOptions),
) error {
	return v4.NewSigner().SignHTTP(ctx, credentials, request, hash, service, region, at, options...)
}

// profileCredentials keeps the credentials of a profile, not the SDK's chain: that one
// holds the text of the shared files, which have a section for each of a thousand
// profiles. When the credentials expire, the files are read again.
type profileCredentials struct {
	chain *chain
	next  aws.CredentialsProvider // nil: to be loaded
}

// Retrieve implements aws.CredentialsProvider. A cache calls it, never twice at a time.
func (p *profileCredentials) Retrieve(ctx context.Context) (aws.Credentials, error) {
	provider := p.next
	p.next = nil
	if provider == nil {
		loaded, err := p.chain.load(ctx)
		if err != nil {
			return aws.Credentials{}, err
		}
		provider = loaded.Credentials
	}
	credentials, err := provider.Retrieve(ctx)
	for _, text := range []*string{&credentials.AccessKeyID, &credentials.SecretAccessKey, &credentials.SessionToken, &credentials.AccountID} {
		*text = strings.Clone(*text) // it is a part of the file's text
	}
	return credentials, err
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
