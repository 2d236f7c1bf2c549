package clouds

import (
	"fmt"
	"slices"
	"strings"
	"time"
)

// Quirks are the behaviours of AWS and Entra that are unconfirmed or contested.
// DefaultQuirks gives each its most probable value.
type Quirks struct {
	PutSecrets   string // what PUT secrets does with the collection
	SettingsKeys string // does the collection hold SyncNotificationSettings and SyncAll
	ExtraKeys    string // does it hold an unexpected key
	BaseAddress  string // how GET shows BaseAddress
	SecretsGet   string // does GET secrets exist
	GraphErrors  string // how the synchronization API words its errors

	TestLag    time.Duration // how long "Test connection" answers 400 after a PUT
	InlineTest string        // does it test the values it is given

	RefusedCode     string // how Entra words that AWS refuses its token
	UnreachableCode string // how Entra words that it gets no answer from AWS

	EngineReads     string        // when the engine reads the secrets
	EmptyCycles     string        // does a cycle without changes call SCIM
	FailingUser     string        // does one user fail in every cycle
	QuarantineAfter string        // how many failed cycles lead to quarantine
	Recovery        string        // how a quarantine ends once the credential works
	LogDelay        time.Duration // how late entries of the provisioning and audit logs appear, at most

	ThirdCreate string // how AWS refuses a third token
	ListValues  string // does a list carry token values
	ListOrder   string // in which order
	TokenTimes  string // how timestamps are written
	JSONVersion string // the token service's awsjson version
	IdPVersion  string //nolint:revive // the certificate service's awsjson version; IdP is the usual spelling
	ListLag     time.Duration
	NewLag      time.Duration // how long until AWS accepts a new token
	DeletedLag  time.Duration // how long AWS accepts a deleted one
	Nodes       string        // do all of AWS's nodes learn of a token together

	SourceAddress   string        // does SCIM refuse the exporter's address
	CloudTrail      string        // what the access key ids in CloudTrail tell
	CloudTrailDelay time.Duration // how late its events are delivered

	SecretLag time.Duration // how long a new secret of Secrets Manager is missing

	RetryAfter     string // how a throttled response says when to retry
	ErrorBodies    string // what Graph's errors carry
	ListPages      string // which pages the lists have
	TemplateFilter string // how Graph takes a filter by applicationTemplateId

	DirectoryLag       time.Duration // how far behind every second read of an application is
	SignerUptake       string        // when sign-ins use a certificate that was activated
	CreatedCertificate string        // does a new certificate become active by itself
	ExpiredSigner      string        // what signs once the active certificate has expired
	AppPolicy          string        // does the app management policy allow certificates
	TrustSlots         string        // how many certificates AWS trusts at most
	SecondImport       string        // what AWS does with a certificate that it trusts already
	CertificateUse     string        // does AWS know the use SIGNING
	TrustListLag       time.Duration // how far behind AWS's list of certificates is
	TrustLag           time.Duration // how long until AWS trusts an imported certificate
	LastCertificate    string        // what AWS does when the last valid certificate is deleted
	SignInNoise        string        // do sign-ins fail for reasons of their own

	SigningCertificates string // what is odd about the SAML certificates
	JobStatus           string // does Graph show the status of a job
}

// The values of the quirks that are not durations.
const (
	PutMerges             = "merges"         // each key sent is set, the others stay
	PutReplaces           = "replaces"       // keys that are not sent are erased
	PutNeedsAll           = "needs_settings" // without SyncNotificationSettings and SyncAll: 204, and nothing is saved
	PutKeepsToken         = "keeps_token"    // 204, and the old SecretToken stays
	PutLimited            = "limit"          // refused: 1,024 bytes, shared with the SAML certificate
	KeysPresent           = "present"
	KeysAbsent            = "absent"
	ExtraNone             = "none"
	ExtraClear            = "clear"
	ExtraMasked           = "masked"
	AddressClear          = "clear"
	AddressMasked         = "masked"
	AddressQuery          = "query" // clear, with a flag in its query that must survive
	Served                = "served"
	Gone                  = "gone" // 404
	ErrorsPlain           = "plain"
	ErrorsNested          = "nested"
	InlineHonest          = "honest"
	InlineIgnored         = "ignored" // the saved values are tested, whatever is sent
	CodeFailure           = "SystemForCrossDomainIdentityManagementCredentialValidationFailure"
	CodeUnavailable       = "SystemForCrossDomainIdentityManagementCredentialValidationUnavailable"
	CodeInvalid           = "SystemForCrossDomainIdentityManagementInvalidCredentials"
	CodeBare              = "InvalidCredentials"
	CodeIncompatible      = "SystemForCrossDomainIdentityManagementServiceIncompatible"
	CodeGateway           = "BadGateway"
	CodeTimeout           = "GatewayTimeout"
	ReadsPerCall          = "per_call"
	ReadsPerCycle         = "per_cycle"
	ReadsHourly           = "hourly" // once read, used for an hour, even when it is refused
	EmptyCalls            = "calls"  // looks a random user up first, as most of Entra's connectors do
	EmptySilent           = "silent" // a wrong token stays unnoticed until a user changes
	NobodyFails           = "none"
	OneUserFails          = "one"
	AfterOne              = "1"
	AfterThree            = "3"
	RecoversAlone         = "by_itself"   // the next automatic attempt lifts it
	NeedsStart            = "needs_start" // only start or restart lifts it
	ThirdQuota            = "ServiceQuotaExceededException"
	ThirdConflict         = "ConflictException"
	ThirdValidation       = "ValidationException"
	ValuesOmitted         = "omitted"
	ValuesCarried         = "carried"
	OrderByID             = "by_id" // as the console sorts them
	OrderOldest           = "oldest_first"
	OrderNewest           = "newest_first"
	TimesNumbers          = "numbers" // epoch seconds with a fraction
	TimesStrings          = "strings" // RFC 3339
	JSON11                = "1.1"
	JSON10                = "1.0"
	NodesTogether         = "together"
	NodesApart            = "apart" // every second call meets a node that learns at once, the others one that lags
	SourceOpen            = "open"
	SourceRefusesExporter = "refuses_exporter"
	TrailPerToken         = "per_token"
	TrailConstant         = "constant"  // one access key id for all
	TrailEphemeral        = "ephemeral" // another one with every call
	TrailBlind            = "blind"     // calls with tokens from before the start are not logged
	TrailAbsent           = "absent"    // nothing is logged
	RetryAfterSeconds     = "seconds"
	RetryAfterDate        = "date"
	PagesAsAsked          = "as_asked"
	PagesEmptyFirst       = "empty_first"
	PagesSmall            = "small"          // two entries each
	PagesSecondRefused    = "second_refused" // every page but the first
	FilterPlain           = "plain"
	FilterAdvanced        = "advanced" // with ConsistencyLevel and $count only
	BodiesFull            = "full"
	BodiesEmpty           = "empty"        // "{}"
	BodiesNullMessage     = "null_message" // {"error":{"code":"…","message":null}}
	CertificatesPlain     = "plain"
	CertificatesNegative  = "negative_serial" // Go refuses to parse them by default
	CertificatesHexOnly   = "hex_identifier"  // Graph shows no key, and the thumbprint as hex text
	StatusShown           = "shown"
	StatusNull            = "null"
	UptakeAtOnce          = "at_once"
	UptakeDelayed         = "delayed"  // half an hour later
	UptakeCached          = "cached"   // every second sign-in an hour later
	CreatedInactive       = "inactive" // until somebody activates it
	CreatedActive         = "active"
	CreatedActiveLater    = "active_later" // ten minutes later
	ExpiredSwitches       = "switches"     // a valid inactive one, if there is one
	ExpiredStays          = "stays"        // the expired one
	PolicyAllows          = "allows"
	PolicyRefuses         = "refuses"
	SlotsTwo              = "2"
	SlotsThree            = "3"
	SlotsUnlimited        = "unlimited"
	ImportDuplicates      = "duplicate" // listed twice
	ImportRefused         = "refused"
	ImportNoOp            = "no_op" // answered with the first one's id
	UseKnown              = "known"
	UseRefused            = "refused"
	LastRefused           = "refused"
	LastDeleted           = "deleted"
	NoiseNone             = "none"
	NoiseSome             = "noisy" // every seventh
)

// QuirkKind says where a quirk matters, for the matrices.
type QuirkKind int

// The kinds.
const (
	Single   QuirkKind = iota // on its own
	Coupled                   // coupled quirks touch the switch of the token together: their full product is tested
	Wire                      // only the protocols show it, not the model's methods
	Rollover                  // only the rollover of the SAML certificate meets it
)

// Quirk describes one field of Quirks: its name for the control API (quirk
// NAME=VALUE) and the values that a matrix enumerates, the default first.
type Quirk struct {
	Name   string
	Values []string
	Doc    string
	Kind   QuirkKind

	field func(*Quirks) any // *string or *time.Duration
}

func (quirk Quirk) get(from *Quirks) string {
	if lag, isDuration := quirk.field(from).(*time.Duration); isDuration {
		return lag.String()
	}
	return *quirk.field(from).(*string)
}

func (quirk Quirk) set(in *Quirks, value string) error {
	if lag, isDuration := quirk.field(in).(*time.Duration); isDuration {
		d, err := time.ParseDuration(value)
		if err != nil || d < 0 {
			return fmt.Errorf("quirk %s=%s: want a duration of at least 0, such as 90s", quirk.Name, value)
		}
		*lag = d
		return nil
	}
	if !slices.Contains(quirk.Values, value) {
		return fmt.Errorf("quirk %s=%s: want one of %s", quirk.Name, value, strings.Join(quirk.Values, ", "))
	}
	*quirk.field(in).(*string) = value
	return nil
}

// AllQuirks lists every quirk in the order of the struct.
func AllQuirks() []Quirk {
	return []Quirk{
		{"put_secrets", []string{PutMerges, PutReplaces, PutNeedsAll, PutKeepsToken, PutLimited}, "what PUT secrets does with the collection", Coupled, func(q *Quirks) any { return &q.PutSecrets }},
		{"settings_keys", []string{KeysPresent, KeysAbsent}, "does the collection hold SyncNotificationSettings and SyncAll", Coupled, func(q *Quirks) any { return &q.SettingsKeys }},
		{"extra_keys", []string{ExtraNone, ExtraClear, ExtraMasked}, "does the collection hold an unexpected key", Coupled, func(q *Quirks) any { return &q.ExtraKeys }},
		{"base_address", []string{AddressClear, AddressMasked, AddressQuery}, "how GET secrets shows BaseAddress", Coupled, func(q *Quirks) any { return &q.BaseAddress }},
		{"secrets_get", []string{Served, Gone}, "does GET secrets exist", Single, func(q *Quirks) any { return &q.SecretsGet }},
		{"graph_errors", []string{ErrorsNested, ErrorsPlain}, "how the synchronization API words its errors", Single, func(q *Quirks) any { return &q.GraphErrors }},
		{"test_lag", []string{"1m0s", "0s", "10m0s"}, "how long Test connection answers 400 after a PUT", Single, func(q *Quirks) any { return &q.TestLag }},
		{"inline_test", []string{InlineHonest, InlineIgnored}, "does Test connection use the values that it is given", Single, func(q *Quirks) any { return &q.InlineTest }},
		{"refused_code", []string{CodeFailure, CodeUnavailable, CodeInvalid, CodeBare}, "how Entra words that AWS refuses its token", Single, func(q *Quirks) any { return &q.RefusedCode }},
		{"unreachable_code", []string{CodeUnavailable, CodeFailure, CodeIncompatible, CodeGateway, CodeTimeout}, "how Entra words that it gets no answer from AWS", Single, func(q *Quirks) any { return &q.UnreachableCode }},
		{"engine_reads", []string{ReadsPerCycle, ReadsPerCall, ReadsHourly}, "when the engine reads the secrets", Coupled, func(q *Quirks) any { return &q.EngineReads }},
		{"empty_cycles", []string{EmptyCalls, EmptySilent}, "does a cycle without changes call SCIM", Single, func(q *Quirks) any { return &q.EmptyCycles }},
		{"failing_user", []string{NobodyFails, OneUserFails}, "does one user fail in every cycle", Single, func(q *Quirks) any { return &q.FailingUser }},
		{"quarantine_after", []string{AfterOne, AfterThree}, "how many cycles fail before the quarantine", Single, func(q *Quirks) any { return &q.QuarantineAfter }},
		{"recovery", []string{RecoversAlone, NeedsStart}, "how a quarantine ends once the credential works", Single, func(q *Quirks) any { return &q.Recovery }},
		{"log_delay", []string{"5m0s", "0s", "10m0s"}, "how late entries of the provisioning and audit logs appear at most", Single, func(q *Quirks) any { return &q.LogDelay }},
		{"third_create", []string{ThirdQuota, ThirdConflict, ThirdValidation}, "how AWS refuses a third token", Single, func(q *Quirks) any { return &q.ThirdCreate }},
		{"list_values", []string{ValuesOmitted, ValuesCarried}, "does a token list carry values", Single, func(q *Quirks) any { return &q.ListValues }},
		{"list_order", []string{OrderByID, OrderOldest, OrderNewest}, "in which order a list comes", Single, func(q *Quirks) any { return &q.ListOrder }},
		{"token_times", []string{TimesNumbers, TimesStrings}, "how the token service writes timestamps", Single, func(q *Quirks) any { return &q.TokenTimes }},
		{"json_version", []string{JSON11, JSON10}, "the token service's awsjson version", Single, func(q *Quirks) any { return &q.JSONVersion }},
		{"idp_json_version", []string{JSON10, JSON11}, "the certificate service's awsjson version", Wire, func(q *Quirks) any { return &q.IdPVersion }},
		{"list_lag", []string{"0s", "10s", "1m30s"}, "how far behind a token list is", Single, func(q *Quirks) any { return &q.ListLag }},
		{"new_lag", []string{"0s", "20s", "1m0s"}, "how long until AWS accepts a new token", Single, func(q *Quirks) any { return &q.NewLag }},
		{"deleted_lag", []string{"0s", "5m0s", "1h0m0s"}, "how long AWS accepts a deleted token", Coupled, func(q *Quirks) any { return &q.DeletedLag }},
		{"nodes", []string{NodesTogether, NodesApart}, "do AWS's nodes learn of a token together", Single, func(q *Quirks) any { return &q.Nodes }},
		{"source_address", []string{SourceOpen, SourceRefusesExporter}, "does SCIM refuse the exporter's address", Single, func(q *Quirks) any { return &q.SourceAddress }},
		{"cloudtrail", []string{TrailPerToken, TrailAbsent, TrailConstant, TrailBlind, TrailEphemeral}, "what the access key ids in CloudTrail tell", Coupled, func(q *Quirks) any { return &q.CloudTrail }},
		{"cloudtrail_delay", []string{"5m0s", "0s", "15m0s"}, "how late CloudTrail's events are delivered", Single, func(q *Quirks) any { return &q.CloudTrailDelay }},
		{"secret_lag", []string{"0s", "2s", "10s"}, "how long a new secret of Secrets Manager is missing", Wire, func(q *Quirks) any { return &q.SecretLag }},
		{"retry_after", []string{RetryAfterSeconds, RetryAfterDate}, "how a throttled response says when to retry", Wire, func(q *Quirks) any { return &q.RetryAfter }},
		{"error_bodies", []string{BodiesFull, BodiesEmpty, BodiesNullMessage}, "what Graph's errors carry", Wire, func(q *Quirks) any { return &q.ErrorBodies }},
		{"list_pages", []string{PagesAsAsked, PagesEmptyFirst, PagesSmall, PagesSecondRefused}, "which pages the lists have; AWS's have one, or an empty one first", Wire, func(q *Quirks) any { return &q.ListPages }},
		{"template_filter", []string{FilterPlain, FilterAdvanced}, "how Graph takes a filter by applicationTemplateId", Wire, func(q *Quirks) any { return &q.TemplateFilter }},
		{"directory_lag", []string{"0s", "5m0s", "30m0s"}, "how far behind every second read of an application is", Rollover, func(q *Quirks) any { return &q.DirectoryLag }},
		{"signer_uptake", []string{UptakeAtOnce, UptakeDelayed, UptakeCached}, "when sign-ins use a certificate that was activated", Rollover, func(q *Quirks) any { return &q.SignerUptake }},
		{"created_certificate", []string{CreatedInactive, CreatedActive, CreatedActiveLater}, "does a new certificate become active by itself", Rollover, func(q *Quirks) any { return &q.CreatedCertificate }},
		{"expired_signer", []string{ExpiredSwitches, ExpiredStays}, "what signs once the active certificate has expired", Rollover, func(q *Quirks) any { return &q.ExpiredSigner }},
		{"app_policy", []string{PolicyAllows, PolicyRefuses}, "does the app management policy allow certificates", Rollover, func(q *Quirks) any { return &q.AppPolicy }},
		{"trust_slots", []string{SlotsTwo, SlotsThree, SlotsUnlimited}, "how many certificates AWS trusts at most", Rollover, func(q *Quirks) any { return &q.TrustSlots }},
		{"second_import", []string{ImportDuplicates, ImportRefused, ImportNoOp}, "what AWS does with a certificate that it trusts already", Rollover, func(q *Quirks) any { return &q.SecondImport }},
		{"certificate_use", []string{UseKnown, UseRefused}, "does AWS know the use SIGNING", Rollover, func(q *Quirks) any { return &q.CertificateUse }},
		{"trust_list_lag", []string{"0s", "1m0s", "10m0s"}, "how far behind AWS's list of certificates is", Rollover, func(q *Quirks) any { return &q.TrustListLag }},
		{"trust_lag", []string{"0s", "10m0s"}, "how long until AWS trusts an imported certificate", Rollover, func(q *Quirks) any { return &q.TrustLag }},
		{"last_certificate", []string{LastRefused, LastDeleted}, "what AWS does when the last valid certificate is deleted", Rollover, func(q *Quirks) any { return &q.LastCertificate }},
		{"sign_in_noise", []string{NoiseNone, NoiseSome}, "do sign-ins fail for reasons of their own", Rollover, func(q *Quirks) any { return &q.SignInNoise }},
		{"signing_certificates", []string{CertificatesPlain, CertificatesNegative, CertificatesHexOnly}, "what is odd about the SAML certificates", Wire, func(q *Quirks) any { return &q.SigningCertificates }},
		{"job_status", []string{StatusShown, StatusNull}, "does Graph show the status of a job", Wire, func(q *Quirks) any { return &q.JobStatus }},
	}
}

// DefaultQuirks returns the most probable behaviour.
func DefaultQuirks() Quirks {
	var quirks Quirks
	for _, quirk := range AllQuirks() {
		_ = quirk.set(&quirks, quirk.Values[0]) // a listed value is valid
	}
	return quirks
}

// Set gives the named quirk a value, as in "put_secrets", "replaces". A duration may
// be any that is not negative, not only the listed ones.
func (q *Quirks) Set(name, value string) error {
	var names []string
	for _, quirk := range AllQuirks() {
		if quirk.Name == name {
			return quirk.set(q, value)
		}
		names = append(names, quirk.Name)
	}
	return fmt.Errorf("unknown quirk %q: known are %s", name, strings.Join(names, ", "))
}

// Get returns the value of the named quirk; "" when there is none of that name.
func (q Quirks) Get(name string) string {
	for _, quirk := range AllQuirks() {
		if quirk.Name == name {
			return quirk.get(&q)
		}
	}
	return ""
}

// String names what differs from the defaults: "put_secrets=replaces new_lag=1m0s".
func (q Quirks) String() string {
	defaults, parts := DefaultQuirks(), []string(nil)
	for _, quirk := range AllQuirks() {
		if value := quirk.get(&q); value != quirk.get(&defaults) {
			parts = append(parts, quirk.Name+"="+value)
		}
	}
	if len(parts) == 0 {
		return "default"
	}
	return strings.Join(parts, " ")
}
