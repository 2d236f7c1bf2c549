package clouds

import (
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"time"

	"entra-aws-exporter/internal/model"
)

// The addresses that calls to SCIM come from. A caller may use others.
const (
	ExporterAddress = "198.51.100.10"
	EntraAddress    = "20.190.128.7"
)

// EntraUserAgent is the user agent of Entra's provisioning service.
const EntraUserAgent = "Microsoft-AAD-Provisioning"

// SCIMCall is the frame of a call to a SCIM endpoint.
type SCIMCall struct {
	Tenant    string // the provisioning tenant in the path
	Token     string // the bearer token
	SourceIP  string // default ExporterAddress
	UserAgent string
}

// User is a user of an identity store.
type User struct {
	ID          string
	UserName    string
	ExternalID  string
	DisplayName string
	GivenName   string
	FamilyName  string
	Active      bool
}

type directory struct {
	users  []*User
	byName map[string]*User // by lower-case userName
}

// ServiceProviderConfig is the cheapest call that needs a valid token.
func (aws *AWS) ServiceProviderConfig(call SCIMCall) error {
	aws.Advance()
	_, err := aws.authorizeSCIM(call, "GetServiceProviderConfig")
	return err
}

// UserNamed finds the users with this userName: one, or none.
func (aws *AWS) UserNamed(call SCIMCall, userName string) ([]User, error) {
	aws.Advance()
	d, err := aws.authorizeSCIM(call, "ListUsers")
	if err != nil || d.byName[strings.ToLower(userName)] == nil {
		return nil, err
	}
	return []User{*d.byName[strings.ToLower(userName)]}, nil
}

// authorizeSCIM checks every call to a SCIM endpoint, of operators, the exporter and
// Entra's engine alike: it accepts or refuses the call, writes it to CloudTrail and
// returns the directory. A wrong tenant and a wrong token look the same.
// https://docs.aws.amazon.com/singlesignon/latest/developerguide/what-is-scim.html
func (aws *AWS) authorizeSCIM(call SCIMCall, operation string) (*directory, error) {
	t := aws.tokens[call.Token]
	if t == nil || t.of.TenantID != call.Tenant || !aws.accepts(aws.nextNode(), t) {
		return nil, NewError(ServiceSCIM, http.StatusUnauthorized, "UnauthorizedException", "Invalid bearer token.")
	}
	if call.SourceIP == "" {
		call.SourceIP = ExporterAddress
	}
	aws.logCall(t, call, operation)
	if !aws.allowsSource(t.of.of, call.SourceIP) {
		return nil, NewError(ServiceSCIM, http.StatusForbidden, "AccessDeniedException", "The source address is not allowed for this identity store.")
	}
	return &t.of.of.directory, nil
}

func (aws *AWS) allowsSource(i *instance, source string) bool {
	if aws.quirks.SourceAddress == SourceRefusesExporter && source != EntraAddress {
		return false
	}
	if len(i.allowed) == 0 {
		return true
	}
	address, err := netip.ParseAddr(source)
	return err == nil && slices.ContainsFunc(i.allowed, func(p netip.Prefix) bool { return p.Contains(address) })
}

func (aws *AWS) createUser(d *directory, user User) (User, error) {
	for _, required := range [][2]string{
		{"userName", user.UserName}, {"displayName", user.DisplayName},
		{"name.givenName", user.GivenName}, {"name.familyName", user.FamilyName},
	} {
		if required[1] == "" {
			return User{}, NewError(ServiceSCIM, http.StatusBadRequest, "ValidationException", "Request is unparsable, syntactically incorrect, or violates schema: "+required[0]+" is required.")
		}
	}
	name := strings.ToLower(user.UserName)
	if d.byName[name] != nil {
		return User{}, NewError(ServiceSCIM, http.StatusConflict, "ConflictException", "User already exists.")
	}
	if d.byName == nil {
		d.byName = map[string]*User{}
	}
	user.ID = aws.newID()
	d.users, d.byName[name] = append(d.users, &user), &user
	return user, nil
}

func (d *directory) deleteUser(user *User) {
	d.users = slices.DeleteFunc(d.users, func(u *User) bool { return u == user })
	delete(d.byName, strings.ToLower(user.UserName))
}

// SCIMEventSource is the event source of calls to SCIM in CloudTrail.
const SCIMEventSource = "identitystore-scim.amazonaws.com"

const trailRetention = 90 * 24 * time.Hour

// TrailFilter selects events; a zero field selects all.
type TrailFilter struct {
	After, Before time.Time // inclusive
	EventSource   string    // only SCIMEventSource has any
	TenantID      string    // not a filter of the real API, for convenience
}

// LookupEvents lists the calls to SCIM that were delivered to CloudTrail, the newest
// first as the real API does, of one account and region. Quirks: cloudtrail,
// cloudtrail_delay (an event takes half of it or the whole).
func (aws *AWS) LookupEvents(c Caller, filter TrailFilter) ([]TrailEvent, error) {
	aws.Advance()
	if err := aws.allowAWS(c, ServiceCloudTrail, LookupEventsAction); err != nil {
		return nil, err
	}
	if filter.EventSource != "" && filter.EventSource != SCIMEventSource {
		return nil, nil
	}
	delay := aws.lag(aws.quirks.CloudTrailDelay)
	var list []TrailEvent
	for n, e := range slices.Backward(aws.trail) {
		if e.At.Before(aws.at.Add(-trailRetention)) {
			break
		}
		delivered := e.At.Add(delay)
		if n%2 == 0 {
			delivered = e.At.Add(delay / 2)
		}
		if delivered.After(aws.at) ||
			c.Account != "" && c.Account != e.Account || c.Region != "" && c.Region != e.Region ||
			filter.TenantID != "" && filter.TenantID != e.TenantID {
			continue
		}
		e.At = addSkew(e.At, aws.skew.AWS)
		if !filter.After.IsZero() && e.At.Before(filter.After) || !filter.Before.IsZero() && e.At.After(filter.Before) {
			continue
		}
		list = append(list, e)
	}
	return list, nil
}

// TrailEvent is a call to SCIM in CloudTrail.
type TrailEvent struct {
	model.SCIMCall
	EventID, EventName      string
	Account, Region         string
	IdentityStore, TenantID string
}

// AddCalls writes calls of Entra with a token to CloudTrail, as many as large directories
// make. No cycle makes them.
func (aws *AWS) AddCalls(tokenID string, from time.Time, every time.Duration, count int) error {
	t := aws.tokenByID(tokenID)
	if t == nil {
		return notFound(ServiceTokens, "BEARER_TOKEN resource not found for %s.", tokenID)
	}
	for n := range count {
		aws.logCall(t, SCIMCall{SourceIP: EntraAddress, UserAgent: EntraUserAgent}, "ListUsers")
		aws.trail[len(aws.trail)-1].At = from.Add(time.Duration(n) * every).Truncate(time.Second)
	}
	slices.SortStableFunc(aws.trail, func(a, b TrailEvent) int { return a.At.Compare(b.At) })
	return nil
}

// logCall writes a call to CloudTrail. Quirk: cloudtrail.
func (aws *AWS) logCall(t *scimToken, call SCIMCall, operation string) {
	key := t.accessKeyID
	switch aws.quirks.CloudTrail {
	case TrailAbsent:
		return
	case TrailBlind:
		if t.seeded {
			return
		}
	case TrailConstant:
		key = "ASIACONSTANTCONSTANT"
	case TrailEphemeral:
		key = aws.accessKeyID("ASIA")
	}
	i := t.of.of
	aws.trail = append(aws.trail, TrailEvent{
		SCIMCall: model.SCIMCall{At: aws.at.Truncate(time.Second), AccessKeyID: key, UserAgent: call.UserAgent, SourceIP: call.SourceIP},
		EventID:  aws.newID(), EventName: operation,
		Account: i.OwnerAccountID, Region: i.PrimaryRegion, IdentityStore: i.IdentityStoreID, TenantID: t.of.TenantID,
	})
}
