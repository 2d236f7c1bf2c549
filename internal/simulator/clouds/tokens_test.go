package clouds

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"
)

func (s *harness) list() []BearerToken {
	s.t.Helper()
	list, err := s.ListBearerTokens(CallerFor(ActorExporter), s.IdentityStoreID, s.ProvisioningTenantID)
	s.must(err)
	return list
}

func (s *harness) listed() []string {
	s.t.Helper()
	list := s.list()
	ids := make([]string, 0, len(list))
	for _, token := range list {
		ids = append(ids, token.ID)
	}
	return ids
}

func TestCreatedTokenLivesAYear(t *testing.T) {
	s := newHarness(t, Healthy("corp"))
	token := s.create(ActorExporter)
	if token.Value == "" || !token.Created.Equal(noon) || token.Expires.Sub(token.Created) != 365*24*time.Hour {
		t.Errorf("created %+v", token)
	}
	if s.probe(token.Value) != 200 {
		t.Error("the new token is refused")
	}
	s.advance(TokenLifetime - time.Nanosecond)
	if s.probe(token.Value) != 200 {
		t.Error("refused before its expiry")
	}
	s.advance(time.Nanosecond)
	if s.probe(token.Value) != 401 {
		t.Error("accepted at its expiry")
	}
}

func TestTwoSlots(t *testing.T) {
	for _, test := range []struct {
		value  string
		status int
	}{{ThirdQuota, 402}, {ThirdConflict, 409}, {ThirdValidation, 400}} {
		s := newHarness(t, Expiring("corp"), "third_create="+test.value)
		_, err := s.CreateBearerToken(CallerFor(ActorExporter), s.IdentityStoreID, s.ProvisioningTenantID)
		if code(err) != test.value || status(err) != test.status {
			t.Errorf("third_create=%s: %v", test.value, err)
		}
		s.delete(ActorOperator, s.TokenIDs[1]) // the expired one occupied its slot
		s.create(ActorExporter)
		if len(s.list()) != 2 {
			t.Errorf("%d tokens, want 2", len(s.list()))
		}
	}
}

func TestTokenListQuirks(t *testing.T) {
	s := newHarness(t, Expiring("corp"))
	inUse, expired := s.TokenIDs[0], s.TokenIDs[1]
	for value, want := range map[string][]string{
		OrderOldest: {expired, inUse},
		OrderNewest: {inUse, expired},
		OrderByID:   slices.Sorted(slices.Values(s.TokenIDs)),
	} {
		s.must(s.SetQuirk("list_order", value))
		if got := s.listed(); !slices.Equal(got, want) {
			t.Errorf("list_order=%s: %v, want %v", value, got, want)
		}
	}
	if s.list()[0].Value != "" {
		t.Error("a list carries values by default")
	}
	s.must(s.SetQuirk("list_values", ValuesCarried))
	if s.list()[0].Value == "" {
		t.Error("list_values=carried: no value")
	}
}

func TestTokenListLags(t *testing.T) {
	s := newHarness(t, Healthy("corp"), "list_lag=10s")
	old, fresh := s.TokenIDs[0], s.create(ActorOperator).ID
	both := slices.Sorted(slices.Values([]string{old, fresh}))
	for _, step := range []struct {
		after time.Duration
		do    func()
		want  []string
	}{
		{0, func() {}, []string{old}},
		{9 * time.Second, func() {}, []string{old}},
		{time.Second, func() {}, both},
		{0, func() { s.delete(ActorOperator, old) }, both},
		{9 * time.Second, func() {}, both},
		{time.Second, func() {}, []string{fresh}},
	} {
		s.advance(step.after)
		step.do()
		if got := s.listed(); !slices.Equal(got, step.want) {
			t.Errorf("at %s: %v, want %v", s.time.Sub(noon), got, step.want)
		}
	}
	s.must(s.SetQuirk("nodes", NodesApart))
	s.create(ActorOperator)
	if a, b := len(s.list()), len(s.list()); a == b {
		t.Errorf("nodes=apart: %d and %d tokens, want two lists that differ", a, b)
	}
}

func TestPropagation(t *testing.T) {
	s := newHarness(t, Healthy("corp"), "new_lag=20s", "deleted_lag=5m")
	token := s.create(ActorOperator)
	accepted := func(want map[time.Duration]int) {
		t.Helper()
		from := s.time
		for _, after := range slices.Sorted(func(yield func(time.Duration) bool) {
			for d := range want {
				if !yield(d) {
					return
				}
			}
		}) {
			s.time = from.Add(after)
			if got := s.probe(token.Value); got != want[after] {
				t.Errorf("after %s: %d, want %d", after, got, want[after])
			}
		}
	}
	accepted(map[time.Duration]int{0: 401, 19 * time.Second: 401, 20 * time.Second: 200})
	s.delete(ActorOperator, token.ID)
	accepted(map[time.Duration]int{0: 200, 299 * time.Second: 200, 300 * time.Second: 401})
	if s.probe(s.TokenValue(s.TokenIDs[0])) != 200 {
		t.Error("a token from before the start is refused")
	}
}

func TestNodesApart(t *testing.T) {
	s := newHarness(t, Healthy("corp"), "new_lag=20s", "nodes=apart")
	token := s.create(ActorOperator)
	if got := s.TokenAccepted(token.ID); got != AcceptedBySome {
		t.Errorf("accepted by %s", got)
	}
	if a, b := s.probe(token.Value), s.probe(token.Value); a == b {
		t.Errorf("two probes, both %d", a)
	}
	s.advance(20 * time.Second)
	if got := s.TokenAccepted(token.ID); got != AcceptedByAll || s.probe(token.Value) != 200 || s.probe(token.Value) != 200 {
		t.Errorf("after the lag accepted by %s", got)
	}
}

func TestTokenServiceRefuses(t *testing.T) {
	s := newHarness(t, Healthy("corp"))
	in := func(account, region string) Caller {
		return Caller{Actor: ActorExporter, Account: account, Region: region}
	}
	list := func(c Caller, store, tenant string) error {
		_, err := s.ListBearerTokens(c, store, tenant)
		return err
	}
	for name, test := range map[string]struct {
		err  error
		want string
	}{
		"right": {list(in(s.Account, s.Region), s.IdentityStoreID, s.ProvisioningTenantID), ""},
		"region": {
			list(in(s.Account, "us-east-1"), s.IdentityStoreID, s.ProvisioningTenantID),
			"identitystore: 400 ResourceNotFoundException: IDENTITYSTORE resource not found for " + s.IdentityStoreID + ".",
		},
		"account": {
			list(in("999999999999", s.Region), s.IdentityStoreID, s.ProvisioningTenantID),
			"identitystore: 400 ResourceNotFoundException: IDENTITYSTORE resource not found for " + s.IdentityStoreID + ".",
		},
		"tenant": {
			list(CallerFor(ActorExporter), s.IdentityStoreID, "nonesuch"),
			"identitystore: 400 ResourceNotFoundException: PROVISIONING_TENANT resource not found for nonesuch.",
		},
		"token": {
			s.DeleteBearerToken(CallerFor(ActorExporter), s.IdentityStoreID, s.ProvisioningTenantID, "nonesuch"),
			"identitystore: 400 ResourceNotFoundException: BEARER_TOKEN resource not found for nonesuch.",
		},
	} {
		if test.want == "" {
			s.must(test.err)
			continue
		}
		t.Run(name, func(t *testing.T) { wantText(t, test.err, test.want) })
	}
}

func TestDeniedByAWS(t *testing.T) {
	user := "identitystore: 400 AccessDeniedException: User: arn:aws:sts::111122223333:assumed-role/exporter/session is not authorized to perform: "
	for how, want := range map[Denial]string{
		DenyMissing: user + "sso-directory:CreateBearerToken because no identity-based policy allows the sso-directory:CreateBearerToken action",
		DenySCP:     user + "sso-directory:CreateBearerToken with an explicit deny in a service control policy",
		DenyKMS:     user + "kms:Decrypt on the resource associated with this ciphertext because no identity-based policy allows the kms:Decrypt action",
	} {
		s := newHarness(t, Healthy("corp"))
		c := Caller{Actor: ActorExporter, Account: s.Account}
		s.Deny(ActorExporter, CreateBearerTokenAction, how)
		_, err := s.CreateBearerToken(c, s.IdentityStoreID, s.ProvisioningTenantID)
		wantText(t, err, want)
		s.create(ActorOperator) // only the exporter is denied
		s.must(func() error {
			_, err := s.ListBearerTokens(c, s.IdentityStoreID, s.ProvisioningTenantID)
			return err
		}())
		s.Allow(ActorExporter, CreateBearerTokenAction)
		s.delete(ActorOperator, s.TokenIDs[0])
		_, err = s.CreateBearerToken(c, s.IdentityStoreID, s.ProvisioningTenantID)
		s.must(err)
	}
}

func TestDiscovery(t *testing.T) {
	w := New(Options{Now: func() time.Time { return noon }})
	connections := make([]Connection, 0, 6)
	for _, spec := range Fleet(6, 2) {
		connections = append(connections, w.Add(spec))
	}
	first := connections[0]
	all, err := w.ListInstances(Caller{Account: first.Account, Region: "us-east-1"}, true)
	if err != nil || len(all) != 1 || all[0].IdentityStoreID != first.IdentityStoreID || all[0].PrimaryRegion != "eu-central-1" {
		t.Errorf("all regions: %+v, error %v", all, err)
	}
	if none, _ := w.ListInstances(Caller{Account: first.Account, Region: "us-east-1"}, false); len(none) != 0 {
		t.Errorf("another region shows %+v", none)
	}
	tenants, err := w.ListProvisioningTenants(Caller{Account: first.Account}, first.IdentityStoreID)
	if err != nil || len(tenants) != 1 {
		t.Fatalf("tenants: %+v, error %v", tenants, err)
	}
	if id := tenants[0].TenantID; len(id) != 3+36 || !strings.HasPrefix(id[3:], strings.ToLower(id[3:11])) {
		t.Errorf("tenant id %q, want 3 characters and a UUID", id)
	}
	if want := fmt.Sprintf("https://scim.eu-central-1.amazonaws.com/%s/scim/v2/", tenants[0].TenantID); tenants[0].SCIMEndpoint != want {
		t.Errorf("endpoint %q, want %q", tenants[0].SCIMEndpoint, want)
	}
}

// What no policy allows is refused, and the model knows what was needed.
func TestAllowOnly(t *testing.T) {
	s := newHarness(t, Healthy("corp"))
	s.AllowOnly("reader", ListProvisioningTenantsAction)
	list := func() error {
		_, err := s.ListProvisioningTenants(CallerFor("reader"), s.IdentityStoreID)
		return err
	}
	s.must(list())
	_, err := s.ListBearerTokens(CallerFor("reader"), s.IdentityStoreID, s.ProvisioningTenantID)
	wantText(t, err, "identitystore: 400 AccessDeniedException: User: arn:aws:sts::111111111111:assumed-role/reader/session is not authorized to perform: "+
		"sso-directory:ListBearerTokens because no identity-based policy allows the sso-directory:ListBearerTokens action")
	s.EncryptWithCustomerKey(s.IdentityStoreID)
	if err := list(); err == nil || !strings.Contains(err.Error(), "not authorized to perform: kms:Decrypt") {
		t.Errorf("without the key: %v", err)
	}
	if got := s.Needed("reader"); !slices.Equal(got, []string{"kms:Decrypt", "sso-directory:ListBearerTokens", "sso-directory:ListProvisioningTenants"}) {
		t.Errorf("needed %v", got)
	}
	if got := s.Needed("nobody"); got != nil {
		t.Errorf("nobody needed %v", got)
	}
}

func TestPrincipalsAndRoles(t *testing.T) {
	s := newHarness(t, Healthy("corp"))
	user := s.AddPrincipal(s.Account, ActorExporter)
	if got, err := s.Principal(user.AccessKeyID); err != nil || got != user || !strings.HasPrefix(user.AccessKeyID, "AKIA") || len(user.AccessKeyID) != 20 {
		t.Errorf("principal %+v, error %v", got, err)
	}
	_, err := s.Principal("AKIANONE")
	wantText(t, err, "sts: 403 UnrecognizedClientException: The security token included in the request is invalid.")

	arn := "arn:aws:iam::444455556666:role/rotator"
	s.AddRole(Role{ARN: arn, Account: "444455556666", ExternalID: "x", Actor: "rotator"})
	_, err = s.AssumeRole(CallerFor(ActorExporter), arn, "")
	wantText(t, err, "sts: 403 AccessDenied: User is not authorized to perform: sts:AssumeRole on resource: "+arn)
	session, err := s.AssumeRole(CallerFor(ActorExporter), arn, "x")
	s.must(err)
	if session.Actor != "rotator" || session.Account != "444455556666" || session.ARN != "arn:aws:sts::444455556666:assumed-role/rotator/session" || session.SessionToken == "" {
		t.Errorf("session %+v", session)
	}
	s.advance(time.Hour)
	_, err = s.Principal(session.AccessKeyID)
	wantText(t, err, "sts: 403 ExpiredTokenException: The security token included in the request is expired")
}
