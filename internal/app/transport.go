package app

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"time"

	prometheus "github.com/prometheus/common/config"

	"entra-aws-exporter/internal/config"
	"entra-aws-exporter/internal/model"
)

// newTransports returns the transports of the calls to Entra and to AWS. AWS_CA_BUNDLE
// names the authorities of AWS if the configuration names none.
func (o Options) newTransports(client config.HTTPClient) (toEntra, toAWS http.RoundTripper, err error) {
	if o.Transport != nil {
		return o.Transport, o.Transport, nil
	}
	toEntra, err = newTransport(client)
	if err != nil || o.AWSBundle == "" || client.TLSConfig.CAFile != "" {
		return toEntra, toEntra, err
	}
	client.TLSConfig.CAFile = config.Path(o.AWSBundle)
	if toAWS, err = newTransport(client); err != nil {
		return nil, nil, fmt.Errorf("AWS_CA_BUNDLE: %w", err)
	}
	return toEntra, toAWS, nil
}

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
	verify := &tls.Config{MinVersion: tls.VersionTLS12}
	if file == "" {
		return build(verify)
	}
	authorities := caFile{prometheus.NewFileSecret(file), file}
	content, err := authorities.Fetch(context.Background())
	if err != nil {
		return nil, fmt.Errorf("unable to read CA cert: %w", err)
	}
	verify.RootCAs = x509.NewCertPool()
	if !verify.RootCAs.AppendCertsFromPEM([]byte(content)) {
		return nil, fmt.Errorf("unable to use specified CA cert %s", authorities.Description())
	}
	return prometheus.NewTLSRoundTripper(verify, prometheus.TLSRoundTripperSettings{CA: authorities}, build)
}

// caFile is a CA file that may begin with a byte order mark.
type caFile struct {
	prometheus.SecretReader
	path string
}

// Fetch implements prometheus.SecretReader.
func (f caFile) Fetch(context.Context) (string, error) {
	content, err := model.ReadFile(f.path)
	return string(content), err
}
