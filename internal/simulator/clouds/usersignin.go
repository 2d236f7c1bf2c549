package clouds

import (
	"crypto/sha256"
	"fmt"
	"slices"
	"time"
)

// signInHistory is how far the sign-ins reach back before the start.
const signInHistory = 7 * day

// UserSignIns is users who sign in to AWS by Entra's applications.
type UserSignIns struct {
	*core
	providers *IdentityProviders
	entra     *Entra
}

// SignIn is one sign-in of a user to AWS by an application.
type SignIn struct {
	ID       string
	At       time.Time
	UserID   string // at AWS; personal data, as the next two are
	UserName string
	ObjectID string // in Entra
	Signer   string // the thumbprint; "": Entra issued nothing
	Accepted bool   // by AWS
	Cause    Cause  // why not
	CausedBy Actor
}

// SignInOutage is a time in which AWS does not accept what Entra signs, whether or not
// anybody signs in.
type SignInOutage struct {
	ServicePrincipalID string
	Signer             string // the thumbprint; "": Entra signs nothing
	Cause              Cause
	CausedBy           Actor
	Began, Ended       time.Time // Began is at the start for those from before; Ended is zero while it lasts
	Partial            bool      // sign-ins by old caches fail, or only they succeed
}

// Seconds returns how long the outage lasted, or has lasted at now.
func (o SignInOutage) Seconds(now time.Time) float64 {
	return Outage{Began: o.Began, Ended: o.Ended}.Seconds(now)
}

func (o SignInOutage) String() string {
	until := "is open"
	if !o.Ended.IsZero() {
		until = fmt.Sprintf("lasted %s", o.Ended.Sub(o.Began))
	}
	return fmt.Sprintf("%s: sign-ins by certificate %s not accepted (%s by %s), %s", o.ServicePrincipalID, orNone(o.Signer), o.Cause, o.CausedBy, until)
}

// signInDesk is where an application's users sign in to AWS. Nothing is due there: what
// happened is computed when it is asked for, from what was set when.
type signInDesk struct {
	instance *instance
	every    time.Duration // between two sign-ins; 0: nobody signs in
	next     time.Time
	started  time.Time
	count    int
	seen     time.Time // up to where outages are recorded
	signIns  []SignIn
	outages  []SignInOutage
}

// letUsersSignIn lets users sign in by an application, as they did before.
func (signIns *UserSignIns) letUsersSignIn(sp *servicePrincipal, i *instance, every time.Duration) {
	sp.desk = signInDesk{instance: i, every: every, next: signIns.at.Add(-signInHistory), started: signIns.at, seen: signIns.at}
	signIns.entra.noteSigning(sp, ActorSetup)
	sp.desk.outages = signIns.outageAt(sp, signIns.at)
}

// SetSignInInterval changes how often somebody signs in from now on; 0: nobody does.
func (signIns *UserSignIns) SetSignInInterval(tenantID, objectID string, every time.Duration) error {
	sp, err := signIns.entra.application(Caller{}, WriteApplications, tenantID, objectID)
	if err != nil {
		return err
	}
	signIns.recordSignIns(sp)
	sp.desk.every, sp.desk.next = every, signIns.at.Add(every)
	return nil
}

// judge decides one sign-in. Quirk: sign_in_noise.
func (signIns *UserSignIns) judge(sp *servicePrincipal, at time.Time, oldCache bool) (signer *Certificate, cause Cause, by Actor) {
	signer, cause, made := signIns.entra.signer(sp, at, oldCache)
	if signer == nil {
		return nil, cause, made.Actor
	}
	accepted, refusal, refusedBy, since := signIns.providers.trusts(sp.desk.instance, signer, at)
	switch {
	case accepted:
		return signer, "", ""
	case refusal == CauseExpired, refusal == CauseDeleted && !since.Before(made.At):
		return signer, refusal, refusedBy
	case refusal == CausePropagating:
		return signer, refusal, made.Actor
	default:
		return signer, cause, made.Actor
	}
}

// recordSignIns brings sign-ins and outages up to now.
func (signIns *UserSignIns) recordSignIns(sp *servicePrincipal) {
	desk := &sp.desk
	if desk.instance == nil {
		return
	}
	for desk.every > 0 && !desk.next.After(signIns.at) {
		signIns.addSignIn(sp, desk.next)
		step := desk.every
		if !desk.next.Before(desk.started) {
			step = max(signIns.lag(step), time.Second)
		}
		desk.next = desk.next.Add(step)
	}
	for _, at := range signIns.signInChanges(sp, desk.seen, signIns.at) {
		signIns.recordOutage(sp, at)
	}
	desk.seen = signIns.at
}

func (signIns *UserSignIns) addSignIn(sp *servicePrincipal, at time.Time) {
	desk := &sp.desk
	desk.count++
	raw := sha256.Sum256(fmt.Appendf(nil, "%s/%d", sp.ObjectID, desk.count)) // no random number, which would change those that follow
	signIn := SignIn{ID: UUID(raw[:16]), At: at.Truncate(time.Second), UserName: "unknown"}
	if users := desk.instance.directory.users; len(users) > 0 {
		user := users[desk.count%len(users)]
		signIn.UserID, signIn.UserName, signIn.ObjectID = user.ID, user.UserName, user.ExternalID
	}
	signer, cause, by := signIns.judge(sp, at, desk.count%2 == 0)
	if cause == "" && signIns.quirks.SignInNoise == NoiseSome && desk.count%7 == 0 {
		cause, by = CauseOther, ActorSetup
	}
	signIn.Accepted, signIn.Cause, signIn.CausedBy = cause == "", cause, by
	if signer != nil {
		signIn.Signer = signer.Thumbprint()
	}
	desk.signIns = append(desk.signIns, signIn)
}

// signInChanges lists the times from one to the other at which another certificate may
// sign, or AWS may trust another one.
func (signIns *UserSignIns) signInChanges(sp *servicePrincipal, from, to time.Time) []time.Time {
	var times []time.Time
	add := func(at time.Time) {
		if !at.Before(from) && !at.After(to) {
			times = append(times, at)
		}
	}
	for _, s := range sp.signings {
		add(s.At)
		add(s.At.Add(signIns.lag(signerUptake)))
		add(s.At.Add(signIns.lag(cacheUptake)))
		for _, certificate := range s.certificates {
			add(certificate.NotBefore)
			add(certificate.NotAfter)
		}
	}
	for _, t := range sp.desk.instance.idp.trusted {
		add(t.from)
		add(t.from.Add(signIns.lag(signIns.quirks.TrustLag)))
		add(t.until)
	}
	slices.SortFunc(times, time.Time.Compare)
	return slices.CompactFunc(times, time.Time.Equal)
}

// outageAt is the outage at a time; none: AWS accepts what Entra signs.
func (signIns *UserSignIns) outageAt(sp *servicePrincipal, at time.Time) []SignInOutage {
	signer, cause, by := signIns.judge(sp, at, false)
	partial := false
	if signIns.quirks.SignerUptake == UptakeCached {
		cachedSigner, cachedCause, cachedBy := signIns.judge(sp, at, true)
		partial = (cause == "") != (cachedCause == "")
		if cause == "" {
			signer, cause, by = cachedSigner, cachedCause, cachedBy
		}
	}
	if cause == "" {
		return nil
	}
	outage := SignInOutage{ServicePrincipalID: sp.ObjectID, Cause: cause, CausedBy: by, Began: at, Partial: partial}
	if signer != nil {
		outage.Signer = signer.Thumbprint()
	}
	return []SignInOutage{outage}
}

func (signIns *UserSignIns) recordOutage(sp *servicePrincipal, at time.Time) {
	desk := &sp.desk
	now := signIns.outageAt(sp, at)
	if last := len(desk.outages) - 1; last >= 0 && desk.outages[last].Ended.IsZero() {
		if open := desk.outages[last]; len(now) > 0 {
			open.Began = at
			if open == now[0] {
				return
			}
		}
		if desk.outages[last].Ended = at; desk.outages[last].Began.Equal(at) {
			desk.outages = desk.outages[:last] // it took no time
		}
	}
	desk.outages = append(desk.outages, now...)
}

// SignIns returns every sign-in by an application so far, oldest first.
func (signIns *UserSignIns) SignIns(tenantID, objectID string) ([]SignIn, error) {
	sp, err := signIns.entra.application(Caller{}, ReadApplications, tenantID, objectID)
	if err != nil {
		return nil, err
	}
	signIns.recordSignIns(sp)
	return slices.Clone(sp.desk.signIns), nil
}

// SignInsSinceStart leaves out what was before the start.
func (signIns *UserSignIns) SignInsSinceStart(tenantID, objectID string) ([]SignIn, error) {
	list, err := signIns.SignIns(tenantID, objectID)
	if err != nil {
		return nil, err
	}
	sp, _ := signIns.entra.application(Caller{}, ReadApplications, tenantID, objectID)
	return slices.DeleteFunc(list, func(s SignIn) bool { return s.At.Before(sp.desk.started) }), nil
}

// SignInOutagesOf returns every outage of an application's sign-ins so far.
func (signIns *UserSignIns) SignInOutagesOf(tenantID, objectID string) ([]SignInOutage, error) {
	sp, err := signIns.entra.application(Caller{}, ReadApplications, tenantID, objectID)
	if err != nil {
		return nil, err
	}
	signIns.recordSignIns(sp)
	return slices.Clone(sp.desk.outages), nil
}

// SignInOutages returns those of all applications.
func (signIns *UserSignIns) SignInOutages() []SignInOutage {
	signIns.Advance()
	var list []SignInOutage
	for _, t := range signIns.entra.tenants {
		for _, sp := range t.applications {
			signIns.recordSignIns(sp)
			list = append(list, sp.desk.outages...)
		}
	}
	return list
}

// Signer returns the thumbprint of the certificate that an application signs with now, as
// a captured response shows it, and whether AWS accepts it.
func (signIns *UserSignIns) Signer(tenantID, objectID string) (thumbprint string, accepted bool, err error) {
	sp, err := signIns.entra.application(Caller{}, ReadApplications, tenantID, objectID)
	if err != nil || sp.desk.instance == nil {
		return "", false, err
	}
	signer, cause, _ := signIns.judge(sp, signIns.at, false)
	if signer != nil {
		thumbprint = signer.Thumbprint()
	}
	return thumbprint, cause == "", nil
}

// The names of the sign-ins' events in CloudTrail.
const (
	EventSignedIn      = "UserAuthentication"
	EventSignInRefused = "ExternalIdPDirectoryLogin"
)

// SignInEvent is a sign-in in CloudTrail.
type SignInEvent struct {
	SignIn
	Account, Region, IdentityStore string
}

// SignInEvents lists the sign-ins that were delivered to CloudTrail, newest first: those
// that AWS accepted, or those that it refused. Quirks: cloudtrail, cloudtrail_delay.
func (signIns *UserSignIns) SignInEvents(c Caller, eventName string, after, before time.Time) ([]SignInEvent, error) {
	signIns.Advance()
	if err := signIns.allowAWS(c, ServiceCloudTrail, LookupEventsAction); err != nil {
		return nil, err
	}
	var list []SignInEvent
	for _, t := range signIns.entra.tenants {
		for _, sp := range t.applications {
			i := sp.desk.instance
			if i == nil || signIns.quirks.CloudTrail == TrailAbsent || c.Account != "" && c.Account != i.OwnerAccountID || c.Region != "" && c.Region != i.PrimaryRegion {
				continue
			}
			signIns.recordSignIns(sp)
			for n, signIn := range sp.desk.signIns {
				delay := signIns.lag(signIns.quirks.CloudTrailDelay) / time.Duration(2-n%2)
				at := addSkew(signIn.At, signIns.skew.AWS)
				if signIn.Signer == "" || signIn.Accepted != (eventName == EventSignedIn) || signIn.At.Add(delay).After(signIns.at) ||
					!after.IsZero() && at.Before(after) || !before.IsZero() && at.After(before) {
					continue
				}
				signIn.At = at
				list = append(list, SignInEvent{signIn, i.OwnerAccountID, i.PrimaryRegion, i.IdentityStoreID})
			}
		}
	}
	slices.SortStableFunc(list, func(a, b SignInEvent) int { return b.At.Compare(a.At) })
	return list, nil
}

// SignInLog lists the sign-ins in Entra's log, newest first: what Entra issued, whether or
// not AWS accepted it. Quirk: log_delay.
func (signIns *UserSignIns) SignInLog(c Caller, tenantID, appID string, after time.Time) ([]SignIn, error) {
	t, err := signIns.entra.logsOf(c, ReadSignInLog, tenantID)
	if err != nil {
		return nil, err
	}
	var list []SignIn
	for _, sp := range t.applications {
		if sp.AppID != appID {
			continue
		}
		signIns.recordSignIns(sp)
		for n, signIn := range slices.Backward(sp.desk.signIns) {
			at := addSkew(signIn.At, signIns.skew.Entra)
			if signIns.entra.appeared(signIn.At, n) && !at.Before(after) {
				signIn.At = at
				list = append(list, signIn)
			}
		}
	}
	return list, nil
}
