// Package wire is the harness of tests whose clients reach AWS and Entra over HTTP: the
// simulator in memory, with the credentials of an exporter. It imports no client and no
// part of the exporter, so the tests of each of them can use it.
package wire

import (
	"testing"

	"entra-aws-exporter/internal/simulator"
	"entra-aws-exporter/internal/simulator/clouds"
	"entra-aws-exporter/test/harness/inmemory"
)

// Simulator is a simulator in memory. A test in a synctest bubble builds it there.
type Simulator struct {
	*simulator.Simulator
	Credentials simulator.Credentials
	Connection  clouds.Connection // the first one

	t testing.TB
}

// NewModel builds a model with these connections. Models of one seed have the same
// credentials.
func NewModel(options clouds.Options, specs ...clouds.ConnectionSpec) *clouds.Model {
	m := clouds.New(options)
	for _, spec := range specs {
		m.Add(spec)
	}
	return m
}

// NewSimulator simulates a model and issues the credentials of an exporter.
func NewSimulator(t testing.TB, m *clouds.Model, options simulator.Options) *Simulator {
	t.Helper()
	credentials, err := simulator.IssueCredentials(m)
	if err != nil {
		t.Fatal(err)
	}
	return &Simulator{Simulator: simulator.New(m, options), Credentials: credentials, Connection: credentials.Connections[0], t: t}
}

// Transport carries calls to the simulator. At its end, the test waits for them.
func (s *Simulator) Transport() *inmemory.Transport {
	transport := inmemory.NewTransport(s.Simulator)
	s.t.Cleanup(transport.Wait)
	return transport
}

// InjectFault adds a fault.
func (s *Simulator) InjectFault(fault simulator.Fault) {
	s.t.Helper()
	if _, err := s.AddFault(fault); err != nil {
		s.t.Fatal(err)
	}
}
