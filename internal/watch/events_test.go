package watch_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"entra-aws-exporter/internal/bridge"
	"entra-aws-exporter/internal/watch"
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
	bridge.Event
	appears time.Time
}

func (l *provisioningLog) add(id, application string, late time.Duration) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.entries = append(l.entries, entry{
		Event: bridge.Event{
			ID: id, At: time.Now(), ServicePrincipalID: application, JobID: "job", Action: "create", Status: "success",
		},
		appears: time.Now().Add(late),
	})
}

func (l *provisioningLog) read(_ context.Context, after, before time.Time, visit func(bridge.Event) error) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.windows++
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
		return "", fmt.Errorf("saving: %w", bridge.ErrConflict)
	}
	s.revision++
	s.content = content
	return strconv.Itoa(s.revision), nil
}

func eventSource(log *provisioningLog, store watch.EventStore) watch.Source {
	return watch.Events(5*time.Minute, log.read, store, "corp", slog.New(slog.DiscardHandler))
}

// bound is the snapshot of a connection that resolves to an application.
func bound(connection, application string) bridge.Snapshot {
	return bridge.Snapshot{Connection: connection, Binding: bridge.Binding{ServicePrincipalID: application, JobID: "job"}}
}

// look reads once and returns the counters of each connection.
func look(t *testing.T, source watch.Source, of ...bridge.Snapshot) map[string]*bridge.EventCounts {
	t.Helper()
	counts, err := lookErr(source, of...)
	if err != nil {
		t.Fatal(err)
	}
	return counts
}

func lookErr(source watch.Source, of ...bridge.Snapshot) (map[string]*bridge.EventCounts, error) {
	reading, err := source.Read(context.Background(), of)
	counts := make(map[string]*bridge.EventCounts)
	for _, snapshot := range of {
		reading.Put(&snapshot)
		counts[snapshot.Connection] = snapshot.Events
	}
	return counts, err
}

func total(counts *bridge.EventCounts) uint64 {
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
					application = "somebody else's"
				} else {
					own++
				}
				log.add(fmt.Sprint("id", len(log.entries)), application, time.Duration(random.IntN(15))*time.Minute)
			}
			time.Sleep(time.Minute)
			if minute%5 == 0 {
				look(t, source, bound("corp", "sp-1"))
			}
		}
		time.Sleep(15 * time.Minute)
		counts := look(t, source, bound("corp", "sp-1"))
		if got := total(counts["corp"]); got != own || own < 1000 {
			t.Errorf("counted %d of %d", got, own)
		}
	})
}

// TestKilledAtAnyMoment kills the reading at random calls: between two entries,
// before a save, after a save took effect. Whatever happens, each entry is counted
// exactly once in the end.
func TestKilledAtAnyMoment(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const runs = 300
		kills := make(map[string]int)
		for run := range runs {
			random := rand.New(rand.NewPCG(7, uint64(run)))
			log, disk := &provisioningLog{}, &store{}
			killAt := func(where string, oneIn int) func() {
				return func() {
					if random.IntN(oneIn) == 0 {
						kills[where]++
						panic("kill -9")
					}
				}
			}
			source := eventSource(log, disk)
			attempt := func() (survived bool) {
				defer func() {
					if recover() != nil {
						source = eventSource(log, disk) // a new process
					}
				}()
				look(t, source, bound("corp", "sp-1"))
				return true
			}
			for range 60 {
				log.killed, disk.killed = killAt("reading", 200), killAt("saving", 6)
				for range random.IntN(8) {
					log.add(fmt.Sprint(run, "/", len(log.entries)), "sp-1", time.Duration(random.IntN(10))*time.Minute)
					time.Sleep(time.Second)
				}
				time.Sleep(5 * time.Minute)
				attempt()
			}
			time.Sleep(10 * time.Minute)
			log.killed, disk.killed = nil, nil
			if got := total(look(t, source, bound("corp", "sp-1"))["corp"]); got != uint64(len(log.entries)) {
				t.Fatalf("run %d: counted %d of %d", run, got, len(log.entries))
			}
		}
		t.Logf("%d runs, killed %v", runs, kills)
		if kills["reading"] < runs || kills["saving"] < runs {
			t.Errorf("only killed %v", kills)
		}
	})
}

func TestAMillionEntriesDoNotGrowMemory(t *testing.T) {
	for order, entries := range map[string]int{"oldest first": 1_000_000, "newest first": 300_000} {
		const perPage = 1000
		t.Run(order, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				disk := &store{}
				look(t, eventSource(&provisioningLog{}, disk), bound("corp", "sp-1"))
				begin := time.Now()
				time.Sleep(24 * time.Hour)

				floor, most := liveHeap(), uint64(0)
				source := watch.Events(5*time.Minute, func(_ context.Context, _, _ time.Time, visit func(bridge.Event) error) error {
					for page := range entries / perPage {
						for i := range perPage {
							n := page*perPage + i
							if order == "newest first" {
								n = entries - 1 - n
							}
							err := visit(bridge.Event{
								ID: fmt.Sprintf("%08d-0000-0000-0000-000000000000", n), At: begin.Add(time.Duration(n+1) * 80 * time.Millisecond),
								ServicePrincipalID: "sp-1", Action: "update", Status: "failure", ErrorCategory: "failure", ErrorCode: fmt.Sprint("code", n%1000),
							})
							if err != nil {
								return err
							}
						}
						if page%100 == 99 {
							most = max(most, liveHeap())
						}
					}
					return nil
				}, disk, "corp", slog.New(slog.DiscardHandler))
				counts := look(t, source, bound("corp", "sp-1"))
				if got := total(counts["corp"]); got != uint64(entries) {
					t.Errorf("counted %d of %d", got, entries)
				}
				if grown := int64(most) - int64(floor); grown > 4<<20 {
					t.Errorf("%d bytes live while reading, beyond those before", grown)
				} else {
					t.Logf("%d KiB live while reading, record of %d KiB", grown>>10, len(disk.content)>>10)
				}
				if codes := len(counts["corp"].Errors); codes != 21 {
					t.Errorf("%d error codes", codes)
				}
			})
		})
	}
}

// TestMoreThanADeadlineHolds reads a long backlog through a service that gives 500
// entries a second at most: each look gets further, nothing is lost or doubled.
func TestMoreThanADeadlineHolds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		disk, empty := &store{}, &provisioningLog{}
		look(t, eventSource(empty, disk), bound("corp", "sp-1"))
		const backlog = 400_000
		begin := time.Now()
		time.Sleep(72 * time.Hour)
		apart := 72 * time.Hour / backlog
		source := watch.Events(5*time.Minute, func(ctx context.Context, after, before time.Time, visit func(bridge.Event) error) error {
			from := max(0, int(after.Sub(begin)/apart))
			for n := from; n < backlog; n++ {
				if n%1000 == 0 {
					select {
					case <-time.After(2 * time.Second):
					case <-ctx.Done():
						return ctx.Err()
					}
				}
				at := begin.Add(time.Duration(n) * apart)
				if !at.Before(before) {
					break
				}
				if err := visit(bridge.Event{ID: strconv.Itoa(n), At: at, ServicePrincipalID: "sp-1", Action: "create", Status: "success"}); err != nil {
					return err
				}
			}
			return nil
		}, disk, "corp", slog.New(slog.DiscardHandler))

		looks, counted := 0, uint64(0)
		for err := context.DeadlineExceeded; err != nil; looks++ {
			ctx, cancel := context.WithTimeout(t.Context(), source.Deadline)
			var reading watch.Reading
			reading, err = source.Read(ctx, []bridge.Snapshot{bound("corp", "sp-1")})
			cancel()
			snapshot := bridge.Snapshot{Connection: "corp"}
			reading.Put(&snapshot)
			if now := total(snapshot.Events); now < counted {
				t.Fatalf("the counter fell from %d to %d", counted, now)
			} else {
				counted = now
			}
			if looks > 20 {
				t.Fatalf("no end after %d looks, %d counted: %v", looks, counted, err)
			}
		}
		if counted != backlog {
			t.Errorf("counted %d of %d in %d looks", counted, backlog, looks)
		}
		t.Logf("%d entries in %d looks", backlog, looks)
	})
}

func TestWhoseEntryItIs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log, disk := &provisioningLog{}, &store{}
		source := eventSource(log, disk)
		log.add("1", "SP-1", 0)
		log.entries[0].JobID = "Job"
		log.add("2", "sp-2", 0)
		log.entries[1].JobID = "another job"
		time.Sleep(time.Minute)

		unresolved := bridge.Snapshot{Connection: "late"}
		counts := look(t, source, bound("corp", "sp-1"), bound("lab", "sp-2"), unresolved)
		if total(counts["corp"]) != 1 || total(counts["lab"]) != 0 || counts["lab"] == nil || counts["late"] != nil {
			t.Errorf("first reading: %v", counts)
		}

		// It resolves within the overlap, to the application whose entry nobody counted.
		counts = look(t, source, bound("corp", "sp-1"), bound("lab", "sp-2"),
			bridge.Snapshot{Connection: "late", Binding: bridge.Binding{ServicePrincipalID: "sp-2"}})
		if total(counts["late"]) != 1 || total(counts["lab"]) != 0 {
			t.Errorf("after it resolved: %v", counts)
		}

		// A restart while one of them does not resolve: its entries are known still.
		log.add("3", "sp-1", 0)
		time.Sleep(time.Minute)
		source = eventSource(log, disk)
		counts = look(t, source, bridge.Snapshot{Connection: "corp"}, bound("new", "sp-9"))
		if total(counts["corp"]) != 2 || counts["new"] == nil || total(counts["new"]) != 0 {
			t.Errorf("after a restart: %v", counts)
		}

		// Another application begins at zero; "lab" was removed and comes back at zero.
		counts = look(t, source, bound("corp", "sp-8"), bound("lab", "sp-2"))
		if total(counts["corp"]) != 0 || counts["corp"] == nil || total(counts["lab"]) != 0 {
			t.Errorf("another application: %v", counts)
		}

		// Two connections on one application both keep reading.
		log.add("4", "sp-8", 0)
		time.Sleep(time.Minute)
		counts = look(t, source, bound("corp", "sp-8"), bound("twin", "sp-8"))
		if total(counts["corp"]) != 1 || total(counts["twin"]) != 1 {
			t.Errorf("two on one application: %v", counts)
		}
	})
}

func TestWhatIsCounted(t *testing.T) {
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

		counts := look(t, eventSource(log, &store{}), bound("corp", "sp-1"))["corp"]
		wantEvents := map[bridge.EventKey]uint64{
			{Action: "create", Status: "success"}: 1, {Action: "create", Status: "failure"}: 2 + 30, {Action: "other", Status: "failure"}: 1,
			{Action: "update", Status: "skipped"}: 1, {Action: "disable", Status: "unknown"}: 1,
		}
		if difference := cmp.Diff(wantEvents, counts.Events); difference != "" {
			t.Error(difference)
		}
		wantErrors := map[bridge.EventErrorKey]uint64{
			{Category: "failure", Code: "InvalidUser"}: 2, {Category: "unknown", Code: "unknown"}: 1, {Category: "other", Code: "other"}: 12,
		}
		for i := range 18 {
			wantErrors[bridge.EventErrorKey{Category: "failure", Code: fmt.Sprintf("Code%02d", i)}] = 1
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

func TestAReadingThatFailsCountsNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log, disk := &provisioningLog{err: &bridge.Error{Reason: bridge.ReasonLicence, Op: "reading the provisioning log"}}, &store{}
		source := eventSource(log, disk)
		log.add("1", "sp-1", 0)
		time.Sleep(time.Minute)
		counts, err := lookErr(source, bound("corp", "sp-1"))
		if bridge.ReasonOf(err) != bridge.ReasonLicence || counts["corp"] != nil {
			t.Errorf("got %v, %v", counts["corp"], err)
		}
		log.err = nil
		if counts := look(t, source, bound("corp", "sp-1")); total(counts["corp"]) != 1 {
			t.Errorf("then %v", counts["corp"])
		}
		// Known counters are shown after a restart although the log cannot be read.
		log.err = errors.New("down")
		counts, err = lookErr(eventSource(log, disk), bound("corp", "sp-1"))
		if err == nil || total(counts["corp"]) != 1 {
			t.Errorf("after a restart %v, %v", counts["corp"], err)
		}
	})
}

func TestAnEntryOfTheFutureDoesNotEndTheReading(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log, disk := &provisioningLog{}, &store{}
		source := eventSource(log, disk)
		log.add("ahead", "sp-1", 0)
		log.entries[0].At = time.Now().Add(3 * 24 * time.Hour)
		for i := range 10 {
			log.add(strconv.Itoa(i), "sp-1", 0)
			time.Sleep(5 * time.Minute)
			if counts := look(t, source, bound("corp", "sp-1")); total(counts["corp"]) != uint64(i+2) {
				t.Errorf("look %d: %v", i, counts["corp"])
			}
		}
		time.Sleep(4 * 24 * time.Hour)
		if counts := look(t, source, bound("corp", "sp-1")); total(counts["corp"]) != 11 {
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
		held := look(t, source, bound("corp", "sp-1"))["corp"]
		log.add("2", "sp-1", 0)
		time.Sleep(time.Minute)
		if now := look(t, source, bound("corp", "sp-1"))["corp"]; total(now) != 2 || total(held) != 1 {
			t.Errorf("held %d, now %d", total(held), total(now))
		}
	})
}

func TestStateThatCannotBeUsed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for name, test := range map[string]struct {
			store   watch.EventStore
			warning string
		}{
			"none":    {nil, "there is no state directory"},
			"corrupt": {&store{loadErr: fmt.Errorf("reading corp: %w", bridge.ErrUnreadable)}, "reading corp: unreadable"},
			"foreign": {&store{content: []byte("[]"), revision: 1}, "not a record of provisioning events: json: cannot unmarshal array"},
			"newer":   {&store{content: []byte(`{"schema":2}`), revision: 1}, "record of provisioning events has schema 2, this version reads 1"},
			"empty":   {&store{content: []byte(`{"schema":1}`), revision: 1}, "record of provisioning events does not say up to where it counted"},
			"future":  {&store{content: []byte(`{"schema":1,"newest":"2222-01-01T00:00:00Z"}`), revision: 1}, "its newest entry is of 2222-01-01T00:00:00Z, far in the future"},
		} {
			var before []byte
			disk, _ := test.store.(*store)
			if disk != nil {
				before = slices.Clone(disk.content)
			}
			log, book := &provisioningLog{}, &logbook{}
			source := watch.Events(5*time.Minute, log.read, test.store, "events/corp", book.logger(slog.LevelInfo))
			for i := range 3 {
				log.add(strconv.Itoa(i), "sp-1", 0)
				time.Sleep(time.Minute)
				if counts := look(t, source, bound("corp", "sp-1")); total(counts["corp"]) != uint64(i+1) {
					t.Errorf("%s: %v", name, counts["corp"])
				}
			}
			if lines := book.String(); strings.Count(lines, "\n") != 1 || !strings.Contains(lines, test.warning) || !strings.Contains(lines, "memory only") {
				t.Errorf("%s: one warning that says %q is wanted, got\n%s", name, test.warning, lines)
			}
			if disk != nil && (disk.saves != 0 || !bytes.Equal(disk.content, before)) {
				t.Errorf("%s: the record was overwritten", name)
			}
		}
	})
}

func TestAFullDiskLosesNothingMeanwhile(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log, disk, book := &provisioningLog{}, &store{saveErr: errors.New("no space left on device")}, &logbook{}
		source := watch.Events(5*time.Minute, log.read, disk, "corp", book.logger(slog.LevelInfo))
		for i := range 4 {
			log.add(strconv.Itoa(i), "sp-1", 0)
			time.Sleep(time.Minute)
			if i == 3 {
				disk.saveErr = nil
			}
			if counts := look(t, source, bound("corp", "sp-1")); total(counts["corp"]) != uint64(i+1) {
				t.Errorf("look %d: %v", i, counts["corp"])
			}
		}
		if counts := look(t, eventSource(log, disk), bound("corp", "sp-1")); total(counts["corp"]) != 4 {
			t.Errorf("after a restart: %v", counts["corp"])
		}
		if lines := book.String(); strings.Count(lines, "\n") != 2 || !strings.Contains(lines, "works again") {
			t.Errorf("one warning and one recovery are wanted, got\n%s", lines)
		}
	})
}

func TestTwoWritersOfOneRecord(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log, disk := &provisioningLog{}, &store{}
		a, b := eventSource(log, disk), eventSource(log, disk)
		for i := range 10 {
			log.add(strconv.Itoa(i), "sp-1", 0)
			time.Sleep(time.Minute)
			for _, source := range []watch.Source{a, b} {
				if counts := look(t, source, bound("corp", "sp-1")); total(counts["corp"]) != uint64(i+1) {
					t.Errorf("after %d entries: %v", i+1, counts["corp"])
				}
			}
		}
		disk.saveErr = bridge.ErrConflict
		_, err := lookErr(a, bound("corp", "sp-1"))
		want := "saving the counters of the provisioning log: other: another process writes the same record (give each exporter a state.directory of its own)"
		if err == nil || err.Error() != want {
			t.Errorf("got %v", err)
		}
	})
}

func TestCountersInMemorySurviveAReload(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for name, disk := range map[string]watch.EventStore{"no store": nil, "full disk": &store{saveErr: errors.New("full")}, "good": &store{}} {
			log, sp := &provisioningLog{}, bridge.Binding{ServicePrincipalID: "sp-1"}
			options := func() watch.Options {
				return watch.Options{
					Connections: []watch.Connection{{Name: "corp", Tenant: "t", Binding: sp}},
					Tenants:     []watch.Tenant{{Name: "t", Sources: []watch.Source{eventSource(log, disk)}}},
				}
			}
			w, stop := start(t, options(), nil)
			for i := range 5 {
				log.add(strconv.Itoa(i), "sp-1", 0)
				after(6 * time.Minute)
				if got := total(w.Snapshots()[0].Events); got != uint64(i+1) {
					t.Errorf("%s: after reload %d: %d", name, i, got)
				}
				stop()
				w, stop = start(t, options(), w)
				if got := total(w.Snapshots()[0].Events); got != uint64(i+1) {
					t.Errorf("%s: reload %d begins with %d", name, i, got)
				}
			}
			stop()
		}
	})
}

func TestTenantsAreCountedApart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		logs := []*provisioningLog{{}, {}}
		var options watch.Options
		for i, log := range logs {
			name := fmt.Sprint("t", i)
			options.Connections = append(options.Connections, watch.Connection{Name: name, Tenant: name, Binding: bridge.Binding{ServicePrincipalID: "sp"}})
			options.Tenants = append(options.Tenants, watch.Tenant{Name: name, Sources: []watch.Source{eventSource(log, &store{})}})
			for n := range 3 * (i + 1) {
				log.add(strconv.Itoa(n), "sp", 0)
			}
		}
		w, stop := start(t, options, nil)
		defer stop()
		after(time.Minute)
		got := make(map[string]uint64)
		for _, snapshot := range w.Snapshots() {
			got[snapshot.Connection] = total(snapshot.Events)
		}
		if !maps.Equal(got, map[string]uint64{"t0": 3, "t1": 6}) || logs[0].windows != 1 {
			t.Errorf("counted %v in %d windows", got, logs[0].windows)
		}
	})
}
