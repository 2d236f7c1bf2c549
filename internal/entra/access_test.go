package entra

import (
	"testing"

	"entra-aws-exporter/internal/model"
	"entra-aws-exporter/internal/simulator/clouds"
)

// WriteAccess tells the permission from the two ownerships, whoever else owns them.
func TestWriteAccess(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		s := simulate(t, clouds.Healthy("corp"), nil)
		tenant, client := s.connection.EntraTenantID, s.tenant.clientID
		expect := func(want WriteAccess) {
			t.Helper()
			if got, err := s.WriteAccess(t.Context()); err != nil || got != want {
				t.Errorf("%+v, %v, want %+v", got, err, want)
			}
		}
		change := func(edit func(*clouds.ServicePrincipal)) {
			t.Helper()
			s.do(t, func(m *clouds.Model) error { return m.ChangeApplication(tenant, s.connection.ServicePrincipalID, edit) })
		}
		expect(WriteAccess{Known: true, Owned: true, OwnsApplication: true, OwnsRegistration: true})
		change(func(sp *clouds.ServicePrincipal) { sp.Owners = []string{"another"} })
		expect(WriteAccess{Known: true, Owned: true, OwnsRegistration: true})
		change(func(sp *clouds.ServicePrincipal) { sp.Owners, sp.RegistrationOwners = []string{client}, nil })
		expect(WriteAccess{Known: true, Owned: true, OwnsApplication: true})
		s.do(t, func(m *clouds.Model) error {
			return m.ChangeRegistration(tenant, client, func(r *clouds.AppRegistration) {
				r.Roles = []string{clouds.RoleApplicationRead, clouds.RoleApplicationWrite}
			})
		})
		expect(WriteAccess{Known: true, All: true, OwnsApplication: true})
		s.tenant.clientID = ""
		expect(WriteAccess{})
		s.tenant.credential.ManagedIdentityClientID = client
		expect(WriteAccess{Known: true, All: true, OwnsApplication: true})
		s.do(t, func(m *clouds.Model) error {
			m.Deny(clouds.ActorExporter, clouds.ReadApplications, clouds.DenyMissing)
			return nil
		})
		if _, err := s.WriteAccess(t.Context()); model.ReasonOf(err) != model.ReasonPermission {
			t.Errorf("without the permission to read: %v", err)
		}
	})
}
