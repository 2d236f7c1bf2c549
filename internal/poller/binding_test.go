package poller_test

import (
	"context"
	"errors"
	"maps"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"entra-aws-exporter/internal/model"
	"entra-aws-exporter/internal/poller"
)

func TestResolvingComesFirst(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		missing := variable[error]{value: &model.Error{Reason: model.ReasonNotFound, Op: "finding the application", Detail: "there is none"}}
		client := &jobs{err: errors.New("down")}
		resolve := func(context.Context) (model.Binding, error) {
			return model.Binding{ServicePrincipalID: "sp"}, missing.get()
		}
		options := one(poller.Resolving(resolve, poller.Job(time.Minute, client.read)))
		options.Connections[0].Binding = model.Binding{Region: "eu-central-1"}
		w, stop := start(t, options, nil)
		defer stop()
		after(time.Second)
		if s := status(t, w, 0, model.SourceJob); s.Errors[model.ReasonNotFound] != 1 || len(client.times()) != 0 {
			t.Errorf("not resolved: %+v after %d reads", s, len(client.times()))
		}
		missing.set(nil)
		after(2 * time.Minute) // the binding is known although the reading fails
		want := model.Binding{Region: "eu-central-1", ServicePrincipalID: "sp"}
		if difference := cmp.Diff(want, w.Snapshots()[0].Binding); difference != "" {
			t.Error(difference)
		}
	})
}

func TestConnectionsThatResolveToTheSameAreAmbiguous(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		bindings := variable[map[string]model.Binding]{value: map[string]model.Binding{
			"a": {ServicePrincipalID: "sp-1", IdentityStoreID: "d-1"},
			"b": {ServicePrincipalID: "sp-1", IdentityStoreID: "d-2"},
			"c": {ServicePrincipalID: "sp-2", IdentityStoreID: "d-1"},
			"d": {ServicePrincipalID: "sp-3", IdentityStoreID: "d-3"},
			"e": {},
			"f": {},
		}}
		var options poller.Options
		client := &jobs{}
		for _, name := range []string{"a", "b", "c", "d", "e", "f"} {
			options.Connections = append(options.Connections, poller.Connection{Name: name, Sources: []poller.Source{
				poller.Resolving(func(context.Context) (model.Binding, error) { return bindings.get()[name], nil }, poller.Job(time.Minute, client.read)),
			}})
		}
		w, stop := start(t, options, nil)
		defer stop()
		after(time.Second)
		const application = `connections "a" and "b" resolve to the same Entra application sp-1: none of them is rotated until the others are removed or name their own (service_principal_id)`
		const store = `connections "a" and "c" resolve to the same identity store d-1: none of them is rotated until the others are removed or name their own (aws.identity_store_id, or the AWS account)`
		want := map[string]string{"a": application + "; " + store, "b": application, "c": store, "d": "", "e": "", "f": ""}
		for _, snapshot := range w.Snapshots() {
			if snapshot.Ambiguous != want[snapshot.Connection] {
				t.Errorf("%s: %q", snapshot.Connection, snapshot.Ambiguous)
			}
			if snapshot.Job == nil {
				t.Errorf("%s is not read any more", snapshot.Connection)
			}
		}
		mended := maps.Clone(bindings.get())
		mended["a"] = model.Binding{ServicePrincipalID: "sp-4", IdentityStoreID: "d-4"}
		bindings.set(mended)
		after(2 * time.Minute)
		for _, snapshot := range w.Snapshots() {
			if snapshot.Ambiguous != "" {
				t.Errorf("%s after it was mended: %q", snapshot.Connection, snapshot.Ambiguous)
			}
		}
	})
}

func TestATenantIsReadOnceAndAfterItsConnections(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		slow, tenants, lonely := &jobs{hang: true}, &jobs{}, &jobs{}
		begin := time.Now()
		w, stop := start(t, poller.Options{
			Connections: []poller.Connection{
				{Name: "a", Tenant: "t", Sources: []poller.Source{poller.Job(time.Hour, slow.read)}},
				{Name: "b", Tenant: "t"},
				{Name: "c", Tenant: "u"},
			},
			Tenants: []poller.Tenant{
				{Name: "t", Sources: []poller.Source{credentials(tenants)}},
				{Name: "nobody's", Sources: []poller.Source{credentials(lonely)}},
			},
		}, nil)
		defer stop()
		after(30 * time.Second)
		if looks := tenants.times(); len(looks) != 1 || looks[0].Sub(begin) < 10*time.Second {
			t.Errorf("the tenant was read at %v, want once and ten seconds after %v", looks, begin)
		}
		if len(lonely.times()) != 0 {
			t.Error("a tenant without connections was read")
		}
		snapshots := w.Snapshots()
		if len(snapshots[0].AppCredentials) != 1 || len(snapshots[1].AppCredentials) != 1 || snapshots[2].AppCredentials != nil {
			t.Errorf("the tenant's reading went to %+v", snapshots)
		}
		if _, found := snapshots[2].Status(model.SourceAppCredentials); found {
			t.Error("another tenant's connection has the source")
		}
	})
}
