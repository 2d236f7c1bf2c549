package identitycenter

import (
	"net/http"
	"sync"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws/arn"
	"golang.org/x/time/rate"

	"entra-aws-exporter/internal/cloudhttp"
)

// Cloud is what the connections of one configuration share: the HTTP transports, and one
// sign-in for each set of credentials. A reload of the configuration makes a new one.
type Cloud struct {
	options cloudhttp.Options
	direct  cloudhttp.Options // for metadata services
	http    *httpClients      // of the credential chains

	mu       sync.Mutex
	services map[string]ways
	chains   map[chainKey]*chain
	sessions map[signInKey]*session
	lookups  map[lookupKey]*rate.Limiter
}

// NewCloud makes no call and reads no file.
func NewCloud(options cloudhttp.Options) *Cloud {
	c := &Cloud{
		options: options.WithDefaults(), direct: options.WithDefaults().Direct(),
		services: make(map[string]ways), chains: make(map[chainKey]*chain), sessions: make(map[signInKey]*session),
		lookups: make(map[lookupKey]*rate.Limiter),
	}
	c.http = newHTTPClients("", c)
	return c
}

// ways are the two ways to a service: as configured, and without a proxy.
type ways struct {
	client *http.Client
	direct http.RoundTripper
}

func (c *Cloud) waysTo(service string) ways {
	c.mu.Lock()
	defer c.mu.Unlock()
	found, known := c.services[service]
	if !known {
		limits := cloudhttp.Service{Name: service, MaxBody: maxBody, Timeout: func(request *http.Request) time.Duration {
			if isMetadata(request) {
				return metadataTimeout
			}
			return attemptTimeout
		}}
		found = ways{c.options.Client(limits), c.direct.Client(limits).Transport}
		c.services[service] = found
	}
	return found
}

// session returns the sign-in with these credentials, which name is the first to use.
func (c *Cloud) session(name string, key signInKey) *session {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.chains[key.chainKey] == nil {
		c.chains[key.chainKey] = &chain{chainKey: key.chainKey, http: c.http}
	}
	if c.sessions[key] == nil {
		c.sessions[key] = &session{
			signInKey: key, chain: c.chains[key.chainKey], http: newHTTPClients(name, c),
			lookups: c.lookupsOf(key), listing: make(chan struct{}, 1),
		}
	}
	return c.sessions[key]
}

// lookupKey says whose rate of LookupEvents a sign-in uses: that of its role's account or,
// without a role, of whatever account its profile is of.
type lookupKey struct{ account, profile, region string }

// lookupsOf keeps LookupEvents below its two calls a second, which the sign-ins of an
// account share in each region.
// https://docs.aws.amazon.com/awscloudtrail/latest/APIReference/API_LookupEvents.html
func (c *Cloud) lookupsOf(signIn signInKey) *rate.Limiter {
	key := lookupKey{profile: signIn.profile, region: signIn.region}
	if role, err := arn.Parse(signIn.roleARN); err == nil {
		key = lookupKey{account: role.AccountID, region: signIn.region}
	}
	if c.lookups[key] == nil {
		c.lookups[key] = rate.NewLimiter(rate.Every(600*time.Millisecond), 1)
	}
	return c.lookups[key]
}
