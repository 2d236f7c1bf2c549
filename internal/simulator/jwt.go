package simulator

import (
	"crypto"
	"crypto/hmac"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"math/big"
	"slices"
	"strings"
	"sync"
)

// signingKeys are the simulated clouds' own keys.
type signingKeys struct {
	session []byte // of Entra's access tokens, which nobody but Graph reads

	issuer     sync.Once // making an RSA key takes a while, and few need it
	issuerKey  *rsa.PrivateKey
	issuerFail error
}

// newSigningKeys makes the keys of a simulator with this seed: a restarted one accepts
// the access tokens that were issued before.
func newSigningKeys(seed uint64) *signingKeys {
	session := sha256.Sum256(binary.BigEndian.AppendUint64([]byte("access tokens"), seed))
	return &signingKeys{session: session[:]}
}

// rsa returns the key of every simulated issuer of web identity tokens.
func (k *signingKeys) rsa() (*rsa.PrivateKey, error) {
	k.issuer.Do(func() { k.issuerKey, k.issuerFail = rsa.GenerateKey(rand.Reader, 2048) })
	return k.issuerKey, k.issuerFail
}

// jwtHeader is the part of a JWT's header that is used.
type jwtHeader struct {
	Algorithm string `json:"alg"`
	Type      string `json:"typ,omitempty"`
	KeyID     string `json:"kid,omitempty"`
	X5T       string `json:"x5t,omitempty"`      // SHA-1 of the certificate
	X5T256    string `json:"x5t#S256,omitempty"` // its SHA-256
}

// audience is one name or several.
type audience []string

// UnmarshalJSON implements json.Unmarshaler.
func (a *audience) UnmarshalJSON(content []byte) error {
	var one string
	if json.Unmarshal(content, &one) == nil {
		*a = audience{one}
		return nil
	}
	return json.Unmarshal(content, (*[]string)(a))
}

// MarshalJSON implements json.Marshaler.
func (a audience) MarshalJSON() ([]byte, error) {
	if len(a) == 1 {
		return json.Marshal(a[0])
	}
	return json.Marshal([]string(a))
}

// claims are those of access tokens, client assertions and web identity tokens.
type claims struct {
	Audience  audience `json:"aud"`
	Issuer    string   `json:"iss"`
	Subject   string   `json:"sub,omitempty"`
	IssuedAt  int64    `json:"iat,omitempty"`
	NotBefore int64    `json:"nbf,omitempty"`
	Expires   int64    `json:"exp"`
	ID        string   `json:"jti,omitempty"`

	AppID    string   `json:"appid,omitempty"` // of access tokens
	TenantID string   `json:"tid,omitempty"`
	Roles    []string `json:"roles,omitempty"`

	AWS map[string]any `json:"https://sts.amazonaws.com/,omitempty"` // of web identity tokens
}

// jwt is a parsed token, its signature not yet verified.
type jwt struct {
	header    jwtHeader
	claims    claims
	signed    []byte
	signature []byte
}

func parseJWT(token string) (jwt, error) {
	parts := strings.Split(token, ".")
	if len(parts) != 3 {
		return jwt{}, errors.New("JWT is not well formed: there are not three parts")
	}
	var decoded [3][]byte
	for i, part := range parts {
		content, err := base64.RawURLEncoding.DecodeString(part)
		if err != nil {
			return jwt{}, fmt.Errorf("JWT is not well formed: part %d is no base64url", i+1)
		}
		decoded[i] = content
	}
	parsed := jwt{signed: []byte(parts[0] + "." + parts[1]), signature: decoded[2]}
	if err := json.Unmarshal(decoded[0], &parsed.header); err != nil {
		return jwt{}, errors.New("JWT is not well formed: the header is no JSON")
	}
	if err := json.Unmarshal(decoded[1], &parsed.claims); err != nil {
		return jwt{}, errors.New("JWT is not well formed: the claims are no JSON")
	}
	return parsed, nil
}

// verify checks an RSA signature, as client assertions carry.
func (t jwt) verify(key crypto.PublicKey) error {
	public, isRSA := key.(*rsa.PublicKey)
	if !isRSA {
		return errors.New("the key is not an RSA key")
	}
	digest := sha256.Sum256(t.signed)
	switch t.header.Algorithm {
	case "RS256":
		return rsa.VerifyPKCS1v15(public, crypto.SHA256, digest[:], t.signature)
	case "PS256":
		return rsa.VerifyPSS(public, crypto.SHA256, digest[:], t.signature, nil)
	default:
		return fmt.Errorf("the algorithm %q is not supported", t.header.Algorithm)
	}
}

func unsigned(header jwtHeader, claims any) (string, error) {
	var parts [2]string
	for i, part := range []any{header, claims} {
		content, err := json.Marshal(part)
		if err != nil {
			return "", fmt.Errorf("encoding a JWT: %w", err)
		}
		parts[i] = base64.RawURLEncoding.EncodeToString(content)
	}
	return parts[0] + "." + parts[1], nil
}

// accessToken signs a token that only this simulator's Graph reads.
func (k *signingKeys) accessToken(claims claims) (string, error) {
	token, err := unsigned(jwtHeader{Algorithm: "HS256", Type: "JWT"}, claims)
	if err != nil {
		return "", err
	}
	return token + "." + base64.RawURLEncoding.EncodeToString(k.mac(token)), nil
}

func (k *signingKeys) mac(text string) []byte {
	h := hmac.New(sha256.New, k.session)
	h.Write([]byte(text))
	return h.Sum(nil)
}

// readAccessToken returns the claims of a token made by accessToken.
func (k *signingKeys) readAccessToken(token string) (claims, error) {
	parsed, err := parseJWT(token)
	if err != nil {
		return claims{}, err
	}
	if parsed.header.Algorithm != "HS256" || !hmac.Equal(k.mac(string(parsed.signed)), parsed.signature) {
		return claims{}, errors.New("signature validation failed")
	}
	return parsed.claims, nil
}

// issuerKeyID names the issuers' key in headers and in their key set.
const issuerKeyID = "simulator-1"

// webIdentityToken signs a token of an issuer, RS256 as STS does.
func (k *signingKeys) webIdentityToken(claims claims) (string, error) {
	key, err := k.rsa()
	if err != nil {
		return "", fmt.Errorf("making the issuer's key: %w", err)
	}
	token, err := unsigned(jwtHeader{Algorithm: "RS256", Type: "JWT", KeyID: issuerKeyID}, claims)
	if err != nil {
		return "", err
	}
	digest := sha256.Sum256([]byte(token))
	signature, err := rsa.SignPKCS1v15(nil, key, crypto.SHA256, digest[:])
	if err != nil {
		return "", fmt.Errorf("signing a token: %w", err)
	}
	return token + "." + base64.RawURLEncoding.EncodeToString(signature), nil
}

// jsonWebKeys is the issuers' key set, RFC 7517.
func (k *signingKeys) jsonWebKeys() (any, error) {
	key, err := k.rsa()
	if err != nil {
		return nil, err
	}
	exponent := big.NewInt(int64(key.E)).Bytes()
	return map[string]any{"keys": []map[string]string{{
		"kty": "RSA", "use": "sig", "alg": "RS256", "kid": issuerKeyID,
		"n": base64.RawURLEncoding.EncodeToString(key.N.Bytes()),
		"e": base64.RawURLEncoding.EncodeToString(exponent),
	}}}, nil
}

func (a audience) has(names ...string) bool {
	return slices.ContainsFunc(names, func(name string) bool { return slices.Contains(a, name) })
}
