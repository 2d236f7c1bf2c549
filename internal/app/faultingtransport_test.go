package app

import (
	"crypto/tls"
	"crypto/x509"
	"net"
	"net/http"
	"sync/atomic"
)

// faultingTransport is what stands between the exporter and the clouds: names that cannot be
// resolved, peers that nobody can vouch for.
type faultingTransport struct {
	matches func(*http.Request) bool // whose requests are broken
	next    http.RoundTripper
	failure atomic.Pointer[error]
}

// wrap puts the wire in front of the clouds.
func (w *faultingTransport) wrap(next http.RoundTripper) http.RoundTripper {
	w.next = next
	return w
}

// RoundTrip implements http.RoundTripper.
func (w *faultingTransport) RoundTrip(r *http.Request) (*http.Response, error) {
	if broken := w.failure.Load(); broken != nil && w.matches(r) {
		return nil, *broken
	}
	return w.next.RoundTrip(r)
}

// failWith lets every request fail so; nil mends the wire.
func (w *faultingTransport) failWith(err error) {
	if err == nil {
		w.failure.Store(nil)
		return
	}
	w.failure.Store(&err)
}

func errDNS() error {
	return &net.OpError{Op: "dial", Net: "tcp", Err: &net.DNSError{Err: "no such host", Name: "affected.example", IsNotFound: true}}
}

func errTLS() error {
	return &tls.CertificateVerificationError{Err: x509.UnknownAuthorityError{}}
}
