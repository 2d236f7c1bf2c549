package poller

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"entra-aws-exporter/internal/model"
)

var noon = time.Date(2026, 11, 1, 12, 0, 0, 0, time.UTC)

// windowUntilNoon is a window over an hour, of a state with one connection.
func windowUntilNoon() *eventWindow {
	state := newEventState(noon.Add(-time.Hour))
	state.updateBindings([]model.Snapshot{{Connection: "corp", Binding: model.Binding{ServicePrincipalID: "sp"}}})
	return newEventWindow(state, noon.Add(-time.Hour), noon)
}

func visitAt(w *eventWindow, times ...time.Time) {
	for i, at := range times {
		_ = w.visit(model.Event{ID: fmt.Sprint(i, at), At: at, ServicePrincipalID: "sp", Action: "create", Status: "success"})
	}
}

func TestBoundsOfAWindowAreExclusive(t *testing.T) {
	for at, counted := range map[time.Duration]int{-2 * time.Hour: 0, -time.Hour: 0, -time.Hour + 1: 1, -1: 1, 0: 0, time.Hour: 0} {
		w := windowUntilNoon()
		visitAt(w, noon.Add(at))
		if len(w.counters) != counted {
			t.Errorf("%s: counted %d times", at, len(w.counters))
		}
	}
}

func TestReadInOrder(t *testing.T) {
	for name, c := range map[string]struct {
		minutes []int
		ordered bool
	}{
		"none":                  {nil, false},
		"one":                   {[]int{1}, false},
		"the same time":         {[]int{1, 1}, false},
		"oldest first":          {[]int{1, 2, 2, 5}, true},
		"newest first":          {[]int{5, 2}, false},
		"one is out of order":   {[]int{1, 4, 2, 5}, false},
		"the first is repeated": {[]int{1, 2, 1, 5}, false},
	} {
		w := windowUntilNoon()
		for _, minute := range c.minutes {
			visitAt(w, noon.Add(-time.Hour+time.Duration(minute)*time.Minute))
		}
		if upTo, ordered := w.readInOrder(); ordered != c.ordered || ordered && !upTo.Equal(noon.Add(-55*time.Minute)) {
			t.Errorf("%s: up to %s, %v", name, upTo, ordered)
		}
	}
}

func TestIDsOfALongWindowAreForgotten(t *testing.T) {
	state := newEventState(noon)
	state.updateBindings([]model.Snapshot{{Connection: "corp", Binding: model.Binding{ServicePrincipalID: "sp"}}})
	w := newEventWindow(state, noon, noon.Add(48*time.Hour))
	for minute := range 1000 {
		visitAt(w, noon.Add(time.Duration(minute+1)*time.Minute))
	}
	if len(w.seen) > 50 {
		t.Errorf("the ids of %d minutes are kept", len(w.seen))
	}
}

func TestErrorCodesBeyondTheLimitAreOther(t *testing.T) {
	counts := newEventCounts()
	for i := range maxErrorCodes + 3 {
		countEvent(counts, model.Event{Action: "create", Status: "failure", ErrorCode: strconv.Itoa(i)})
	}
	countEvent(counts, model.Event{Action: "create", Status: "failure", ErrorCode: "0"}) // known: still by its name
	if known, other := counts.Errors[model.EventErrorKey{Category: unknownLabel, Code: "0"}], counts.Errors[model.EventErrorKey{Category: otherLabel, Code: otherLabel}]; known != 2 || other != 3 {
		t.Errorf("known %d, other %d", known, other)
	}
	if got := labelValue(strings.Repeat("x", 101)); len(got) != 100 {
		t.Errorf("a label of %d bytes", len(got))
	}
}

// record is a record with these parts of a connection, and these ids.
func record(events, errors, last, seen string) []byte {
	return fmt.Appendf(nil, `{"schema":1,"newest":"2026-11-01T12:00:00Z","connections":{"corp":{"service_principal_id":"sp","events":[%s],"errors":[%s],"last":{%s}}},"seen":{%s}}`, events, errors, last, seen)
}

func TestForeignPartsOfARecordAreRefused(t *testing.T) {
	codes := make([]string, maxErrorCodes+2)
	for i := range codes {
		codes[i] = fmt.Sprintf(`{"category":"c","code":"%d","count":1}`, i)
	}
	for name, c := range map[string]struct {
		content []byte
		err     string
	}{
		"good":                {record(`{"action":"create","status":"success","count":1}`, strings.Join(codes[1:], ","), "", `"1":"AAAAAAAAAAA="`), ""},
		"unknown action":      {record(`{"action":"explode","status":"success"}`, "", "", ""), `action "explode"`},
		"unknown status":      {record(`{"action":"create","status":"maybe"}`, "", "", ""), `status "maybe"`},
		"too many codes":      {record("", strings.Join(codes, ","), "", ""), "22 error codes, at most 21"},
		"ids of another size": {record("", "", "", `"1":"AAA="`), "2 bytes of ids"},
	} {
		if _, err := decodeEvents(c.content); (err == nil) != (c.err == "") || err != nil && !strings.Contains(err.Error(), c.err) {
			t.Errorf("%s: %v", name, err)
		}
	}
	state, err := decodeEvents(record("", "", `"success":"2026-11-01T11:00:00Z","maybe":"2026-11-01T11:00:00Z"`, ""))
	if err != nil {
		t.Fatal(err)
	}
	if last := state.counters["corp"].counts.Last; len(last) != 1 || !last["success"].Equal(noon.Add(-time.Hour)) {
		t.Errorf("last %v", last)
	}
}

func TestTimeoutOfEvents(t *testing.T) {
	for interval, want := range map[time.Duration]time.Duration{10 * time.Second: time.Minute, 3 * time.Minute: 3 * time.Minute, time.Hour: 5 * time.Minute} {
		if got := Events(interval, nil, nil, "corp", Replica{}, nil).Timeout; got != want {
			t.Errorf("every %s: a timeout of %s", interval, got)
		}
	}
}

func TestIncompleteReadSaysHowFarItCame(t *testing.T) {
	failed := errors.New("503")
	if err := incomplete(failed, noon, 0); err != failed { //nolint:errorlint // as it is
		t.Error(err)
	}
	if err := incomplete(failed, noon, 1); err.Error() != "read up to 2026-11-01T12:00:00Z, the rest follows: 503" {
		t.Error(err)
	}
	if next := nextPosition(noon); !next.Equal(noon.Add(-time.Second)) { // the log may have whole seconds
		t.Error(next)
	}
}

// recordStore is a store of one record that notes how long it may take.
type recordStore struct {
	content  []byte
	err      error
	deadline time.Duration
}

func (s *recordStore) Load(ctx context.Context, _ string) ([]byte, string, error) {
	until, _ := ctx.Deadline()
	s.deadline = time.Until(until)
	return s.content, "1", s.err
}

func (s *recordStore) Save(ctx context.Context, _ string, content []byte, _ string) (string, error) {
	until, _ := ctx.Deadline()
	s.deadline, s.content = time.Until(until), content
	return "2", s.err
}

// stateUntil is a state with so many entries counted of one connection.
func stateUntil(newest time.Time, count uint64) *eventState {
	s := newEventState(newest)
	counts := newEventCounts()
	counts.Events[model.EventKey{Action: "create", Status: "success"}] = count
	s.counters["corp"] = eventCounters{servicePrincipalID: "sp", counts: counts, read: true}
	return s
}

func (l *eventLog) countedCreations() uint64 {
	return l.state.counters["corp"].counts.Events[model.EventKey{Action: "create", Status: "success"}]
}

// TestLoadTakesWhatAnotherHasStored, but keeps what could not be stored if nobody has
// written since.
func TestLoadTakesWhatAnotherHasStored(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		now := time.Now()
		for name, c := range map[string]struct {
			known    *eventState
			revision string
			want     uint64
		}{
			"at start":              {nil, "", 1},
			"another has written":   {stateUntil(now, 2), "0", 1},
			"nobody has written":    {stateUntil(now, 2), "1", 2},
			"never stored anything": {stateUntil(now, 2), "", 1},
		} {
			disk := &recordStore{content: stateUntil(now, 1).encode()}
			l := &eventLog{store: disk, log: slog.New(slog.DiscardHandler), state: c.known, revision: c.revision}
			err := l.load(t.Context())
			if got := l.countedCreations(); err != nil || got != c.want || disk.deadline != 10*time.Second || l.revision != "1" {
				t.Errorf("%s: counted %d, loaded revision %s within %s: %v", name, got, l.revision, disk.deadline, err)
			}
		}
		ahead := &eventLog{store: &recordStore{content: stateUntil(now.Add(eventLookahead), 1).encode()}}
		if err := ahead.load(t.Context()); err != nil || ahead.countedCreations() != 1 {
			t.Errorf("a week ahead: %v", err)
		}
	})
}

func TestStoreThatFailsIsNotRead(t *testing.T) {
	disk := &recordStore{content: stateUntil(noon, 1).encode(), err: errors.New("truncated")}
	if state, _, err := (&eventLog{store: disk}).loadRecord(t.Context()); state != nil || err == nil {
		t.Errorf("%v %v", state, err)
	}
}

func TestReloadBeforeTheFirstPollInheritsToo(t *testing.T) {
	first, second, third := &eventLog{state: stateUntil(noon, 3), revision: "3"}, &eventLog{}, &eventLog{}
	second.inheritState(first)
	third.inheritState(second)
	if third.state != first.state || third.revision != "3" {
		t.Error("the counters are lost")
	}
}

func TestSavingThatWorksLogsNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var lines bytes.Buffer
		disk := &recordStore{}
		l := &eventLog{store: disk, log: slog.New(slog.NewTextHandler(&lines, nil)), state: stateUntil(noon, 1)}
		for range 2 {
			if err := l.save(t.Context(), time.Now()); err != nil {
				t.Fatal(err)
			}
		}
		if lines.Len() > 0 || disk.deadline != 10*time.Second || l.revision != "2" {
			t.Errorf("saved within %s as %s\n%s", disk.deadline, l.revision, lines.String())
		}
	})
}

// lastHours is the log of a backlog, whose times are counted from the test's begin: each
// read gets the next answer.
type lastHours struct {
	begin   time.Time
	answers []answer
	windows []string // that were read
}

type answer struct {
	entries []time.Duration
	err     error
	late    bool // it comes when the time is up
}

func (h *lastHours) read(ctx context.Context, after, before time.Time, visit func(model.Event) error) error {
	h.windows = append(h.windows, fmt.Sprint(after.Sub(h.begin), " ", before.Sub(h.begin)))
	if len(h.windows) > 10 {
		return errors.New("reading does not end")
	}
	if ctx.Err() != nil || len(h.answers) == 0 {
		return ctx.Err()
	}
	next := h.answers[0]
	h.answers = h.answers[1:]
	for i, at := range next.entries {
		if err := visit(model.Event{ID: strconv.Itoa(i), At: h.begin.Add(at), ServicePrincipalID: "sp", Action: "create", Status: "success"}); err != nil {
			return err
		}
	}
	if next.late {
		<-ctx.Done()
	}
	return next.err
}

func TestWindowsOfABacklog(t *testing.T) {
	const (
		hour   = time.Hour
		minute = time.Minute
	)
	refused, late := errors.New("400"), context.DeadlineExceeded
	newestFirst, oldestFirst := []time.Duration{-hour, -2 * hour}, []time.Duration{-4 * hour, -3 * hour}
	for name, c := range map[string]struct {
		size, position time.Duration // before the poll; a position of 0: there is none
		answers        []answer
		windows        string // the counted entries end five hours back
		err            string
		wantSize       time.Duration
		wantPosition   time.Duration
	}{
		"all at once":                {windows: "-5h0m0s 168h0m0s"},
		"in windows that grow":       {size: 2 * hour, windows: "-5h0m0s -3h0m0s, -3h0m1s 168h0m0s"},
		"a window that ends now":     {size: 5 * hour, windows: "-5h0m0s 168h0m0s"},
		"from a position":            {position: -4 * hour, windows: "-4h0m0s 168h0m0s"},
		"from behind a position":     {position: -6 * hour, windows: "-5h0m0s 168h0m0s"},
		"refused, nothing read":      {size: 2 * hour, answers: []answer{{err: refused}}, windows: "-5h0m0s -3h0m0s", err: "400", wantSize: 2 * hour},
		"refused, newest first":      {answers: []answer{{entries: newestFirst, err: refused}}, windows: "-5h0m0s 168h0m0s", err: "400", wantSize: 150 * minute},
		"a part refused":             {size: 4 * hour, answers: []answer{{entries: newestFirst, err: refused}}, windows: "-5h0m0s -1h0m0s", err: "400", wantSize: 2 * hour},
		"never less than a minute":   {position: -90 * time.Second, answers: []answer{{entries: []time.Duration{-time.Second, -2 * time.Second}, err: refused}}, windows: "-1m30s 168h0m0s", err: "400", wantSize: minute, wantPosition: -90 * time.Second},
		"refused, oldest first":      {answers: []answer{{entries: oldestFirst, err: refused}}, windows: "-5h0m0s 168h0m0s, -3h0m1s 168h0m0s"},
		"refused in the same second": {answers: []answer{{entries: []time.Duration{-5*hour + 1, -5*hour + time.Second}, err: refused}}, windows: "-5h0m0s 168h0m0s", err: "400", wantSize: 150 * minute},
		"late, nothing read":         {answers: []answer{{err: late, late: true}}, windows: "-5h0m0s 168h0m0s", err: "context deadline exceeded", wantSize: 150 * minute},
		"late, oldest first":         {answers: []answer{{entries: oldestFirst, err: late, late: true}}, windows: "-5h0m0s 168h0m0s", err: "read up to 1999-12-31T20:59:59Z, the rest follows: context deadline exceeded", wantPosition: -3*hour - time.Second},
		"late, entries may appear":   {answers: []answer{{entries: []time.Duration{-4 * hour, -5 * minute}, err: late, late: true}}, windows: "-5h0m0s 168h0m0s", err: "read up to 1999-12-31T23:54:59Z, the rest follows: context deadline exceeded", wantPosition: -20 * minute},
		"late, but complete":         {size: hour, answers: []answer{{late: true}}, windows: "-5h0m0s -4h0m0s, -4h0m1s -2h0m1s", err: "read up to 1999-12-31T19:59:59Z, the rest follows: context deadline exceeded", wantSize: hour, wantPosition: -4*hour - time.Second},
	} {
		synctest.Test(t, func(t *testing.T) {
			begin := time.Now()
			hours := &lastHours{begin: begin, answers: c.answers}
			l := &eventLog{read: hours.read, state: stateUntil(begin.Add(eventOverlap-5*hour), 1), windowSize: c.size}
			if c.position != 0 {
				l.position = begin.Add(c.position)
			}
			ctx, cancel := context.WithTimeout(t.Context(), minute)
			defer cancel()
			_, failed := l.readBacklog(ctx, []model.Snapshot{{Connection: "corp"}})
			err := fmt.Sprint(failed)
			if windows := strings.Join(hours.windows, ", "); windows != c.windows || err != c.err && (c.err != "" || err != "<nil>") {
				t.Errorf("%s: read %s: %s", name, windows, err)
			}
			position := time.Time{}
			if c.wantPosition != 0 {
				position = begin.Add(c.wantPosition)
			}
			if l.windowSize != c.wantSize || !l.position.Equal(position) {
				t.Errorf("%s: the next poll begins at %s, with windows of %s", name, l.position, l.windowSize)
			}
		})
	}
}

// busyStore is a record that another process replaces before this many saves.
type busyStore struct {
	recordStore
	conflicts, saves int
}

func (s *busyStore) Save(ctx context.Context, key string, content []byte, revision string) (string, error) {
	if s.saves++; s.saves <= s.conflicts {
		return "", model.ErrConflict
	}
	return s.recordStore.Save(ctx, key, content, revision)
}

// TestConflictContinuesBehindTheRecord: the other process may not be as far as this one.
func TestConflictContinuesBehindTheRecord(t *testing.T) {
	for name, c := range map[string]struct {
		conflicts, saves int
		answers          []answer
		windows          string
		counted          uint64
	}{
		"then it works":    {1, 2, nil, "-1h0m0s 168h0m0s, -5h0m0s 168h0m0s", 7},
		"three times":      {3, 4, nil, "-1h0m0s 168h0m0s, -5h0m0s 168h0m0s, -5h0m0s 168h0m0s, -5h0m0s 168h0m0s", 7},
		"then it is down":  {1, 1, []answer{{}, {err: errors.New("503")}}, "-1h0m0s 168h0m0s, -5h0m0s 168h0m0s", 7},
		"at each attempt":  {9, 4, nil, "-1h0m0s 168h0m0s, -5h0m0s 168h0m0s, -5h0m0s 168h0m0s, -5h0m0s 168h0m0s", 7},
		"without conflict": {0, 1, nil, "-1h0m0s 168h0m0s", 1},
	} {
		synctest.Test(t, func(t *testing.T) {
			begin := time.Now()
			newest := begin.Add(eventOverlap - 5*time.Hour)
			hours := &lastHours{begin: begin, answers: c.answers}
			disk := &busyStore{recordStore: recordStore{content: stateUntil(newest, 7).encode()}, conflicts: c.conflicts}
			l := &eventLog{
				read: hours.read, store: disk, log: slog.New(slog.DiscardHandler),
				state: stateUntil(newest, 1), position: begin.Add(-time.Hour),
			}
			_, err := l.readBacklog(t.Context(), []model.Snapshot{{Connection: "corp"}})
			if windows := strings.Join(hours.windows, ", "); windows != c.windows || disk.saves != c.saves || (err != nil) != (c.answers != nil) {
				t.Errorf("%s: read %s, %d saves: %v", name, windows, disk.saves, err)
			}
			if l.countedCreations() != c.counted || !l.position.IsZero() {
				t.Errorf("%s: counted %d; the next poll begins at %s", name, l.countedCreations(), l.position)
			}
		})
	}
}
