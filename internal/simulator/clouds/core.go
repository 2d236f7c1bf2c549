package clouds

import (
	"encoding/hex"
	"time"
)

// Skew shifts the clocks of AWS and Entra, as their answers show them, against the
// Model's clock. Only the Model's clock decides what is due.
type Skew struct{ AWS, Entra time.Duration }

// core is what both sides share: the clock, the quirks, the ids, the denials and the
// timeline.
type core struct {
	clock  func() time.Time
	at     time.Time // everything due until here has happened
	due    time.Time // the next internal event; zero: to be found again
	seed   uint64
	serial uint64 // how many ids were made
	speed  float64
	quirks Quirks
	skew   Skew

	denials      map[denialKey]Denial
	allowed      map[Actor][]Action
	needed       map[Actor]map[string]bool // permissions that calls needed
	certificates []*Certificate
	timeline     []Entry
	scheduled    []scheduledEvent
	process      process
	advancing    bool
}

// scheduledEvent is something that happens at a time of its own: an effect that lands
// late, an operator's action.
type scheduledEvent struct {
	at time.Time
	do func()
}

// process is what happens by itself as time passes: Entra's provisioning engine.
type process interface {
	nextDue() time.Time                            // zero: never
	runDue()                                       // what is due now
	recordStates()                                 // what Entra holds, after every change
	holders(t *scimToken) (saved, cached []string) // the applications that hold a token
}

// Now returns the Model's time. It never goes back, even if the clock does.
func (c *core) Now() time.Time {
	if now := c.clock(); now.After(c.at) {
		return now
	}
	return c.at
}

// AWSNow returns the time as AWS's clock shows it, for a Date header.
func (c *core) AWSNow() time.Time { return c.Now().Add(c.skew.AWS) }

// EntraNow returns the time as Entra's clock shows it.
func (c *core) EntraNow() time.Time { return c.Now().Add(c.skew.Entra) }

// SetSkew sets the skew of both clocks.
func (c *core) SetSkew(skew Skew) { c.skew = skew }

// Speed returns what periods and lags are divided by.
func (c *core) Speed() float64 { return c.speed }

// Quirks returns the quirks in force.
func (c *core) Quirks() Quirks { return c.quirks }

// Advance processes, in time order, everything that fell due since the last call.
// Every other method calls it first, so it is needed only to complete the timeline.
func (c *core) Advance() {
	if c.advancing { // a scheduled event calls the Model's methods
		return
	}
	c.advancing = true
	defer func() { c.advancing = false }()
	now := c.Now()
	for {
		due := c.NextDue()
		if due.IsZero() || due.After(now) {
			break
		}
		if due.After(c.at) {
			c.at = due
		}
		c.processDue()
		c.afterChange()
	}
	c.at = now
}

// NextDue returns when the next internal event happens; zero when none ever will.
// It may lie in the past until Advance is called.
func (c *core) NextDue() time.Time {
	if c.due.IsZero() {
		c.due = c.process.nextDue()
		for _, event := range c.scheduled {
			c.due = sooner(c.due, event.at)
		}
	}
	return c.due
}

func (c *core) processDue() {
	for i := 0; i < len(c.scheduled); i++ {
		if event := c.scheduled[i]; !event.at.After(c.at) {
			c.scheduled = append(c.scheduled[:i:i], c.scheduled[i+1:]...)
			i--
			event.do()
		}
	}
	c.process.runDue()
}

// afterChange ends every change: it records what each connection now holds, and
// forgets when the next event is due.
func (c *core) afterChange() {
	c.due = time.Time{}
	c.process.recordStates()
}

func (c *core) lag(d time.Duration) time.Duration {
	if c.speed == 1 {
		return d
	}
	return time.Duration(float64(d) / c.speed)
}

// random returns the next number of the Model's sequence: as arbitrary as an id
// should look, and the same for the same seed.
func (c *core) random() uint64 {
	c.serial++
	return splitmix(c.seed ^ splitmix(c.serial))
}

func splitmix(z uint64) uint64 {
	z += 0x9e3779b97f4a7c15
	z = (z ^ z>>30) * 0xbf58476d1ce4e5b9
	z = (z ^ z>>27) * 0x94d049bb133111eb
	return z ^ z>>31
}

func (c *core) newID() string { return UUID(c.bytes(16)) }

// UUID makes a version 4 UUID of 16 bytes.
func UUID(raw []byte) string {
	raw[6], raw[8] = raw[6]&0x0f|0x40, raw[8]&0x3f|0x80
	text := hex.EncodeToString(raw)
	return text[:8] + "-" + text[8:12] + "-" + text[12:16] + "-" + text[16:20] + "-" + text[20:]
}

// accessKeyID returns an id of AWS keys: AKIA for long-lived ones, ASIA for temporary ones.
func (c *core) accessKeyID(prefix string) string {
	const alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567"
	id := []byte(prefix)
	for _, b := range c.bytes(16) {
		id = append(id, alphabet[b%32])
	}
	return string(id)
}

func (c *core) bytes(n int) []byte {
	raw := make([]byte, 0, n+8)
	for len(raw) < n {
		for v, i := c.random(), 0; i < 8; i++ {
			raw = append(raw, byte(v>>(8*i)))
		}
	}
	return raw[:n]
}

// addSkew moves a time from the Model's clock to a cloud's; a zero time stays zero.
func addSkew(t time.Time, by time.Duration) time.Time {
	if t.IsZero() || by == 0 {
		return t
	}
	return t.Add(by)
}

// sooner returns the earlier of two times; a zero time is never.
func sooner(a, b time.Time) time.Time {
	if a.IsZero() || !b.IsZero() && b.Before(a) {
		return b
	}
	return a
}
