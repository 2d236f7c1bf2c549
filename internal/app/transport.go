package app

import (
	"crypto/tls"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"time"

	prometheus "github.com/prometheus/common/config"

	"entra-aws-exporter/internal/config"
)

// newTransport returns the transport of every outgoing call. It has the configured CA
// and proxy, and a time limit for every step that a broken peer could delay. The caller
// sets the deadline of the whole call. A CA file is read again at every call.
func newTransport(client config.HTTPClient) (http.RoundTripper, error) {
	proxy := http.ProxyFromEnvironment
	if client.ProxyURL != "" {
		address, err := url.Parse(client.ProxyURL)
		if err != nil {
			return nil, fmt.Errorf("the proxy: %w", err)
		}
		proxy = http.ProxyURL(address)
	}
	build := func(verify *tls.Config) (http.RoundTripper, error) {
		return &http.Transport{
			Proxy:                 proxy,
			DialContext:           (&net.Dialer{Timeout: 10 * time.Second, KeepAlive: 30 * time.Second}).DialContext,
			TLSClientConfig:       verify,
			TLSHandshakeTimeout:   10 * time.Second,
			ResponseHeaderTimeout: time.Minute,
			IdleConnTimeout:       90 * time.Second,
			MaxIdleConnsPerHost:   4,
			ForceAttemptHTTP2:     true,
		}, nil
	}
	file := string(client.TLSConfig.CAFile)
	verify, err := prometheus.NewTLSConfig(&prometheus.TLSConfig{CAFile: file, MinVersion: tls.VersionTLS12})
	if err != nil {
		return nil, err
	}
	if file == "" {
		return build(verify)
	}
	return prometheus.NewTLSRoundTripper(verify, prometheus.TLSRoundTripperSettings{CA: prometheus.NewFileSecret(file)}, build)
}
