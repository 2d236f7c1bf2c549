package identitycenter_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"math/big"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"entra-aws-exporter/internal/identitycenter"
	"entra-aws-exporter/internal/model"
)

// certificate makes a self-signed certificate that ends at this time, as DER.
func certificate(t *testing.T, ends time.Time) []byte {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	serial, _ := new(big.Int).SetString("340282366920938463463374607431768211455", 10)
	template := &x509.Certificate{
		SerialNumber: serial, Subject: pkix.Name{CommonName: "Microsoft Azure Federated SSO Certificate"},
		NotBefore: ends.Add(-3 * 365 * 24 * time.Hour), NotAfter: ends,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	return der
}

func asPEM(der []byte) string {
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}))
}

// idpAnswer is an answer of ListExternalIdPCertificates, with a serial number that no integer holds.
func idpAnswer(certificates ...string) string {
	list := make([]string, 0, len(certificates))
	for n, certificate := range certificates {
		text, _ := json.Marshal(certificate)
		list = append(list, fmt.Sprintf(`{"certificateId":"c-%d","serialNumber":340282366920938463463374607431768211455,"subjectName":"s",
			"issuerName":"i","signatureAlgorithmName":"x","publicKey":"k","notBefore":1,"notAfter":2,"version":3,"x509CertificateInPEM":%s}`, n, text))
	}
	return `{"idPCertificates":[` + strings.Join(list, ",") + `]}`
}

const oneProvider = `{"associations":[{"idpId":"idp-1","isEnabled":true,"idpSAMLAssociationValue":{"idpSAMLConfig":{"entityId":"e","loginURL":"l"},"idpCertificateIds":[]}},
	{"idpId":"idp-off","isEnabled":false},{"idpId":"idp-oidc","isEnabled":true,"idpOIDCAssociationValue":{"idpOIDCConfig":{}}},null]}`

func thumbprints(certificates []model.Certificate) []string {
	list := make([]string, 0, len(certificates))
	for _, certificate := range certificates {
		list = append(list, certificate.Thumbprint)
	}
	return list
}

func TestTrustedCertificatesOfTheConsoleAPI(t *testing.T) {
	later := certificate(t, date("2029-05-01T00:00:00Z"))
	sooner := certificate(t, date("2027-05-01T00:00:00Z"))
	cloud := newCloud(t)
	logger, lines := logged()
	cloud.json("ListExternalIdPConfigurationsForDirectory", oneProvider)
	bare := base64.StdEncoding.EncodeToString(sooner)
	cloud.json("ListExternalIdPCertificates", idpAnswer(asPEM(later), bare, asPEM([]byte("garbage")), "-----BEGIN CERTIFICATE-----\n!\n", asPEM(later)))
	instance := cloud.instance(func(o *identitycenter.Options) {
		o.Certificates, o.Logger = model.AWSCertificatesConsoleAPI, logger
	})
	for range 3 {
		got, err := instance.TrustedCertificates(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		want := []string{model.Thumbprint(sooner), model.Thumbprint(later)}
		if fmt.Sprint(thumbprints(got)) != fmt.Sprint(want) {
			t.Errorf("got %v, want %v", thumbprints(got), want)
		}
		if string(got[0].DER) != string(sooner) || !got[0].NotAfter.Equal(date("2027-05-01T00:00:00Z")) || got[0].NotBefore.IsZero() {
			t.Errorf("got %+v", got[0])
		}
	}
	if n := strings.Count(lines(), "ignoring unreadable certificate"); n != 2 {
		t.Errorf("%d log lines for two unusable certificates:\n%s", n, lines())
	}
	sent := cloud.last("ListExternalIdPCertificates")
	if sent.body != `{"directoryId":"`+store+`","idpId":"idp-1"}` || sent.request.Header.Get("Content-Type") != "application/x-amz-json-1.0" ||
		sent.request.Header.Get("X-Amz-Target") != "AppsAuthControlPlaneService.ListExternalIdPCertificates" {
		t.Errorf("sent %s %v", sent.body, sent.request.Header)
	}
	if n := cloud.called("ListExternalIdPCertificates"); n != 3 {
		t.Errorf("asked %d times for one enabled SAML provider in three readings", n)
	}
}

func TestTrustedCertificateErrors(t *testing.T) {
	const (
		doing = "reading the SAML certificates that AWS trusts for corp: "
		files = "AWS does not document this API and may have changed it: set saml.aws_certificates: files with the certificates, and update the exporter"
	)
	for want, answers := range map[string]map[string]answer{
		doing + `api_changed: UnknownOperationException (set aws.endpoints.idp_certificates_json_version: "1.1"; if that does not help: ` + files + ")": {
			"ListExternalIdPConfigurationsForDirectory": {status: 400, body: `{"__type":"UnknownOperationException"}`}},
		doing + "api_changed: the response has no associations (" + files + ")": {
			"ListExternalIdPConfigurationsForDirectory": {body: `{}`}},
		doing + "api_changed: the response has an identity provider without idpId (" + files + ")": {
			"ListExternalIdPConfigurationsForDirectory": {body: `{"associations":[{"isEnabled":true}]}`}},
		doing + "api_changed: the response has no idPCertificates (" + files + ")": {
			"ListExternalIdPCertificates": {body: `{"certificates":[]}`}},
		doing + "api_changed: the response has a certificate without x509CertificateInPEM (" + files + ")": {
			"ListExternalIdPCertificates": {body: `{"idPCertificates":[{"certificateId":"c"}]}`}},
		doing + "permission: AccessDeniedException: no (allow sso-directory:ListExternalIdPCertificates, see deploy/permissions/aws.md)": {
			"ListExternalIdPCertificates": {status: 400, body: `{"__type":"AccessDeniedException","message":"no"}`}},
	} {
		t.Run(want, func(t *testing.T) {
			cloud := newCloud(t)
			cloud.json("ListExternalIdPConfigurationsForDirectory", oneProvider)
			for operation, failing := range answers {
				cloud.answers[operation] = func(call) answer { return failing }
			}
			_, err := cloud.instance(func(o *identitycenter.Options) { o.Certificates = model.AWSCertificatesConsoleAPI }).
				TrustedCertificates(t.Context())
			wantError(t, err, want)
		})
	}
	_, err := newCloud(t).instance(nil).TrustedCertificates(t.Context())
	wantError(t, err, doing+"other: the config does not say where to read them (set saml.aws_certificates)")
}

func TestCertificateFiles(t *testing.T) {
	first, second, third := certificate(t, date("2027-01-01T00:00:00Z")), certificate(t, date("2028-01-01T00:00:00Z")), certificate(t, date("2029-01-01T00:00:00Z"))
	dir := t.TempDir()
	write := func(name, content string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	logger, lines := logged()
	paths := []string{
		write("several.pem", "Bag Attributes\n"+asPEM(second)+asPEM([]byte("garbage"))+asPEM(third)),
		write("one.der", string(first)),
	}
	instance := newCloud(t).instance(func(o *identitycenter.Options) {
		o.Certificates, o.CertificateFiles, o.Logger = model.AWSCertificatesFiles, paths, logger
	})
	got, err := instance.TrustedCertificates(t.Context())
	want := fmt.Sprint([]string{model.Thumbprint(first), model.Thumbprint(second), model.Thumbprint(third)})
	if err != nil || fmt.Sprint(thumbprints(got)) != want {
		t.Errorf("got %v, %v, want %s", thumbprints(got), err, want)
	}
	if !strings.Contains(lines(), "several.pem, number 2") {
		t.Errorf("the garbage is not named: %s", lines())
	}

	write("one.der", "\xEF\xBB\xBF"+asPEM(third)) // the files are read at every use
	got, err = instance.TrustedCertificates(t.Context())
	if err != nil || len(got) != 2 {
		t.Errorf("got %v, %v", thumbprints(got), err)
	}

	const doing = "reading the SAML certificates that AWS trusts for corp: "
	for path, want := range map[string]string{
		filepath.Join(dir, "absent.pem"): doing + "other: open " + filepath.Join(dir, "absent.pem") + ": no such file or directory (check saml.aws_certificate_files)",
		write("empty", ""):               doing + "invalid_response: " + filepath.Join(dir, "empty") + " holds no certificate in PEM or DER (check saml.aws_certificate_files)",
		write("key.pem", "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n"): doing + "invalid_response: " + filepath.Join(dir, "key.pem") +
			" holds no certificate in PEM or DER (check saml.aws_certificate_files)",
		write("utf-16.pem", "\xFF\xFE-\x00"):      doing + "other: " + filepath.Join(dir, "utf-16.pem") + " is encoded in UTF-16; save it as UTF-8 (check saml.aws_certificate_files)",
		write("huge", strings.Repeat("A", 2<<20)): doing + "other: " + filepath.Join(dir, "huge") + " is larger than 1 MiB (check saml.aws_certificate_files)",
	} {
		instance := newCloud(t).instance(func(o *identitycenter.Options) {
			o.Certificates, o.CertificateFiles = model.AWSCertificatesFiles, []string{path}
		})
		_, err := instance.TrustedCertificates(t.Context())
		wantError(t, err, want)
	}
}
