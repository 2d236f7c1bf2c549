package simulator

import (
	"encoding/hex"
	"log/slog"
	"maps"
	"math/rand/v2"
	"net/http"
	"slices"
	"sync"
	"time"

	"entra-aws-exporter/internal/simulator/clouds"
)

// Options make a Simulator. The zero value suits tests over Transport.
type Options struct {
	// URL is where clients reach the simulator, "https://127.0.0.1:10198". If it is
	// set, the SCIM endpoints of the world are shown, and understood, below it; if not,
	// they keep AWS's host names.
	URL    string
	Seed   uint64 // of request ids, of Entra's signing key, of faults that happen by chance
	Logger *slog.Logger
}

// Simulator is both clouds as an http.Handler.
type Simulator struct {
	url        string
	logger     *slog.Logger
	mux        *http.ServeMux
	operations map[string]bool // by name, all that are served
	keys       *signingKeys
	faults     *faults

	lock  chan struct{} // of the world: a channel, so that waiting for it is durable in a bubble
	world *clouds.Model

	mu         sync.Mutex // of what follows
	random     *rand.Rand
	manners    manners
	calls      map[string]int // by operation
	windows    map[string][]time.Time
	previous   map[string]answer // what each read was answered last, for stale reads
	identities []ManagedIdentity
	floods     []BulkEvents
}

// New returns a Simulator of w, which nobody else may touch from now on but in With.
func New(w *clouds.Model, options Options) *Simulator {
	s := &Simulator{
		url: options.URL, logger: options.Logger, world: w,
		lock:       make(chan struct{}, 1),
		random:     rand.New(rand.NewPCG(options.Seed, 0x51c1)),
		operations: map[string]bool{},
		calls:      map[string]int{},
		windows:    map[string][]time.Time{},
		previous:   map[string]answer{},
	}
	if s.logger == nil {
		s.logger = slog.New(slog.DiscardHandler)
	}
	s.manners = defaultManners()
	s.keys = newSigningKeys(options.Seed)
	s.faults = &faults{chance: s.chance}
	s.mux = s.routes()
	return s
}

// With calls do while nobody else uses the world.
func (s *Simulator) With(do func(*clouds.Model)) {
	s.lock <- struct{}{}
	defer func() { <-s.lock }()
	do(s.world)
}

// Calls returns how often each operation was called, refused calls included.
func (s *Simulator) Calls() map[string]int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return maps.Clone(s.calls)
}

// ResetCalls begins the counting anew.
func (s *Simulator) ResetCalls() {
	s.mu.Lock()
	defer s.mu.Unlock()
	clear(s.calls)
}

// Operations lists what is served, by the names that faults and counts use.
func (s *Simulator) Operations() []string { return slices.Sorted(maps.Keys(s.operations)) }

func (s *Simulator) count(operation string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.calls[operation]++
}

// chance reports whether something of this probability happens.
func (s *Simulator) chance(probability float64) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.random.Float64() < probability
}

// newID returns a version 4 UUID, for a request id.
func (s *Simulator) newID() string {
	s.mu.Lock()
	var raw [16]byte
	for i := range raw {
		raw[i] = byte(s.random.Uint32()) //nolint:gosec // an id, not a secret
	}
	s.mu.Unlock()
	raw[6], raw[8] = raw[6]&0x0f|0x40, raw[8]&0x3f|0x80
	text := hex.EncodeToString(raw[:])
	return text[:8] + "-" + text[8:12] + "-" + text[12:16] + "-" + text[16:20] + "-" + text[20:]
}

// throttle reports how long the caller must wait if it made limit calls of this kind
// within the window already; otherwise it notes the call and returns zero.
func (s *Simulator) throttle(key string, limit int, window time.Duration, now time.Time) time.Duration {
	s.mu.Lock()
	defer s.mu.Unlock()
	recent := s.windows[key][:0]
	for _, at := range s.windows[key] {
		if now.Sub(at) < window && !at.After(now) {
			recent = append(recent, at)
		}
	}
	if len(recent) >= limit {
		s.windows[key] = recent
		return window - now.Sub(recent[0])
	}
	s.windows[key] = append(recent, now)
	return 0
}
