package entra

import (
	"bytes"
	"cmp"
	"context"
	"crypto/sha1" //nolint:gosec // the thumbprint of a certificate is defined as SHA-1
	"crypto/x509"
	"encoding/base64"
	"encoding/hex"
	"slices"
	"strings"

	"entra-aws-exporter/internal/cloudhttp"
	"entra-aws-exporter/internal/model"
)

// SigningCertificates reads the certificates that the application signs SAML responses
// with: from Graph, or from the public federation metadata, which does not tell which
// one is active.
func (a *Application) SigningCertificates(ctx context.Context) (model.SigningCertificates, error) {
	return a.signingCertificates(ctx, a.freshPrincipal)
}

// PolledCertificates is SigningCertificates, but which certificate is active may have been
// read up to a minute ago. A rotation must not use it.
func (a *Application) PolledCertificates(ctx context.Context) (model.SigningCertificates, error) {
	return a.signingCertificates(ctx, a.polledPrincipal)
}

func (a *Application) signingCertificates(ctx context.Context, read principalReader) (signing model.SigningCertificates, err error) {
	if a.options.Certificates == model.EntraCertificatesMetadata {
		signing, err = a.metadataCertificates(ctx)
	} else {
		signing, err = a.graphCertificates(ctx, read)
	}
	return signing, a.discovery.forgetIfGone(err)
}

// graphCertificates sends two requests: Graph returns the certificates themselves only
// to a request that selects nothing else.
// https://learn.microsoft.com/graph/api/resources/keycredential
func (a *Application) graphCertificates(ctx context.Context, read principalReader) (model.SigningCertificates, error) {
	id, err := a.discovery.samlPrincipalID(ctx)
	if err != nil {
		return model.SigningCertificates{}, err
	}
	application, err := read(ctx, "reading the signing certificate in use", id)
	if err != nil {
		return model.SigningCertificates{}, err
	}
	const op = "reading the signing certificates"
	keys, x, err := a.readPrincipal(ctx, op, id, "keyCredentials")
	if err == nil && keys.KeyCredentials == nil {
		err = apiCall{op: op}.invalid(x, "an application without keyCredentials")
	}
	if err != nil {
		return model.SigningCertificates{}, err
	}
	signing, keyless := a.matchKeyPairs(keys.KeyCredentials)
	return model.SigningCertificates{
		Certificates:          model.SortCertificates(signing),
		Keyless:               model.SortCertificates(keyless),
		SSOMode:               application.PreferredSingleSignOnMode,
		ActiveThumbprint:      strings.ToUpper(application.PreferredTokenSigningKeyThumbprint),
		ActiveKnown:           true,
		NotificationAddresses: len(application.NotificationEmailAddresses),
	}, nil
}

// matchKeyPairs returns the certificates that sign, and those without a private key. Entra
// keeps each as two credentials, one to sign and one to verify, which share an identifier.
// One to verify alone belongs to something else. The identifier is the thumbprint only if
// Entra made the certificate.
func (a *Application) matchKeyPairs(keys []*keyCredential) (signing, keyless []model.Certificate) {
	keys = slices.DeleteFunc(slices.Clone(keys), func(k *keyCredential) bool { return k == nil })
	for _, key := range keys {
		if !key.isFor("Verify", "AsymmetricX509Cert") {
			continue
		}
		keyID := cmp.Or(key.KeyID, "without id")
		certificate, known := key.certificate()
		switch {
		case !slices.ContainsFunc(keys, key.isTwin):
			a.ignoreOnce(keyID, "no signing key")
			if known {
				keyless = append(keyless, certificate)
			}
		case !known:
			a.ignoreOnce(keyID, "unreadable")
		default:
			signing = append(signing, certificate)
		}
	}
	return signing, keyless
}

// isFor tells what a credential is for; its type counts where Graph shows no usage.
func (k *keyCredential) isFor(usage, typeName string) bool {
	return strings.EqualFold(cmp.Or(k.Usage, usage), usage) && (k.Usage != "" || strings.EqualFold(k.Type, typeName))
}

// isTwin tells whether the other credential signs with this certificate: they share the
// identifier or, if this one has none, the other's says this one's thumbprint.
func (k *keyCredential) isTwin(other *keyCredential) bool {
	if !other.isFor("Sign", "X509CertAndPassword") || len(other.CustomKeyIdentifier) == 0 {
		return false
	}
	if len(k.CustomKeyIdentifier) == 0 {
		return len(k.Key) > 0 && other.identifiedThumbprint() == model.Thumbprint(k.Key)
	}
	return bytes.Equal(k.CustomKeyIdentifier, other.CustomKeyIdentifier)
}

// certificate describes a credential's certificate as far as it is known: Go refuses some
// that Entra signs with, such as one with a negative serial number. Then Graph's dates
// count, and the thumbprint is the SHA-1 of the bytes, or what the identifier says.
func (k *keyCredential) certificate() (model.Certificate, bool) {
	if parsed, err := x509.ParseCertificate(k.Key); err == nil {
		return model.NewCertificate(parsed), true
	}
	certificate := model.Certificate{
		Thumbprint: k.identifiedThumbprint(), Subject: cloudhttp.Truncate(k.DisplayName, maxMessage), NotBefore: timeOf(k.StartDateTime), NotAfter: timeOf(k.EndDateTime), DER: k.Key,
	}
	if len(k.Key) > 0 {
		certificate.Thumbprint = model.Thumbprint(k.Key)
	}
	return certificate, certificate.Thumbprint != "" && k.EndDateTime != nil
}

// identifiedThumbprint is the thumbprint that the identifier says: its bytes, or its hex
// text, which Graph shows like any bytes; "": it says none.
func (k *keyCredential) identifiedThumbprint() string {
	if len(k.CustomKeyIdentifier) == sha1.Size {
		return strings.ToUpper(hex.EncodeToString(k.CustomKeyIdentifier))
	}
	text := base64.StdEncoding.EncodeToString(k.CustomKeyIdentifier)
	if raw, err := hex.DecodeString(text); err != nil || len(raw) != sha1.Size {
		return ""
	}
	return strings.ToUpper(text)
}
