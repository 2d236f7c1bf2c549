package entra

import (
	"cmp"
	"context"
	"crypto/x509"
	"encoding/base64"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"

	"entra-aws-exporter/internal/model"
)

// metadataCertificates reads the certificates that the tenant publishes for the
// application. The document needs no sign-in.
// https://learn.microsoft.com/entra/identity-platform/federation-metadata
func (a *Application) metadataCertificates(ctx context.Context) (model.SigningCertificates, error) {
	appID, err := a.samlAppID(ctx)
	if err != nil {
		return model.SigningCertificates{}, err
	}
	call := apiCall{op: "reading the federation metadata", notFound: "check tenant_id and saml.service_principal_id"}
	var (
		found   []model.Certificate
		ignored int
	)
	_, err = a.tenant.graph.do(ctx, call, func(ctx context.Context) error {
		content, err := a.tenant.readMetadata(ctx, appID)
		if err != nil {
			return err
		}
		found, ignored, err = parseMetadata(content)
		return err
	})
	if err != nil {
		return model.SigningCertificates{}, err
	}
	if ignored > 0 {
		a.ignoreOnce("in the federation metadata", "unreadable")
	}
	return model.SigningCertificates{Certificates: model.SortCertificates(found), NotificationAddresses: -1}, nil
}

// samlAppID is the client id of the application that signs users in: from the config, or
// read from Graph once.
func (a *Application) samlAppID(ctx context.Context) (string, error) {
	if id := cmp.Or(a.options.SAMLAppID, a.discovery.cached().samlAppID); id != "" {
		return id, nil
	}
	principalID, err := a.discovery.samlPrincipalID(ctx)
	if err != nil {
		return "", err
	}
	application, err := readAppID(ctx, "reading the application's id", principalID, a.polledPrincipal)
	if err != nil {
		return "", err
	}
	a.discovery.update(func(found *discovered) { found.samlAppID = application.AppID })
	return application.AppID, nil
}

func (t *Tenant) readMetadata(ctx context.Context, appID string) ([]byte, error) {
	address := t.login + "/" + t.id + "/federationmetadata/2007-06/federationmetadata.xml?appid=" + url.QueryEscape(appID)
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
	if err != nil {
		return nil, err
	}
	response, err := t.metadata.Do(request)
	if err != nil {
		return nil, err
	}
	defer func() { _ = response.Body.Close() }()
	if response.StatusCode != http.StatusOK {
		return nil, errUnexpected
	}
	return io.ReadAll(response.Body)
}

// federationMetadata is what is read of the document. Entra lists each certificate in
// several descriptors.
type federationMetadata struct {
	Roles []struct {
		Keys []struct {
			Use          string   `xml:"use,attr"` // "": for signing and encryption
			Certificates []string `xml:"KeyInfo>X509Data>X509Certificate"`
		} `xml:"KeyDescriptor"`
	} `xml:",any"`
}

// parseMetadata returns the certificates that the document lists for signing, and how
// many of them are unreadable.
func parseMetadata(content []byte) (certificates []model.Certificate, ignored int, err error) {
	var document federationMetadata
	if err := xml.Unmarshal(content, &document); err != nil {
		return nil, 0, fmt.Errorf("the federation metadata is not XML: %w", err)
	}
	for _, role := range document.Roles {
		for _, key := range role.Keys {
			if key.Use == "encryption" {
				continue
			}
			for _, encoded := range key.Certificates {
				der, _ := base64.StdEncoding.DecodeString(strings.Join(strings.Fields(encoded), ""))
				parsed, err := x509.ParseCertificate(der)
				if err != nil {
					ignored++
					continue
				}
				certificates = append(certificates, model.NewCertificate(parsed))
			}
		}
	}
	if len(certificates) == 0 {
		return nil, 0, errors.New("the federation metadata lists no signing certificate")
	}
	return certificates, ignored, nil
}
