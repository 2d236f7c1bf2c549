package clouds

import (
	"net/http"
	"net/netip"
	"slices"

	"entra-aws-exporter/internal/model"
)

// The addresses that calls to SCIM come from. A caller may use others.
const (
	ExporterAddress = "198.51.100.10"
	EntraAddress    = "20.190.128.7"
)

// EntraUserAgent is how Entra's provisioning service introduces itself.
const EntraUserAgent = "Microsoft-AAD-Provisioning"

// SCIMCall is the frame of a call to a SCIM endpoint.
type SCIMCall struct {
	Tenant    string // the provisioning tenant in the path
	Token     string // the bearer token
	SourceIP  string // default ExporterAddress
	UserAgent string
}

// ServiceProviderConfig is the cheapest call that needs a valid token.
func (w *Model) ServiceProviderConfig(call SCIMCall) error {
	w.Advance()
	_, err := w.scim(call, "GetServiceProviderConfig")
	return err
}

// scim is the one door of every SCIM endpoint, for people, the exporter and Entra's
// engine alike: it accepts or refuses the call, writes it to CloudTrail and returns
// the directory behind it. A wrong tenant and a wrong token look the same.
// https://docs.aws.amazon.com/singlesignon/latest/developerguide/what-is-scim.html
func (w *Model) scim(call SCIMCall, operation string) (*directory, error) {
	t := w.tokens[call.Token]
	if t == nil || t.of.TenantID != call.Tenant || !w.accepts(w.nextNode(), t) {
		return nil, &Error{Service: ServiceSCIM, Status: http.StatusUnauthorized, Code: "UnauthorizedException", Message: "Invalid bearer token."}
	}
	if call.SourceIP == "" {
		call.SourceIP = ExporterAddress
	}
	w.log(t, call, operation)
	if !w.admits(t.of.of, call.SourceIP) {
		return nil, &Error{Service: ServiceSCIM, Status: http.StatusForbidden, Code: "AccessDeniedException", Message: "The source address is not allowed for this identity store."}
	}
	return &t.of.of.directory, nil
}

// admits says whether an identity store takes SCIM calls from an address.
func (w *Model) admits(i *instance, source string) bool {
	if w.quirks.SourceAddress == SourceRefusesExporter && source != EntraAddress {
		return false
	}
	if len(i.allowed) == 0 {
		return true
	}
	address, err := netip.ParseAddr(source)
	return err == nil && slices.ContainsFunc(i.allowed, func(p netip.Prefix) bool { return p.Contains(address) })
}

// TrailEvent is a call to SCIM in CloudTrail.
type TrailEvent struct {
	model.SCIMCall
	EventID, EventName      string
	Account, Region         string
	IdentityStore, TenantID string

	tokenID string
}

// log writes a call to CloudTrail. Quirk: cloudtrail.
func (w *Model) log(t *token, call SCIMCall, operation string) {
	key := t.accessKeyID
	switch w.quirks.CloudTrail {
	case TrailAbsent:
		return
	case TrailBlind:
		if t.seeded {
			return
		}
	case TrailConstant:
		key = "ASIACONSTANTCONSTANT"
	case TrailEphemeral:
		key = w.accessKeyID("ASIA")
	}
	i := t.of.of
	w.trail = append(w.trail, TrailEvent{
		SCIMCall: model.SCIMCall{At: w.at, AccessKeyID: key, UserAgent: call.UserAgent, SourceIP: call.SourceIP},
		EventID:  w.newID(), EventName: operation,
		Account: i.OwnerAccountID, Region: i.PrimaryRegion, IdentityStore: i.IdentityStoreID, TenantID: t.of.TenantID,
		tokenID: t.ID,
	})
}
