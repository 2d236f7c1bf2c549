package simulator

import (
	"fmt"
	"slices"
	"strings"

	"entra-aws-exporter/internal/simulator/clouds"
)

// manners are quirks of the protocols alone; those of the clouds' behaviour belong to
// the world.
type manners struct {
	retryAfter  string
	errorBodies string
}

// The values of the protocol quirks.
const (
	RetryAfterSeconds = "seconds"
	RetryAfterDate    = "date"

	ErrorBodiesFull        = "full"
	ErrorBodiesEmpty       = "empty"        // "{}"
	ErrorBodiesNullMessage = "null_message" // {"error":{"code":"…","message":null}}
)

// mannerQuirks lists the protocol quirks, the default value first.
func mannerQuirks() []clouds.Quirk {
	return []clouds.Quirk{
		{Name: "retry_after", Doc: "how a throttled answer says when to come back", Values: []string{RetryAfterSeconds, RetryAfterDate}},
		{Name: "error_bodies", Doc: "what Graph's errors carry", Values: []string{ErrorBodiesFull, ErrorBodiesEmpty, ErrorBodiesNullMessage}},
	}
}

func defaultManners() manners {
	return manners{retryAfter: RetryAfterSeconds, errorBodies: ErrorBodiesFull}
}

func (m *manners) field(name string) *string {
	return map[string]*string{"retry_after": &m.retryAfter, "error_bodies": &m.errorBodies}[name]
}

// SetQuirk changes how the clouds behave, or how their protocols speak, from now on.
func (s *Simulator) SetQuirk(name, value string) error {
	for _, quirk := range mannerQuirks() {
		if quirk.Name != name {
			continue
		}
		if !slices.Contains(quirk.Values, value) {
			return fmt.Errorf("quirk %s=%s: want one of %s", name, value, strings.Join(quirk.Values, ", "))
		}
		s.mu.Lock()
		defer s.mu.Unlock()
		*s.manners.field(name) = value
		return nil
	}
	if !slices.ContainsFunc(clouds.AllQuirks(), func(q clouds.Quirk) bool { return q.Name == name }) {
		var names []string // the world's own refusal knows only the world's
		for _, quirk := range append(clouds.AllQuirks(), mannerQuirks()...) {
			names = append(names, quirk.Name)
		}
		return fmt.Errorf("unknown quirk %q: known are %s", name, strings.Join(names, ", "))
	}
	var err error
	s.With(func(w *clouds.Model) { err = w.SetQuirk(name, value) })
	return err
}

// Quirks lists every quirk, and its value now.
func (s *Simulator) Quirks() (quirks []clouds.Quirk, values map[string]string) {
	quirks, values = append(clouds.AllQuirks(), mannerQuirks()...), map[string]string{}
	s.With(func(w *clouds.Model) {
		inForce := w.Quirks()
		for _, quirk := range clouds.AllQuirks() {
			values[quirk.Name] = inForce.Get(quirk.Name)
		}
	})
	current := s.mannersNow()
	for _, quirk := range mannerQuirks() {
		values[quirk.Name] = *current.field(quirk.Name)
	}
	return quirks, values
}

func (s *Simulator) mannersNow() manners {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.manners
}
