package simulator

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log"
	"net"
	"net/http"
	"time"

	"entra-aws-exporter/internal/simulator/clouds"
)

const (
	// advanceEvery is how often a served world is looked after, so that cycles run
	// although nobody asks.
	advanceEvery = 250 * time.Millisecond
	// shutdownLimit is how long calls under way may take to end: a fault can hang for ever.
	shutdownLimit = 2 * time.Second
)

// Serve answers on a listener over TLS, with a certificate that holds for the loopback
// addresses and hosts, until ctx ends; and it lets the world's time pass.
func (s *Simulator) Serve(ctx context.Context, listener net.Listener, authority *Authority, hosts ...string) error {
	certificate, err := authority.Certificate(append([]string{"localhost", "127.0.0.1", "::1"}, hosts...)...)
	if err != nil {
		return err
	}
	server := &http.Server{
		Handler: s, ReadHeaderTimeout: time.Minute,
		TLSConfig: &tls.Config{Certificates: []tls.Certificate{certificate}, MinVersion: tls.VersionTLS12},
		ErrorLog:  log.New(discard{}, "", 0), // clients that do not trust the CA, and faults
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

type discard struct{}

func (discard) Write(content []byte) (int, error) { return len(content), nil }
