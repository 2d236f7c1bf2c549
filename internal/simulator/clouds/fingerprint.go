package clouds

import (
	"encoding/binary"
	"fmt"
	"hash/fnv"
	"maps"
	"slices"
	"time"

	"entra-aws-exporter/internal/model"
)

// Fingerprint hashes all that can still matter: two worlds with the same fingerprint
// behave alike from here on, whatever led to them. Times count by their distance from
// now, in seconds. Who did something counts where it decides who is to blame for what
// is still to come; the truth so far does not.
func (w *Model) Fingerprint() uint64 {
	w.Advance()
	p := &traits{now: w.at, text: make([]byte, 0, 4096)}
	type fields Quirks // without its String, which is slow
	p.any(fields(w.quirks), w.speed, w.skew)
	p.number(int64(w.serial), int64(w.calls%2), int64(len(w.instances)))
	for _, i := range w.instances {
		p.instance(i)
	}
	for _, event := range w.trail {
		p.words(event.AccessKeyID, event.SourceIP)
		p.times(event.At)
	}
	for _, t := range w.tenants {
		p.tenant(t)
	}
	for _, appointment := range w.later {
		p.words(appointment.label)
		p.times(appointment.at)
	}
	denials := make([]string, 0, len(w.denials))
	for key, how := range w.denials {
		denials = append(denials, string(key.actor)+" "+string(key.action)+" "+string(how))
	}
	slices.Sort(denials)
	p.words(denials...)
	p.words(slices.Sorted(maps.Keys(w.principals))...)
	hash := fnv.New64a()
	_, _ = hash.Write(p.text) // never fails
	return hash.Sum64()
}

// traits collects what the fingerprint is taken of.
type traits struct {
	text []byte
	now  time.Time
}

// words writes each with its length, so that no two lists look alike.
func (p *traits) words(words ...string) {
	for _, word := range words {
		p.text = binary.AppendUvarint(p.text, uint64(len(word)))
		p.text = append(p.text, word...)
	}
}

func (p *traits) number(numbers ...int64) {
	for _, n := range numbers {
		p.text = binary.AppendVarint(p.text, n)
	}
}

func (p *traits) times(times ...time.Time) {
	for _, t := range times {
		if t.IsZero() {
			p.words("-")
			continue
		}
		p.number(int64(t.Sub(p.now) / time.Second))
	}
}

func (p *traits) any(values ...any) { p.text = fmt.Append(p.text, values...) }

func (p *traits) instance(i *instance) {
	p.words(i.IdentityStoreID)
	p.number(int64(len(i.directory.users)), int64(len(i.directory.groups)), int64(len(i.tenants)))
	for _, source := range i.allowed {
		p.words(source.String())
	}
	for _, user := range i.directory.users {
		p.words(user.UserName, user.DisplayName)
		if user.Active {
			p.number(1)
		}
	}
	for _, group := range i.directory.groups {
		p.words(group.DisplayName)
		p.words(group.Members...)
	}
	for _, t := range i.tenants {
		p.words(t.TenantID)
		p.times(t.deleted)
		p.number(int64(len(t.tokens)))
		for _, token := range t.tokens {
			p.words(token.ID, string(token.createdBy), string(token.deletedBy), string(token.expiredBy))
			p.times(token.Created, token.Expires, token.deleted)
		}
	}
	for _, idp := range i.idps {
		for _, certificate := range idp.certificates {
			p.words(certificate.CertificateID)
			p.times(certificate.notBefore, certificate.notAfter)
		}
	}
}

func (p *traits) tenant(t *tenant) {
	p.words(t.id)
	if t.unlicensed {
		p.number(1)
	}
	for _, r := range t.registrations {
		p.words(r.ClientID)
		p.words(r.Roles...)
		for _, secret := range r.Secrets {
			p.words(secret.Value)
			p.times(secret.Expires)
		}
	}
	for _, sp := range t.applications {
		p.words(sp.ObjectID)
		for _, list := range [][]string{sp.EntityIDs, sp.Owners, sp.Notified} {
			p.words(list...)
		}
		for _, secret := range sp.secrets {
			p.words(secret.Key, secret.Value)
		}
		p.words(string(sp.saved.by))
		if t := sp.saved.token; t != nil && t.deletion < sp.saved.order {
			p.number(1) // whoever saved it saved a dead token
		}
		p.times(sp.savedAt)
		for _, certificate := range sp.Certificates {
			p.words(certificate.VerifyKeyID)
			p.times(certificate.notBefore, certificate.notAfter)
			if certificate.Certificate == sp.Preferred {
				p.number(1)
			}
		}
		for _, j := range sp.jobs {
			p.job(j)
		}
	}
	p.number(int64(len(t.entries)), int64(len(t.audits)))
	for _, e := range t.entries {
		p.words(e.Action, e.Status, e.ErrorCode, e.JobID)
		p.times(e.At)
	}
	for _, a := range t.audits {
		p.words(a.TargetID)
		p.times(a.At)
	}
}

func (p *traits) job(j *job) {
	p.words(j.id, string(j.status), string(j.schedule), string(j.stoppedBy))
	p.number(j.failures)
	p.times(j.seriesBegan, j.disables, j.nextCycle)
	if q := j.quarantine; q != nil {
		p.words(q.reason, q.code)
		p.number(q.count)
		p.times(q.began)
	}
	if j.running != nil {
		p.times(j.running.began, j.running.ends)
	}
	if j.cached != nil {
		p.words(j.cached.address, j.cached.value)
		p.times(j.cachedUntil)
	}
	for _, m := range j.scope {
		p.words(m.UserName, m.todo, m.targetID)
	}
	if j.last != nil {
		p.words(string(j.last.State), j.last.ErrorCode)
		p.number(j.last.Entries[model.EntriesExported])
		p.times(j.last.Began)
	}
}
