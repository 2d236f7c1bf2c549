package simulator_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"entra-aws-exporter/internal/simulator"
	"entra-aws-exporter/internal/simulator/clouds"
)

// served is a simulator on a real socket.
func served(t *testing.T) (s *simulator.Simulator, url string, client *http.Client, stop func() error) {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "ca.pem")
	authority, err := simulator.OpenAuthority(file)
	if err != nil {
		t.Fatal(err)
	}
	trusted, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(trusted)
	url = "https://" + listener.Addr().String()
	w := clouds.New(clouds.Options{Seed: 1, Speed: 100_000})
	if err := simulator.Seed(w, "demo"); err != nil {
		t.Fatal(err)
	}
	s = simulator.New(w, simulator.Options{URL: url, Logger: slog.New(slog.DiscardHandler)})
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- s.Serve(ctx, listener, authority) }()
	transport := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots}, MaxIdleConnsPerHost: 500, ForceAttemptHTTP2: false}
	stopped := sync.OnceValue(func() error {
		transport.CloseIdleConnections()
		cancel()
		return <-ended
	})
	t.Cleanup(func() { _ = stopped() })
	return s, url, &http.Client{Transport: transport}, stopped
}

func TestServe(t *testing.T) {
	s, url, client, stop := served(t)
	response, err := client.Get(url + "/-/healthy")
	if err != nil {
		t.Fatal(err)
	}
	_ = response.Body.Close()
	if _, err := http.Get(url); err == nil || !strings.Contains(err.Error(), "certificate") {
		t.Errorf("a client that does not trust the CA: %v", err)
	}
	// Nobody asks, and still time passes.
	happened := make(chan struct{})
	s.With(func(w *clouds.Model) {
		w.Schedule(w.Now().Add(100*time.Millisecond), func(*clouds.Model) { close(happened) })
	})
	select {
	case <-happened:
	case <-time.After(10 * time.Second):
		t.Error("nothing happens by itself")
	}
	if _, err := s.AddFault(simulator.Fault{Operation: "GET openid-configuration", Effect: simulator.EffectHang}); err != nil {
		t.Fatal(err)
	}
	hanging := make(chan error, 1)
	go func() {
		response, err := client.Get(url + "/11111111-1111-1111-1111-111111111111/v2.0/.well-known/openid-configuration")
		if err == nil {
			_ = response.Body.Close()
		}
		hanging <- err
	}()
	for len(s.Calls()) == 0 {
		<-time.After(10 * time.Millisecond)
	}
	if err := stop(); err != nil {
		t.Errorf("stopping: %v", err)
	}
	if err := <-hanging; err == nil {
		t.Error("the hanging call was answered")
	}
}

func TestManyConnections(t *testing.T) {
	_, url, client, _ := served(t)
	var group sync.WaitGroup
	failures := make(chan error, 400)
	for range 400 {
		group.Go(func() {
			response, err := client.Get(url + "/control/state")
			if err != nil {
				failures <- err
				return
			}
			_, _ = io.Copy(io.Discard, response.Body)
			_ = response.Body.Close()
		})
	}
	group.Wait()
	close(failures)
	for err := range failures {
		t.Error(err)
	}
}

func TestWireFaults(t *testing.T) {
	s, url, client, _ := served(t)
	path := url + "/11111111-1111-1111-1111-111111111111/v2.0/.well-known/openid-configuration"
	for _, effect := range []simulator.Effect{simulator.EffectReset, simulator.EffectLost} {
		if _, err := s.AddFault(simulator.Fault{Operation: "GET openid-configuration", Effect: effect}); err != nil {
			t.Fatal(err)
		}
		if response, err := client.Get(path); err == nil {
			_ = response.Body.Close()
			t.Errorf("%s: answered %s", effect, response.Status)
		}
		s.ClearFaults()
	}
	if _, err := s.AddFault(simulator.Fault{Operation: "GET openid-configuration", Effect: simulator.EffectHuge}); err != nil {
		t.Fatal(err)
	}
	response, err := client.Get(path)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = response.Body.Close() }()
	if n, err := io.Copy(io.Discard, response.Body); err != nil || n < 100<<20 {
		t.Errorf("huge: %d bytes, %v", n, err)
	}
}

func TestAuthorityIsKept(t *testing.T) {
	file := filepath.Join(t.TempDir(), "new", "ca.pem")
	var kept [2]string
	for i := range kept {
		if _, err := simulator.OpenAuthority(file); err != nil {
			t.Fatal(err)
		}
		content, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		kept[i] = string(content)
	}
	if kept[0] != kept[1] {
		t.Error("opened again, it is another one")
	}
	if info, err := os.Stat(file + ".key"); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("the key: %v, %v", info, err)
	}
	if err := os.WriteFile(file, []byte("nonsense"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := simulator.OpenAuthority(file); err == nil || !strings.Contains(err.Error(), "remove both to make another") {
		t.Errorf("a broken CA: %v", err)
	}
}
