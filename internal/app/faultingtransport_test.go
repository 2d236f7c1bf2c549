package app

import (
	"crypto/tls"
	"crypto/x509"
	"net"
	"net/http"
	"sync/atomic"
)

// faultingTransport fails requests before they reach the simulator: names that cannot be
// resolved, servers with an untrusted certificate.
type faultingTransport struct {
	matches func(*http.Request) bool // the requests that fail
	next    http.RoundTripper
	failure atomic.Pointer[error]
}

// wrap puts the transport in front of another one.
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

// failWith makes every matching request fail; nil: none.
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
