package app

import (
	"crypto/tls"
	"crypto/x509"
	"net"
	"net/http"
	"sync/atomic"
)

// wire is what stands between the exporter and the clouds: names that cannot be
// resolved, peers that nobody can vouch for.
type wire struct {
	belongs func(*http.Request) bool // whose requests are broken
	next    http.RoundTripper
	broken  atomic.Pointer[error]
}

// before puts the wire in front of the clouds.
func (w *wire) before(next http.RoundTripper) http.RoundTripper {
	w.next = next
	return w
}

// RoundTrip implements http.RoundTripper.
func (w *wire) RoundTrip(r *http.Request) (*http.Response, error) {
	if broken := w.broken.Load(); broken != nil && w.belongs(r) {
		return nil, *broken
	}
	return w.next.RoundTrip(r)
}

// breaks lets every request fail so; nil mends the wire.
func (w *wire) breaks(err error) {
	if err == nil {
		w.broken.Store(nil)
		return
	}
	w.broken.Store(&err)
}

func errDNS() error {
	return &net.OpError{Op: "dial", Net: "tcp", Err: &net.DNSError{Err: "no such host", Name: "hit.example", IsNotFound: true}}
}

func errTLS() error {
	return &tls.CertificateVerificationError{Err: x509.UnknownAuthorityError{}}
}
