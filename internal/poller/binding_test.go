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

func TestBindingIsResolvedFirst(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		missing := variable[error]{value: &model.Error{Reason: model.ReasonNotFound, Op: "finding the application", Detail: "there is none"}}
		client := &stubClient{err: errors.New("down")}
		resolve := func(context.Context) (model.Binding, error) {
			return model.Binding{ServicePrincipalID: "sp"}, missing.get()
		}
		options := oneConnection(poller.WithBinding(poller.Job(time.Minute, client.read), resolve, true))
		options.Connections[0].Binding = model.Binding{Region: "eu-central-1"}
		p, stop := start(t, options, nil)
		defer stop()
		advance(time.Second)
		if s := status(t, p, 0, model.SourceJob); s.Errors[model.ReasonNotFound] != 1 || len(client.readTimes()) != 0 {
			t.Errorf("not resolved: %+v after %d reads", s, len(client.readTimes()))
		}
		missing.set(nil)
		advance(2 * time.Minute) // the binding is known although the read fails
		want := model.Binding{Region: "eu-central-1", ServicePrincipalID: "sp"}
		if difference := cmp.Diff(want, p.Snapshots()[0].Binding); difference != "" {
			t.Error(difference)
		}
	})
}

func TestSharedResourcesAreAmbiguous(t *testing.T) {
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
		client := &stubClient{}
		for _, name := range []string{"a", "b", "c", "d", "e", "f"} {
			options.Connections = append(options.Connections, poller.Connection{Name: name, Sources: []poller.Source{
				poller.WithBinding(poller.Job(time.Minute, client.read),
					func(context.Context) (model.Binding, error) { return bindings.get()[name], nil }, true),
			}})
		}
		p, stop := start(t, options, nil)
		defer stop()
		advance(time.Second)
		const application = `connections "a" and "b" resolve to the same Entra application sp-1: none of them is rotated until the others are removed or name their own (service_principal_id)`
		const store = `connections "a" and "c" resolve to the same identity store d-1: none of them is rotated until the others are removed or name their own (aws.identity_store_id, or the AWS account)`
		want := map[string]string{"a": application + "; " + store, "b": application, "c": store, "d": "", "e": "", "f": ""}
		for _, snapshot := range p.Snapshots() {
			if snapshot.Ambiguous != want[snapshot.Connection] {
				t.Errorf("%s: %q", snapshot.Connection, snapshot.Ambiguous)
			}
			if snapshot.Job == nil {
				t.Errorf("%s is not read any more", snapshot.Connection)
			}
		}
		fixed := maps.Clone(bindings.get())
		fixed["a"] = model.Binding{ServicePrincipalID: "sp-4", IdentityStoreID: "d-4"}
		bindings.set(fixed)
		advance(2 * time.Minute)
		for _, snapshot := range p.Snapshots() {
			if snapshot.Ambiguous != "" {
				t.Errorf("%s after it was fixed: %q", snapshot.Connection, snapshot.Ambiguous)
			}
		}
	})
}

func TestTenantIsReadOnceAndAfterItsConnections(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		slow, tenants, unused := &stubClient{hang: true}, &stubClient{}, &stubClient{}
		begin := time.Now()
		p, stop := start(t, poller.Options{
			Connections: []poller.Connection{
				{Name: "a", Tenant: "t", Sources: []poller.Source{poller.Job(time.Hour, slow.read)}},
				{Name: "b", Tenant: "t"},
				{Name: "c", Tenant: "u"},
			},
			Tenants: []poller.Tenant{
				{Name: "t", Sources: []poller.Source{credentials(tenants)}},
				{Name: "unused", Sources: []poller.Source{credentials(unused)}},
			},
		}, nil)
		defer stop()
		advance(30 * time.Second)
		if reads := tenants.readTimes(); len(reads) != 1 || reads[0].Sub(begin) < 10*time.Second {
			t.Errorf("the tenant was read at %v, want once and ten seconds after %v", reads, begin)
		}
		if len(unused.readTimes()) != 0 {
			t.Error("a tenant without connections was read")
		}
		snapshots := p.Snapshots()
		if len(snapshots[0].AppCredentials) != 1 || len(snapshots[1].AppCredentials) != 1 || snapshots[2].AppCredentials != nil {
			t.Errorf("the tenant's result went to %+v", snapshots)
		}
		if _, found := snapshots[2].Status(model.SourceAppCredentials); found {
			t.Error("another tenant's connection has the source")
		}
	})
}
