package clouds

import (
	"fmt"
	"iter"
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
	ListLag     time.Duration
	NewLag      time.Duration // how long until AWS accepts a new token
	DeletedLag  time.Duration // how long AWS accepts a deleted one
	Nodes       string        // do all of AWS's nodes learn of a token together

	SourceAddress   string        // does SCIM refuse the exporter's address
	CloudTrail      string        // what the access key ids in CloudTrail tell
	CloudTrailDelay time.Duration // how late its events are delivered
}

// The values of the quirks that are not durations.
const (
	PutMerges                                  = "merges"         // each key sent is set, the others stay
	PutReplaces                                = "replaces"       // keys that are not sent are erased
	PutNeedsAll                                = "needs_settings" // without SyncNotificationSettings and SyncAll: 204, and nothing is saved
	PutKeepsToken                              = "keeps_token"    // 204, and the old SecretToken stays
	PutLimited                                 = "limit"          // refused: 1,024 bytes, shared with the SAML certificate
	KeysPresent, KeysAbsent                    = "present", "absent"
	ExtraNone, ExtraClear, ExtraMasked         = "none", "clear", "masked"
	AddressClear                               = "clear"
	AddressMasked                              = "masked"
	AddressQuery                               = "query" // clear, with a flag in its query that must survive
	Served                                     = "served"
	Gone                                       = "gone" // 404
	ErrorsPlain, ErrorsNested                  = "plain", "nested"
	InlineHonest                               = "honest"
	InlineIgnored                              = "ignored" // the saved values are tested, whatever is sent
	ReadsPerCall                               = "per_call"
	ReadsPerCycle                              = "per_cycle"
	ReadsHourly                                = "hourly" // once read, used for an hour, even when it is refused
	EmptyCalls                                 = "calls"  // looks a random user up first, as most of Entra's connectors do
	EmptySilent                                = "silent" // a wrong token stays unnoticed until a user changes
	NobodyFails, OneUserFails                  = "none", "one"
	AfterOne, AfterThree                       = "1", "3"
	RecoversAlone                              = "by_itself"   // the next automatic attempt lifts it
	NeedsStart                                 = "needs_start" // only start or restart lifts it
	ThirdQuota, ThirdConflict, ThirdValidation = "ServiceQuotaExceededException", "ConflictException", "ValidationException"
	ValuesOmitted, ValuesCarried               = "omitted", "carried"
	OrderByID                                  = "by_id" // as the console sorts them
	OrderOldest                                = "oldest_first"
	OrderNewest                                = "newest_first"
	TimesNumbers                               = "numbers" // epoch seconds with a fraction
	TimesStrings                               = "strings" // RFC 3339
	JSON11, JSON10                             = "1.1", "1.0"
	NodesTogether                              = "together"
	NodesApart                                 = "apart" // every second call meets a node that learns at once, the others one that lags
	SourceOpen, SourceRefusesExporter          = "open", "refuses_exporter"
	TrailPerToken                              = "per_token"
	TrailConstant                              = "constant"  // one access key id for all
	TrailEphemeral                             = "ephemeral" // another one with every call
	TrailBlind                                 = "blind"     // calls with tokens from before the start are not logged
	TrailAbsent                                = "absent"    // nothing is logged
)

// Quirk describes one field of Quirks: its name for the control API (quirk
// NAME=VALUE) and the values that a matrix enumerates, the default first.
type Quirk struct {
	Name   string
	Values []string
	Doc    string
	// Coupled quirks touch the switch of the token together: their full product is tested.
	Coupled bool

	get func(*Quirks) string
	set func(*Quirks, string) error
}

// AllQuirks lists every quirk in the order of the struct.
func AllQuirks() []Quirk {
	return []Quirk{
		choice("put_secrets", "what PUT secrets does with the collection", true, func(q *Quirks) *string { return &q.PutSecrets }, PutMerges, PutReplaces, PutNeedsAll, PutKeepsToken, PutLimited),
		choice("settings_keys", "does the collection hold SyncNotificationSettings and SyncAll", true, func(q *Quirks) *string { return &q.SettingsKeys }, KeysPresent, KeysAbsent),
		choice("extra_keys", "does the collection hold an unexpected key", true, func(q *Quirks) *string { return &q.ExtraKeys }, ExtraNone, ExtraClear, ExtraMasked),
		choice("base_address", "how GET secrets shows BaseAddress", true, func(q *Quirks) *string { return &q.BaseAddress }, AddressClear, AddressMasked, AddressQuery),
		choice("secrets_get", "does GET secrets exist", false, func(q *Quirks) *string { return &q.SecretsGet }, Served, Gone),
		choice("graph_errors", "how the synchronization API words its errors", false, func(q *Quirks) *string { return &q.GraphErrors }, ErrorsNested, ErrorsPlain),
		duration("test_lag", "how long Test connection answers 400 after a PUT", false, func(q *Quirks) *time.Duration { return &q.TestLag }, time.Minute, 0, 10*time.Minute),
		choice("inline_test", "does Test connection use the values that it is given", false, func(q *Quirks) *string { return &q.InlineTest }, InlineHonest, InlineIgnored),
		choice("engine_reads", "when the engine reads the secrets", true, func(q *Quirks) *string { return &q.EngineReads }, ReadsPerCycle, ReadsPerCall, ReadsHourly),
		choice("empty_cycles", "does a cycle without changes call SCIM", false, func(q *Quirks) *string { return &q.EmptyCycles }, EmptyCalls, EmptySilent),
		choice("failing_user", "does one user fail in every cycle", false, func(q *Quirks) *string { return &q.FailingUser }, NobodyFails, OneUserFails),
		choice("quarantine_after", "how many cycles fail before the quarantine", false, func(q *Quirks) *string { return &q.QuarantineAfter }, AfterOne, AfterThree),
		choice("recovery", "how a quarantine ends once the credential works", false, func(q *Quirks) *string { return &q.Recovery }, RecoversAlone, NeedsStart),
		duration("log_delay", "how late entries of the provisioning and audit logs appear at most", false, func(q *Quirks) *time.Duration { return &q.LogDelay }, 5*time.Minute, 0, 10*time.Minute),
		choice("third_create", "how AWS refuses a third token", false, func(q *Quirks) *string { return &q.ThirdCreate }, ThirdQuota, ThirdConflict, ThirdValidation),
		choice("list_values", "does a token list carry values", false, func(q *Quirks) *string { return &q.ListValues }, ValuesOmitted, ValuesCarried),
		choice("list_order", "in which order a list comes", false, func(q *Quirks) *string { return &q.ListOrder }, OrderByID, OrderOldest, OrderNewest),
		choice("token_times", "how the token service writes timestamps", false, func(q *Quirks) *string { return &q.TokenTimes }, TimesNumbers, TimesStrings),
		choice("json_version", "the token service's awsjson version", false, func(q *Quirks) *string { return &q.JSONVersion }, JSON11, JSON10),
		duration("list_lag", "how far behind a token list is", false, func(q *Quirks) *time.Duration { return &q.ListLag }, 0, 10*time.Second, 90*time.Second),
		duration("new_lag", "how long until AWS accepts a new token", false, func(q *Quirks) *time.Duration { return &q.NewLag }, 0, 20*time.Second, time.Minute),
		duration("deleted_lag", "how long AWS accepts a deleted token", true, func(q *Quirks) *time.Duration { return &q.DeletedLag }, 0, 5*time.Minute, time.Hour),
		choice("nodes", "do AWS's nodes learn of a token together", false, func(q *Quirks) *string { return &q.Nodes }, NodesTogether, NodesApart),
		choice("source_address", "does SCIM refuse the exporter's address", false, func(q *Quirks) *string { return &q.SourceAddress }, SourceOpen, SourceRefusesExporter),
		choice("cloudtrail", "what the access key ids in CloudTrail tell", true, func(q *Quirks) *string { return &q.CloudTrail }, TrailPerToken, TrailAbsent, TrailConstant, TrailBlind, TrailEphemeral),
		duration("cloudtrail_delay", "how late CloudTrail's events are delivered", false, func(q *Quirks) *time.Duration { return &q.CloudTrailDelay }, 5*time.Minute, 0, 15*time.Minute),
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

func choice(name, doc string, coupled bool, field func(*Quirks) *string, values ...string) Quirk {
	return Quirk{
		Name: name, Values: values, Doc: doc, Coupled: coupled,
		get: func(q *Quirks) string { return *field(q) },
		set: func(q *Quirks, value string) error {
			if !slices.Contains(values, value) {
				return fmt.Errorf("quirk %s=%s: want one of %s", name, value, strings.Join(values, ", "))
			}
			*field(q) = value
			return nil
		},
	}
}

func duration(name, doc string, coupled bool, field func(*Quirks) *time.Duration, values ...time.Duration) Quirk {
	quirk := Quirk{
		Name: name, Doc: doc, Coupled: coupled,
		get: func(q *Quirks) string { return field(q).String() },
		set: func(q *Quirks, value string) error {
			d, err := time.ParseDuration(value)
			if err != nil || d < 0 {
				return fmt.Errorf("quirk %s=%s: want a duration of at least 0, such as 90s", name, value)
			}
			*field(q) = d
			return nil
		},
	}
	for _, value := range values {
		quirk.Values = append(quirk.Values, value.String())
	}
	return quirk
}

// QuirksNamed returns these quirks, in the order of AllQuirks; unknown names are left out.
func QuirksNamed(names ...string) []Quirk {
	return slices.DeleteFunc(AllQuirks(), func(q Quirk) bool { return !slices.Contains(names, q.Name) })
}

// Product yields every combination of the values of these quirks, the others as in base.
func Product(base Quirks, quirks []Quirk) iter.Seq[Quirks] {
	return func(yield func(Quirks) bool) { product(base, quirks, yield) }
}

func product(base Quirks, quirks []Quirk, yield func(Quirks) bool) bool {
	if len(quirks) == 0 {
		return yield(base)
	}
	for _, value := range quirks[0].Values {
		if quirks[0].set(&base, value) != nil || !product(base, quirks[1:], yield) {
			return false // a listed value is valid
		}
	}
	return true
}
