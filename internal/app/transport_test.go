package app

import (
	"crypto/ed25519"
	"crypto/x509"
	"encoding/pem"
	"math/big"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"entra-aws-exporter/internal/config"
)

// A replaced CA file needs no reload; an invalid one is reported.
func TestCAFileReplaced(t *testing.T) {
	server := httptest.NewTLSServer(http.NotFoundHandler())
	defer server.Close()
	right := certificatePEM(server)
	other := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: selfSigned(t)})
	file := filepath.Join(t.TempDir(), "ca.pem")
	write := func(content []byte) {
		t.Helper()
		if err := os.WriteFile(file, content, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write(other)
	transport, err := newTransport(config.HTTPClient{TLSConfig: config.TLSConfig{CAFile: config.Path(file)}})
	if err != nil {
		t.Fatal(err)
	}
	ask := func() error {
		request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, server.URL, nil)
		if err != nil {
			t.Fatal(err)
		}
		response, err := transport.RoundTrip(request)
		if err == nil {
			err = response.Body.Close()
		}
		return err
	}
	if err := ask(); err == nil || !strings.Contains(err.Error(), "certificate") {
		t.Errorf("under another authority: %v", err)
	}
	write(append([]byte("\xEF\xBB\xBF"), right...))
	if err := ask(); err != nil {
		t.Errorf("under the right one: %v", err)
	}
	write([]byte("nothing"))
	if err := ask(); err == nil || !strings.Contains(err.Error(), file) {
		t.Errorf("without one: %v", err)
	}
	if _, err := newTransport(config.HTTPClient{TLSConfig: config.TLSConfig{CAFile: config.Path(file)}}); err == nil || !strings.Contains(err.Error(), file) {
		t.Errorf("at the start: %v", err)
	}
	write([]byte("\xFF\xFE-\x00"))
	want := "unable to read CA cert: " + file + " is encoded in UTF-16; save it as UTF-8"
	if _, err := newTransport(config.HTTPClient{TLSConfig: config.TLSConfig{CAFile: config.Path(file)}}); err == nil || err.Error() != want {
		t.Errorf("in UTF-16: %v, want %s", err, want)
	}
	if transport, ok := transport.(interface{ CloseIdleConnections() }); ok {
		transport.CloseIdleConnections()
	}
}

// AWS_CA_BUNDLE is for AWS alone, and only if the configuration has no CA file.
func TestAWSBundle(t *testing.T) {
	server := httptest.NewTLSServer(http.NotFoundHandler())
	defer server.Close()
	directory := t.TempDir()
	right, other := filepath.Join(directory, "right.pem"), filepath.Join(directory, "other.pem")
	for file, content := range map[string][]byte{right: certificatePEM(server), other: pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: selfSigned(t)})} {
		if err := os.WriteFile(file, content, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	trusts := func(transport http.RoundTripper) bool {
		response, err := (&http.Client{Transport: transport}).Get(server.URL)
		if err == nil {
			_ = response.Body.Close()
		}
		transport.(interface{ CloseIdleConnections() }).CloseIdleConnections()
		return err == nil
	}
	for _, test := range []struct {
		bundle, caFile string
		entra, aws     bool
	}{
		{"", "", false, false}, {right, "", false, true}, {other, right, true, true}, {right, other, false, false},
	} {
		t.Setenv("AWS_CA_BUNDLE", test.bundle)
		toEntra, toAWS, err := NewOptions(nil, nil, nil).newTransports(config.HTTPClient{TLSConfig: config.TLSConfig{CAFile: config.Path(test.caFile)}})
		if err != nil {
			t.Fatal(err)
		}
		if entra, aws := trusts(toEntra), trusts(toAWS); entra != test.entra || aws != test.aws {
			t.Errorf("bundle %q, CA file %q: Entra %t, AWS %t", test.bundle, test.caFile, entra, aws)
		}
	}
	t.Setenv("AWS_CA_BUNDLE", "absent.pem")
	want := "AWS_CA_BUNDLE: unable to read CA cert: open absent.pem"
	if _, _, err := NewOptions(nil, nil, nil).newTransports(config.HTTPClient{}); err == nil || !strings.HasPrefix(err.Error(), want) {
		t.Errorf("an absent bundle: %v", err)
	}
}

// selfSigned is the certificate of another CA.
func selfSigned(t *testing.T) []byte {
	t.Helper()
	public, private, err := ed25519.GenerateKey(nil)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour), IsCA: true, BasicConstraintsValid: true}
	certificate, err := x509.CreateCertificate(nil, template, template, public, private)
	if err != nil {
		t.Fatal(err)
	}
	return certificate
}

// With a proxy configured, every call goes through it.
func TestProxy(t *testing.T) {
	asked := make(chan string, 1)
	proxy := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked <- r.RequestURI
		w.WriteHeader(http.StatusNoContent)
	}))
	defer proxy.Close()
	transport, err := newTransport(config.HTTPClient{ProxyURL: proxy.URL})
	if err != nil {
		t.Fatal(err)
	}
	request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://graph.test/v1.0", nil)
	if err != nil {
		t.Fatal(err)
	}
	response, err := transport.RoundTrip(request)
	if err != nil {
		t.Fatal(err)
	}
	_ = response.Body.Close()
	if uri := <-asked; uri != "http://graph.test/v1.0" {
		t.Errorf("the proxy was asked for %s", uri)
	}
	transport.(*http.Transport).CloseIdleConnections()
}

// certificatePEM is the certificate of a test server.
func certificatePEM(server *httptest.Server) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw})
}
