// Package journal keeps the durable record of each binding's rotations: what was
// decided, which calls were made, what came of them, and which process may go on.
//
// It knows no cloud and no procedure. What a procedure remembers is opaque here: the
// types are registered in a Codec.
//
// Read record.go (what is written down), operation.go (the write-ahead entry of one
// call), codec.go (bytes), entry.go (the cached record of one binding, changed by
// compare-and-swap) and lease.go (the right to write it).
package journal
