package rotate

import "slices"

// claim holds a process's one place for a rotation from the decision to begin it until
// the engine takes it up: alerts for many connections come in one payload.
type claim struct {
	connection string
	written    bool // the rotation stands in the journal
}

// claim takes the place for a connection, or names the one that has it.
func (e *Engine) claim(key, connection string) (other string) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if other := e.busy(); other != "" {
		return other
	}
	e.begun[key] = claim{connection: connection}
	return ""
}

// busy names a connection whose rotation this process carries or is about to; "" if there
// is none. The engine is locked.
func (e *Engine) busy() string {
	for key := range e.running {
		if rec := e.books[key].last(); rec != nil {
			return rec.Connection
		}
	}
	for _, c := range e.begun {
		return c.connection
	}
	return ""
}

// writtenClaims are the bindings whose rotation must be in the journal by now.
func (e *Engine) writtenClaims() []string {
	e.mu.Lock()
	defer e.mu.Unlock()
	var keys []string
	for key, c := range e.begun {
		if c.written {
			keys = append(keys, key)
		}
	}
	return keys
}

// giveUpClaims frees the place for what is not to be taken up here: another process was
// faster, or it has ended already.
func (e *Engine) giveUpClaims(written []string, list []open) {
	e.mu.Lock()
	defer e.mu.Unlock()
	for _, key := range written {
		if !slices.ContainsFunc(list, func(o open) bool { return o.book.key == key }) {
			delete(e.begun, key)
		}
	}
}
