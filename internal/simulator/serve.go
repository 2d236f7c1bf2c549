package simulator

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"time"

	"entra-aws-exporter/internal/simulator/clouds"
)

const (
	// advanceEvery is how often a served model advances, so that cycles run although
	// no request comes.
	advanceEvery = 250 * time.Millisecond
	// shutdownLimit is how long calls under way may take to end: a fault can hang for ever.
	shutdownLimit = 2 * time.Second
	// authorityLife is how long the simulator's certificates are valid.
	authorityLife = 10 * 365 * 24 * time.Hour
)

// Serve answers on a listener over TLS, with a certificate that holds for the loopback
// addresses and the host of its URL, until ctx ends; and it lets the model's time pass.
func (s *Simulator) Serve(ctx context.Context, listener net.Listener, authority *Authority) error {
	address, err := url.Parse(s.url)
	if err != nil {
		return fmt.Errorf("reading the simulator's URL: %w", err)
	}
	certificate, err := authority.Certificate("localhost", "127.0.0.1", "::1", address.Hostname())
	if err != nil {
		return err
	}
	server := &http.Server{
		Handler: s, ReadHeaderTimeout: time.Minute,
		TLSConfig: &tls.Config{Certificates: []tls.Certificate{certificate}, MinVersion: tls.VersionTLS12},
		ErrorLog:  log.New(io.Discard, "", 0), // clients that do not trust the CA, and faults
	}
	ended := make(chan error, 1)
	go func() { ended <- server.ServeTLS(listener, "", "") }()
	ticker := time.NewTicker(advanceEvery)
	defer ticker.Stop()
	for {
		select {
		case <-ticker.C:
			s.With((*clouds.Model).Advance)
		case err := <-ended:
			return fmt.Errorf("serving: %w", err)
		case <-ctx.Done():
			limit, cancel := context.WithTimeout(context.WithoutCancel(ctx), shutdownLimit)
			defer cancel()
			if err := server.Shutdown(limit); err != nil {
				_ = server.Close()
			}
			if err := <-ended; !errors.Is(err, http.ErrServerClosed) {
				return fmt.Errorf("serving: %w", err)
			}
			return nil
		}
	}
}

// Authority is the certificate authority of one simulator.
type Authority struct {
	certificate *x509.Certificate
	key         *ecdsa.PrivateKey
}

// OpenAuthority reads the authority in file, its key beside it in file.key, or makes
// one there: the clients of a restarted simulator still trust it.
func OpenAuthority(file string) (*Authority, error) {
	pair, err := tls.LoadX509KeyPair(file, file+".key")
	if errors.Is(err, fs.ErrNotExist) {
		return createAuthority(file)
	}
	if err != nil {
		return nil, fmt.Errorf("reading the CA from %s and %s.key (remove both to make another): %w", file, file, err)
	}
	key, isECDSA := pair.PrivateKey.(*ecdsa.PrivateKey)
	if !isECDSA || !pair.Leaf.IsCA {
		return nil, fmt.Errorf("the CA in %s was not made by this simulator: name another file", file)
	}
	return &Authority{pair.Leaf, key}, nil
}

func createAuthority(file string) (*Authority, error) {
	pair, err := issue(&x509.Certificate{
		Subject: pkix.Name{CommonName: "entra-aws-simulator CA"}, IsCA: true, BasicConstraintsValid: true, MaxPathLenZero: true,
		KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageCRLSign,
	}, nil)
	if err != nil {
		return nil, err
	}
	key, err := x509.MarshalPKCS8PrivateKey(pair.key)
	if err != nil {
		return nil, fmt.Errorf("encoding the CA's key: %w", err)
	}
	if err := os.MkdirAll(filepath.Dir(file), 0o700); err != nil {
		return nil, fmt.Errorf("making the CA's directory: %w", err)
	}
	if err := os.WriteFile(file+".key", pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: key}), 0o600); err != nil {
		return nil, fmt.Errorf("writing the CA's key: %w", err)
	}
	if err := os.WriteFile(file, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: pair.certificate.Raw}), 0o644); err != nil {
		return nil, fmt.Errorf("writing the CA's certificate: %w", err)
	}
	return pair, nil
}

// Certificate makes a server certificate for host names and addresses.
func (a *Authority) Certificate(hosts ...string) (tls.Certificate, error) {
	template := &x509.Certificate{
		Subject: pkix.Name{CommonName: "entra-aws-simulator"}, KeyUsage: x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	for _, host := range hosts {
		if address := net.ParseIP(host); address != nil {
			template.IPAddresses = append(template.IPAddresses, address)
		} else if host != "" {
			template.DNSNames = append(template.DNSNames, host)
		}
	}
	pair, err := issue(template, a)
	if err != nil {
		return tls.Certificate{}, err
	}
	return tls.Certificate{Certificate: [][]byte{pair.certificate.Raw, a.certificate.Raw}, PrivateKey: pair.key, Leaf: pair.certificate}, nil
}

func issue(template *x509.Certificate, by *Authority) (*Authority, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("making a key: %w", err)
	}
	if by == nil {
		by = &Authority{template, key}
	}
	template.NotBefore, template.NotAfter = time.Now().Add(-time.Hour), time.Now().Add(authorityLife)
	der, err := x509.CreateCertificate(rand.Reader, template, by.certificate, key.Public(), by.key)
	if err != nil {
		return nil, fmt.Errorf("making a certificate: %w", err)
	}
	certificate, err := x509.ParseCertificate(der)
	return &Authority{certificate, key}, err
}
