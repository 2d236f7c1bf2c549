package entra

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"sync/atomic"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/cloud"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	"github.com/Azure/azure-sdk-for-go/sdk/azidentity"

	"entra-aws-exporter/internal/cloudhttp"
	"entra-aws-exporter/internal/model"
)

const (
	signInTimeout = 30 * time.Second
	// An access token lives for about an hour. It is renewed refreshBefore its end. If
	// that fails, the old one serves until usableUntil before its end.
	refreshBefore = 5 * time.Minute
	usableUntil   = 30 * time.Second
	// A refused sign-in is not repeated for errorTTL: every connection of the tenant
	// would repeat it, and Entra locks out clients that insist.
	errorTTL = 10 * time.Second
	// A token that lacks a permission (403) is replaced if it is older than minTokenAge: a
	// permission granted meanwhile is only in a new one. One that Graph does not accept
	// (401) was revoked: it is replaced at once, its replacement only after minTokenAge.
	minTokenAge = 5 * time.Minute
)

// Credential is how the exporter proves who it is. Exactly one kind is set. Files are
// read again whenever an access token is acquired.
type Credential struct {
	SecretFile model.SecretFile

	CertificateFile         string           // PEM or PKCS #12, with its private key
	CertificatePasswordFile model.SecretFile // of a PKCS #12 file

	WorkloadIdentityTokenFile model.SecretFile // a federated token, as Kubernetes projects it

	ManagedIdentity         bool
	ManagedIdentityClientID string // "": the system-assigned one

	// Assertion returns a federated token for one sign-in, such as AWS STS's
	// GetWebIdentityToken. It needs no stored secret.
	Assertion func(context.Context) (string, error)
}

// check requires exactly one kind of credential, and that it is complete.
func (c Credential) check(clientID string) error {
	kinds := slices.DeleteFunc([]bool{
		c.SecretFile != "", c.CertificateFile != "", c.WorkloadIdentityTokenFile != "", c.ManagedIdentity, c.Assertion != nil,
	}, func(isSet bool) bool { return !isSet })
	switch {
	case len(kinds) != 1:
		return fmt.Errorf("%d ways to sign in are set; set exactly one of client_secret_file, client_certificate_file, "+
			"workload_identity, managed_identity, aws_web_identity", len(kinds))
	case clientID == "" && !c.ManagedIdentity:
		return errors.New("client_id is missing")
	}
	return nil
}

// signIn acquires access tokens. It has its own cache and its own lock: azidentity
// reads a secret only once, and holds a mutex during the sign-in, so that no deadline
// ends the wait for it.
type signIn struct {
	tenantID, clientID string
	credential         Credential
	options            azcore.ClientOptions
	noInstanceLookup   bool         // for a login endpoint that Microsoft does not list
	metadataClient     *http.Client // for a managed identity's endpoint, which no proxy can reach
	forbidden, revoked atomic.Bool  // what Graph answered to the token

	lock             chan struct{} // held while the fields below are used
	token            azcore.AccessToken
	acquired, failed time.Time
	replacement      bool // the token replaces a revoked one
	lastError        *model.Error
}

func newSignIn(tenantID, clientID string, credential Credential, loginRoot string, isOwnEndpoint bool, options cloudhttp.Options) *signIn {
	return &signIn{
		tenantID: tenantID, clientID: clientID, credential: credential,
		options: azcore.ClientOptions{
			Cloud:     cloud.Configuration{ActiveDirectoryAuthorityHost: loginRoot + "/", Services: map[cloud.ServiceName]cloud.ServiceConfiguration{}},
			Transport: newHTTPClient(options, "login", maxSignIn, nil),
			Retry:     policy.RetryOptions{MaxRetries: 1, RetryDelay: time.Second, MaxRetryDelay: 5 * time.Second},
		},
		noInstanceLookup: isOwnEndpoint,
		metadataClient:   newHTTPClient(options.Direct(), "managed_identity", maxSignIn, nil),
		lock:             make(chan struct{}, 1),
	}
}

// invalidate is told what Graph answered to a token.
func (s *signIn) invalidate(status int) {
	switch status {
	case http.StatusUnauthorized:
		s.revoked.Store(true)
	case http.StatusForbidden:
		s.forbidden.Store(true)
	}
}

// GetToken implements azcore.TokenCredential. Its errors are *model.Error.
func (s *signIn) GetToken(ctx context.Context, request policy.TokenRequestOptions) (azcore.AccessToken, error) {
	select {
	case s.lock <- struct{}{}:
		defer func() { <-s.lock }()
	case <-ctx.Done():
		return azcore.AccessToken{}, signInTimedOut(ctx.Err())
	}
	now := time.Now()
	old := now.Sub(s.acquired) > minTokenAge
	revoked := s.revoked.Swap(false) && (old || !s.replacement)
	invalid := s.forbidden.Swap(false) && old || revoked
	if !invalid && s.token.ExpiresOn.Sub(now) > refreshBefore {
		return s.token, nil
	}
	if s.lastError == nil || now.Sub(s.failed) > errorTTL {
		token, failed := s.acquire(ctx, request.Scopes)
		if failed == nil {
			s.token, s.acquired, s.replacement, s.lastError = token, time.Now(), revoked, nil
			return token, nil
		}
		if ctx.Err() != nil || failed.Reason == model.ReasonTimeout {
			return azcore.AccessToken{}, failed // one caller's deadline is no error for the others
		}
		s.lastError, s.failed = failed, time.Now()
	}
	if s.token.ExpiresOn.Sub(now) > usableUntil {
		return s.token, nil
	}
	return azcore.AccessToken{}, s.lastError
}

// test signs in although an access token is left, unless that is recent. A credential that
// Entra no longer accepts is found while the access tokens still run.
func (s *signIn) test(ctx context.Context, scopes []string) *model.Error {
	select {
	case s.lock <- struct{}{}:
		defer func() { <-s.lock }()
	case <-ctx.Done():
		return signInTimedOut(ctx.Err())
	}
	switch now := time.Now(); {
	case s.lastError != nil && now.Sub(s.failed) <= errorTTL:
		return s.lastError
	case now.Sub(s.acquired) <= minTokenAge:
		return nil
	}
	token, failed := s.acquire(ctx, scopes)
	if failed == nil {
		s.token, s.acquired, s.replacement, s.lastError = token, time.Now(), false, nil
	}
	return failed
}

func (s *signIn) acquire(ctx context.Context, scopes []string) (azcore.AccessToken, *model.Error) {
	ctx, cancel := context.WithTimeout(ctx, signInTimeout)
	defer cancel()
	x := &cloudhttp.Exchange{}
	ctx = cloudhttp.WithExchange(ctx, x)
	source, err := s.tokenCredential()
	if err != nil {
		return azcore.AccessToken{}, &model.Error{
			Reason: model.ReasonAuth, Unsent: true, Err: err,
			Detail: "the exporter's credential is unusable: " + err.Error(),
		}
	}
	token, err := source.GetToken(ctx, policy.TokenRequestOptions{Scopes: scopes})
	if err != nil {
		return azcore.AccessToken{}, classifySignIn(ctx, x, err)
	}
	return token, nil
}

// tokenCredential reads what the sign-in needs, as it is now.
func (s *signIn) tokenCredential() (azcore.TokenCredential, error) {
	switch c := s.credential; {
	case c.SecretFile != "":
		secret, err := c.SecretFile.Read()
		if err != nil {
			return nil, err
		}
		return azidentity.NewClientSecretCredential(s.tenantID, s.clientID, secret.Reveal(),
			&azidentity.ClientSecretCredentialOptions{ClientOptions: s.options, DisableInstanceDiscovery: s.noInstanceLookup})
	case c.CertificateFile != "":
		return s.certificateCredential()
	case c.ManagedIdentity:
		options := &azidentity.ManagedIdentityCredentialOptions{ClientOptions: s.options}
		options.Transport = s.metadataClient
		if c.ManagedIdentityClientID != "" {
			options.ID = azidentity.ClientID(c.ManagedIdentityClientID)
		}
		return azidentity.NewManagedIdentityCredential(options)
	default:
		return azidentity.NewClientAssertionCredential(s.tenantID, s.clientID, s.assertion,
			&azidentity.ClientAssertionCredentialOptions{ClientOptions: s.options, DisableInstanceDiscovery: s.noInstanceLookup})
	}
}

func (s *signIn) certificateCredential() (azcore.TokenCredential, error) {
	content, err := model.ReadFile(s.credential.CertificateFile)
	if err != nil {
		return nil, fmt.Errorf("reading the client certificate: %w", err)
	}
	var password []byte
	if s.credential.CertificatePasswordFile != "" {
		secret, err := s.credential.CertificatePasswordFile.Read()
		if err != nil {
			return nil, err
		}
		password = []byte(secret.Reveal())
	}
	certificates, key, err := azidentity.ParseCertificates(content, password)
	if err != nil {
		return nil, fmt.Errorf("%s holds no certificate with its private key in PEM or PKCS #12 (a PKCS #12 file must use the "+
			"older algorithms, openssl's -legacy): %w", s.credential.CertificateFile, err)
	}
	return azidentity.NewClientCertificateCredential(s.tenantID, s.clientID, certificates, key,
		&azidentity.ClientCertificateCredentialOptions{ClientOptions: s.options, DisableInstanceDiscovery: s.noInstanceLookup})
}

// assertion returns the federated token for one sign-in. azidentity drops the cause of
// a failure, so it is left with the exchange.
func (s *signIn) assertion(ctx context.Context) (token string, err error) {
	if s.credential.Assertion != nil {
		token, err = s.credential.Assertion(ctx)
	} else {
		var content model.Secret
		content, err = s.credential.WorkloadIdentityTokenFile.Read()
		token = content.Reveal()
	}
	if err != nil {
		cloudhttp.ExchangeOf(ctx).Err = noAssertion(err)
	}
	return token, err
}

// noAssertion says why there is no federated token to sign in with. A classified cause
// keeps its reason and advice.
func noAssertion(cause error) *model.Error {
	failed := &model.Error{Reason: model.ReasonAuth, Unsent: true, Err: cause, Advice: "check the tenant's federated identity"}
	detail := cause.Error()
	var inner *model.Error
	if errors.As(cause, &inner) {
		failed.Reason, failed.Advice = inner.Reason, inner.Advice
		if detail = inner.Detail; detail == "" && inner.Err != nil {
			detail = inner.Err.Error()
		}
		detail = string(inner.Reason) + ": " + detail
	}
	failed.Detail = "no federated token to sign in with: " + detail
	return failed
}

// classifySignIn classifies a failed sign-in. The call that needed it was not sent.
func classifySignIn(ctx context.Context, x *cloudhttp.Exchange, cause error) *model.Error {
	code := aadstsPattern.FindString(string(x.ErrorBody))
	failed := &model.Error{Reason: model.ReasonAuth, Status: x.Status, Code: code}
	meaning, advice := explainAADSTS(code)
	refusedByProxy := cloudhttp.ProxyRefusal(x.Status, x.ContentType, x.ErrorBody)
	switch {
	case errors.As(x.Err, &failed):
		return failed
	case ctx.Err() != nil && x.Status < http.StatusBadRequest:
		return signInTimedOut(ctx.Err())
	case x.Err != nil:
		failed = cloudhttp.Classify(x.Err)
		failed.Detail = "sign-in to Entra: " + failed.Detail
	case x.Status == http.StatusTooManyRequests:
		failed.Reason, failed.Detail = model.ReasonThrottled, "sign-in to Entra: HTTP status 429"
	case x.Status >= http.StatusInternalServerError:
		// The service fails, with or without a code, such as AADSTS90033 (MsodsServiceUnavailable).
		// https://learn.microsoft.com/entra/identity-platform/reference-error-codes
		failed.Reason, failed.Detail = model.ReasonOther, "sign-in to Entra: "+x.String()
		if x.Status == http.StatusGatewayTimeout {
			failed.Reason = model.ReasonTimeout
		}
		if code != "" {
			failed.Detail += ": " + errorDescription(x.ErrorBody)
		}
	case meaning != "":
		failed.Detail, failed.Advice = code+": "+meaning, advice
	case code != "":
		failed.Detail, failed.Advice = errorDescription(x.ErrorBody), "look the code up at https://login.microsoftonline.com/error"
	case refusedByProxy != nil:
		failed = refusedByProxy
		failed.Detail = "sign-in to Entra: " + failed.Detail
	case x.Status >= http.StatusBadRequest:
		failed.Detail, failed.Advice = "sign-in to Entra: "+x.String(), "check endpoints.login, and proxies"
	case x.Status != 0:
		failed.Reason, failed.Detail = model.ReasonInvalidResponse, "sign-in to Entra: unreadable response, "+x.String()
	default:
		failed.Detail = redact(cause.Error()) // azidentity's own, before any request
	}
	failed.Unsent = true
	return failed
}

func signInTimedOut(cause error) *model.Error {
	failed := cloudhttp.Classify(cause)
	failed.Unsent = true
	if failed.Reason == model.ReasonTimeout {
		failed.Detail = "the sign-in to Entra did not finish in time"
	}
	return failed
}
