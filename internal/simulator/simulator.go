// Package simulator speaks the wire protocols of AWS and Entra, on one port, on top of
// a clouds.Model: Entra's sign-in endpoint and federation metadata, Microsoft Graph,
// the AWS services that read and write SCIM access tokens, AWS's SCIM endpoint, and a
// control API. The real SDKs must not be able to tell it from the real services, so it
// checks signatures, tokens, permissions and throttles.
//
// A request is routed by the first element of its path, or by its host name if AWS or
// Entra has that: an HTTP client in memory needs no endpoint
// configured.
// docs/simulator.md describes the endpoints, the faults and the control API.
//
// Read routes.go and call.go first, then the protocol you need: login, graph,
// directory, synchronization and logs are Entra's; aws, awsjson, sts and scim are AWS's.
package simulator

import (
	"log/slog"
	"maps"
	"math/rand/v2"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"

	"entra-aws-exporter/internal/simulator/clouds"
)

// Options make a Simulator. The zero value suits tests in memory.
type Options struct {
	// URL is where clients reach the simulator, "https://127.0.0.1:10198". If it is
	// set, the SCIM endpoints of the model are shown, and understood, below it; if not,
	// they keep AWS's host names.
	URL    string
	Seed   uint64 // of request ids, of Entra's signing key, of faults that happen by chance
	Logger *slog.Logger
}

// Simulator is AWS and Entra as an http.Handler.
type Simulator struct {
	url        string
	logger     *slog.Logger
	mux        *http.ServeMux
	operations map[string]bool // by name, all that are served
	keys       *signingKeys
	faults     *faults

	lock  chan struct{} // of the model: a channel, so that waiting for it is durable in a bubble
	model *clouds.Model

	mu         sync.Mutex // of what follows
	random     *rand.Rand
	calls      map[string]int // by operation
	windows    map[string][]time.Time
	lastReads  map[string]response // the last response to each read, for stale reads
	bulkEvents []BulkEvents
}

// New returns a Simulator of m, which only With may use from now on.
func New(m *clouds.Model, options Options) *Simulator {
	s := &Simulator{
		url: options.URL, logger: options.Logger, model: m,
		lock:       make(chan struct{}, 1),
		random:     rand.New(rand.NewPCG(options.Seed, 0x51c1)),
		operations: map[string]bool{},
		calls:      map[string]int{},
		windows:    map[string][]time.Time{},
		lastReads:  map[string]response{},
	}
	if s.logger == nil {
		s.logger = slog.New(slog.DiscardHandler)
	}
	s.keys = newSigningKeys(options.Seed)
	s.faults = &faults{chance: s.chance}
	s.mux = s.routes()
	return s
}

// With calls do while nothing else uses the model.
func (s *Simulator) With(do func(*clouds.Model)) {
	s.lock <- struct{}{}
	defer func() { <-s.lock }()
	do(s.model)
}

// Calls returns how often each operation was called, refused calls included.
func (s *Simulator) Calls() map[string]int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return maps.Clone(s.calls)
}

// Operations lists what is served, by the names that faults and counts use.
func (s *Simulator) Operations() []string { return slices.Sorted(maps.Keys(s.operations)) }

func (s *Simulator) count(name string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.calls[name]++
}

func (s *Simulator) chance(probability float64) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.random.Float64() < probability
}

func (s *Simulator) newID() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	raw := make([]byte, 16)
	for i := range raw {
		raw[i] = byte(s.random.Uint32()) //nolint:gosec // an id, not a secret
	}
	return clouds.UUID(raw)
}

// throttle reports how long the caller must wait if it made limit calls of this kind
// within the window already; otherwise it counts the call and returns zero.
func (s *Simulator) throttle(key string, limit int, window time.Duration, now time.Time) time.Duration {
	s.mu.Lock()
	defer s.mu.Unlock()
	recent := slices.DeleteFunc(s.windows[key], func(at time.Time) bool { return now.Sub(at) >= window || at.After(now) })
	s.windows[key] = recent
	if len(recent) >= limit {
		return window - now.Sub(recent[0])
	}
	s.windows[key] = append(recent, now)
	return 0
}

func (s *Simulator) publicAddress(address string) string {
	parsed, err := url.Parse(address)
	if s.url == "" || err != nil || !strings.HasPrefix(parsed.Host, "scim.") || !strings.Contains(parsed.Host, ".amazonaws.com") {
		return address
	}
	_, rest, _ := strings.Cut(address, parsed.Host)
	return s.url + scimPrefix + rest
}

// modelAddress undoes publicAddress. An address of no tenant leads nowhere, here as there.
func (s *Simulator) modelAddress(address string) string {
	rest, ours := strings.CutPrefix(address, s.url+scimPrefix+"/")
	if s.url == "" || !ours {
		return address
	}
	tenant, _, _ := strings.Cut(rest, "/")
	var endpoint string
	s.With(func(m *clouds.Model) { endpoint = m.SCIMEndpointOf(tenant) })
	if endpoint == "" {
		return address
	}
	host, _, _ := strings.Cut(endpoint, "/"+tenant+"/")
	return host + "/" + rest
}

// SetQuirk changes how AWS and Entra behave from now on.
func (s *Simulator) SetQuirk(name, value string) (err error) {
	s.With(func(m *clouds.Model) { err = m.SetQuirk(name, value) })
	return err
}
