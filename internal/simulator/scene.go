package simulator

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"entra-aws-exporter/internal/simulator/clouds"
)

// Scenarios names what Furnish can build; "fleet-N" has N connections.
func Scenarios() []string { return []string{"single", "demo", "fleet-N"} }

// The tenants of the scene "demo".
const (
	demoTenant  = "11111111-1111-1111-1111-111111111111"
	otherTenant = "22222222-2222-4222-8222-222222222222"
)

// Seed builds a scene in an empty world.
//
// "single": one healthy connection. "demo": three connections over two Entra tenants,
// one healthy, one whose token expires in 20 days while an expired one occupies the
// other slot, one in quarantine with an expired active SAML certificate. "fleet-N":
// N healthy connections, up to a hundred in a tenant.
func Seed(w *clouds.Model, scene string) error {
	var specs []clouds.ConnectionSpec
	count, isFleet := strings.CutPrefix(scene, "fleet-")
	switch {
	case scene == "single":
		specs = []clouds.ConnectionSpec{clouds.Healthy("corp")}
	case scene == "demo":
		specs = []clouds.ConnectionSpec{clouds.Healthy("healthy"), clouds.Expiring("expiring"), clouds.Quarantined("quarantined")}
		for i, account := range []string{"111111111111", "222222222222", "333333333333"} {
			specs[i].Account, specs[i].TenantID = account, demoTenant
		}
		specs[2].TenantID, specs[2].Region = otherTenant, "us-east-1"
	case isFleet:
		n, err := strconv.Atoi(count)
		if err != nil || n < 1 {
			return fmt.Errorf("scene %q: want fleet- and a number", scene)
		}
		specs = clouds.Fleet(n, (n+99)/100)
	default:
		return fmt.Errorf("unknown scene %q: known are %s", scene, strings.Join(Scenarios(), ", "))
	}
	for _, spec := range specs {
		w.Add(spec)
	}
	return nil
}

// Credentials is what an exporter needs to sign in to both clouds.
type Credentials struct {
	Tenants     []TenantAccess  // one for each Entra tenant
	Accounts    []AccountAccess // one for each AWS account
	Connections []clouds.Connection
	Values      map[string]string // the saved SCIM token of each connection, by its name
}

// TenantAccess is an application to sign in to an Entra tenant by.
type TenantAccess struct {
	Name, TenantID string
	Registration   clouds.AppRegistration
}

// AccountAccess is a pair of keys of an AWS account.
type AccountAccess struct {
	Account string
	Keys    clouds.Principal
}

// ExporterRoles are the Graph permissions of an exporter that may rotate.
func ExporterRoles() []string {
	return []string{
		clouds.RoleApplicationRead, clouds.RoleSynchronizationRead, clouds.RoleSynchronization,
		clouds.RoleProvisioningLog, clouds.RoleAuditLog,
	}
}

// IssueCredentials gives an exporter its own credentials in every tenant and account that has a
// connection: an application whose client secret lives half a year, and a user.
func IssueCredentials(w *clouds.Model) (Credentials, error) {
	access := Credentials{Connections: w.Connections(), Values: map[string]string{}}
	for _, connection := range access.Connections {
		if !slices.ContainsFunc(access.Tenants, func(t TenantAccess) bool { return t.TenantID == connection.EntraTenantID }) {
			registration, err := w.AddRegistration(connection.EntraTenantID, clouds.ActorExporter, w.Now().Add(180*24*time.Hour), ExporterRoles()...)
			if err != nil {
				return access, fmt.Errorf("registering the exporter: %w", err)
			}
			access.Tenants = append(access.Tenants, TenantAccess{
				Name: fmt.Sprintf("tenant-%d", len(access.Tenants)+1), TenantID: connection.EntraTenantID, Registration: registration,
			})
		}
		if !slices.ContainsFunc(access.Accounts, func(a AccountAccess) bool { return a.Account == connection.Account }) {
			access.Accounts = append(access.Accounts, AccountAccess{connection.Account, w.AddPrincipal(connection.Account, clouds.ActorExporter)})
		}
		if saved := w.SavedToken(connection.ServicePrincipalID); saved != "" {
			access.Values[connection.Name] = w.TokenValue(saved)
		}
	}
	return access, nil
}
