package simulator

import (
	"bytes"
	"crypto/sha1"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"net/url"
	"slices"
	"strings"
	"time"

	"entra-aws-exporter/internal/simulator/clouds"
)

const (
	assertionType = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
	// federatedAudience is what a federated token must be for.
	// https://learn.microsoft.com/graph/api/resources/federatedidentitycredentials-overview
	federatedAudience = "api://AzureADTokenExchange"
)

// authenticate finds out which application signs in, by secret or by assertion.
func (c *call) authenticate(tenant string, form url.Values) (clouds.AppRegistration, error) {
	clientID := form.Get("client_id")
	if secret := form.Get("client_secret"); secret != "" {
		return read(c, func(w *clouds.Model) (clouds.AppRegistration, error) { return w.SignIn(tenant, clientID, secret) })
	}
	registration, err := read(c, func(w *clouds.Model) (clouds.AppRegistration, error) { return w.Registration(tenant, clientID) })
	if err != nil {
		return registration, err
	}
	token := form.Get("client_assertion")
	if token == "" || form.Get("client_assertion_type") != assertionType {
		return registration, invalidLogin("AADSTS7000218", "invalid_client",
			"The request body must contain the following parameter: 'client_assertion' or 'client_secret'.")
	}
	assertion, err := parseJWT(token)
	if err != nil {
		return registration, invalidLogin("AADSTS50027", "invalid_request", "%s", err)
	}
	if assertion.claims.Issuer == clientID {
		err = c.checkCertificate(assertion, registration)
	} else {
		err = c.checkFederation(assertion, registration)
	}
	if err != nil {
		return registration, err
	}
	return registration, c.checkLife(assertion)
}

// checkCertificate verifies an assertion that the application signed itself.
// https://learn.microsoft.com/entra/identity-platform/certificate-credentials
func (c *call) checkCertificate(assertion jwt, registration clouds.AppRegistration) error {
	given := hashOf(assertion.header.X5T256)
	if given == nil {
		given = hashOf(assertion.header.X5T)
	}
	at := slices.IndexFunc(registration.Certificates, func(candidate clouds.AppCertificate) bool {
		sum := sha256.Sum256(candidate.DER)
		return bytes.Equal(given, sum[:]) || bytes.Equal(given, sha1Of(candidate.DER))
	})
	if at < 0 {
		return invalidLogin("AADSTS700027", "invalid_client",
			"The certificate with identifier used to sign the client assertion is not registered on application. "+
				"[Reason - The key was not found., Thumbprint of key used by client: '%s'].", thumbprintHex(given))
	}
	registered := registration.Certificates[at]
	certificate, err := x509.ParseCertificate(registered.DER)
	if err != nil || assertion.verify(certificate.PublicKey) != nil {
		return invalidLogin("AADSTS700027", "invalid_client", "The certificate with identifier used to sign the client assertion is not registered on application. [Reason - The key used is not valid for this signature.]")
	}
	if now := c.now(); !now.Before(registered.Expires) || now.Before(registered.Starts) {
		return invalidLogin("AADSTS700027", "invalid_client",
			"The certificate with identifier used to sign the client assertion is expired on application. [Reason - The key used is expired., Thumbprint of key used by client: '%s'].",
			thumbprintHex(sha1Of(registered.DER)))
	}
	// The audience is the token endpoint, or the tenant's issuer.
	tenant := c.path.PathValue("tenant")
	root := c.base() + "/" + tenant
	wanted := []string{root + "/oauth2/v2.0/token", root + "/v2.0", root}
	if !assertion.claims.Audience.has(wanted...) || assertion.claims.Subject != registration.ClientID {
		return invalidLogin("AADSTS700023", "invalid_client", "Client assertion audience claim does not match Realm issuer. Expected %s.", wanted[0])
	}
	return nil
}

// checkFederation verifies a token of another issuer. Every simulated issuer signs
// with the same key.
// learn.microsoft.com: workload-identity-federation
func (c *call) checkFederation(assertion jwt, registration clouds.AppRegistration) error {
	key, err := c.sim.keys.rsa()
	if err != nil {
		return err
	}
	issued := func(f clouds.FederatedCredential) bool { return f.Issuer == assertion.claims.Issuer }
	subject := func(f clouds.FederatedCredential) bool { return issued(f) && f.Subject == assertion.claims.Subject }
	switch {
	case !slices.ContainsFunc(registration.Federated, issued):
		return invalidLogin("AADSTS700211", "invalid_client",
			"No matching federated identity record found for presented assertion issuer '%s'. Check your federated identity credential Subject, Audience and Issuer against the presented assertion.", assertion.claims.Issuer)
	case !slices.ContainsFunc(registration.Federated, subject):
		return invalidLogin("AADSTS700213", "invalid_client",
			"No matching federated identity record found for presented assertion subject '%s'. Check your federated identity credential Subject, Audience and Issuer against the presented assertion.", assertion.claims.Subject)
	case !slices.ContainsFunc(registration.Federated, func(f clouds.FederatedCredential) bool {
		wanted := f.Audience
		if wanted == "" {
			wanted = federatedAudience
		}
		return subject(f) && assertion.claims.Audience.has(wanted)
	}):
		return invalidLogin("AADSTS700212", "invalid_client",
			"No matching federated identity record found for presented assertion audience '%s'. Check your federated identity credential Subject, Audience and Issuer against the presented assertion.", strings.Join(assertion.claims.Audience, ","))
	case assertion.verify(&key.PublicKey) != nil:
		return invalidLogin("AADSTS5000224", "invalid_client", "Failed to validate the signature of the presented assertion.")
	}
	return nil
}

// checkLife allows the five minutes of difference between clocks that Entra does.
func (c *call) checkLife(assertion jwt) error {
	const skew = 5 * time.Minute
	now := c.now()
	if now.Add(-skew).Unix() >= assertion.claims.Expires || now.Add(skew).Unix() < assertion.claims.NotBefore {
		return invalidLogin("AADSTS700024", "invalid_client",
			"Client assertion is not within its valid time range. Current time: %s, assertion valid from %s, expiry time of assertion %s.",
			now.UTC().Format(time.RFC3339), time.Unix(assertion.claims.NotBefore, 0).UTC().Format(time.RFC3339),
			time.Unix(assertion.claims.Expires, 0).UTC().Format(time.RFC3339))
	}
	return nil
}

// hashOf decodes a thumbprint; clients use either alphabet of base64, padded or not.
func hashOf(text string) []byte {
	text = strings.TrimRight(strings.NewReplacer("+", "-", "/", "_").Replace(text), "=")
	hash, err := base64.RawURLEncoding.DecodeString(text)
	if err != nil || len(hash) == 0 {
		return nil
	}
	return hash
}

func sha1Of(der []byte) []byte {
	sum := sha1.Sum(der)
	return sum[:]
}

// WebIdentityToken makes a token of a simulated issuer, such as a Kubernetes cluster,
// that is valid for life: for workload identity. Applications accept it if they trust
// the issuer, subject and audience.
func (s *Simulator) WebIdentityToken(issuer, subject, forAudience string, life time.Duration) (string, error) {
	var now time.Time
	s.With(func(w *clouds.Model) { now = w.Now() })
	return s.keys.webIdentityToken(claims{
		Audience: audience{forAudience}, Issuer: issuer, Subject: subject, ID: s.newID(),
		IssuedAt: now.Unix(), NotBefore: now.Unix(), Expires: now.Add(life).Unix(),
	})
}
