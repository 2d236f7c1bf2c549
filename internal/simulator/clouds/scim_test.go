package clouds

import (
	"net/netip"
	"testing"
	"time"
)

func (s *harness) scimCall() SCIMCall {
	return SCIMCall{Tenant: s.ProvisioningTenantID, Token: s.TokenValue(s.TokenIDs[0])}
}

func TestSCIMAuthorization(t *testing.T) {
	w := New(Options{Now: func() time.Time { return noon }})
	connections := make([]Connection, 0, 6)
	for _, spec := range Fleet(2, 1) {
		connections = append(connections, w.Add(spec))
	}
	first, second := connections[0], connections[1]
	value := w.TokenValue(first.TokenIDs[0])
	for name, test := range map[string]struct {
		call SCIMCall
		want int
	}{
		"right":               {SCIMCall{Tenant: first.ProvisioningTenantID, Token: value}, 200},
		"no token":            {SCIMCall{Tenant: first.ProvisioningTenantID}, 401},
		"garbage":             {SCIMCall{Tenant: first.ProvisioningTenantID, Token: "x"}, 401},
		"another's tenant":    {SCIMCall{Tenant: second.ProvisioningTenantID, Token: value}, 401},
		"a tenant that isn't": {SCIMCall{Tenant: "x", Token: value}, 401},
	} {
		if got := status(w.ServiceProviderConfig(test.call)); got != test.want {
			t.Errorf("%s: %d, want %d", name, got, test.want)
		}
	}
}

func TestSCIMSourceAddresses(t *testing.T) {
	s := newHarness(t, Healthy("corp"), "test_lag=0s")
	from := func(source string) int {
		call := s.scimCall()
		call.SourceIP = source
		return status(s.ServiceProviderConfig(call))
	}
	s.must(s.SetQuirk("source_address", SourceRefusesExporter))
	if from("") != 403 || from(ExporterAddress) != 403 || from(EntraAddress) != 200 || s.testSaved() != nil {
		t.Error("source_address=refuses_exporter must refuse the exporter alone")
	}
	s.must(s.SetQuirk("source_address", SourceOpen))
	s.must(s.AllowSources(ActorOperator, s.IdentityStoreID, netip.MustParsePrefix("198.51.100.0/24")))
	if from("") != 200 || from(EntraAddress) != 403 || code(s.testSaved()) != CodeFailure {
		t.Error("a restriction to the exporter's network must keep Entra out")
	}
	if outages := s.Outages(); len(outages) != 1 || outages[0].Cause != CauseSources || outages[0].CausedBy != ActorOperator {
		t.Errorf("outages %v, want one by the operator's source filter", outages)
	}
	s.advance(time.Minute)
	s.must(s.AllowSources(ActorOperator, s.IdentityStoreID))
	if outage := s.Outages()[0]; outage.Seconds(s.time) != 60 || outage.Ended.IsZero() {
		t.Errorf("outage %s, want 60 s", outage)
	}
}

func TestSCIMUsers(t *testing.T) {
	s := newHarness(t, ConnectionSpec{Name: "corp", Tokens: []TokenSpec{{Left: day, Saved: true}}})
	d := &s.instances[0].directory
	ada := User{UserName: "ada@example.com", DisplayName: "Ada", GivenName: "Ada", FamilyName: "Lovelace", Active: true}
	created, err := s.createUser(d, ada)
	s.must(err)
	_, err = s.createUser(d, User{UserName: "ADA@example.com", DisplayName: "A", GivenName: "A", FamilyName: "A"})
	wantText(t, err, "scim: 409 ConflictException: User already exists.")
	_, err = s.createUser(d, User{UserName: "x", DisplayName: "x", GivenName: "x"})
	wantText(t, err, "scim: 400 ValidationException: Request is unparsable, syntactically incorrect, or violates schema: name.familyName is required.")

	find := func(name string) []User {
		t.Helper()
		users, err := s.UserNamed(s.scimCall(), name)
		s.must(err)
		return users
	}
	if users := find("Ada@Example.com"); len(users) != 1 || users[0].ID != created.ID {
		t.Errorf("found %+v", users)
	}
	d.deleteUser(d.users[0])
	if users := find("ada@example.com"); len(users) != 0 {
		t.Error("a deleted user is still found")
	}
	_, err = s.createUser(d, ada)
	s.must(err)
}

func TestCloudTrail(t *testing.T) {
	keys := func(s *harness) []string {
		t.Helper()
		events, err := s.LookupEvents(CallerFor(ActorExporter), TrailFilter{EventSource: SCIMEventSource, TenantID: s.ProvisioningTenantID})
		s.must(err)
		var list []string
		for _, event := range events {
			if event.SourceIP == ExporterAddress {
				list = append(list, event.AccessKeyID)
			}
		}
		return list
	}
	for value, check := range map[string]func([]string) bool{ // newest first: new, new, old
		TrailPerToken:  func(k []string) bool { return len(k) == 3 && k[0] == k[1] && k[1] != k[2] },
		TrailConstant:  func(k []string) bool { return len(k) == 3 && k[0] == k[1] && k[1] == k[2] },
		TrailEphemeral: func(k []string) bool { return len(k) == 3 && k[0] != k[1] && k[1] != k[2] && k[0] != k[2] },
		TrailBlind:     func(k []string) bool { return len(k) == 2 && k[0] == k[1] },
		TrailAbsent:    func(k []string) bool { return len(k) == 0 },
	} {
		s := newHarness(t, Healthy("corp"), "cloudtrail="+value, "cloudtrail_delay=15m")
		token := s.create(ActorOperator)
		s.probe(s.TokenValue(s.TokenIDs[0]))
		s.advance(time.Second)
		s.probe(token.Value)
		s.probe(token.Value)
		s.probe("garbage") // there is no token to log
		s.advance(7 * time.Minute)
		if early := keys(s); len(early) != 0 {
			t.Errorf("cloudtrail=%s: delivered after 7 of 15 minutes: %v", value, early)
		}
		s.advance(time.Minute)
		half := len(keys(s))
		s.advance(8 * time.Minute)
		got := keys(s)
		if !check(got) || half > len(got) || len(got) == 3 && half == 3 {
			t.Errorf("cloudtrail=%s: %v, %d of them after half the delay", value, got, half)
		}
	}
}

func TestCloudTrailFilters(t *testing.T) {
	s := newHarness(t, Healthy("corp"), "cloudtrail_delay=0s", "empty_cycles=silent")
	for range 3 {
		s.probe(s.TokenValue(s.TokenIDs[0]))
		s.advance(time.Hour)
	}
	count := func(c Caller, filter TrailFilter) int {
		t.Helper()
		events, err := s.LookupEvents(c, filter)
		s.must(err)
		return len(events)
	}
	anybody := CallerFor(ActorExporter)
	all, _ := s.LookupEvents(anybody, TrailFilter{})
	for name, test := range map[string]struct{ got, want int }{
		"all":            {len(all), 3},
		"after":          {count(anybody, TrailFilter{After: noon.Add(time.Hour)}), 2},
		"before":         {count(anybody, TrailFilter{Before: noon}), 1},
		"another source": {count(anybody, TrailFilter{EventSource: "s3.amazonaws.com"}), 0},
		"another region": {count(Caller{Region: "us-east-1"}, TrailFilter{}), 0},
		"our account":    {count(Caller{Account: s.Account}, TrailFilter{}), 3},
	} {
		if test.got != test.want {
			t.Errorf("%s: %d events, want %d", name, test.got, test.want)
		}
	}
	if !all[0].At.After(all[2].At) {
		t.Error("not the newest first")
	}
	s.advance(91 * day)
	if n := count(anybody, TrailFilter{}); n != 0 {
		t.Errorf("%d events after 90 days", n)
	}
	s.Deny(ActorExporter, LookupEventsAction, DenyMissing)
	if _, err := s.LookupEvents(anybody, TrailFilter{}); code(err) != "AccessDeniedException" {
		t.Errorf("denied: %v", err)
	}
}
