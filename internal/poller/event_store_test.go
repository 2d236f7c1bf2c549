package poller_test

import (
	"bytes"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"entra-aws-exporter/internal/model"
	"entra-aws-exporter/internal/poller"
)

// TestKilledAtAnyMoment kills the process at random calls: between two entries,
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
			pollOnce(t, source, boundSnapshot("corp", "sp-1")) // counting has begun
			attempt := func() (survived bool) {
				defer func() {
					if recover() != nil {
						source = eventSource(log, disk) // a new process
					}
				}()
				pollOnce(t, source, boundSnapshot("corp", "sp-1"))
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
			if got := total(pollOnce(t, source, boundSnapshot("corp", "sp-1"))["corp"]); got != uint64(len(log.entries)) {
				t.Fatalf("run %d: counted %d of %d", run, got, len(log.entries))
			}
		}
		t.Logf("%d runs, killed %v", runs, kills)
		if kills["reading"] < runs || kills["saving"] < runs {
			t.Errorf("only killed %v", kills)
		}
	})
}

func TestUnusableRecordIsNotOverwritten(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for name, test := range map[string]struct {
			store   poller.EventStore
			warning string
		}{
			"none":    {nil, "there is no state directory"},
			"corrupt": {&store{loadErr: fmt.Errorf("reading corp: %w", model.ErrUnreadable)}, "reading corp: unreadable"},
			"foreign": {&store{content: []byte("[]"), revision: 1}, "not a record of event counters: json: cannot unmarshal array"},
			"newer":   {&store{content: []byte(`{"schema":2}`), revision: 1}, "record of event counters has schema 2, this version reads 1"},
			"empty":   {&store{content: []byte(`{"schema":1}`), revision: 1}, "record of event counters does not say up to where it counted"},
			"future":  {&store{content: []byte(`{"schema":1,"newest":"2222-01-01T00:00:00Z"}`), revision: 1}, "its newest entry is of 2222-01-01T00:00:00Z, far in the future"},
		} {
			var before []byte
			disk, _ := test.store.(*store)
			if disk != nil {
				before = slices.Clone(disk.content)
			}
			log, logs := &provisioningLog{}, &logBuffer{}
			source := poller.Events(5*time.Minute, log.read, test.store, "events/corp", poller.Replica{ID: "a"}, logs.logger(slog.LevelInfo))
			for i := range 3 {
				log.add(strconv.Itoa(i), "sp-1", 0)
				time.Sleep(time.Minute)
				if counts := pollOnce(t, source, boundSnapshot("corp", "sp-1")); total(counts["corp"]) != uint64(i+1) {
					t.Errorf("%s: %v", name, counts["corp"])
				}
			}
			if lines := logs.String(); strings.Count(lines, "\n") != 1 || !strings.Contains(lines, test.warning) || !strings.Contains(lines, `msg="event counters are not persisted"`) {
				t.Errorf("%s: one warning that says %q is wanted, got\n%s", name, test.warning, lines)
			}
			if disk != nil && (disk.saves != 0 || !bytes.Equal(disk.content, before)) {
				t.Errorf("%s: the record was overwritten", name)
			}
		}
	})
}

func TestFullDiskLosesNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log, disk, logs := &provisioningLog{}, &store{saveErr: errors.New("no space left on device")}, &logBuffer{}
		source := poller.Events(5*time.Minute, log.read, disk, "corp", poller.Replica{ID: "a"}, logs.logger(slog.LevelInfo))
		for i := range 5 {
			log.add(strconv.Itoa(i), "sp-1", 0)
			time.Sleep(time.Minute)
			if i == 3 {
				disk.saveErr = nil
			}
			if counts := pollOnce(t, source, boundSnapshot("corp", "sp-1")); total(counts["corp"]) != uint64(i+1) {
				t.Errorf("poll %d: %v", i, counts["corp"])
			}
		}
		if counts := pollOnce(t, eventSource(log, disk), boundSnapshot("corp", "sp-1")); total(counts["corp"]) != 5 {
			t.Errorf("after a restart: %v", counts["corp"])
		}
		if lines := logs.String(); strings.Count(lines, "\n") != 2 || !strings.Contains(lines, `msg="event counters saved again"`) {
			t.Errorf("one warning and one recovery are wanted, got\n%s", lines)
		}
	})
}

// TestWriterWithoutClaim: an older version writes the record, whoever reads by the claim.
func TestWriterWithoutClaim(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log, disk, logs := &provisioningLog{}, &store{}, &logBuffer{}
		source := poller.Events(5*time.Minute, log.read, disk, "corp", poller.Replica{ID: "a"}, logs.logger(slog.LevelInfo))
		pollOnce(t, source, boundSnapshot("corp", "sp-1"))
		disk.saveErr = model.ErrConflict
		for i := range 3 { // the source is not down for it
			log.add(strconv.Itoa(i), "sp-1", 0)
			if counts := pollOnce(t, source, boundSnapshot("corp", "sp-1")); total(counts["corp"]) != uint64(i+1) {
				t.Errorf("got %v", counts["corp"])
			}
		}
		const want = "another process writes the same record, although this one reads the log (run the same version everywhere)"
		if lines := logs.String(); strings.Count(lines, want) != 1 || strings.Count(lines, "\n") != 1 {
			t.Errorf("it does not say once why:\n%s", lines)
		}
	})
}

func TestCountersInMemorySurviveAReload(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for name, disk := range map[string]poller.EventStore{"no store": nil, "full disk": &store{saveErr: errors.New("full")}, "good": &store{}} {
			log, sp := &provisioningLog{}, model.Binding{ServicePrincipalID: "sp-1"}
			options := func() poller.Options {
				return poller.Options{
					Connections: []poller.Connection{{Name: "corp", Tenant: "t", Binding: sp}},
					Tenants:     []poller.Tenant{{Name: "t", Sources: []poller.Source{eventSource(log, disk)}}},
				}
			}
			p, stop := start(t, options(), nil)
			for i := range 5 {
				log.add(strconv.Itoa(i), "sp-1", 0)
				advance(6 * time.Minute)
				if got := total(p.Snapshots()[0].Events); got != uint64(i+1) {
					t.Errorf("%s: after reload %d: %d", name, i, got)
				}
				stop()
				p, stop = start(t, options(), p)
				if got := total(p.Snapshots()[0].Events); got != uint64(i+1) {
					t.Errorf("%s: reload %d begins with %d", name, i, got)
				}
			}
			stop()
		}
	})
}
