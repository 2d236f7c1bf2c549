package simulator

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"

	prommodel "github.com/prometheus/common/model"
)

// Effect is what goes wrong with a call.
type Effect string

// The effects.
const (
	EffectAnswer   Effect = "answer"   // the fault's own response: Status, and Code or Body
	EffectDelay    Effect = "delay"    // the real response, Delay later
	EffectHang     Effect = "hang"     // no response until the client gives up; nothing happens
	EffectTrickle  Effect = "trickle"  // the real response, one byte every Delay (a second)
	EffectHuge     Effect = "huge"     // a response of 100 MB
	EffectLost     Effect = "lost"     // the call takes effect, then the connection dies
	EffectLate     Effect = "late"     // the connection dies, the call takes effect Delay later
	EffectStale    Effect = "stale"    // a read gets the response to the last such read
	EffectReset    Effect = "reset"    // the connection dies before anything happens
	EffectHTML     Effect = "html"     // a page of HTML, with Status (200)
	EffectRedirect Effect = "redirect" // 302 to Location
	EffectEdit     Effect = "edit"     // the real response, with the values of Set put in
)

// Effects lists them all.
func Effects() []Effect {
	return []Effect{
		EffectAnswer, EffectDelay, EffectHang, EffectTrickle, EffectHuge, EffectLost, EffectLate,
		EffectStale, EffectReset, EffectHTML, EffectRedirect, EffectEdit,
	}
}

// Duration reads as text in JSON, "90s".
type Duration = prommodel.Duration

// Fault is applied to calls of an operation. Signatures and access tokens are checked
// before it, permissions after.
type Fault struct {
	ID        int    `json:"id,omitempty"`
	Operation string `json:"operation"`          // "GET jobs", "ListBearerTokens", "*" for every one
	Path      string `json:"path,omitempty"`     // only calls whose path contains this
	Customer  string `json:"customer,omitempty"` // only calls of this AWS account or Entra tenant
	Effect    Effect `json:"effect"`             // default: answer
	Status    int    `json:"status,omitempty"`   // of answer and html
	Code      string `json:"code,omitempty"`     // of answer: an error in the words of the service's protocol
	Message   string `json:"message,omitempty"`  // its message
	Body      string `json:"body,omitempty"`     // of answer: instead of Code
	Location  string `json:"location,omitempty"` // of redirect

	RetryAfter     string                     `json:"retry_after,omitempty"`      // of answer: seconds, verbatim
	RetryAfterDate Duration                   `json:"retry_after_date,omitempty"` // of answer: so much later, as a date
	Set            map[string]json.RawMessage `json:"set,omitempty"`              // of edit: by JSON pointer, "/value/0"

	Delay       Duration `json:"delay,omitempty"`
	Times       int      `json:"times,omitempty"`       // how often it is applied; 0: until cleared
	Probability float64  `json:"probability,omitempty"` // that it is applied; 0: always
}

func (f *Fault) validate() error {
	if f.Effect == "" {
		f.Effect = EffectAnswer
	}
	switch {
	case f.Operation == "":
		return errors.New("fault: operation is missing, such as ListBearerTokens, \"GET jobs\" or *")
	case !slices.Contains(Effects(), f.Effect):
		return fmt.Errorf("fault: unknown effect %q: known are %v", f.Effect, Effects())
	case f.Effect == EffectAnswer && (f.Status < 100 || f.Status > 599):
		return errors.New("fault: answer needs a status between 100 and 599")
	case f.Effect == EffectLate && f.Delay == 0, f.Effect == EffectDelay && f.Delay == 0:
		return fmt.Errorf("fault: %s needs a delay", f.Effect)
	case f.Effect == EffectEdit && len(f.Set) == 0:
		return errors.New("fault: edit needs set, values by JSON pointer")
	case f.Probability < 0 || f.Probability > 1 || f.Times < 0:
		return errors.New("fault: probability is between 0 and 1, times at least 0")
	}
	return nil
}

type faults struct {
	chance func(float64) bool

	mu     sync.Mutex
	active []Fault
	lastID int
}

// AddFault makes a fault active and returns its id. Of several that match a call the
// one added first is applied.
func (s *Simulator) AddFault(fault Fault) (int, error) {
	if err := fault.validate(); err != nil {
		return 0, err
	}
	if fault.Operation != "*" && !s.operations[fault.Operation] {
		return 0, fmt.Errorf("fault: unknown operation %q: known are %s", fault.Operation, strings.Join(s.Operations(), ", "))
	}
	f := s.faults
	f.mu.Lock()
	defer f.mu.Unlock()
	f.lastID++
	fault.ID = f.lastID
	f.active = append(f.active, fault)
	return fault.ID, nil
}

// ClearFaults removes the faults with these ids; without any, all.
func (s *Simulator) ClearFaults(ids ...int) {
	f := s.faults
	f.mu.Lock()
	defer f.mu.Unlock()
	f.active = slices.DeleteFunc(f.active, func(fault Fault) bool { return len(ids) == 0 || slices.Contains(ids, fault.ID) })
}

// Faults lists the active ones.
func (s *Simulator) Faults() []Fault {
	f := s.faults
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Clone(f.active)
}

func (f *faults) match(c *call) (Fault, bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for i, fault := range f.active {
		if fault.Operation != "*" && fault.Operation != c.name || !strings.Contains(c.r.URL.Path, fault.Path) || !isOf(c, fault.Customer) {
			continue
		}
		if fault.Probability > 0 && !f.chance(fault.Probability) {
			continue
		}
		if fault.Times > 0 {
			if f.active[i].Times--; f.active[i].Times == 0 {
				f.active = slices.Delete(f.active, i, i+1)
			}
		}
		return fault, true
	}
	return Fault{}, false
}

// isOf reports whether a call is made by the account or tenant of this id; "" is any.
// A sign-in names its tenant in the path; SCIM knows neither.
func isOf(c *call, customer string) bool {
	return customer == "" || c.caller.Account == customer || c.caller.Tenant == customer || strings.Contains(c.r.URL.Path, customer)
}
