package poller_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"math/rand/v2"
	"strconv"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"entra-aws-exporter/internal/model"
	"entra-aws-exporter/internal/poller"
)

// provisioningLog is a tenant's log: entries with the delay after which they appear.
type provisioningLog struct {
	mu      sync.Mutex
	entries []entry
	err     error
	killed  func() // called before each visit; may panic
	windows int
}

type entry struct {
	model.Event
	appears time.Time
}

func (l *provisioningLog) add(id, application string, late time.Duration) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.entries = append(l.entries, entry{
		Event: model.Event{
			ID: id, At: time.Now(), ServicePrincipalID: application, JobID: "job", Action: "create", Status: "success",
		},
		appears: time.Now().Add(late),
	})
}

func (l *provisioningLog) read(_ context.Context, after, before time.Time, visit func(model.Event) error) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.windows++; l.windows > 10_000 {
		return errors.New("reading does not end")
	}
	for i, entry := range l.entries {
		if !entry.At.After(after) || !entry.At.Before(before) || entry.appears.After(time.Now()) {
			continue
		}
		for range 1 + i%2 { // every other entry comes twice, as where pages meet
			if l.killed != nil {
				l.killed()
			}
			if err := visit(entry.Event); err != nil {
				return err
			}
		}
	}
	return l.err
}

// store is the record on disk.
type store struct {
	content  []byte
	revision int
	saves    int
	loadErr  error
	saveErr  error
	killed   func() // called before and after the effect of a save; may panic
}

func (s *store) Load(context.Context, string) ([]byte, string, error) {
	if s.loadErr != nil || s.content == nil {
		return nil, "", s.loadErr
	}
	return s.content, strconv.Itoa(s.revision), nil
}

func (s *store) Save(_ context.Context, _ string, content []byte, revision string) (string, error) {
	if s.killed != nil {
		s.killed()
		defer s.killed()
	}
	s.saves++
	if s.saveErr != nil {
		return "", s.saveErr
	}
	if have := s.revision; (have == 0) != (revision == "") || have != 0 && strconv.Itoa(have) != revision {
		return "", fmt.Errorf("saving: %w", model.ErrConflict)
	}
	s.revision++
	s.content = content
	return strconv.Itoa(s.revision), nil
}

func eventSource(log *provisioningLog, store poller.EventStore) poller.Source {
	return poller.Events(5*time.Minute, log.read, store, "corp", poller.Replica{ID: "a"}, slog.New(slog.DiscardHandler))
}

// bound is the snapshot of a connection that resolves to an application.
func boundSnapshot(connection, application string) model.Snapshot {
	return model.Snapshot{Connection: connection, Binding: model.Binding{ServicePrincipalID: application, JobID: "job"}}
}

// pollOnce reads once and returns the counters of each connection.
func pollOnce(t *testing.T, source poller.Source, of ...model.Snapshot) map[string]*model.EventCounts {
	t.Helper()
	counts, err := pollOnceErr(source, of...)
	if err != nil {
		t.Fatal(err)
	}
	return counts
}

func pollOnceErr(source poller.Source, of ...model.Snapshot) (map[string]*model.EventCounts, error) {
	result, err := source.Read(context.Background(), of)
	counts := make(map[string]*model.EventCounts)
	for _, snapshot := range of {
		result.Apply(&snapshot)
		counts[snapshot.Connection] = snapshot.Events
	}
	return counts, err
}

func total(counts *model.EventCounts) uint64 {
	var sum uint64
	if counts != nil {
		for _, count := range counts.Events {
			sum += count
		}
	}
	return sum
}

func TestEveryEntryIsCountedOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log, random := &provisioningLog{}, rand.New(rand.NewPCG(1, 2))
		source, own := eventSource(log, &store{}), uint64(0)
		for minute := range 24 * 60 {
			for range random.IntN(4) {
				application := "sp-1"
				if random.IntN(3) == 0 {
					application = "another application"
				} else {
					own++
				}
				log.add(fmt.Sprint("id", len(log.entries)), application, time.Duration(random.IntN(15))*time.Minute)
			}
			time.Sleep(time.Minute)
			if minute%5 == 0 {
				pollOnce(t, source, boundSnapshot("corp", "sp-1"))
			}
		}
		time.Sleep(15 * time.Minute)
		counts := pollOnce(t, source, boundSnapshot("corp", "sp-1"))
		if got := total(counts["corp"]); got != own || own < 1000 {
			t.Errorf("counted %d of %d", got, own)
		}
	})
}

func TestEntriesAreAssignedByBinding(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log, disk := &provisioningLog{}, &store{}
		source := eventSource(log, disk)
		log.add("1", "SP-1", 0)
		log.entries[0].JobID = "Job"
		log.add("2", "sp-2", 0)
		log.entries[1].JobID = "another job"
		time.Sleep(time.Minute)

		unresolved := model.Snapshot{Connection: "late"}
		counts := pollOnce(t, source, boundSnapshot("corp", "sp-1"), boundSnapshot("lab", "sp-2"), unresolved)
		if total(counts["corp"]) != 1 || total(counts["lab"]) != 0 || counts["lab"] == nil || counts["late"] != nil {
			t.Errorf("first poll: %v", counts)
		}

		// It resolves within the overlap, to the application whose entry was not counted.
		counts = pollOnce(t, source, boundSnapshot("corp", "sp-1"), boundSnapshot("lab", "sp-2"),
			model.Snapshot{Connection: "late", Binding: model.Binding{ServicePrincipalID: "sp-2"}})
		if total(counts["late"]) != 1 || total(counts["lab"]) != 0 {
			t.Errorf("after it resolved: %v", counts)
		}

		// A restart while one of them does not resolve: its entries are known still.
		log.add("3", "sp-1", 0)
		time.Sleep(time.Minute)
		source = eventSource(log, disk)
		counts = pollOnce(t, source, model.Snapshot{Connection: "corp"}, boundSnapshot("new", "sp-9"))
		if total(counts["corp"]) != 2 || counts["new"] == nil || total(counts["new"]) != 0 {
			t.Errorf("after a restart: %v", counts)
		}

		// Another application begins at zero; "lab" was removed and comes back at zero.
		counts = pollOnce(t, source, boundSnapshot("corp", "sp-8"), boundSnapshot("lab", "sp-2"))
		if total(counts["corp"]) != 0 || counts["corp"] == nil || total(counts["lab"]) != 0 {
			t.Errorf("another application: %v", counts)
		}

		// Two connections on one application are both counted.
		log.add("4", "sp-8", 0)
		time.Sleep(time.Minute)
		counts = pollOnce(t, source, boundSnapshot("corp", "sp-8"), boundSnapshot("twin", "sp-8"))
		if total(counts["corp"]) != 1 || total(counts["twin"]) != 1 {
			t.Errorf("two on one application: %v", counts)
		}
	})
}

func TestCountersByActionStatusAndError(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log := &provisioningLog{}
		rows := []struct{ action, status, category, code string }{
			{"create", "success", "success", ""},
			{"create", "failure", "failure", "InvalidUser"},
			{"create", "failure", "", ""},
			{"renamed", "failure", "failure", "InvalidUser\xff"},
			{"update", "skipped", "nonServiceFailure", "NotEffectivelyEntitled"},
			{"disable", "exploded", "", ""},
		}
		begin := time.Now()
		for i, row := range rows {
			log.add(strconv.Itoa(i), "sp-1", 0)
			event := &log.entries[i].Event
			event.Action, event.Status, event.ErrorCategory, event.ErrorCode = row.action, row.status, row.category, row.code
			time.Sleep(time.Second)
		}
		for i := range 30 {
			log.add(fmt.Sprint("code", i), "sp-1", 0)
			event := &log.entries[len(log.entries)-1].Event
			event.Status, event.ErrorCategory, event.ErrorCode = "failure", "failure", fmt.Sprintf("Code%02d", i)
		}
		// Not entries to count: without an id, without a time, from a far future.
		log.add("", "sp-1", 0)
		log.add("no time", "sp-1", 0)
		log.entries[len(log.entries)-1].At = time.Time{}
		log.add("future", "sp-1", 0)
		log.entries[len(log.entries)-1].At = begin.AddDate(70, 0, 0)
		time.Sleep(time.Minute)

		counts := pollOnce(t, eventSource(log, &store{}), boundSnapshot("corp", "sp-1"))["corp"]
		wantEvents := map[model.EventKey]uint64{
			{Action: "create", Status: "success"}: 1, {Action: "create", Status: "failure"}: 2 + 30, {Action: "other", Status: "failure"}: 1,
			{Action: "update", Status: "skipped"}: 1, {Action: "disable", Status: "unknown"}: 1,
		}
		if difference := cmp.Diff(wantEvents, counts.Events); difference != "" {
			t.Error(difference)
		}
		wantErrors := map[model.EventErrorKey]uint64{
			{Category: "failure", Code: "InvalidUser"}: 2, {Category: "unknown", Code: "unknown"}: 1, {Category: "other", Code: "other"}: 12,
		}
		for i := range 18 {
			wantErrors[model.EventErrorKey{Category: "failure", Code: fmt.Sprintf("Code%02d", i)}] = 1
		}
		if difference := cmp.Diff(wantErrors, counts.Errors); difference != "" {
			t.Error(difference)
		}
		wantLast := map[string]time.Time{
			"success": begin, "failure": begin.Add(6 * time.Second), "skipped": begin.Add(4 * time.Second), "unknown": begin.Add(5 * time.Second),
		}
		if difference := cmp.Diff(wantLast, counts.Last); difference != "" {
			t.Error(difference)
		}
	})
}

func TestFailedReadCountsNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log, disk := &provisioningLog{err: &model.Error{Reason: model.ReasonLicence, Op: "reading the provisioning log"}}, &store{}
		source := eventSource(log, disk)
		log.add("1", "sp-1", 0)
		time.Sleep(time.Minute)
		counts, err := pollOnceErr(source, boundSnapshot("corp", "sp-1"))
		if model.ReasonOf(err) != model.ReasonLicence || counts["corp"] != nil {
			t.Errorf("got %v, %v", counts["corp"], err)
		}
		log.err = nil
		if counts := pollOnce(t, source, boundSnapshot("corp", "sp-1")); total(counts["corp"]) != 1 {
			t.Errorf("then %v", counts["corp"])
		}
		// Known counters are shown after a restart although the log cannot be read.
		log.err = errors.New("down")
		counts, err = pollOnceErr(eventSource(log, disk), boundSnapshot("corp", "sp-1"))
		if err == nil || total(counts["corp"]) != 1 {
			t.Errorf("after a restart %v, %v", counts["corp"], err)
		}
	})
}

func TestEntryOfTheFutureDoesNotStopReading(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log, disk := &provisioningLog{}, &store{}
		source := eventSource(log, disk)
		log.add("ahead", "sp-1", 0)
		log.entries[0].At = time.Now().Add(3 * 24 * time.Hour)
		for i := range 10 {
			log.add(strconv.Itoa(i), "sp-1", 0)
			time.Sleep(5 * time.Minute)
			if counts := pollOnce(t, source, boundSnapshot("corp", "sp-1")); total(counts["corp"]) != uint64(i+2) {
				t.Errorf("poll %d: %v", i, counts["corp"])
			}
		}
		time.Sleep(4 * 24 * time.Hour)
		if counts := pollOnce(t, source, boundSnapshot("corp", "sp-1")); total(counts["corp"]) != 11 {
			t.Errorf("when its time has come: %v", counts["corp"])
		}
	})
}

func TestPublishedCountersNeverChange(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log := &provisioningLog{}
		source := eventSource(log, &store{})
		log.add("1", "sp-1", 0)
		time.Sleep(time.Minute)
		held := pollOnce(t, source, boundSnapshot("corp", "sp-1"))["corp"]
		log.add("2", "sp-1", 0)
		time.Sleep(time.Minute)
		if now := pollOnce(t, source, boundSnapshot("corp", "sp-1"))["corp"]; total(now) != 2 || total(held) != 1 {
			t.Errorf("held %d, now %d", total(held), total(now))
		}
	})
}

func TestTenantsAreCountedSeparately(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		logs := []*provisioningLog{{}, {}}
		var options poller.Options
		for i, log := range logs {
			name := fmt.Sprint("t", i)
			options.Connections = append(options.Connections, poller.Connection{Name: name, Tenant: name, Binding: model.Binding{ServicePrincipalID: "sp"}})
			options.Tenants = append(options.Tenants, poller.Tenant{Name: name, Sources: []poller.Source{eventSource(log, &store{})}})
			for n := range 3 * (i + 1) {
				log.add(strconv.Itoa(n), "sp", 0)
			}
		}
		p, stop := start(t, options, nil)
		defer stop()
		advance(time.Minute)
		got := make(map[string]uint64)
		for _, snapshot := range p.Snapshots() {
			got[snapshot.Connection] = total(snapshot.Events)
		}
		if !maps.Equal(got, map[string]uint64{"t0": 3, "t1": 6}) || logs[0].windows != 1 {
			t.Errorf("counted %v in %d windows", got, logs[0].windows)
		}
	})
}

// TestLogInSmallPages reads 2,000 entries of two hours, of which a poll can read 140. After
// a crash, the next process continues.
func TestLogInSmallPages(t *testing.T) {
	for name, refusesSecondPage := range map[string]bool{"slow": false, "second page refused": true} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				log, disk := &provisioningLog{}, &store{}
				pollOnce(t, eventSource(log, disk), boundSnapshot("corp", "sp-1"))
				const entries = 2000
				for n := range entries {
					time.Sleep(2 * time.Hour / entries)
					log.add(strconv.Itoa(n), "sp-1", 0)
				}
				refused := &model.Error{Reason: model.ReasonOther, Op: "reading the provisioning log", Detail: "400 BadRequest"}
				read := func(ctx context.Context, after, before time.Time, visit func(model.Event) error) error {
					left := 140
					stop := errors.New("page")
					err := log.read(ctx, after, before, func(event model.Event) error {
						if left--; left < 0 {
							return stop
						}
						return visit(event)
					})
					switch {
					case !errors.Is(err, stop):
						return err
					case refusesSecondPage:
						return refused
					}
					<-ctx.Done()
					return &model.Error{Reason: model.ReasonThrottled, Op: "reading the provisioning log", Err: ctx.Err()}
				}
				var source poller.Source
				for polls, counted := 1, uint64(0); counted < entries; polls++ {
					if polls == 1 || polls == 6 {
						source = poller.Events(5*time.Minute, read, disk, "corp", poller.Replica{ID: "a"}, slog.New(slog.DiscardHandler))
					}
					ctx, cancel := context.WithTimeout(t.Context(), source.Timeout)
					result, err := source.Read(ctx, []model.Snapshot{boundSnapshot("corp", "sp-1")})
					cancel()
					snapshot := model.Snapshot{Connection: "corp"}
					result.Apply(&snapshot)
					now := total(snapshot.Events)
					if now < counted || polls > 60 {
						t.Fatalf("poll %d: %d entries counted after %d: %v", polls, now, counted, err)
					}
					if counted = now; counted > entries {
						t.Fatalf("counted %d of %d", counted, entries)
					}
				}
			})
		})
	}
}
