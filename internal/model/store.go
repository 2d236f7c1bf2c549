package model

import "errors"

// What a store of state can answer besides success; wrapped with what was being
// done and the file's name.
var (
	// ErrConflict: the record has another revision by now. Nothing was written; read again.
	ErrConflict = errors.New("changed by somebody else meanwhile")
	// ErrExists: an entry that is written once is there already.
	ErrExists = errors.New("exists already")
	// ErrUnreadable: the bytes are there but corrupt, or cannot be decrypted. They are kept as they are.
	ErrUnreadable = errors.New("unreadable")
	// ErrUnsafe: the place cannot keep its promises, such as a network file system.
	ErrUnsafe = errors.New("unsafe place for state")
)
