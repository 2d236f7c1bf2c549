package clouds

import (
	"encoding/hex"
	"fmt"
	"math"
	"strings"
	"time"
)

// Options make a World.
type Options struct {
	Now    func() time.Time // the clock; default time.Now
	Seed   uint64           // of every id, token value and offset in time
	Speed  float64          // divides periods and lags, not lifetimes; default 1
	Quirks *Quirks          // default DefaultQuirks
	// SCIMBase is what every SCIM endpoint begins with, "https://localhost:10198";
	// default AWS's own host of the instance's region.
	SCIMBase string
}

// Skew shifts the clocks of the two clouds, as their answers show them, against the
// World's clock. What is due is decided by the World's clock alone.
type Skew struct{ AWS, Entra time.Duration }

// Model is both clouds.
type Model struct {
	clock  func() time.Time
	at     time.Time // everything due until here has happened
	due    time.Time // the next internal event; zero: to be found again
	seed   uint64
	serial uint64 // how many ids were made
	speed  float64
	quirks Quirks
	skew   Skew

	scimBase string

	instances  []*instance
	principals map[string]Principal // by access key id
	roles      map[string]Role      // by ARN
	tokens     map[string]*token    // by value, the deleted ones too
	trail      []TrailEvent
	calls      int // of the AWS operations that nodes answer
	denials    map[denied]Denial

	tenants []*tenant
	jobs    []*job // of all tenants, in the order of their creation

	later     []appointment
	advancing bool

	connections []Connection

	records []Entry
	gaps    []*Outage
}

// appointment is something that happens at a time of its own: an effect that lands
// late, a person who comes by.
type appointment struct {
	at    time.Time
	label string
	do    func(*Model)
}

// New makes an empty World; scenes and Add fill it.
func New(options Options) *Model {
	w := &Model{
		clock: options.Now, seed: options.Seed, speed: max(options.Speed, 1), scimBase: strings.TrimSuffix(options.SCIMBase, "/"),
		principals: map[string]Principal{}, roles: map[string]Role{}, tokens: map[string]*token{}, denials: map[denied]Denial{},
	}
	if w.clock == nil {
		w.clock = time.Now
	}
	if options.Quirks != nil {
		w.quirks = *options.Quirks
	} else {
		w.quirks = DefaultQuirks()
	}
	w.at = w.clock()
	return w
}

// Now returns the World's time. It never goes back, even if the clock does.
func (w *Model) Now() time.Time {
	if now := w.clock(); now.After(w.at) {
		return now
	}
	return w.at
}

// AWSNow and EntraNow return the time as the clouds' own clocks show it, for a Date
// header.
func (w *Model) AWSNow() time.Time { return w.Now().Add(w.skew.AWS) }

// EntraNow returns the time as Entra's clock shows it.
func (w *Model) EntraNow() time.Time { return w.Now().Add(w.skew.Entra) }

// SetSkew sets the clouds' clocks wrong, or right again.
func (w *Model) SetSkew(skew Skew) { w.skew = skew }

// Speed returns what periods and lags are divided by.
func (w *Model) Speed() float64 { return w.speed }

// SetSpeed changes the speed from now on; what is waited for comes nearer, or farther
// away, in proportion.
func (w *Model) SetSpeed(speed float64) error {
	if speed < 1 || math.IsNaN(speed) || math.IsInf(speed, 0) {
		return fmt.Errorf("speed %v: want a number of at least 1", speed)
	}
	w.Advance()
	scale := func(t *time.Time) {
		if t.After(w.at) {
			*t = w.at.Add(time.Duration(float64(t.Sub(w.at)) * w.speed / speed))
		}
	}
	for _, job := range w.jobs {
		scale(&job.nextCycle)
		scale(&job.disables)
		scale(&job.cachedUntil)
		if job.quarantine != nil {
			scale(&job.quarantine.nextAttempt)
		}
		if job.running != nil {
			scale(&job.running.ends)
		}
	}
	w.speed = speed
	w.settle()
	return nil
}

// Quirks returns the quirks in force.
func (w *Model) Quirks() Quirks { return w.quirks }

// SetQuirk changes one quirk from now on, by its name for the control API.
func (w *Model) SetQuirk(name, value string) error {
	w.Advance()
	if err := w.quirks.Set(name, value); err != nil {
		return err
	}
	if name == "settings_keys" || name == "extra_keys" || name == "base_address" {
		for _, job := range w.jobs {
			job.application.reshape(w.quirks)
		}
	}
	w.settle()
	return nil
}

// Schedule does something at a time of its own choosing, in order with everything
// else that falls due. The label stands for it in the fingerprint.
func (w *Model) Schedule(at time.Time, label string, do func(*Model)) {
	w.Advance()
	w.later = append(w.later, appointment{at, label, do})
	w.settle()
}

// Advance processes, in time order, everything that fell due since the last call.
// Every other method calls it first, so it is needed only to make the truth complete.
func (w *Model) Advance() {
	if w.advancing { // an appointment calls the World's methods
		return
	}
	w.advancing = true
	defer func() { w.advancing = false }()
	now := w.Now()
	for {
		due := w.NextDue()
		if due.IsZero() || due.After(now) {
			break
		}
		if due.After(w.at) {
			w.at = due
		}
		w.happen()
		w.settle()
	}
	w.at = now
}

// NextDue returns when the next internal event happens; zero when none ever will.
// It may lie in the past until Advance is called.
func (w *Model) NextDue() time.Time {
	if w.due.IsZero() {
		w.due = w.findDue()
	}
	return w.due
}

func (w *Model) findDue() time.Time {
	var due time.Time
	consider := func(t time.Time) {
		if !t.IsZero() && (due.IsZero() || t.Before(due)) {
			due = t
		}
	}
	for _, appointment := range w.later {
		consider(appointment.at)
	}
	for _, job := range w.jobs {
		consider(job.due())
		for _, held := range []*credential{&job.application.saved, job.cached} {
			consider(w.nextChange(held))
		}
		if job.cached != nil && job.cachedUntil.After(w.at) {
			consider(job.cachedUntil)
		}
	}
	return due
}

// happen does what is due at w.at: first what people and late effects do, then the
// engine. Boundaries of tokens need no deed: settle sees them.
func (w *Model) happen() {
	for i := 0; i < len(w.later); i++ {
		if appointment := w.later[i]; !appointment.at.After(w.at) {
			w.later = append(w.later[:i:i], w.later[i+1:]...)
			i--
			appointment.do(w)
		}
	}
	for _, job := range w.jobs {
		if due := job.due(); !due.IsZero() && !due.After(w.at) {
			w.work(job)
		}
	}
}

// settle ends every change: it writes down what each connection now holds, and
// forgets when the next event is due.
func (w *Model) settle() {
	w.due = time.Time{}
	for _, job := range w.jobs {
		w.observe(job)
	}
}

// lag scales a period or a lag by the speed.
func (w *Model) lag(d time.Duration) time.Duration {
	if w.speed == 1 {
		return d
	}
	return time.Duration(float64(d) / w.speed)
}

// random returns the next number of the World's sequence (splitmix64): as arbitrary
// as an id should look, and the same for the same seed.
func (w *Model) random() uint64 {
	w.serial++
	return mix(w.seed ^ mix(w.serial))
}

func mix(z uint64) uint64 {
	z += 0x9e3779b97f4a7c15
	z = (z ^ z>>30) * 0xbf58476d1ce4e5b9
	z = (z ^ z>>27) * 0x94d049bb133111eb
	return z ^ z>>31
}

// newID returns a version 4 UUID.
func (w *Model) newID() string {
	raw := w.bytes(16)
	raw[6], raw[8] = raw[6]&0x0f|0x40, raw[8]&0x3f|0x80
	text := hex.EncodeToString(raw)
	return text[:8] + "-" + text[8:12] + "-" + text[12:16] + "-" + text[16:20] + "-" + text[20:]
}

func (w *Model) bytes(n int) []byte {
	raw := make([]byte, 0, n+8)
	for len(raw) < n {
		for v, i := w.random(), 0; i < 8; i++ {
			raw = append(raw, byte(v>>(8*i)))
		}
	}
	return raw[:n]
}

// shift moves a time from the World's clock to a cloud's; a zero time stays zero.
func shift(t time.Time, by time.Duration) time.Time {
	if t.IsZero() || by == 0 {
		return t
	}
	return t.Add(by)
}
