package simulator

import (
	"bytes"
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha1"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"entra-aws-exporter/internal/simulator/clouds"
)

const (
	assertionType = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
	// federatedAudience is what a federated token must be for.
	// https://learn.microsoft.com/graph/api/resources/federatedidentitycredentials-overview
	federatedAudience = "api://AzureADTokenExchange"
	// clockTolerance is the difference between clocks that Entra allows.
	clockTolerance = 5 * time.Minute
)

type signingKeys struct {
	session []byte                          // of Entra's access tokens, which only Graph reads
	issuer  func() (*rsa.PrivateKey, error) // of every issuer of web identity tokens, made when needed
}

// newSigningKeys makes the keys of a simulator with this seed: a restarted one accepts
// the access tokens that were issued before.
func newSigningKeys(seed uint64) *signingKeys {
	session := sha256.Sum256(binary.BigEndian.AppendUint64([]byte("access tokens"), seed))
	return &signingKeys{session[:], sync.OnceValues(func() (*rsa.PrivateKey, error) { return rsa.GenerateKey(rand.Reader, 2048) })}
}

// claims are those of access tokens, client assertions and web identity tokens.
type claims struct {
	jwt.RegisteredClaims
	AppID    string         `json:"appid,omitempty"` // of access tokens
	TenantID string         `json:"tid,omitempty"`
	Roles    []string       `json:"roles,omitempty"`
	AWS      map[string]any `json:"https://sts.amazonaws.com/,omitempty"` // of web identity tokens
}

func lifetime(now time.Time, life time.Duration) jwt.RegisteredClaims {
	return jwt.RegisteredClaims{IssuedAt: jwt.NewNumericDate(now), NotBefore: jwt.NewNumericDate(now), ExpiresAt: jwt.NewNumericDate(now.Add(life))}
}

func (k *signingKeys) accessToken(content claims) (string, error) {
	return jwt.NewWithClaims(jwt.SigningMethodHS256, content).SignedString(k.session)
}

func (k *signingKeys) readAccessToken(token string) (claims, error) {
	var content claims
	return content, verifyJWT(token, &content, k.session, "HS256")
}

func (k *signingKeys) webIdentityToken(content claims) (string, error) {
	key, err := k.issuer()
	if err != nil {
		return "", err
	}
	return jwt.NewWithClaims(jwt.SigningMethodRS256, content).SignedString(key)
}

// verifyJWT checks the signature alone: what the claims mean is for the caller.
func verifyJWT(token string, into jwt.Claims, key any, methods ...string) error {
	parser := jwt.NewParser(jwt.WithValidMethods(methods), jwt.WithoutClaimsValidation())
	_, err := parser.ParseWithClaims(token, into, func(*jwt.Token) (any, error) { return key, nil })
	return err
}

type assertion struct {
	claims
	text   string
	header map[string]any
}

func (a assertion) verify(key crypto.PublicKey) error {
	return verifyJWT(a.text, &claims{}, key, "RS256", "PS256")
}

func (c *call) authenticate(tenant string, form url.Values) (clouds.AppRegistration, error) {
	clientID := form.Get("client_id")
	if secret := form.Get("client_secret"); secret != "" {
		return query(c, func(m *clouds.Model) (clouds.AppRegistration, error) { return m.SignIn(tenant, clientID, secret) })
	}
	registration, err := query(c, func(m *clouds.Model) (clouds.AppRegistration, error) { return m.Registration(tenant, clientID) })
	if err != nil {
		return registration, err
	}
	given := assertion{text: form.Get("client_assertion")}
	if given.text == "" || form.Get("client_assertion_type") != assertionType {
		return registration, invalidLogin("AADSTS7000218",
			"The request body must contain the following parameter: 'client_assertion' or 'client_secret'.")
	}
	token, _, err := jwt.NewParser().ParseUnverified(given.text, &given.claims)
	if err != nil {
		return registration, invalidLogin("AADSTS50027", "JWT is not well formed: %s", err)
	}
	given.header = token.Header
	if given.Issuer == clientID {
		err = checkCertificate(c, given, registration)
	} else {
		err = checkFederation(c, given, registration)
	}
	if err != nil {
		return registration, err
	}
	now := c.now()
	if jwt.NewValidator(jwt.WithLeeway(clockTolerance), jwt.WithExpirationRequired(), jwt.WithTimeFunc(func() time.Time { return now })).Validate(given.RegisteredClaims) != nil {
		return registration, invalidLogin("AADSTS700024",
			"Client assertion is not within its valid time range. Current time: %s, assertion valid from %s, expiry time of assertion %s.",
			now.UTC().Format(time.RFC3339), dateText(given.NotBefore), dateText(given.ExpiresAt))
	}
	return registration, nil
}

func dateText(date *jwt.NumericDate) string {
	if date == nil {
		return "(none)"
	}
	return date.UTC().Format(time.RFC3339)
}

// checkCertificate verifies an assertion that the application signed itself.
// https://learn.microsoft.com/entra/identity-platform/certificate-credentials
func checkCertificate(c *call, given assertion, registration clouds.AppRegistration) error {
	thumbprint := headerHash(given.header, "x5t#S256")
	if thumbprint == nil {
		thumbprint = headerHash(given.header, "x5t")
	}
	at := slices.IndexFunc(registration.Certificates, func(candidate clouds.AppCertificate) bool {
		sum256, sum1 := sha256.Sum256(candidate.DER), sha1.Sum(candidate.DER)
		return bytes.Equal(thumbprint, sum256[:]) || bytes.Equal(thumbprint, sum1[:])
	})
	refuse := func(reason string) error {
		return invalidLogin("AADSTS700027",
			"The certificate with identifier used to sign the client assertion is %s, Thumbprint of key used by client: '%s'].", reason, strings.ToUpper(hex.EncodeToString(thumbprint)))
	}
	if at < 0 {
		return refuse("not registered on application. [Reason - The key was not found.")
	}
	registered := registration.Certificates[at]
	certificate, err := x509.ParseCertificate(registered.DER)
	if err != nil || given.verify(certificate.PublicKey) != nil {
		return refuse("not registered on application. [Reason - The key used is not valid for this signature.")
	}
	if now := c.now(); !now.Before(registered.Expires) || now.Before(registered.Starts) {
		return refuse("expired on application. [Reason - The key used is expired.")
	}
	// The audience is the token endpoint, or the tenant's issuer.
	root := c.base() + "/" + c.path.PathValue("tenant")
	expected := []string{root + "/oauth2/v2.0/token", root + "/v2.0", root}
	if !slices.ContainsFunc(given.Audience, func(name string) bool { return slices.Contains(expected, name) }) || given.Subject != registration.ClientID {
		return invalidLogin("AADSTS700023", "Client assertion audience claim does not match Realm issuer. Expected %s.", expected[0])
	}
	return nil
}

// checkFederation verifies a token of another issuer. Every simulated issuer signs
// with the same key.
// learn.microsoft.com: workload-identity-federation
func checkFederation(c *call, given assertion, registration clouds.AppRegistration) error {
	key, err := c.sim.keys.issuer()
	if err != nil {
		return err
	}
	trusted := registration.Federated
	for _, check := range []struct {
		code, name, value string
		fits              func(clouds.FederatedCredential) bool
	}{
		{"AADSTS700211", "issuer", given.Issuer, func(f clouds.FederatedCredential) bool { return f.Issuer == given.Issuer }},
		{"AADSTS700213", "subject", given.Subject, func(f clouds.FederatedCredential) bool { return f.Subject == given.Subject }},
		{"AADSTS700212", "audience", strings.Join(given.Audience, ","), func(f clouds.FederatedCredential) bool {
			return slices.Contains(given.Audience, f.Audience) || f.Audience == "" && slices.Contains(given.Audience, federatedAudience)
		}},
	} {
		trusted = slices.DeleteFunc(slices.Clone(trusted), func(f clouds.FederatedCredential) bool { return !check.fits(f) })
		if len(trusted) == 0 {
			return invalidLogin(check.code,
				"No matching federated identity record found for presented assertion %s '%s'. Check your federated identity credential Subject, Audience and Issuer against the presented assertion.", check.name, check.value)
		}
	}
	if given.verify(&key.PublicKey) != nil {
		return invalidLogin("AADSTS5000224", "Failed to validate the signature of the presented assertion.")
	}
	return nil
}

// headerHash decodes a thumbprint; clients use either alphabet of base64, padded or not.
func headerHash(header map[string]any, name string) []byte {
	text, _ := header[name].(string)
	text = strings.TrimRight(strings.NewReplacer("+", "-", "/", "_").Replace(text), "=")
	hash, err := base64.RawURLEncoding.DecodeString(text)
	if err != nil || len(hash) == 0 {
		return nil
	}
	return hash
}

// WebIdentityToken makes a token of a simulated issuer, such as a Kubernetes cluster,
// that is valid for life: for workload identity. Applications accept it if they trust
// the issuer, subject and audience.
func (s *Simulator) WebIdentityToken(issuer, subject, audience string, life time.Duration) (string, error) {
	var content claims
	s.With(func(m *clouds.Model) { content.RegisteredClaims = lifetime(m.Now(), life) })
	content.Issuer, content.Subject, content.Audience, content.ID = issuer, subject, jwt.ClaimStrings{audience}, s.newID()
	return s.keys.webIdentityToken(content)
}
