package poller_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"entra-aws-exporter/internal/model"
	"entra-aws-exporter/internal/poller"
	"entra-aws-exporter/internal/state"
)

// replica is one exporter's reader of a log that several share.
type replica struct {
	id     string
	source poller.Source
	reads  int           // of the log
	shown  uint64        // the counter that it showed last
	noLog  error         // the log cannot be read
	pause  time.Duration // before the log is read
}

func newReplica(id string, log *provisioningLog, store poller.EventStore, dead map[string]bool) *replica {
	r := &replica{id: id}
	read := func(ctx context.Context, after, before time.Time, visit func(model.Event) error) error {
		r.reads++
		time.Sleep(r.pause)
		if r.noLog != nil {
			return r.noLog
		}
		return log.read(ctx, after, before, visit)
	}
	name := poller.Replica{ID: id, IsDead: func(id string) bool { return dead[id] }}
	r.source = poller.Events(5*time.Minute, read, store, "corp", name, slog.New(slog.DiscardHandler))
	return r
}

// poll polls once; a counter never falls.
func (r *replica) poll(t *testing.T) error {
	t.Helper()
	result, err := r.source.Read(t.Context(), []model.Snapshot{boundSnapshot("corp", "sp-1")})
	if result.Apply == nil {
		return err
	}
	snapshot := boundSnapshot("corp", "sp-1")
	result.Apply(&snapshot)
	now := total(snapshot.Events)
	if now < r.shown {
		t.Errorf("replica %s: the counter fell from %d to %d", r.id, r.shown, now)
	}
	r.shown = now
	return err
}

// unreachable is a replica's way to the store, which may be cut.
type unreachable struct {
	poller.EventStore
	err          error
	saveErr      error
	loads, saves int
	hangs        bool // a save waits for the end of its context
}

func (s *unreachable) Load(ctx context.Context, key string) ([]byte, string, error) {
	if s.loads++; s.err != nil {
		return nil, "", s.err
	}
	return s.EventStore.Load(ctx, key)
}

func (s *unreachable) Save(ctx context.Context, key string, content []byte, revision string) (string, error) {
	if s.hangs {
		<-ctx.Done()
		return "", ctx.Err()
	}
	if s.saves++; s.err != nil || s.saveErr != nil {
		return "", errors.Join(s.err, s.saveErr)
	}
	return s.EventStore.Save(ctx, key, content, revision)
}

// skewedEvents is a store as a replica sees it whose clock is ahead by this.
type skewedEvents struct {
	poller.EventStore
	ahead time.Duration
}

func (s skewedEvents) Load(ctx context.Context, key string) ([]byte, string, error) {
	content, revision, err := s.EventStore.Load(ctx, key)
	return shiftClaim(content, -s.ahead), revision, err
}

func (s skewedEvents) Save(ctx context.Context, key string, content []byte, revision string) (string, error) {
	return s.EventStore.Save(ctx, key, shiftClaim(content, s.ahead), revision)
}

var claimTimes = regexp.MustCompile(`("(?:expires|read)":")([^"]+)`)

func shiftClaim(content []byte, by time.Duration) []byte {
	return claimTimes.ReplaceAllFunc(content, func(field []byte) []byte {
		parts := claimTimes.FindSubmatch(field)
		at, err := time.Parse(time.RFC3339, string(parts[2]))
		if err != nil {
			panic(err)
		}
		return fmt.Append(nil, string(parts[1]), at.Add(by).Format(time.RFC3339Nano))
	})
}

// TestReplicasCountOnce: three replicas, of which any may be killed, cut off from the log
// or from the store, or restarted, show each entry exactly once in the end. No counter ever
// falls, and while nothing fails, one of them reads.
func TestReplicasCountOnce(t *testing.T) {
	for run := range 200 {
		synctest.Test(t, func(t *testing.T) {
			random := rand.New(rand.NewPCG(11, uint64(run)))
			log, shared, dead := &provisioningLog{}, &state.Memory{}, map[string]bool{}
			replicas, stores, names := make([]*replica, 3), make([]*unreachable, 3), 0
			begin := func(i int) {
				names++
				stores[i] = &unreachable{EventStore: shared}
				replicas[i] = newReplica(fmt.Sprint("replica-", names), log, stores[i], dead)
			}
			for i := range replicas {
				begin(i)
			}
			round := func() (failed error) {
				for range random.IntN(8) {
					log.add(fmt.Sprint(run, "/", len(log.entries)), "sp-1", time.Duration(random.IntN(10))*time.Minute)
					time.Sleep(time.Second)
				}
				for _, i := range random.Perm(len(replicas)) {
					failed = errors.Join(failed, replicas[i].poll(t))
					time.Sleep(time.Duration(random.IntN(100)) * time.Second)
				}
				return failed
			}
			_ = round()
			for range 60 {
				switch i := random.IntN(len(replicas)); random.IntN(12) {
				case 0: // on this host
					dead[replicas[i].id] = true
					begin(i)
				case 1: // on another one
					begin(i)
				case 2:
					replicas[i].noLog = errors.New("no way to Graph")
				case 3:
					stores[i].err = errors.New("no way to the store")
				default:
					replicas[i].noLog, stores[i].err = nil, nil
				}
				_ = round()
			}
			for i := range replicas {
				replicas[i].noLog, stores[i].err = nil, nil
			}
			for range 8 { // a claim of a replica that has gone ends
				_ = round()
			}
			time.Sleep(10 * time.Minute) // no entry is late any more
			for range 2 {
				if err := round(); err != nil {
					t.Errorf("run %d: %v", run, err)
				}
				time.Sleep(10 * time.Minute)
			}
			for i := range replicas {
				replicas[i].reads = 0
			}
			for pass := range 2 {
				for _, r := range replicas { // who does not read shows the pass before
					if err := r.poll(t); err != nil || pass == 1 && r.shown != uint64(len(log.entries)) {
						t.Errorf("run %d: replica %s shows %d of %d: %v", run, r.id, r.shown, len(log.entries), err)
					}
				}
			}
			if reads := []int{replicas[0].reads, replicas[1].reads, replicas[2].reads}; max(reads[0], reads[1], reads[2]) != reads[0]+reads[1]+reads[2] {
				t.Errorf("run %d: more than one replica reads: %v", run, reads)
			}
		})
	}
}

// TestTakeoverOfReading: when the reader has gone, another one goes on, at once if it is
// known to be dead or has stopped in good order.
func TestTakeoverOfReading(t *testing.T) {
	for name, c := range map[string]struct {
		clock  time.Duration // of the second replica, ahead of the first one's
		onThis bool          // host
		after  time.Duration
	}{
		"killed elsewhere":               {0, false, 20 * time.Minute},
		"killed elsewhere, clock behind": {-5 * time.Minute, false, 25 * time.Minute},
		"killed elsewhere, clock ahead":  {5 * time.Minute, false, 15 * time.Minute},
		"killed on this host":            {0, true, 5 * time.Minute},
	} {
		synctest.Test(t, func(t *testing.T) {
			log, shared, dead := &provisioningLog{}, &state.Memory{}, map[string]bool{}
			way := &unreachable{EventStore: shared}
			first := newReplica("first", log, way, dead)
			second := newReplica("second", log, skewedEvents{shared, c.clock}, dead)
			add := func() { log.add(strconv.Itoa(len(log.entries)), "sp-1", 0) }
			for range 24 {
				add()
				time.Sleep(5 * time.Minute)
				for _, r := range []*replica{first, second} {
					if err := r.poll(t); err != nil || r.shown != uint64(len(log.entries)) {
						t.Fatalf("%s: %s shows %d of %d: %v", name, r.id, r.shown, len(log.entries), err)
					}
				}
			}
			if second.reads != 0 || way.loads != 1 || way.saves != 1+24 {
				t.Errorf("%s: the second replica has read %d times; the first one made %d loads and %d saves in 24 polls", name, second.reads, way.loads, way.saves)
			}
			dead["first"] = c.onThis
			gone := time.Now()
			for second.reads == 0 {
				add()
				time.Sleep(5 * time.Minute)
				if err := second.poll(t); err != nil {
					t.Fatalf("%s: %v", name, err)
				}
			}
			if waited := time.Since(gone); waited != c.after || second.shown != uint64(len(log.entries)) {
				t.Errorf("%s: it went on after %s, and shows %d of %d", name, waited, second.shown, len(log.entries))
			}
		})
	}
}

// TestReplicaThatShowsWhatNobodyReads is down, as the one that cannot read.
func TestReplicaThatShowsWhatNobodyReads(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log, shared := &provisioningLog{}, &state.Memory{}
		first, second := newReplica("first", log, shared, nil), newReplica("second", log, shared, nil)
		_, _ = first.poll(t), second.poll(t)
		first.noLog, second.noLog = errors.New("no way to Graph"), errors.New("no way to Graph")
		down := [2]int{}
		for range 24 {
			time.Sleep(5 * time.Minute)
			for i, r := range []*replica{first, second} {
				err := r.poll(t)
				if down[i]++; err == nil {
					down[i] = 0
				}
				if err != nil && !strings.Contains(err.Error(), "no way to Graph") && !strings.Contains(err.Error(), "has read nothing since 2000-01-01T00:00:00Z") {
					t.Error(err)
				}
			}
		}
		if min(down[0], down[1]) < 19 { // of 24 polls; the claim and the skew are 20 minutes
			t.Errorf("down in the last %v polls", down)
		}
	})
}

// TestPausedReader: a replica that was paused while it read finds another one's claim.
func TestPausedReader(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log, shared := &provisioningLog{}, &state.Memory{}
		first, second := newReplica("first", log, shared, nil), newReplica("second", log, shared, nil)
		var paused sync.WaitGroup
		for i := range 20 {
			log.add(strconv.Itoa(i), "sp-1", 0)
			switch {
			case i < 5:
				_ = first.poll(t)
			case i == 5:
				first.pause = 2 * time.Hour
				paused.Go(func() { _ = first.poll(t) })
			}
			time.Sleep(10 * time.Minute)
			_ = second.poll(t)
		}
		paused.Wait()
		first.reads, second.reads = 0, 0
		for range 2 {
			if _, _ = second.poll(t), first.poll(t); first.shown != 20 || second.shown != 20 {
				t.Errorf("they show %d and %d of 20", first.shown, second.shown)
			}
		}
		if first.reads != 0 || second.reads != 2 {
			t.Errorf("they read %d and %d times", first.reads, second.reads)
		}
	})
}

// TestCounterNeverFalls: one replica counts what it cannot store, and another one takes the
// claim, but cannot read yet.
func TestCounterNeverFalls(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log, shared := &provisioningLog{}, &state.Memory{}
		way := &unreachable{EventStore: shared}
		first, second := newReplica("first", log, way, nil), newReplica("second", log, shared, nil)
		log.add("stored", "sp-1", 0)
		_ = first.poll(t)
		way.saveErr, second.noLog = errors.New("denied"), errors.New("no way to Graph")
		time.Sleep(30 * time.Minute)
		log.add("not stored", "sp-1", 0)
		if _, _, _ = first.poll(t), second.poll(t), first.poll(t); first.shown != 2 {
			t.Errorf("the first replica shows %d of 2", first.shown)
		}
		second.noLog = nil
		if _, _ = second.poll(t), first.poll(t); first.shown != 2 || second.shown != 2 {
			t.Errorf("they show %d and %d of 2", first.shown, second.shown)
		}
	})
}

// TestStoppedReplicaReleases: the other replica need not wait for the end of its claim.
func TestStoppedReplicaReleases(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log, shared := &provisioningLog{}, &state.Memory{}
		first, second := newReplica("first", log, shared, nil), newReplica("second", log, shared, nil)
		run := func(r *replica) (*poller.Poller, func()) {
			return start(t, poller.Options{
				Connections: []poller.Connection{{Name: "corp", Tenant: "t", Binding: model.Binding{ServicePrincipalID: "sp-1"}}},
				Tenants:     []poller.Tenant{{Name: "t", Sources: []poller.Source{r.source}}},
			}, nil)
		}
		p, stopFirst := run(first)
		advance(time.Minute)
		q, stopSecond := run(second)
		defer stopSecond()
		advance(30 * time.Minute)
		if second.reads != 0 {
			t.Errorf("both read")
		}
		begun := status(t, p, 0, model.SourceEvents).LastSuccess
		if shown := status(t, q, 0, model.SourceEvents).LastSuccess; shown.After(begun) || begun.Sub(shown) > 6*time.Minute {
			t.Errorf("the first replica read at %s, the second one says %s", begun, shown)
		}
		stopFirst()
		p.Release(t.Context())
		log.add("late", "sp-1", 0)
		advance(6 * time.Minute)
		if got := total(q.Snapshots()[0].Events); second.reads == 0 || got != 1 {
			t.Errorf("after the stop: %d reads, %d counted", second.reads, got)
		}
	})
}

// usageStub is a reader of CloudTrail that has made so many look-ups.
type usageStub struct{ lookups, known int }

func (u *usageStub) Usage(ctx context.Context) (model.Usage, error) {
	u.lookups++
	u.known++
	return u.KnownUsage(ctx)
}

func (u *usageStub) KnownUsage(context.Context) (model.Usage, error) {
	return model.Usage{LastUsed: map[string]time.Time{"a": time.Unix(int64(u.known), 0)}}, nil
}

func (u *usageStub) UsageState() []byte { return fmt.Appendf(nil, `{"schema":1,"known":%d}`, u.known) }

func (u *usageStub) RestoreUsage(content []byte) error {
	var record struct{ Schema, Known int }
	if err := json.Unmarshal(content, &record); err != nil || record.Schema != 1 {
		return errors.New("foreign")
	}
	u.known = record.Known
	return nil
}

// TestReplicasReadCloudTrailOnce: one replica reads CloudTrail, the other one shows what it
// has learnt and goes on when it has gone.
func TestReplicasReadCloudTrailOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		shared, stubs, sources := &state.Memory{}, [2]usageStub{}, [2]poller.Source{}
		for i := range sources {
			sources[i] = poller.Usage(15*time.Minute, &stubs[i], shared, "usage.corp", poller.Replica{ID: fmt.Sprint("replica-", i)}, slog.New(slog.DiscardHandler))
		}
		poll := func(i, want int) {
			t.Helper()
			result, err := sources[i].Read(t.Context(), nil)
			if err != nil {
				t.Fatal(err)
			}
			var snapshot model.Snapshot
			if result.Apply(&snapshot); snapshot.Usage.LastUsed["a"].Unix() != int64(want) {
				t.Errorf("replica %d shows %v, want %d", i, snapshot.Usage.LastUsed, want)
			}
		}
		for n := range 10 {
			poll(0, n+1)
			poll(1, n+1)
			time.Sleep(15 * time.Minute)
		}
		if stubs[1].lookups != 0 {
			t.Errorf("both read CloudTrail")
		}
		for range 3 { // the first one has gone; its claim lasts 35 minutes, and the skew 5
			poll(1, 10)
			time.Sleep(12 * time.Minute)
		}
		poll(1, 11)
		poll(0, 11)
		if stubs[0].lookups != 10 || stubs[1].lookups != 1 {
			t.Errorf("%d and %d look-ups", stubs[0].lookups, stubs[1].lookups)
		}
	})
}

// TestUsageStoreUnavailable: CloudTrail is read all the same, and the store later used.
func TestUsageStoreUnavailable(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		way, stub, logs := &unreachable{EventStore: &state.Memory{}, err: errors.New("throttled")}, usageStub{}, &logBuffer{}
		source := poller.Usage(15*time.Minute, &stub, way, "usage.corp", poller.Replica{ID: "a"}, logs.logger(slog.LevelInfo))
		for range 3 {
			if _, err := source.Read(t.Context(), nil); err != nil {
				t.Fatal(err)
			}
		}
		way.err = nil
		for range 2 {
			if _, err := source.Read(t.Context(), nil); err != nil {
				t.Fatal(err)
			}
		}
		content, _, err := way.Load(t.Context(), "usage.corp")
		if err != nil || !strings.Contains(string(content), `"known":5`) || strings.Count(logs.String(), "\n") != 1 {
			t.Errorf("stored %s, %v\n%s", content, err, logs.String())
		}
	})
}

// TestReleaseEndsWithItsTime: a store that does not answer keeps no exporter from stopping.
func TestReleaseEndsWithItsTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		way := &unreachable{EventStore: &state.Memory{}}
		var connections []poller.Connection
		for i := range 20 {
			name := fmt.Sprint("corp-", i)
			source := poller.Usage(15*time.Minute, &usageStub{}, way, "usage."+name, poller.Replica{ID: "a"}, slog.New(slog.DiscardHandler))
			connections = append(connections, poller.Connection{Name: name, Tenant: "t", Sources: []poller.Source{source}})
		}
		p, stop := start(t, poller.Options{Connections: connections}, nil)
		advance(time.Minute)
		stop()
		way.hangs = true
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
		defer cancel()
		began := time.Now()
		if p.Release(ctx); time.Since(began) > 5*time.Second {
			t.Errorf("it took %s", time.Since(began))
		}
	})
}
