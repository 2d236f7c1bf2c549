package poller

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"entra-aws-exporter/internal/model"
)

// FuzzEventRecord feeds foreign bytes to the reader of the record: it refuses them,
// or what it understood survives another round.
func FuzzEventRecord(f *testing.F) {
	state := newEventState(time.Date(2026, 11, 1, 12, 0, 0, 0, time.UTC))
	state.updateBindings([]model.Snapshot{{Connection: "corp", Binding: model.Binding{ServicePrincipalID: "sp", JobID: "job"}}})
	window := newEventWindow(state, state.newest.Add(-eventOverlap), state.newest.Add(time.Hour))
	for _, id := range []string{"a", "b"} {
		_ = window.visit(model.Event{
			ID: id, At: state.newest, ServicePrincipalID: "sp", Action: "create", Status: "failure", ErrorCode: "Code",
		})
	}
	window.commit(state.newest)
	f.Add(state.encode())
	f.Add([]byte(`{"schema":1,"newest":"2026-11-01T12:00:00Z","connections":{"x":{"events":[{"action":"explode","status":"success"}]}}}`))
	f.Add([]byte(`{"schema":1,"newest":"2026-11-01T12:00:00Z","seen":{"1":"AAA="}}`))
	f.Add([]byte(`{"schema":1,"newest":"2026-11-01T12:00:00Z","connections":null,"seen":null}`))
	f.Add([]byte(`null`))
	f.Fuzz(func(t *testing.T, content []byte) {
		first, err := decodeEvents(content)
		if err != nil {
			return
		}
		second, err := decodeEvents(first.encode())
		if err != nil {
			t.Fatalf("%v\nof what was encoded from %q", err, content)
		}
		if difference := cmp.Diff(first, second, cmp.AllowUnexported(eventState{}, eventCounters{}), cmpopts.EquateEmpty()); difference != "" {
			t.Error(difference)
		}
	})
}
