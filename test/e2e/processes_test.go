//go:build e2e

// Package e2e runs the real binaries: the exporter on simulated clouds, with real
// Prometheus and Alertmanager. Every process is owned by the test that started it.
package e2e

import (
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// binary finds a program where make puts it, or on PATH.
func binary(t *testing.T, name string) string {
	t.Helper()
	for _, directory := range []string{"bin", ".tools/bin"} {
		path, err := filepath.Abs(filepath.Join("../..", directory, name))
		if _, missing := os.Stat(path); err == nil && missing == nil {
			return path
		}
	}
	path, err := exec.LookPath(name)
	if err != nil {
		t.Fatalf("%s is neither in bin, nor in .tools/bin, nor on PATH; run make build and .ci/tools %s", name, name)
	}
	return path
}

// process is a running program, its output in a log file.
type process struct {
	t       *testing.T
	command *exec.Cmd
	log     string
	gone    chan struct{} // closed when it has ended
}

// start runs a program until the test ends.
func start(t *testing.T, log string, environment []string, program string, arguments ...string) *process {
	t.Helper()
	out, err := os.OpenFile(log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = out.Close() }() // the process has its own
	p := &process{t: t, command: exec.Command(program, arguments...), log: log, gone: make(chan struct{})}
	p.command.Stdout, p.command.Stderr = out, out
	p.command.Env = append(os.Environ(), environment...)
	p.command.Dir = filepath.Dir(log)
	if err := p.command.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		_ = p.command.Wait() // how it ended is in its log
		close(p.gone)
	}()
	t.Cleanup(p.stop)
	return p
}

// stop ends it politely, and by force after ten seconds.
func (p *process) stop() {
	_ = p.command.Process.Signal(syscall.SIGTERM) // it may be gone
	select {
	case <-p.gone:
	case <-time.After(10 * time.Second):
		p.kill()
	}
}

// kill is kill -9.
func (p *process) kill() {
	_ = p.command.Process.Kill() // it may be gone
	<-p.gone
}

// output is the log so far.
func (p *process) output() string {
	content, err := os.ReadFile(p.log)
	if err != nil {
		return err.Error()
	}
	return string(content)
}

// directory is a temporary directory that stays when the test fails.
func directory(t *testing.T) string {
	t.Helper()
	path, err := os.MkdirTemp("", "e2e-"+strings.ReplaceAll(t.Name(), "/", "-")+"-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("logs and state are kept in %s", path)
			return
		}
		if err := os.RemoveAll(path); err != nil {
			t.Error(err)
		}
	})
	return path
}

// given are the ports that freeAddress has given to a test of this run.
var given sync.Map

// freeAddress is a loopback address that nobody listens on. Its port is below those that
// the kernel gives to outgoing connections, which would take it before the server does.
func freeAddress(t *testing.T) string {
	t.Helper()
	for range 1000 {
		port := 15000 + rand.IntN(15000)
		if _, taken := given.LoadOrStore(port, true); taken {
			continue
		}
		listener, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", port))
		if err != nil {
			continue
		}
		address := listener.Addr().String()
		if err := listener.Close(); err != nil {
			t.Fatal(err)
		}
		return address
	}
	t.Fatal("no port is free")
	return ""
}

// eventually waits until a condition holds; it returns what is still missing, or "".
func eventually(t *testing.T, patience time.Duration, what string, missing func() string) {
	t.Helper()
	began := time.Now()
	for {
		lack := missing()
		if lack == "" {
			t.Logf("%s: after %s", what, time.Since(began).Round(100*time.Millisecond))
			return
		}
		if time.Since(began) > patience {
			t.Fatalf("%s: not within %s: %s", what, patience, lack)
		}
		time.Sleep(200 * time.Millisecond)
	}
}

func write(t *testing.T, path, content string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
}

func read(t *testing.T, path string) string {
	t.Helper()
	content, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(fmt.Errorf("reading what is tested: %w", err))
	}
	return string(content)
}
