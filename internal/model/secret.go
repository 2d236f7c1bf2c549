package model

import (
	"crypto/subtle"
	"fmt"
	"io"
	"log/slog"
	"strings"
)

// redacted is what every representation of a Secret shows.
const redacted = "<secret>"

// Secret is a value that must never be shown. It prints as "<secret>" with every verb, in
// JSON, YAML and logs. The value is behind a pointer, so that even an unexported field, a
// panic or a goroutine dump shows only an address.
type Secret struct{ value *string }

// NewSecret wraps a value from the moment it is read.
func NewSecret(value string) Secret { return Secret{value: &value} }

// Reveal returns the value. Call it only where the value is sent or stored.
func (s Secret) Reveal() string {
	if s.value == nil {
		return ""
	}
	return *s.value
}

// IsZero reports whether there is no value, or an empty one.
func (s Secret) IsZero() bool { return s.value == nil || *s.value == "" }

// Equal compares two values in constant time.
func (s Secret) Equal(other Secret) bool {
	return subtle.ConstantTimeCompare([]byte(s.Reveal()), []byte(other.Reveal())) == 1
}

// String implements fmt.Stringer.
func (Secret) String() string { return redacted }

// GoString implements fmt.GoStringer.
func (Secret) GoString() string { return redacted }

// Format implements fmt.Formatter, for the verbs that bypass String.
func (Secret) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, redacted) }

// LogValue implements slog.LogValuer.
func (Secret) LogValue() slog.Value { return slog.StringValue(redacted) }

// MarshalText implements encoding.TextMarshaler, and so JSON's text form.
func (Secret) MarshalText() ([]byte, error) { return []byte(redacted), nil }

// MarshalJSON implements json.Marshaler.
func (Secret) MarshalJSON() ([]byte, error) { return []byte(`"` + redacted + `"`), nil }

// MarshalYAML implements yaml.Marshaler.
func (Secret) MarshalYAML() (any, error) { return redacted, nil }

// SecretFile is the path of a file that holds a secret. It is read at every use,
// so that a rotated file needs no reload.
type SecretFile string

// Read returns the content without surrounding white space; an empty file is an error.
func (f SecretFile) Read() (Secret, error) {
	content, err := ReadFile(string(f))
	if err != nil {
		return Secret{}, fmt.Errorf("reading secret file: %w", err)
	}
	value := strings.TrimSpace(string(content))
	if value == "" {
		return Secret{}, fmt.Errorf("secret file %s is empty", string(f))
	}
	return NewSecret(value), nil
}
