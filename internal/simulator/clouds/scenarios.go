package clouds

import (
	"encoding/hex"
	"fmt"
	"strconv"
	"strings"
	"time"

	"entra-aws-exporter/internal/model"
)

const day = 24 * time.Hour

// The defaults of a ConnectionSpec.
const (
	DefaultTenant  = "11111111-1111-1111-1111-111111111111"
	DefaultAccount = "111122223333"
	DefaultRegion  = "eu-central-1"
)

// TokenSpec is a token that exists at the start.
type TokenSpec struct {
	Age, Left time.Duration // since its creation, until its expiry; Left may be negative
	Saved     bool          // Entra has it
}

// CertificateSpec is a SAML certificate that exists at the start.
type CertificateSpec struct {
	Age, Left time.Duration // since its notBefore, until its notAfter; Left may be negative
	Active    bool          // Entra is set to sign with it
	Trusted   bool          // AWS holds it
}

// ConnectionSpec is a connection as it is at the start: an enterprise
// application of an Entra tenant and an identity store of its own.
type ConnectionSpec struct {
	Name           string
	TenantID       string // default DefaultTenant
	Account        string // default DefaultAccount
	Region         string // default DefaultRegion
	Tokens         []TokenSpec
	Certificates   []CertificateSpec
	Notified       []string      // mail addresses
	SignInEvery    time.Duration // how often a user signs in to AWS; 0: nobody does
	Users          int           // in sync
	QuarantinedFor time.Duration // 0: not in quarantine
	NotConfigured  bool          // there is a job, but provisioning was never set up
	NoJob          bool          // there is not even a job
}

// Connection tells where the parts of a connection are.
type Connection struct {
	Name        string
	Account     string
	AppID       string
	DisplayName string
	IdPID       string   //nolint:revive // AWS's own spelling
	TokenIDs    []string // in the order of the spec
	model.Binding
}

// Healthy is a connection of which nothing expires soon.
func Healthy(name string) ConnectionSpec {
	return ConnectionSpec{
		Name: name, Users: 3, SignInEvery: 10 * time.Minute, Notified: []string{"identity-team@example.com"},
		Tokens:       []TokenSpec{{Age: 100 * day, Left: 265 * day, Saved: true}},
		Certificates: []CertificateSpec{{Age: 200 * day, Left: 895 * day, Active: true, Trusted: true}},
	}
}

// Expiring is a connection whose token in use expires in 20 days, while an expired one
// occupies the other slot.
func Expiring(name string) ConnectionSpec {
	spec := Healthy(name)
	spec.Tokens = []TokenSpec{{Age: 345 * day, Left: 20 * day, Saved: true}, {Age: 400 * day, Left: -35 * day}}
	return spec
}

// ExpiringCertificate is a connection whose active SAML certificate expires in 40 days.
func ExpiringCertificate(name string) ConnectionSpec {
	spec := Healthy(name)
	spec.Certificates = []CertificateSpec{{Age: 1055 * day, Left: 40 * day, Active: true, Trusted: true}}
	return spec
}

// Quarantined is a connection whose token expired three days ago, so that its job is
// in quarantine; its active SAML certificate has expired, and a valid one that AWS
// does not trust is inactive.
func Quarantined(name string) ConnectionSpec {
	spec := Healthy(name)
	spec.Tokens = []TokenSpec{{Age: 368 * day, Left: -3 * day, Saved: true}}
	spec.QuarantinedFor = 3*day - time.Hour
	spec.Certificates = []CertificateSpec{
		{Age: 1100 * day, Left: -5 * day, Active: true, Trusted: true},
		{Age: 40 * day, Left: 1055 * day},
	}
	return spec
}

// Fleet is n healthy connections over this many Entra tenants, each with an AWS
// account and identity store of its own.
func Fleet(n, tenants int) []ConnectionSpec {
	regions := []string{"eu-central-1", "us-east-1", "ap-southeast-2"}
	list := make([]ConnectionSpec, 0, n)
	for i := range n {
		spec := Healthy(fmt.Sprintf("connection-%03d", i+1))
		spec.TenantID = fmt.Sprintf("%08d-1111-4111-8111-111111111111", i%max(tenants, 1)+1)
		spec.Account = fmt.Sprintf("%012d", 100000000000+i)
		spec.Region = regions[i%len(regions)]
		spec.SignInEvery = 2 * time.Hour // a week of them is kept for each
		list = append(list, spec)
	}
	return list
}

// Add builds a connection as of now.
func (m *Model) Add(spec ConnectionSpec) Connection {
	m.Advance()
	for field, value := range map[*string]string{&spec.TenantID: DefaultTenant, &spec.Account: DefaultAccount, &spec.Region: DefaultRegion} {
		if *field == "" {
			*field = value
		}
	}
	i := m.addInstance(spec)
	t := m.newProvisioningTenant(i)
	sp := m.addApplication(spec, i)
	m.letUsersSignIn(sp, i, spec.SignInEvery)
	spec.NotConfigured = spec.NotConfigured || spec.NoJob
	connection := Connection{
		Name: spec.Name, Account: spec.Account, AppID: sp.AppID, DisplayName: sp.DisplayName, IdPID: i.idp.IdPID,
		Binding: model.Binding{
			AWSAccount: spec.Account, Region: spec.Region, IdentityStoreID: i.IdentityStoreID,
			ProvisioningTenantID: t.TenantID, SCIMEndpoint: t.address(),
			EntraTenantID: spec.TenantID, ServicePrincipalID: sp.ObjectID,
		},
	}
	for _, one := range spec.Tokens {
		token := m.newToken(t, ActorSetup, m.at.Add(-one.Age), m.at.Add(one.Left))
		connection.TokenIDs = append(connection.TokenIDs, token.ID)
		t.Created = sooner(t.Created, token.Created)
		if one.Saved && !spec.NotConfigured {
			sp.set(Secret{model.CredentialKeyBaseAddress, t.address()})
			sp.set(Secret{model.CredentialKeySecretToken, token.Value})
			m.resolve(sp, ActorSetup)
			sp.reshape(m.quirks)
			sp.saved.since = token.Created
		}
	}
	i.Created = sooner(i.Created, t.Created)
	if !spec.NoJob {
		j := m.addJob(spec, sp)
		connection.JobID = j.id
		m.addHistory(spec, j, i)
	}
	m.connections = append(m.connections, connection)
	m.afterChange()
	return connection
}

// Connections returns what Add built.
func (m *Model) Connections() []Connection { return append([]Connection(nil), m.connections...) }

func (m *Model) addInstance(spec ConnectionSpec) *instance {
	i := &instance{Instance: Instance{
		ARN:            "arn:aws:sso:::instance/ssoins-" + hex.EncodeToString(m.bytes(8)),
		OwnerAccountID: spec.Account, PrimaryRegion: spec.Region,
		IdentityStoreID: "d-" + hex.EncodeToString(m.bytes(5)), Name: spec.Name, Status: "ACTIVE", Created: m.at,
	}}
	i.idp.IdPConfiguration = IdPConfiguration{IdPID: m.newID(), Enabled: true}
	m.instances = append(m.instances, i)
	return i
}

func (m *Model) addApplication(spec ConnectionSpec, i *instance) *servicePrincipal {
	m.AddTenant(spec.TenantID)
	sp := &servicePrincipal{of: m.tenant(spec.TenantID), ServicePrincipal: ServicePrincipal{
		ObjectID: m.newID(), AppID: m.newID(), TemplateID: AWSTemplateID,
		DisplayName: "AWS IAM Identity Center (" + spec.Name + ")",
		Tags:        []string{"WindowsAzureActiveDirectoryIntegratedApp", "WindowsAzureActiveDirectoryCustomSingleSignOnApplication"},
		SSOMode:     model.SingleSignOnSAML,
		EntityIDs:   []string{"https://" + spec.Region + ".signin.aws.amazon.com/platform/saml/" + i.IdentityStoreID},
		Notified:    spec.Notified,
	}}
	for _, one := range spec.Certificates {
		certificate := m.NewSigningCertificate(m.at.Add(-one.Age), m.at.Add(one.Left))
		sp.Certificates = append(sp.Certificates, certificate)
		if one.Active {
			sp.Preferred = certificate.Certificate
		}
		if one.Trusted {
			i.idp.trusted = append(i.idp.trusted, &trust{IdPCertificate: IdPCertificate{m.newID(), certificate.Certificate}, idpID: i.idp.IdPID, by: ActorSetup})
		}
	}
	sp.of.applications = append(sp.of.applications, sp)
	return sp
}

func (m *Model) addJob(spec ConnectionSpec, sp *servicePrincipal) *job {
	j := &job{
		id:     JobTemplate + "." + strings.ReplaceAll(spec.TenantID, "-", "") + "." + m.newID(),
		ruleID: m.newID(), application: sp,
		status: model.JobNotConfigured, schedule: model.ScheduleDisabled,
	}
	sp.jobs = append(sp.jobs, j)
	m.jobs = append(m.jobs, j)
	return j
}

func (m *Model) addHistory(spec ConnectionSpec, j *job, i *instance) {
	if spec.NotConfigured {
		return
	}
	for n := range spec.Users {
		name := fmt.Sprintf("user-%d@%s.example.com", n+1, spec.Name)
		user := &User{ExternalID: m.newID(), UserName: name, DisplayName: fmt.Sprint("User ", n+1), GivenName: "User", FamilyName: strconv.Itoa(n + 1), Active: true}
		exported, err := m.createUser(&i.directory, *user)
		if err != nil { // names are made unique above
			panic(fmt.Sprintf("scenario %s: %v", spec.Name, err))
		}
		j.scope = append(j.scope, &assignedUser{User: user, targetID: exported.ID})
	}
	cycle := func(began time.Time, state model.CycleState, exported int) *model.Cycle {
		return &model.Cycle{Began: began, Ended: began.Add(m.lag(cycleLength)), State: state, Entries: cycleCounts(exported, spec.Users)}
	}
	period := m.lag(CyclePeriod)
	next := m.at.Add(time.Duration(m.random() % uint64(max(period-m.lag(cycleLength), 1))))
	healthy := next.Add(-period) // the last cycle before now, ended
	j.status, j.schedule, j.nextCycle = model.JobActive, model.ScheduleActive, next
	if spec.QuarantinedFor > 0 {
		healthy = m.at.Add(-m.lag(spec.QuarantinedFor) - period)
	}
	j.lastExport = cycle(healthy.Add(-4*period), model.CycleSucceeded, 1)
	j.lastSuccess = cycle(healthy, model.CycleSucceeded, 0)
	j.last = j.lastSuccess
	if spec.QuarantinedFor <= 0 {
		return
	}
	j.status, j.seriesBegan = model.JobQuarantine, m.at.Add(-m.lag(spec.QuarantinedFor))
	j.disables = j.seriesBegan.Add(m.lag(model.QuarantineDisableAfter))
	j.quarantine = &quarantine{
		reason: model.QuarantineReasonException, code: m.quirks.RefusedCode, began: j.seriesBegan,
		message: "We are not able to connect to the target application with the credentials provided: Invalid bearer token.",
	}
	for attempt := j.seriesBegan; !attempt.After(m.at); attempt = j.nextCycle {
		j.failures++
		j.last = cycle(attempt, model.CycleFailed, 0)
		j.last.Ended, j.last.ErrorCode = attempt, m.quirks.RefusedCode
		m.retryAfter(j, attempt)
	}
}
