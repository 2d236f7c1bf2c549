package identitycenter_test

import (
	"net/netip"
	"testing"
	"testing/synctest"

	"entra-aws-exporter/internal/model"
	"entra-aws-exporter/internal/simulator/clouds"
)

func TestSCIMSources(t *testing.T) {
	newCloud(t) // for the environment
	synctest.Test(t, func(t *testing.T) {
		s := simulate(t, clouds.Healthy("corp"), nil, nil)
		expect := func(want string) {
			t.Helper()
			sources, err := s.SCIMSources(t.Context())
			if err != nil || sources.String() != want {
				t.Errorf("%q, %v, want %q", sources, err, want)
			}
		}
		expect("any address")
		s.With(func(w *clouds.Model) {
			if err := w.AllowSources(clouds.ActorOperator, s.Connection.IdentityStoreID, netip.MustParsePrefix("203.0.113.0/24"), netip.MustParsePrefix("2001:db8::/32")); err != nil {
				t.Fatal(err)
			}
		})
		expect("203.0.113.0/24, 2001:db8::/32")
	})
}

func TestSCIMSourcesShapes(t *testing.T) {
	c := newCloud(t)
	for body, want := range map[string]string{
		`{"IdentityStoreId":"d-9967aaaaaa"}`:                                                       "any address",
		`{"NetworkConfiguration":{"ScimAllowSourceIps":null,"VpceAccessRequired":true}}`:           "any address, through a VPC endpoint only",
		`{"NetworkConfiguration":{"ScimAllowSourceIps":["10.0.0.0/8"],"VpceAccessRequired":true}}`: "10.0.0.0/8, through a VPC endpoint only",
	} {
		c.json("DescribeIdentityStore", body)
		sources, err := c.instance(nil).SCIMSources(t.Context())
		if err != nil || sources.String() != want {
			t.Errorf("%s: %q, %v, want %q", body, sources, err, want)
		}
	}
	c.json("DescribeIdentityStore", `{"NetworkConfiguration":"open"}`)
	if _, err := c.instance(nil).SCIMSources(t.Context()); model.ReasonOf(err) != model.ReasonAPIChanged {
		t.Errorf("another shape: %v", err)
	}
	last := c.last("DescribeIdentityStore").request
	if last.URL.Host != "identitystore.eu-central-1.amazonaws.com" || last.Header.Get("X-Amz-Target") != "AWSIdentityStore.DescribeIdentityStore" {
		t.Errorf("asked %s for %s", last.URL, last.Header.Get("X-Amz-Target"))
	}
}
