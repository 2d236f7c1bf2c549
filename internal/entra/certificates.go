package entra

import (
	"bytes"
	"cmp"
	"context"
	"crypto/x509"
	"encoding/hex"
	"slices"
	"strings"

	"github.com/microsoftgraph/msgraph-sdk-go/models"

	"entra-aws-exporter/internal/model"
)

// SigningCertificates reads the certificates that the application signs SAML responses
// with: from Graph, or from the public federation metadata, which does not tell which
// one is active.
func (a *Application) SigningCertificates(ctx context.Context) (model.SigningCertificates, error) {
	if a.options.Certificates == model.EntraCertificatesMetadata {
		signing, err := a.metadataCertificates(ctx)
		return signing, a.notFound(err)
	}
	servicePrincipal, err := a.samlServicePrincipal(ctx)
	if err != nil {
		return model.SigningCertificates{}, err
	}
	signing, err := a.graphCertificates(ctx, servicePrincipal)
	return signing, a.notFound(err)
}

// graphCertificates asks twice: Graph returns the certificates themselves only to a
// request that selects nothing else.
// https://learn.microsoft.com/graph/api/resources/keycredential
func (a *Application) graphCertificates(ctx context.Context, id string) (model.SigningCertificates, error) {
	application, err := a.selectOf(ctx, "reading the signing certificate in use", id,
		"preferredTokenSigningKeyThumbprint", "notificationEmailAddresses")
	if err != nil {
		return model.SigningCertificates{}, err
	}
	const doing = "reading the signing certificates"
	keys, err := a.selectOf(ctx, doing, id, "keyCredentials")
	if err == nil && keys.keys == nil {
		err = &model.Error{Reason: model.ReasonInvalidResponse, Op: doing, Detail: "an application without keyCredentials"}
	}
	if err != nil {
		return model.SigningCertificates{}, err
	}
	return model.SigningCertificates{
		Certificates:          ordered(a.pair(keys.keys)),
		ActiveThumbprint:      strings.ToUpper(application.activeThumbprint),
		ActiveKnown:           true,
		NotificationAddresses: len(application.notified),
	}, nil
}

// selectOf reads some properties of a service principal.
func (a *Application) selectOf(ctx context.Context, doing, id string, properties ...string) (*applicationModel, error) {
	c := call{doing: doing, needs: readApplications, missing: "check service_principal_id and saml.service_principal_id"}
	application, _, err := ask(ctx, a.tenant, c, func(ctx context.Context) (*applicationModel, error) {
		return a.tenant.applicationWith(ctx, id, properties...)
	})
	return application, err
}

// pair returns the certificates that sign. Entra keeps each as two credentials, one to
// sign and one to verify, which share an identifier; one to verify alone belongs to
// something else. The identifier is the thumbprint only if Entra made the certificate.
func (a *Application) pair(keys []models.KeyCredentialable) []model.Certificate {
	var signers [][]byte
	for _, key := range keys {
		if key != nil && strings.EqualFold(text(key.GetUsage()), "Sign") && len(key.GetCustomKeyIdentifier()) > 0 {
			signers = append(signers, key.GetCustomKeyIdentifier())
		}
	}
	var certificates []model.Certificate
	for _, key := range keys {
		if key == nil || !strings.EqualFold(text(key.GetUsage()), "Verify") {
			continue
		}
		identifier := key.GetCustomKeyIdentifier()
		keyID := "without id"
		if id := key.GetKeyId(); id != nil {
			keyID = id.String()
		}
		if !slices.ContainsFunc(signers, func(signer []byte) bool { return bytes.Equal(signer, identifier) }) {
			a.leaveOut(keyID, "it does not sign")
			continue
		}
		certificate, ok := certificateOf(key.GetKey())
		if !ok && len(key.GetKey()) == 0 && len(identifier) == 20 {
			certificate, ok = model.Certificate{
				Thumbprint: strings.ToUpper(hex.EncodeToString(identifier)),
				NotBefore:  instant(key.GetStartDateTime()), NotAfter: instant(key.GetEndDateTime()),
			}, key.GetEndDateTime() != nil
		}
		if !ok {
			a.leaveOut(keyID, "it cannot be read")
			continue
		}
		certificates = append(certificates, certificate)
	}
	return certificates
}

// leaveOut writes one line per certificate, not one per reading.
func (a *Application) leaveOut(keyID, why string) {
	a.mu.Lock()
	again := a.leftOut[keyID+why]
	a.leftOut[keyID+why] = true
	a.mu.Unlock()
	if !again {
		a.logger.Warn("a certificate of the application is left out", "key_id", keyID, "why", why)
	}
}

func certificateOf(der []byte) (model.Certificate, bool) {
	certificate, err := x509.ParseCertificate(der)
	if err != nil {
		return model.Certificate{}, false
	}
	return model.Certificate{
		Thumbprint: model.Thumbprint(der),
		NotBefore:  certificate.NotBefore.UTC(), NotAfter: certificate.NotAfter.UTC(), DER: der,
	}, true
}

// ordered returns each certificate once, the earliest expiry first.
func ordered(certificates []model.Certificate) []model.Certificate {
	slices.SortFunc(certificates, func(a, b model.Certificate) int {
		return cmp.Or(a.NotAfter.Compare(b.NotAfter), cmp.Compare(a.Thumbprint, b.Thumbprint))
	})
	return slices.CompactFunc(certificates, func(a, b model.Certificate) bool { return a.Thumbprint == b.Thumbprint })
}
