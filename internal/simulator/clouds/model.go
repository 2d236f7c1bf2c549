// Package clouds is a deterministic model of AWS IAM Identity Center, with its SCIM
// access tokens, and of Microsoft Entra ID, with its provisioning engine. It knows which
// token Entra holds and whether AWS accepts it.
//
// It has no network, no goroutine and no clock of its own: time is an injected function.
// Advance processes in time order what fell due since the last call: a cycle, a retry, a
// token's expiry, the end of a lag. Every method advances first. The same seed and the
// same calls at the same times give the same ids, token values and timeline. Quirks
// choose a behaviour where AWS or Entra is unconfirmed or contested.
//
// A Model is not locked: the caller serialises. Methods return copies, except for the
// bytes of certificates and the maps inside a Job, which are read-only.
//
// Each call names its Caller or Actor, because the timeline says who caused every
// outage, deletion and start.
//
// Read model.go and core.go first. Then AWS is aws, tokens, scim with CloudTrail, idp and
// secretsmanager; Entra is entra, secrets and logs; its engine is job and cycle. signin is
// the keys and registrations that callers sign in with. certificates is what both hold and
// Entra signs with, usersignin what comes of it when users sign in. outages and timeline
// record what happens.
package clouds

import (
	"fmt"
	"math"
	"slices"
	"time"
)

// Options make a Model.
type Options struct {
	Now    func() time.Time // the clock; default time.Now
	Seed   uint64           // of every id, token value and offset in time
	Speed  float64          // divides periods and lags, not lifetimes; default 1
	Quirks *Quirks          // default DefaultQuirks
}

// Model is AWS and Entra together.
type Model struct {
	*core
	*AWS
	*SecretsManager
	*IdentityProviders
	*STS
	*Entra
	*AppRegistrations
	*Engine
	*UserSignIns
	connections []Connection
}

// New makes an empty Model; Add fills it.
func New(options Options) *Model {
	quirks := DefaultQuirks()
	if options.Quirks != nil {
		quirks = *options.Quirks
	}
	c := &core{
		clock: options.Now, seed: options.Seed, speed: max(options.Speed, 1), quirks: quirks, denials: map[denialKey]Denial{}, allowed: map[Actor][]Action{}, needed: map[Actor]map[string]bool{},
	}
	if c.clock == nil {
		c.clock = time.Now
	}
	c.at = c.clock()
	aws := &AWS{core: c, tokens: map[string]*scimToken{}}
	providers := &IdentityProviders{core: c, aws: aws}
	entra := &Entra{core: c, aws: aws}
	engine := &Engine{core: c, aws: aws, entra: entra}
	c.process = engine
	return &Model{
		core:              c,
		AWS:               aws,
		SecretsManager:    &SecretsManager{core: c},
		IdentityProviders: providers,
		STS:               &STS{core: c, principals: map[string]Principal{}, roles: map[string]Role{}},
		Entra:             entra,
		AppRegistrations:  &AppRegistrations{core: c, entra: entra},
		Engine:            engine,
		UserSignIns:       &UserSignIns{core: c, providers: providers, entra: entra},
	}
}

// SetSpeed changes the speed from now on; what is waited for comes nearer, or farther
// away, in proportion.
func (m *Model) SetSpeed(speed float64) error {
	if speed < 1 || math.IsNaN(speed) || math.IsInf(speed, 0) {
		return fmt.Errorf("speed %v: want a number of at least 1", speed)
	}
	m.SignInOutages() // the lags until now are those of the speed until now
	for _, j := range m.jobs {
		for _, t := range j.waitsFor() {
			if t.After(m.at) {
				*t = m.at.Add(time.Duration(float64(t.Sub(m.at)) * m.speed / speed))
			}
		}
	}
	m.speed = speed
	m.afterChange()
	return nil
}

// SetQuirk changes one quirk from now on, by its name for the control API.
func (m *Model) SetQuirk(name, value string) error {
	m.SignInOutages() // those until now are judged by the quirks until now
	if err := m.quirks.Set(name, value); err != nil {
		return err
	}
	if slices.Contains([]string{"settings_keys", "extra_keys", "base_address"}, name) {
		for _, j := range m.jobs {
			j.application.reshape(m.quirks)
		}
	}
	if name == "signing_certificates" {
		for _, certificate := range m.certificates {
			certificate.negative = value == CertificatesNegative
			certificate.issue()
		}
	}
	m.afterChange()
	return nil
}

// Schedule runs do at a time, in order with everything else that falls due.
func (m *Model) Schedule(at time.Time, do func(*Model)) {
	m.Advance()
	m.scheduled = append(m.scheduled, scheduledEvent{at, func() { do(m) }})
	m.afterChange()
}

// Age moves the creation and expiry of every token and certificate into the past.
// Certificates are issued again with the same key.
func (m *Model) Age(by time.Duration) {
	m.SignInOutages() // those until now are judged by the dates until now
	for _, i := range m.instances {
		for _, t := range i.tenants {
			for _, token := range t.tokens {
				token.Created, token.Expires = token.Created.Add(-by), token.Expires.Add(-by)
			}
		}
	}
	for _, certificate := range m.certificates {
		certificate.NotBefore, certificate.NotAfter = certificate.NotBefore.Add(-by), certificate.NotAfter.Add(-by)
		certificate.issue()
	}
	m.annotate(ActorTime, "tokens and certificates aged by %s", by)
	m.afterChange()
}
