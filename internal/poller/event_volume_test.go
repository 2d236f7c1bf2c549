package poller_test

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"entra-aws-exporter/internal/model"
	"entra-aws-exporter/internal/poller"
	"entra-aws-exporter/internal/state/shared"
	"entra-aws-exporter/internal/state/statetest"
)

func TestManyEntriesDoNotGrowMemory(t *testing.T) {
	for order, entries := range map[string]int{"oldest first": 1_000_000, "newest first": 300_000} {
		const perPage = 1000
		t.Run(order, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				disk := &store{}
				pollOnce(t, eventSource(&provisioningLog{}, disk), boundSnapshot("corp", "sp-1"))
				begin := time.Now()
				time.Sleep(24 * time.Hour)

				floor, most := liveHeap(), uint64(0)
				source := poller.Events(5*time.Minute, func(_ context.Context, _, _ time.Time, visit func(model.Event) error) error {
					for page := range entries / perPage {
						for i := range perPage {
							n := page*perPage + i
							if order == "newest first" {
								n = entries - 1 - n
							}
							err := visit(model.Event{
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
				}, disk, "corp", poller.Replica{ID: "a"}, slog.New(slog.DiscardHandler))
				counts := pollOnce(t, source, boundSnapshot("corp", "sp-1"))
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

// TestBacklogLongerThanOneTimeout reads a long backlog through a service that gives 500
// entries a second at most: each poll gets further, nothing is lost or doubled. In a
// burst more entries lie within the overlap than a poll can read.
func TestBacklogLongerThanOneTimeout(t *testing.T) {
	for name, within := range map[string]time.Duration{"in three days": 72 * time.Hour, "in a burst": 20 * time.Minute} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { pollUntilRead(t, within) })
		})
	}
}

func pollUntilRead(t *testing.T, within time.Duration) {
	disk, empty := &store{}, &provisioningLog{}
	pollOnce(t, eventSource(empty, disk), boundSnapshot("corp", "sp-1"))
	const backlog = 400_000
	begin := time.Now()
	time.Sleep(within + time.Hour)
	apart := within / backlog
	source := poller.Events(5*time.Minute, func(ctx context.Context, after, before time.Time, visit func(model.Event) error) error {
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
			if err := visit(model.Event{ID: strconv.Itoa(n), At: at, ServicePrincipalID: "sp-1", Action: "create", Status: "success"}); err != nil {
				return err
			}
		}
		return nil
	}, disk, "corp", poller.Replica{ID: "a"}, slog.New(slog.DiscardHandler))

	reads, counted := 0, uint64(0)
	for err := context.DeadlineExceeded; err != nil; reads++ {
		ctx, cancel := context.WithTimeout(t.Context(), source.Timeout)
		var result poller.Result
		result, err = source.Read(ctx, []model.Snapshot{boundSnapshot("corp", "sp-1")})
		cancel()
		snapshot := model.Snapshot{Connection: "corp"}
		result.Apply(&snapshot)
		if now := total(snapshot.Events); now < counted {
			t.Fatalf("the counter fell from %d to %d", counted, now)
		} else {
			counted = now
		}
		if reads > 20 {
			t.Fatalf("no end after %d reads, %d counted: %v", reads, counted, err)
		}
	}
	if counted != backlog {
		t.Errorf("counted %d of %d in %d reads", counted, backlog, reads)
	}
	t.Logf("%d entries in %d reads", backlog, reads)
}

// TestLargestRecord floods the log with entries that appear late, and restarts the exporter
// meanwhile. The record always has room in an item of DynamoDB: the overlap is shorter. No
// entry is counted twice, and none is missed that comes within the overlap.
func TestLargestRecord(t *testing.T) {
	for name, c := range map[string]flood{
		"many entries of many connections": {perSecond: 20, minutes: 25, connections: 50, latest: 5, warnings: 2},
		"later than the overlap":           {perSecond: 100, minutes: 15, connections: 1, latest: 19, missed: true, warnings: 2},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, c.poll)
		})
	}
}

type flood struct {
	perSecond, minutes, connections int
	latest                          int  // so many minutes after its time an entry may appear
	missed                          bool // an entry is
	warnings                        int  // one of each process that shortens the overlap
}

func (f flood) poll(t *testing.T) {
	disk, begin := &store{}, time.Now()
	of := make([]model.Snapshot, f.connections)
	for i := range of {
		of[i] = boundSnapshot(fmt.Sprint("corp", i), fmt.Sprint("sp-", i))
	}
	happened := f.minutes * 60 * f.perSecond
	apart := time.Second / time.Duration(f.perSecond)
	read := func(_ context.Context, after, before time.Time, visit func(model.Event) error) error {
		for n := max(0, int(after.Sub(begin)/apart)); n < happened; n++ {
			at := begin.Add(time.Duration(n) * apart)
			if !at.Before(before) {
				break
			}
			if appears := at.Add(time.Duration(n%(f.latest+1)) * time.Minute); appears.After(time.Now()) {
				continue
			}
			err := visit(model.Event{
				ID: strconv.Itoa(n), At: at, ServicePrincipalID: fmt.Sprint("sp-", n%f.connections), Action: model.EventActions()[n%5],
				Status: "failure", ErrorCategory: strings.Repeat("c", 100), ErrorCode: fmt.Sprintf("%0100d", n%1999),
			})
			if err != nil {
				return err
			}
		}
		return nil
	}
	var lines bytes.Buffer
	var source poller.Source
	largest := 0
	for poll := range (f.minutes+f.latest)/5 + 1 {
		if poll%3 == 0 { // a new process
			source = poller.Events(5*time.Minute, read, disk, "corp", poller.Replica{ID: "a"}, slog.New(slog.NewTextHandler(&lines, nil)))
		}
		pollOnce(t, source, of...)
		largest = max(largest, len(disk.content))
		time.Sleep(5 * time.Minute)
	}
	counted := 0
	for _, counts := range pollOnce(t, source, of...) {
		counted += int(total(counts))
	}
	if counted > happened || (counted < happened) != f.missed {
		t.Errorf("counted %d of %d", counted, happened)
	}
	if largest > statetest.LargestRecord {
		t.Errorf("the record has %d bytes", largest)
	}
	if warnings := strings.Count(lines.String(), "event overlap shortened"); warnings != f.warnings || strings.Contains(lines.String(), "failed") {
		t.Errorf("%s", lines.String())
	}
	t.Logf("counted %d of %d, a record of %d KiB at most", counted, happened, largest>>10)
}

// TestRecordOfAFullMinute: of the minute that is being read no id is forgotten. Until the
// record is shorter again, the entries are counted in memory.
func TestRecordOfAFullMinute(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		disk, log := shared.New(statetest.NewTable(), statetest.NewSecrets(), shared.Options{Place: "the table"}), &provisioningLog{}
		var lines bytes.Buffer
		time.Sleep(30 * time.Second) // the next read begins in the minute of the entries
		source := poller.Events(5*time.Minute, log.read, disk.Events(), "corp", poller.Replica{ID: "a"}, slog.New(slog.NewTextHandler(&lines, nil)))
		for n := range 40_000 {
			log.add(strconv.Itoa(n), "sp-1", 0)
		}
		for range 2 {
			if counted := total(pollOnce(t, source, boundSnapshot("corp", "sp-1"))["corp"]); counted != uint64(len(log.entries)) {
				t.Errorf("counted %d of %d", counted, len(log.entries))
			}
		}
		if !strings.Contains(lines.String(), "an item has room for 407552") || strings.Count(lines.String(), "\n") != 1 {
			t.Errorf("%s", lines.String())
		}
		time.Sleep(5 * time.Minute)
		log.add("the next", "sp-1", 0)
		for range 2 { // also by a new process
			if counted := total(pollOnce(t, source, boundSnapshot("corp", "sp-1"))["corp"]); counted != uint64(len(log.entries)) {
				t.Errorf("counted %d of %d", counted, len(log.entries))
			}
			source = poller.Events(5*time.Minute, log.read, disk.Events(), "corp", poller.Replica{ID: "b", IsDead: func(string) bool { return true }}, slog.New(slog.NewTextHandler(&lines, nil)))
		}
		if !strings.Contains(lines.String(), "saved again") {
			t.Errorf("%s", lines.String())
		}
	})
}
