package identitycenter

import (
	"bytes"
	"context"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"

	"entra-aws-exporter/internal/model"
)

const (
	// idpTarget belongs to the undocumented API behind the console's page "Identity
	// source". Its shapes are those of the console's own client model
	// appsauth-control-2018-10-25: https://github.com/Frichetten/aws-api-models
	idpTarget = "AppsAuthControlPlaneService"

	certificateFileLimit = 1 << 20 // bytes
)

// TrustedCertificates returns the SAML signing certificates that AWS trusts, each
// once, earliest expiry first. What is not a certificate is skipped with a log line.
func (i *Instance) TrustedCertificates(ctx context.Context) ([]model.Certificate, error) {
	var certificates []model.Certificate
	var err error
	switch i.options.Certificates {
	case model.AWSCertificatesConsoleAPI:
		certificates, err = i.certificatesOfAPI(ctx)
	case model.AWSCertificatesFiles:
		certificates, err = i.certificatesOfFiles()
	default:
		err = i.certificateOperation("").failed(&model.Error{Reason: model.ReasonOther, Unsent: true,
			Detail: "they are not configured to be read", Advice: "set saml.aws_certificates"})
	}
	if err != nil {
		return nil, err
	}
	slices.SortFunc(certificates, func(a, b model.Certificate) int {
		if order := a.NotAfter.Compare(b.NotAfter); order != 0 {
			return order
		}
		return strings.Compare(a.Thumbprint, b.Thumbprint)
	})
	return slices.CompactFunc(certificates, func(a, b model.Certificate) bool { return bytes.Equal(a.DER, b.DER) }), nil
}

func (i *Instance) certificateOperation(action string) operation {
	return operation{
		doing: "reading the SAML certificates that AWS trusts for " + i.options.Connection, action: action,
		instead: "AWS does not document this API and may have changed it: " +
			"set saml.aws_certificates: files with the certificates, and update the exporter",
	}
}

// certificatesOfAPI asks for the identity providers of the identity store, then for
// the certificates of each that is enabled for SAML.
func (i *Instance) certificatesOfAPI(ctx context.Context) ([]model.Certificate, error) {
	store, err := i.identityStore(ctx)
	if err != nil {
		return nil, err
	}
	listing := i.certificateOperation("sso-directory:ListExternalIdPConfigurationsForDirectory")
	clients, err := i.access.clients(ctx)
	if err != nil {
		return nil, i.failed(listing, err)
	}
	type request struct {
		Directory string `json:"directoryId"`
		Provider  string `json:"idpId,omitempty"`
	}
	var providers providerList
	_, err = i.idp.call(ctx, clients.credentials, newRetryer(), "ListExternalIdPConfigurationsForDirectory",
		request{Directory: store}, &providers)
	if err != nil {
		return nil, i.failed(listing, err)
	}
	ids, err := providers.saml()
	if err != nil {
		return nil, i.failed(listing, err)
	}
	var certificates []model.Certificate
	for _, id := range ids {
		reading := i.certificateOperation("sso-directory:ListExternalIdPCertificates")
		var answer certificateList
		_, err := i.idp.call(ctx, clients.credentials, newRetryer(), "ListExternalIdPCertificates",
			request{Directory: store, Provider: id}, &answer)
		if err != nil {
			return nil, i.failed(reading, err)
		}
		found, err := answer.certificates(func(id string, err error) { i.noteOnce("certificate of the identity provider", id, err) })
		if err != nil {
			return nil, i.failed(reading, err)
		}
		certificates = append(certificates, found...)
	}
	return certificates, nil
}

type providerList struct {
	Associations *[]*struct {
		ID      string    `json:"idpId"`
		Enabled bool      `json:"isEnabled"`
		OIDC    *struct{} `json:"idpOIDCAssociationValue"`
	} `json:"associations"`
}

// saml returns the ids of the providers that are enabled and not OpenID Connect's.
func (l providerList) saml() ([]string, error) {
	if l.Associations == nil {
		return nil, changed("no associations")
	}
	var ids []string
	for _, association := range *l.Associations {
		switch {
		case association == nil, association.OIDC != nil:
			continue
		case association.ID == "":
			return nil, changed("an identity provider without idpId")
		case association.Enabled:
			ids = append(ids, association.ID)
		}
	}
	return ids, nil
}

// certificateList leaves the serial number out, which no integer type can hold, and
// the dates, which the certificate itself has.
type certificateList struct {
	Certificates *[]*struct {
		ID  string `json:"certificateId"`
		PEM string `json:"x509CertificateInPEM"`
	} `json:"idPCertificates"`
}

func (l certificateList) certificates(skip func(id string, err error)) ([]model.Certificate, error) {
	if l.Certificates == nil {
		return nil, changed("no idPCertificates")
	}
	var certificates []model.Certificate
	unreadable := 0
	for _, listed := range *l.Certificates {
		if listed == nil {
			continue
		}
		if listed.PEM == "" {
			return nil, changed("a certificate without x509CertificateInPEM")
		}
		found := parseCertificates([]byte(listed.PEM), func(_ int, err error) { skip(clip(listed.ID), err) })
		if len(found) == 0 {
			unreadable++
		}
		certificates = append(certificates, found...)
	}
	if unreadable > 0 && len(certificates) == 0 { // or it would seem that AWS trusts nobody
		return nil, changed("no certificate that can be read")
	}
	return certificates, nil
}

// certificatesOfFiles reads the configured files afresh.
func (i *Instance) certificatesOfFiles() ([]model.Certificate, error) {
	reading := i.certificateOperation("")
	var certificates []model.Certificate
	for _, path := range i.options.CertificateFiles {
		content, err := readBounded(path)
		if err != nil {
			return nil, reading.failed(&model.Error{Reason: model.ReasonOther, Unsent: true, Detail: err.Error(),
				Advice: "check saml.aws_certificate_files"})
		}
		found := parseCertificates(content, func(n int, err error) {
			i.noteOnce("certificate in a file", fmt.Sprintf("%s, number %d", path, n), err)
		})
		if len(found) == 0 {
			return nil, reading.failed(&model.Error{Reason: model.ReasonInvalidResponse, Unsent: true,
				Detail: path + " holds no certificate in PEM or DER", Advice: "check saml.aws_certificate_files"})
		}
		certificates = append(certificates, found...)
	}
	return certificates, nil
}

func readBounded(path string) ([]byte, error) {
	file, err := os.Open(path) //nolint:gosec // the operator's own choice
	if err != nil {
		return nil, err
	}
	defer func() { _ = file.Close() }()
	content, err := io.ReadAll(io.LimitReader(file, certificateFileLimit+1))
	if err != nil {
		return nil, err
	}
	if len(content) > certificateFileLimit {
		return nil, fmt.Errorf("%s is larger than %d MiB", path, certificateFileLimit>>20)
	}
	return content, nil
}

// parseCertificates reads any number of certificates: PEM blocks, bare base64 or DER.
// What cannot be read is told to skip with its place, from one.
func parseCertificates(content []byte, skip func(n int, err error)) []model.Certificate {
	var certificates []model.Certificate
	add := func(n int, der []byte) {
		parsed, err := x509.ParseCertificates(der)
		if err == nil && len(parsed) == 0 {
			err = errors.New("it is empty")
		}
		if err != nil {
			skip(n, err)
			return
		}
		for _, certificate := range parsed {
			certificates = append(certificates, model.Certificate{
				Thumbprint: model.Thumbprint(certificate.Raw),
				NotBefore:  certificate.NotBefore.UTC(),
				NotAfter:   certificate.NotAfter.UTC(),
				DER:        certificate.Raw,
			})
		}
	}
	if !bytes.Contains(content, []byte("-----BEGIN")) {
		add(1, undressed(content))
		return certificates
	}
	decoded := 0
	for n, rest := 1, content; ; n++ {
		var block *pem.Block
		if block, rest = pem.Decode(rest); block == nil {
			if begun := bytes.Count(content, []byte("-----BEGIN")); begun > decoded {
				skip(n, fmt.Errorf("%d of %d PEM blocks cannot be decoded", begun-decoded, begun))
			}
			return certificates
		}
		decoded++
		if block.Type != "CERTIFICATE" && block.Type != "X509 CERTIFICATE" {
			continue // a key beside the certificate is nothing to look at
		}
		add(n, block.Bytes)
	}
}

// undressed decodes bare base64, which is PEM without its lines of dashes.
func undressed(content []byte) []byte {
	der := make([]byte, base64.StdEncoding.DecodedLen(len(content)))
	n, err := base64.StdEncoding.Decode(der, bytes.Join(bytes.Fields(content), nil))
	if err != nil {
		return content
	}
	return der[:n]
}
