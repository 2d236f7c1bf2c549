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

	"entra-aws-exporter/internal/model"
)

const maxCertificateFile = 1 << 20 // bytes

// TrustedCertificates returns the SAML signing certificates that AWS trusts, each once,
// earliest expiry first. An unreadable certificate is logged and ignored.
func (i *Instance) TrustedCertificates(ctx context.Context) ([]model.Certificate, error) {
	var certificates []model.Certificate
	var err error
	switch i.options.Certificates {
	case model.AWSCertificatesConsoleAPI:
		certificates, err = i.apiCertificates(ctx)
	case model.AWSCertificatesFiles:
		certificates, err = i.fileCertificates()
	default:
		err = i.certificateCall("").classify(&model.Error{Reason: model.ReasonOther, Unsent: true,
			Detail: "the config does not say where to read them", Advice: "set saml.aws_certificates"})
	}
	if err != nil {
		return nil, err
	}
	return model.SortCertificates(certificates), nil
}

func (i *Instance) certificateCall(action string) apiCall {
	return apiCall{
		op: "reading the SAML certificates that AWS trusts for " + i.options.Connection, action: action,
		jsonVersion: otherJSONVersion("idp_certificates", i.options.IdPCertificatesJSONVersion),
		alternative: "AWS does not document this API and may have changed it: " +
			"set saml.aws_certificates: files with the certificates, and update the exporter",
	}
}

// apiCertificates keeps what is readable, and what Go refuses to parse but AWS trusts.
func (i *Instance) apiCertificates(ctx context.Context) ([]model.Certificate, error) {
	trust, err := i.readTrust(ctx)
	if err != nil {
		return nil, err
	}
	var certificates []model.Certificate
	for _, trusted := range trust.Certificates {
		if !trusted.NotAfter.IsZero() {
			certificates = append(certificates, trusted.Certificate)
		}
	}
	if len(trust.Certificates) > 0 && len(certificates) == 0 { // or AWS would seem to trust no certificate
		return nil, i.certificateCall("").classify(apiChanged("no readable certificate"))
	}
	return certificates, nil
}

// logOnce logs an unreadable certificate once, not at every poll.
func (i *Instance) logOnce(source, certificate string, err error) {
	const limit = 1000 // certificates, far more than anybody has
	i.mu.Lock()
	known := i.ignored[certificate] || len(i.ignored) >= limit
	if !known {
		i.ignored[certificate] = true
	}
	i.mu.Unlock()
	if !known {
		i.http.Logger.Warn("ignoring unreadable certificate", "connection", i.options.Connection,
			"source", source, "certificate", certificate, "err", err)
	}
}

// fileCertificates reads the configured files, every time.
func (i *Instance) fileCertificates() ([]model.Certificate, error) {
	call := i.certificateCall("")
	var certificates []model.Certificate
	for _, path := range i.options.CertificateFiles {
		content, err := readLimited(path)
		if err != nil {
			return nil, call.classify(&model.Error{Reason: model.ReasonOther, Unsent: true, Detail: err.Error(),
				Advice: "check saml.aws_certificate_files"})
		}
		found := parseCertificates(content, func(n int, err error) {
			i.logOnce("file", fmt.Sprintf("%s, number %d", path, n), err)
		})
		if len(found) == 0 {
			return nil, call.classify(&model.Error{Reason: model.ReasonInvalidResponse, Unsent: true,
				Detail: path + " holds no certificate in PEM or DER", Advice: "check saml.aws_certificate_files"})
		}
		certificates = append(certificates, found...)
	}
	return certificates, nil
}

func readLimited(path string) ([]byte, error) {
	file, err := os.Open(path) //nolint:gosec // the operator's own choice
	if err != nil {
		return nil, err
	}
	defer func() { _ = file.Close() }()
	content, err := io.ReadAll(io.LimitReader(file, maxCertificateFile+1))
	if err != nil {
		return nil, err
	}
	if len(content) > maxCertificateFile {
		return nil, fmt.Errorf("%s is larger than %d MiB", path, maxCertificateFile>>20)
	}
	return model.WithoutBOM(path, content)
}

// parseCertificates reads any number of certificates: PEM blocks, bare base64 or DER.
// skip is called for each unreadable one, with its number, from one.
func parseCertificates(content []byte, skip func(n int, err error)) []model.Certificate {
	var certificates []model.Certificate
	add := func(n int, der []byte) {
		parsed, err := x509.ParseCertificates(der)
		if err == nil && len(parsed) == 0 {
			err = errors.New("empty")
		}
		if err != nil {
			skip(n, err)
			return
		}
		for _, certificate := range parsed {
			certificates = append(certificates, model.NewCertificate(certificate))
		}
	}
	if !bytes.Contains(content, []byte("-----BEGIN")) {
		add(1, decodeBareBase64(content))
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
			continue // a key, for example
		}
		add(n, block.Bytes)
	}
}

// decodeBareBase64 decodes PEM without its lines of dashes.
func decodeBareBase64(content []byte) []byte {
	der := make([]byte, base64.StdEncoding.DecodedLen(len(content)))
	n, err := base64.StdEncoding.Decode(der, bytes.Join(bytes.Fields(content), nil))
	if err != nil {
		return content
	}
	return der[:n]
}
