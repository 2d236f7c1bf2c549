package rotate

import (
	"context"
	"errors"
	"fmt"
)

// Look reads the journal through, so that Records and Status show what other processes
// have written; it takes nothing up. A record that cannot be used does not hide the others.
func (e *Engine) Look(ctx context.Context) error {
	keys, err := e.options.Journal.Keys(ctx)
	if err != nil {
		return fmt.Errorf("listing the journal: %w", err)
	}
	var failures []error
	for _, key := range keys {
		if _, err := e.book(key).load(ctx); err != nil {
			failures = append(failures, err)
		}
	}
	return errors.Join(failures...)
}
