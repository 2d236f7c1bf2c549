package world

import (
	"fmt"
	"hash"
	"hash/fnv"
	"time"
)

// Fingerprint hashes all that can still matter: two worlds with the same fingerprint
// behave alike from here on, whatever led to them. Times count by their distance from
// now, in seconds. The truth does not count.
func (w *World) Fingerprint() uint64 {
	w.Advance()
	p := &print{Hash64: fnv.New64a(), now: w.at}
	p.text(w.quirks.String(), w.speed, w.skew, w.serial, w.calls%2)
	for _, i := range w.instances {
		p.text(i.IdentityStoreID, i.allowed, len(i.directory.users), len(i.directory.groups), len(i.idps))
		for _, user := range i.directory.users {
			p.text(user.UserName, user.Active, user.DisplayName)
		}
		for _, t := range i.tenants {
			p.text(t.TenantID)
			p.times(t.deleted)
			for _, token := range t.tokens {
				p.text(token.ID)
				p.times(token.Created, token.Expires, token.deleted)
			}
		}
		for _, idp := range i.idps {
			for _, certificate := range idp.certificates {
				p.text(certificate.CertificateID)
				p.times(certificate.notBefore, certificate.notAfter)
			}
		}
	}
	for _, event := range w.trail {
		p.text(event.AccessKeyID, event.SourceIP)
		p.times(event.At)
	}
	for _, t := range w.tenants {
		p.text(t.id, t.unlicensed)
		for _, r := range t.registrations {
			p.text(r.ClientID, r.Roles)
			for _, secret := range r.Secrets {
				p.times(secret.Expires)
			}
		}
		for _, sp := range t.applications {
			p.text(sp.ObjectID, sp.secrets, sp.EntityIDs, sp.Owners, sp.Notified)
			p.times(sp.savedAt)
			for _, certificate := range sp.Certificates {
				p.text(certificate.VerifyKeyID, certificate.Certificate == sp.Preferred)
				p.times(certificate.notBefore, certificate.notAfter)
			}
			for _, j := range sp.jobs {
				p.job(j)
			}
		}
		for _, e := range t.entries {
			p.text(e.Action, e.Status, e.ErrorCode)
			p.times(e.At)
		}
		for _, a := range t.audits {
			p.times(a.At)
		}
	}
	for _, appointment := range w.later {
		p.text(appointment.label)
		p.times(appointment.at)
	}
	// Denials are unordered: their hashes are added up.
	var denials uint64
	for key, how := range w.denials {
		one := &print{Hash64: fnv.New64a(), now: w.at}
		one.text(key.actor, key.action, how)
		denials += one.Sum64()
	}
	p.text(denials)
	return p.Sum64()
}

type print struct {
	hash.Hash64
	now time.Time
}

func (p *print) text(values ...any) { _, _ = fmt.Fprintln(p, values...) }

func (p *print) times(times ...time.Time) {
	for _, t := range times {
		if t.IsZero() {
			p.text("-")
			continue
		}
		p.text(int64(t.Sub(p.now) / time.Second))
	}
}

func (p *print) job(j *job) {
	p.text(j.id, j.status, j.schedule, j.stoppedBy, j.failures)
	p.times(j.seriesBegan, j.disables, j.nextCycle, j.cachedUntil)
	if j.quarantine != nil {
		p.text(j.quarantine.reason, j.quarantine.code, j.quarantine.count)
		p.times(j.quarantine.began)
	}
	if j.running != nil {
		p.times(j.running.began, j.running.ends)
	}
	if j.cached != nil {
		p.text(j.cached.address, j.cached.value)
	}
	for _, m := range j.scope {
		p.text(m.UserName, m.todo, m.targetID)
	}
	if j.last != nil {
		p.text(j.last.State, j.last.Exported)
		p.times(j.last.Began)
	}
}
