package app

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"os"
	"time"

	"entra-aws-exporter/internal/config"
)

// newTransport returns what carries every outgoing call: with the configured roots
// and proxy, and with limits on all that a broken peer could draw out. The deadline
// of a whole call is its caller's.
func newTransport(client config.HTTPClient) (*http.Transport, error) {
	transport := &http.Transport{
		Proxy:                 http.ProxyFromEnvironment,
		DialContext:           (&net.Dialer{Timeout: 10 * time.Second, KeepAlive: 30 * time.Second}).DialContext,
		TLSClientConfig:       &tls.Config{MinVersion: tls.VersionTLS12},
		TLSHandshakeTimeout:   10 * time.Second,
		ResponseHeaderTimeout: time.Minute,
		IdleConnTimeout:       90 * time.Second,
		MaxIdleConnsPerHost:   4,
		ForceAttemptHTTP2:     true,
	}
	if client.ProxyURL != "" {
		proxy, err := url.Parse(client.ProxyURL)
		if err != nil {
			return nil, fmt.Errorf("http_client.proxy_url: %w", err)
		}
		transport.Proxy = http.ProxyURL(proxy)
	}
	if file := string(client.TLSConfig.CAFile); file != "" {
		roots := x509.NewCertPool()
		if err := addRoots(roots, file); err != nil {
			return nil, fmt.Errorf("http_client.tls_config.ca_file: %w", err)
		}
		transport.TLSClientConfig.RootCAs = roots
	}
	return transport, nil
}

func addRoots(roots *x509.CertPool, file string) error {
	content, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	if !roots.AppendCertsFromPEM(content) {
		return fmt.Errorf("%s holds no PEM certificate", file)
	}
	return nil
}
