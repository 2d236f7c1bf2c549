package entra

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"sync/atomic"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/cloud"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	"github.com/Azure/azure-sdk-for-go/sdk/azidentity"

	"entra-aws-exporter/internal/model"
)

const (
	signInLimit = 30 * time.Second
	// refreshBefore is when an access token, which lives for about an hour, is renewed;
	// should that fail, the old one serves until usableUntil before its end.
	refreshBefore = 5 * time.Minute
	usableUntil   = 30 * time.Second
	// A refused sign-in is not repeated for a while: every connection of the tenant
	// would, and Entra locks out who insists.
	refusalHolds = 10 * time.Second
	// A token that Graph refused is doubted, and replaced if it is older than this: a
	// permission granted meanwhile is only in a new one.
	doubtAfter = 5 * time.Minute
)

// identity acquires access tokens. It has its own cache and its own lock: azidentity
// would read a secret once for ever, and would hold a mutex during the sign-in, for
// which no deadline ends the wait.
type identity struct {
	tenant            *Tenant
	options           azcore.ClientOptions
	noInstanceLookup  bool         // of a login endpoint that Microsoft does not list
	nextDoor          *http.Client // to a managed identity's endpoint, which no proxy can reach
	doubted           atomic.Bool
	turn              chan struct{} // held while what follows is used
	token             azcore.AccessToken
	acquired, refused time.Time
	refusal           *model.Error
}

func newIdentity(t *Tenant, ownEndpoint bool, w *web) *identity {
	direct := *w
	direct.transport = &http.Transport{DisableKeepAlives: true}
	return &identity{
		tenant: t,
		options: azcore.ClientOptions{
			Cloud:     cloud.Configuration{ActiveDirectoryAuthorityHost: t.login + "/", Services: map[cloud.ServiceName]cloud.ServiceConfiguration{}},
			Transport: w.client("login", signInSize, nil),
			Retry:     policy.RetryOptions{MaxRetries: 1, RetryDelay: time.Second, MaxRetryDelay: 5 * time.Second},
		},
		noInstanceLookup: ownEndpoint,
		nextDoor:         direct.client("managed_identity", signInSize, nil),
		turn:             make(chan struct{}, 1),
	}
}

// doubt is told when Graph refused the token.
func (i *identity) doubt() { i.doubted.Store(true) }

// GetToken implements azcore.TokenCredential. Its errors are *model.Error.
func (i *identity) GetToken(ctx context.Context, request policy.TokenRequestOptions) (azcore.AccessToken, error) {
	select {
	case i.turn <- struct{}{}:
		defer func() { <-i.turn }()
	case <-ctx.Done():
		return azcore.AccessToken{}, unsent(ctx.Err(), "the sign-in to Entra did not end in time")
	}
	now := time.Now()
	doubted := i.doubted.Swap(false) && now.Sub(i.acquired) > doubtAfter
	if !doubted && i.token.ExpiresOn.Sub(now) > refreshBefore {
		return i.token, nil
	}
	if i.refusal == nil || now.Sub(i.refused) > refusalHolds {
		token, refusal := i.acquire(ctx, request.Scopes)
		if refusal == nil {
			i.token, i.acquired, i.refusal = token, time.Now(), nil
			return token, nil
		}
		if ctx.Err() != nil || refusal.Reason == model.ReasonTimeout {
			return azcore.AccessToken{}, refusal // this caller's haste is nobody else's refusal
		}
		i.refusal, i.refused = refusal, time.Now()
	}
	if i.token.ExpiresOn.Sub(now) > usableUntil {
		return i.token, nil
	}
	return azcore.AccessToken{}, i.refusal
}

func (i *identity) acquire(ctx context.Context, scopes []string) (azcore.AccessToken, *model.Error) {
	ctx, cancel := context.WithTimeout(ctx, signInLimit)
	defer cancel()
	x := &exchange{}
	ctx = withExchange(ctx, x)
	credential, err := i.credential()
	if err != nil {
		return azcore.AccessToken{}, &model.Error{
			Reason: model.ReasonAuth, Unsent: true, Err: err,
			Detail: "the exporter's own credential cannot be used: " + err.Error(),
		}
	}
	token, err := credential.GetToken(ctx, policy.TokenRequestOptions{Scopes: scopes})
	if err != nil {
		return azcore.AccessToken{}, explainSignIn(ctx, x, err)
	}
	return token, nil
}

// check tells whether exactly one kind is set, and complete.
func (c Credential) check(clientID string) error {
	kinds := 0
	for _, set := range []bool{
		c.SecretFile != "", c.CertificateFile != "", c.WorkloadIdentityTokenFile != "", c.ManagedIdentity, c.Assertion != nil,
	} {
		if set {
			kinds++
		}
	}
	switch {
	case kinds != 1:
		return fmt.Errorf("%d ways to sign in are set; set exactly one of client_secret_file, client_certificate_file, "+
			"workload_identity, managed_identity, aws_web_identity", kinds)
	case clientID == "" && !c.ManagedIdentity:
		return errors.New("client_id is missing")
	}
	return nil
}

// credential reads what the sign-in needs, as it is now.
func (i *identity) credential() (azcore.TokenCredential, error) {
	t := i.tenant
	switch c := t.credential; {
	case c.SecretFile != "":
		secret, err := c.SecretFile.Read()
		if err != nil {
			return nil, err
		}
		return azidentity.NewClientSecretCredential(t.id, t.clientID, secret.Reveal(),
			&azidentity.ClientSecretCredentialOptions{ClientOptions: i.options, DisableInstanceDiscovery: i.noInstanceLookup})
	case c.CertificateFile != "":
		return i.certificateCredential()
	case c.ManagedIdentity:
		options := &azidentity.ManagedIdentityCredentialOptions{ClientOptions: i.options}
		options.Transport = i.nextDoor
		if c.ManagedIdentityClientID != "" {
			options.ID = azidentity.ClientID(c.ManagedIdentityClientID)
		}
		return azidentity.NewManagedIdentityCredential(options)
	default:
		return azidentity.NewClientAssertionCredential(t.id, t.clientID, i.assertion,
			&azidentity.ClientAssertionCredentialOptions{ClientOptions: i.options, DisableInstanceDiscovery: i.noInstanceLookup})
	}
}

func (i *identity) certificateCredential() (azcore.TokenCredential, error) {
	c := i.tenant.credential
	content, err := os.ReadFile(c.CertificateFile)
	if err != nil {
		return nil, fmt.Errorf("reading the client certificate: %w", err)
	}
	var password []byte
	if c.CertificatePasswordFile != "" {
		secret, err := c.CertificatePasswordFile.Read()
		if err != nil {
			return nil, err
		}
		password = []byte(secret.Reveal())
	}
	certificates, key, err := azidentity.ParseCertificates(content, password)
	if err != nil {
		return nil, fmt.Errorf("%s holds no certificate with its private key in PEM or PKCS #12 (a PKCS #12 file must use the "+
			"older algorithms, openssl's -legacy): %w", c.CertificateFile, err)
	}
	return azidentity.NewClientCertificateCredential(i.tenant.id, i.tenant.clientID, certificates, key,
		&azidentity.ClientCertificateCredentialOptions{ClientOptions: i.options, DisableInstanceDiscovery: i.noInstanceLookup})
}

// assertion returns the federated token for one sign-in. azidentity drops the cause of
// a failure, so it is left with the exchange.
func (i *identity) assertion(ctx context.Context) (string, error) {
	c := i.tenant.credential
	if c.Assertion != nil {
		token, err := c.Assertion(ctx)
		if err != nil {
			exchangeOf(ctx).err = &assertionError{err}
		}
		return token, err
	}
	token, err := c.WorkloadIdentityTokenFile.Read()
	if err != nil {
		exchangeOf(ctx).err = &assertionError{err}
	}
	return token.Reveal(), err
}

// assertionError is why there was no federated token to sign in with.
type assertionError struct{ cause error }

func (e *assertionError) Error() string {
	return "no federated token to sign in with: " + e.cause.Error()
}
func (e *assertionError) Unwrap() error { return e.cause }
