//go:build e2e

// Package e2e runs the real binaries: exporter and simulator, with the real Prometheus
// and Alertmanager. Every process is owned by the test that started it.
//
// Read e2e_test.go first: it has the main scenarios. processes_test.go runs programs,
// simulator_test.go the simulator and the exporter, prometheus_test.go the other two.
// queries_test.go runs every shipped query, faults_test.go injects faults so that all of
// them have data, and soak_test.go kills the exporter in the middle of rotations.
package e2e

import (
	"fmt"
	"math/rand/v2"
	"net"
	"net/http"
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

// exporterBinary is the exporter to test. STORIES_EXPORTER names another one to compare with.
func exporterBinary(t *testing.T) string {
	if other := os.Getenv("STORIES_EXPORTER"); other != "" {
		return other
	}
	return binary(t, "entra-aws-exporter")
}

// process is a running program, its output in a log file.
type process struct {
	t       *testing.T
	command *exec.Cmd
	log     string
	exited  chan struct{} // closed when it has exited
}

// start runs a program until the test ends.
func start(t *testing.T, log string, environment []string, program string, arguments ...string) *process {
	t.Helper()
	out, err := os.OpenFile(log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = out.Close() }() // the process has its own
	p := &process{t: t, command: exec.Command(program, arguments...), log: log, exited: make(chan struct{})}
	p.command.Stdout, p.command.Stderr = out, out
	p.command.Env = append(os.Environ(), environment...)
	p.command.Dir = filepath.Dir(log)
	if err := p.command.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		_ = p.command.Wait() // its log says how it exited
		close(p.exited)
	}()
	t.Cleanup(p.stop)
	return p
}

// stop sends SIGTERM, and SIGKILL after ten seconds.
func (p *process) stop() {
	_ = p.command.Process.Signal(syscall.SIGTERM) // it may have exited
	select {
	case <-p.exited:
	case <-time.After(10 * time.Second):
		p.kill()
	}
}

// kill sends SIGKILL.
func (p *process) kill() {
	_ = p.command.Process.Kill() // it may have exited
	<-p.exited
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

// usedPorts are the ports that freeAddress has returned in this run.
var usedPorts sync.Map

// freeAddress returns an unused loopback address. Its port is below the range that the
// kernel uses for outgoing connections, so none of them can take it first.
func freeAddress(t *testing.T) string {
	t.Helper()
	for range 1000 {
		port := 15000 + rand.IntN(15000)
		if _, taken := usedPorts.LoadOrStore(port, true); taken {
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

// eventually waits until a condition holds. On failure it prints the details, if any.
func eventually(t *testing.T, timeout time.Duration, what string, condition func() bool, details ...func() string) {
	t.Helper()
	began := time.Now()
	for !condition() {
		if time.Since(began) > timeout {
			for _, detail := range details {
				t.Log(detail())
			}
			t.Fatalf("not within %s: %s", timeout, what)
		}
		time.Sleep(200 * time.Millisecond)
	}
	t.Logf("%s: after %s", what, time.Since(began).Round(100*time.Millisecond))
}

// answersOK returns a condition: a GET of the URL answers 200.
func answersOK(url string) func() bool {
	return func() bool {
		response, err := http.Get(url)
		if err != nil {
			return false
		}
		_ = response.Body.Close()
		return response.StatusCode == http.StatusOK
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
		t.Fatal(fmt.Errorf("reading a test file: %w", err))
	}
	return string(content)
}
