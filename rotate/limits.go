package rotate

import (
	"cmp"
	"context"
	"sync"

	"entra-aws-exporter/internal/model"
)

// maxChanging is how many rotations of one kind and process may be between the creation of
// something new and the proof that it is stored, unless the policy says otherwise.
const maxChanging = 2

// limits keep the rotations of one process apart: one operation at a time, one decision
// about a connection, one run of a rotation, and a few rotations of a kind that change
// something.
type limits struct {
	operations chan struct{} // held by the one operation in flight

	mu      sync.Mutex
	changes map[model.Procedure]chan struct{} // held by each rotation between a change and its proof (Procedure.Changing)
	running map[string]chan struct{}          // wake-up channels of the rotations that run here, by binding key
	locks   map[string]chan struct{}          // one decision at a time, by connection
}

func newLimits() *limits {
	return &limits{
		operations: make(chan struct{}, 1), changes: map[model.Procedure]chan struct{}{},
		running: map[string]chan struct{}{}, locks: map[string]chan struct{}{},
	}
}

// lockConnection lets decisions about one connection pass one after the other.
func (l *limits) lockConnection(ctx context.Context, connection string) (release func(), err error) {
	l.mu.Lock()
	lock := l.locks[connection]
	if lock == nil {
		lock = make(chan struct{}, 1)
		l.locks[connection] = lock
	}
	l.mu.Unlock()
	select {
	case lock <- struct{}{}:
		return func() { <-lock }, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// occupy notes that a rotation runs here; false: it does already.
func (l *limits) occupy(key string) (wakeup chan struct{}, free bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if _, busy := l.running[key]; busy {
		return nil, false
	}
	wakeup = make(chan struct{}, 1)
	l.running[key] = wakeup
	return wakeup, true
}

func (l *limits) vacate(key string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.running, key)
}

func (l *limits) isRunning(key string) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	_, running := l.running[key]
	return running
}

// wakeUp makes a rotation that runs here read its record.
func (l *limits) wakeUp(key string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	notify(l.running[key])
}

// changesOf returns the places of a procedure's rotations that change something.
func (l *limits) changesOf(procedure Procedure) chan struct{} {
	l.mu.Lock()
	defer l.mu.Unlock()
	places := l.changes[procedure.Kind()]
	if places == nil {
		places = make(chan struct{}, cmp.Or(procedure.Policy().MaxChanging, maxChanging))
		l.changes[procedure.Kind()] = places
	}
	return places
}

func notify(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}
