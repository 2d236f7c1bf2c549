package poller_test

import (
	"errors"
	"log/slog"
	"testing"
	"testing/synctest"
	"time"

	"entra-aws-exporter/internal/model"
	"entra-aws-exporter/internal/poller"
)

func TestReloadKeepsUnchangedConnections(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		same, edited, failing, removed, added := &stubClient{}, &stubClient{}, &stubClient{}, &stubClient{}, &stubClient{}
		tenants := &stubClient{}
		connection := func(name, identity string, sources ...poller.Source) poller.Connection {
			return poller.Connection{Name: name, Tenant: "t", Identity: identity, Sources: sources}
		}
		tenant := []poller.Tenant{{Name: "t", Identity: "1", Sources: []poller.Source{credentials(tenants)}}}
		errDown := errors.New("down")
		failing.err, same.err = errDown, errDown
		first, stop := start(t, poller.Options{Tenants: tenant, Connections: []poller.Connection{
			connection("same", "1", poller.Job(time.Hour, same.read), poller.Tokens(time.Hour, noTokens)),
			connection("edited", "1", poller.Job(time.Hour, edited.read)),
			connection("failing", "1", poller.Job(time.Hour, failing.read)),
			connection("removed", "1", poller.Job(time.Hour, removed.read)),
		}}, nil)
		advance(time.Minute)
		same.set(func(j *stubClient) { j.err = nil })
		first.Refresh("same")
		advance(0)
		stop()

		second := poller.New(poller.Options{Logger: slog.New(slog.DiscardHandler), Tenants: tenant, Connections: []poller.Connection{
			connection("added", "1", poller.Job(time.Hour, added.read)),
			connection("failing", "1", poller.Job(time.Hour, failing.read)),
			connection("same", "1", poller.Job(30*time.Minute, same.read)), // tokens are no longer read
			connection("edited", "2", poller.Job(time.Hour, edited.read)),
		}}, first)

		snapshots := second.Snapshots()
		if job := snapshots[2].Job; job == nil || job.ID != "2" {
			t.Errorf("the unchanged connection begins with %+v", job)
		}
		if kept := status(t, second, 2, model.SourceJob); !kept.Up() || kept.Errors[model.ReasonOther] != 1 || kept.Interval != 30*time.Minute {
			t.Errorf("its status is %+v", kept)
		}
		if _, found := snapshots[2].Status(model.SourceTokens); found || snapshots[2].Tokens != nil {
			t.Error("a source that was switched off is still there")
		}
		if snapshots[3].Job != nil || snapshots[3].AppCredentials != nil || !status(t, second, 3, model.SourceJob).LastAttempt.IsZero() {
			t.Errorf("the edited connection begins with %+v", snapshots[3])
		}
		if snapshots[2].AppCredentials == nil {
			t.Error("the tenant's result is gone")
		}
		if kept := status(t, second, 1, model.SourceJob); kept.Errors[model.ReasonOther] != 1 {
			t.Errorf("the failing one begins with %+v", kept)
		}
		if second.Ready() {
			t.Error("ready, though two connections were not read yet")
		}

		defer run(t, second)()
		advance(5 * time.Second)
		if !second.Ready() {
			t.Error("not ready")
		}
		for name, want := range map[*stubClient]int{same: 2, edited: 2, failing: 2, removed: 1, added: 1} {
			if reads := len(name.readTimes()); reads != want {
				t.Errorf("%d reads, want %d", reads, want)
			}
		}
		if reads := tenants.readTimes(); len(reads) != 2 { // once more, for the new ones
			t.Errorf("the tenant was read %d times", len(reads))
		}
		advance(35 * time.Minute)
		if reads := len(same.readTimes()); reads != 3 {
			t.Errorf("after its interval the unchanged connection was read %d times", reads)
		}
	})
}

func TestReloadsInARowLoseNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		client := &stubClient{err: errors.New("down")}
		p, stop := start(t, oneConnection(poller.Job(time.Hour, client.read)), nil)
		advance(time.Minute)
		for range 5 {
			stop()
			p, stop = start(t, oneConnection(poller.Job(time.Hour, client.read)), p)
			advance(time.Minute)
		}
		stop()
		if errs := status(t, p, 0, model.SourceJob).Errors[model.ReasonOther]; errs != 6 {
			t.Errorf("%d errors counted, want 6", errs)
		}
	})
}
