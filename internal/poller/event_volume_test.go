package poller_test

import (
	"context"
	"fmt"
	"log/slog"
	"strconv"
	"testing"
	"testing/synctest"
	"time"

	"entra-aws-exporter/internal/model"
	"entra-aws-exporter/internal/poller"
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
				}, disk, "corp", slog.New(slog.DiscardHandler))
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
	}, disk, "corp", slog.New(slog.DiscardHandler))

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
