package simulator

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"entra-aws-exporter/internal/simulator/world"
)

// Scenes names what Furnish can build; "fleet-N" has N connections.
func Scenes() []string { return []string{"single", "demo", "fleet-N"} }

// The tenants of the scene "demo".
const (
	demoTenant  = "11111111-1111-1111-1111-111111111111"
	otherTenant = "22222222-2222-4222-8222-222222222222"
)

// Furnish builds a scene in an empty world.
//
// "single": one healthy connection. "demo": three connections over two Entra tenants,
// one healthy, one whose token expires in 20 days while an expired one occupies the
// other slot, one in quarantine with an expired active SAML certificate. "fleet-N":
// N healthy connections, up to a hundred in a tenant.
func Furnish(w *world.World, scene string) error {
	var specs []world.ConnectionSpec
	count, isFleet := strings.CutPrefix(scene, "fleet-")
	switch {
	case scene == "single":
		specs = []world.ConnectionSpec{world.Healthy("corp")}
	case scene == "demo":
		specs = []world.ConnectionSpec{world.Healthy("healthy"), world.Expiring("expiring"), world.Quarantined("quarantined")}
		for i, account := range []string{"111111111111", "222222222222", "333333333333"} {
			specs[i].Account, specs[i].TenantID = account, demoTenant
		}
		specs[2].TenantID, specs[2].Region = otherTenant, "us-east-1"
	case isFleet:
		n, err := strconv.Atoi(count)
		if err != nil || n < 1 {
			return fmt.Errorf("scene %q: want fleet- and a number", scene)
		}
		specs = world.Fleet(n, (n+99)/100)
	default:
		return fmt.Errorf("unknown scene %q: known are %s", scene, strings.Join(Scenes(), ", "))
	}
	for _, spec := range specs {
		w.Add(spec)
	}
	return nil
}

// Access is what an exporter needs to sign in to both clouds.
type Access struct {
	Tenants     []TenantAccess  // one for each Entra tenant
	Accounts    []AccountAccess // one for each AWS account
	Connections []world.Connection
	Values      map[string]string // the saved SCIM token of each connection, by its name
}

// TenantAccess is an application to sign in to an Entra tenant by.
type TenantAccess struct {
	Name, TenantID string
	Registration   world.AppRegistration
}

// AccountAccess is a pair of keys of an AWS account.
type AccountAccess struct {
	Account string
	Keys    world.Principal
}

// ExporterRoles are the Graph permissions of an exporter that may rotate.
func ExporterRoles() []string {
	return []string{
		world.RoleApplicationRead, world.RoleSynchronizationRead, world.RoleSynchronization,
		world.RoleProvisioningLog, world.RoleAuditLog,
	}
}

// Admit gives an exporter its own credentials in every tenant and account that has a
// connection: an application whose client secret lives half a year, and a user.
func Admit(w *world.World) (Access, error) {
	access := Access{Connections: w.Connections(), Values: map[string]string{}}
	for _, connection := range access.Connections {
		if !slices.ContainsFunc(access.Tenants, func(t TenantAccess) bool { return t.TenantID == connection.EntraTenantID }) {
			registration, err := w.AddRegistration(connection.EntraTenantID, world.ActorExporter, w.Now().Add(180*24*time.Hour), ExporterRoles()...)
			if err != nil {
				return access, fmt.Errorf("registering the exporter: %w", err)
			}
			access.Tenants = append(access.Tenants, TenantAccess{
				Name: fmt.Sprintf("tenant-%d", len(access.Tenants)+1), TenantID: connection.EntraTenantID, Registration: registration,
			})
		}
		if !slices.ContainsFunc(access.Accounts, func(a AccountAccess) bool { return a.Account == connection.Account }) {
			access.Accounts = append(access.Accounts, AccountAccess{connection.Account, w.AddPrincipal(connection.Account, world.ActorExporter)})
		}
		if saved := w.SavedToken(connection.ServicePrincipalID); saved != "" {
			access.Values[connection.Name] = w.TokenValue(saved)
		}
	}
	return access, nil
}
