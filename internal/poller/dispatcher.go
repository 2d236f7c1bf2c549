package poller

import (
	"container/heap"
	"context"
	"sync"
	"time"
)

const (
	// laneSlots is how many polls of one tenant begin at one host, and allSlots how many of
	// all tenants begin, before others wait.
	laneSlots = 8
	allSlots  = 64

	// slowAfter is how long a poll keeps its slots: a host that hangs delays the polls behind
	// it, but they are tried, and their failure shows.
	slowAfter = 2 * time.Second

	// startupDelay is how long a source of a tenant waits, once the first polls of the
	// tenant's connections have begun, for their ends: an event of the provisioning log is
	// counted only for a connection whose binding is known.
	startupDelay = 10 * time.Second
)

// dispatcher starts the polls that are due, in the order in which they became due. The
// lanes take turns, so that no tenant delays another. The time that a poll waits for its
// slots is not part of its timeout.
type dispatcher struct {
	schedules []*schedule
	woken     chan struct{}

	mu      sync.Mutex
	started bool
	waiting dueHeap
	lanes   []*lane
	turn    int // the lane that is asked first
	slots   int // that are free
}

// laneKey is one tenant's use of one host: of Entra or, with a region, of AWS.
type laneKey struct{ tenant, region string }

type lane struct {
	laneKey
	due   []*schedule
	slots int // that are free
}

// firstRound are the first polls of the sources of a tenant's connections, which the
// tenant's own sources follow.
type firstRound struct {
	notBegun, notPolled int
	followers           []*schedule
}

func newDispatcher() *dispatcher {
	return &dispatcher{woken: make(chan struct{}, 1), slots: allSlots}
}

// lane returns the lane with this key.
func (d *dispatcher) lane(key laneKey) *lane {
	for _, l := range d.lanes {
		if l.laneKey == key {
			return l
		}
	}
	l := &lane{laneKey: key, slots: laneSlots}
	d.lanes = append(d.lanes, l)
	return l
}

// add makes a schedule part of the round, unless its first poll is over.
func (r *firstRound) add(s *schedule) {
	if !s.polled {
		s.round = r
		r.notBegun++
		r.notPolled++
	}
}

// follow lets a schedule wait for the round.
func (r *firstRound) follow(s *schedule) {
	if s.follows = r.notPolled > 0; s.follows {
		r.followers = append(r.followers, s)
	}
}

// run starts polls until the context is canceled, and returns when none runs any more.
func (d *dispatcher) run(ctx context.Context) {
	var running sync.WaitGroup
	defer running.Wait()
	d.begin()
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-timer.C:
		case <-d.woken:
		}
		timer.Reset(d.startDue(func(s *schedule, release func()) {
			running.Go(func() {
				slow := time.AfterFunc(slowAfter, release)
				started := time.Now()
				s.poll(ctx)
				if slow.Stop() {
					release()
				}
				d.finish(s, started)
			})
		}))
	}
}

// begin lets every schedule wait for its first poll.
func (d *dispatcher) begin() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.started = true
	now := time.Now()
	for _, s := range d.schedules {
		s.first = now.Add(s.initialDelay)
		if s.due = s.first; !s.follows {
			heap.Push(&d.waiting, s)
		}
	}
}

// startDue starts what is due, as far as there are slots. It returns when something will
// be due next.
func (d *dispatcher) startDue(start func(s *schedule, release func())) time.Duration {
	d.mu.Lock()
	defer d.mu.Unlock()
	now := time.Now()
	for len(d.waiting) > 0 && !d.waiting[0].due.After(now) {
		s := heap.Pop(&d.waiting).(*schedule)
		s.lane.due = append(s.lane.due, s)
	}
	for s := d.next(); s != nil; s = d.next() {
		l := s.lane
		l.slots--
		d.slots--
		s.running = true
		d.beginRound(s, now)
		start(s, func() { d.release(l) })
	}
	if len(d.waiting) == 0 {
		return time.Hour
	}
	return d.waiting[0].due.Sub(now)
}

// next takes the first schedule of the next lane that may begin; nil: there is none.
func (d *dispatcher) next() *schedule {
	for range d.lanes {
		if d.slots == 0 {
			return nil
		}
		l := d.lanes[d.turn]
		d.turn = (d.turn + 1) % len(d.lanes)
		if len(l.due) > 0 && l.slots > 0 {
			s := l.due[0]
			l.due[0] = nil
			l.due = l.due[1:]
			return s
		}
	}
	return nil
}

// beginRound lets the followers of the round follow after the last first poll has begun.
func (d *dispatcher) beginRound(s *schedule, now time.Time) {
	if s.begun || s.round == nil {
		return
	}
	s.begun = true
	if s.round.notBegun--; s.round.notBegun == 0 {
		for _, follower := range s.round.followers {
			follower.due = laterOf(follower.first, now.Add(startupDelay))
			heap.Push(&d.waiting, follower)
		}
	}
}

// endRound lets the followers follow now.
func (d *dispatcher) endRound(s *schedule, now time.Time) {
	if s.round == nil {
		return
	}
	if s.round.notPolled--; s.round.notPolled == 0 {
		for _, follower := range s.round.followers {
			if follower.place != notWaiting {
				follower.due = laterOf(follower.first, now)
				heap.Fix(&d.waiting, follower.place)
			}
		}
	}
}

// release gives back the slots of a poll, at its end or when it is slow.
func (d *dispatcher) release(l *lane) {
	d.mu.Lock()
	l.slots++
	d.slots++
	d.mu.Unlock()
	d.wake()
}

// finish lets a schedule wait for its next poll.
func (d *dispatcher) finish(s *schedule, started time.Time) {
	d.mu.Lock()
	now := time.Now()
	if !s.polled {
		s.polled = true
		d.endRound(s, now)
	}
	s.running, s.due = false, started.Add(s.interval())
	if s.again && !s.throttled() {
		s.due = now
	}
	s.again = false
	heap.Push(&d.waiting, s)
	d.mu.Unlock()
	d.wake()
}

// refresh makes a schedule due now. A poll that waits for its slots will be as good.
func (d *dispatcher) refresh(s *schedule) {
	d.mu.Lock()
	switch {
	case !d.started:
		s.initialDelay = 0
	case s.running:
		s.again = true
	case s.place != notWaiting && !s.throttled():
		s.due = time.Now()
		heap.Fix(&d.waiting, s.place)
	}
	d.mu.Unlock()
	d.wake()
}

func (d *dispatcher) wake() {
	select {
	case d.woken <- struct{}{}:
	default: // it will look at everything
	}
}

// polledAll reports whether all first polls are over.
func (d *dispatcher) polledAll() bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, s := range d.schedules {
		if !s.polled {
			return false
		}
	}
	return true
}

// notWaiting is the place of a schedule that is not in the heap.
const notWaiting = -1

// dueHeap has the schedule first that is due first. It implements heap.Interface.
type dueHeap []*schedule

func (h dueHeap) Len() int           { return len(h) }
func (h dueHeap) Less(i, j int) bool { return h[i].due.Before(h[j].due) }

// Swap implements heap.Interface.
func (h dueHeap) Swap(i, j int) {
	h[i], h[j] = h[j], h[i]
	h[i].place, h[j].place = i, j
}

// Push implements heap.Interface.
func (h *dueHeap) Push(s any) {
	s.(*schedule).place = len(*h)
	*h = append(*h, s.(*schedule))
}

// Pop implements heap.Interface.
func (h *dueHeap) Pop() any {
	last := len(*h) - 1
	s := (*h)[last]
	(*h)[last] = nil
	*h = (*h)[:last]
	s.place = notWaiting
	return s
}

func laterOf(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}
