package entra

import (
	"bytes"
	"context"
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
	c := call{doing: "reading the federation metadata", missing: "check tenant_id and saml.service_principal_id"}
	var (
		found   []model.Certificate
		skipped int
	)
	_, err = a.tenant.do(ctx, c, func(ctx context.Context) error {
		content, err := a.tenant.readMetadata(ctx, appID)
		if err != nil {
			return err
		}
		found, skipped, err = parseMetadata(content)
		return err
	})
	if err != nil {
		return model.SigningCertificates{}, err
	}
	if skipped > 0 {
		a.leaveOut("in the federation metadata", "it cannot be read")
	}
	return model.SigningCertificates{Certificates: ordered(found), NotificationAddresses: -1}, nil
}

// samlAppID is the id of the application that signs people in, for which the metadata is
// published: from the config, or asked of Graph once.
func (a *Application) samlAppID(ctx context.Context) (string, error) {
	if a.options.SAMLAppID != "" {
		return a.options.SAMLAppID, nil
	}
	if known := a.known().samlAppID; known != "" {
		return known, nil
	}
	servicePrincipal, err := a.samlServicePrincipal(ctx)
	if err != nil {
		return "", err
	}
	const doing = "reading the application's id"
	application, err := a.selectOf(ctx, doing, servicePrincipal, "appId")
	if err == nil && application.appID == "" {
		err = &model.Error{Reason: model.ReasonInvalidResponse, Op: doing, Detail: "an application without appId"}
	}
	if err != nil {
		return "", err
	}
	a.learn(func(found *discovered) { found.samlAppID = application.appID })
	return application.appID, nil
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

// parseMetadata returns the certificates that the document lists for signing, and how
// many of them are none. Entra lists each in several descriptors.
func parseMetadata(content []byte) (certificates []model.Certificate, skipped int, err error) {
	decoder := xml.NewDecoder(bytes.NewReader(content))
	entity := false
	for {
		token, err := decoder.Token()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return nil, 0, fmt.Errorf("the federation metadata is not XML: %w", err)
		}
		element, ok := token.(xml.StartElement)
		if !ok {
			continue
		}
		entity = entity || element.Name.Local == "EntityDescriptor"
		if !entity || element.Name.Local != "KeyDescriptor" {
			continue
		}
		var descriptor struct {
			Use          string   `xml:"use,attr"`
			Certificates []string `xml:"KeyInfo>X509Data>X509Certificate"`
		}
		if err := decoder.DecodeElement(&descriptor, &element); err != nil {
			return nil, 0, fmt.Errorf("the federation metadata is not XML: %w", err)
		}
		if descriptor.Use == "encryption" { // without a use it is for both
			continue
		}
		for _, encoded := range descriptor.Certificates {
			der, err := base64.StdEncoding.DecodeString(strings.Join(strings.Fields(encoded), ""))
			certificate, ok := certificateOf(der)
			if err != nil || !ok {
				skipped++
				continue
			}
			certificates = append(certificates, certificate)
		}
	}
	if len(certificates) == 0 {
		return nil, 0, errors.New("the federation metadata lists no signing certificate")
	}
	return certificates, skipped, nil
}
