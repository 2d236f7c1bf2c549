package token

import (
	"errors"
	"strings"
	"testing"

	"entra-aws-exporter/internal/model"
)

func FuzzStoreEntry(f *testing.F) {
	whole, err := encodeEntry("binding", "t-1", model.NewSecret("the-value"))
	if err != nil {
		f.Fatal(err)
	}
	for _, seed := range []string{whole.Reveal(), whole.Reveal()[:40], `{}`, `null`, ``} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, content string) {
		id, value, err := decodeEntry(model.NewSecret(content), "binding")
		switch {
		case err == nil && (id == "" || value.IsZero()):
			t.Errorf("%q: no value, and no error", content)
		case err != nil && !errors.Is(err, errValueLost):
			t.Errorf("%q: %v", content, err)
		case err != nil && len(content) > 12 && strings.Contains(err.Error(), content):
			t.Errorf("the error shows the content: %v", err)
		}
	})
}
