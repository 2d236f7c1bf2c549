package rotate

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
	if other := e.busyLocked(); other != "" {
		return other
	}
	e.begun[key] = claim{connection: connection}
	return ""
}

// busyWith names a connection whose rotation this process carries or is about to; "" if
// there is none.
func (e *Engine) busyWith() string {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.busyLocked()
}

func (e *Engine) busyLocked() string {
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
		taken := false
		for _, o := range list {
			taken = taken || o.book.key == key
		}
		if !taken {
			delete(e.begun, key)
		}
	}
}
