// Package docs holds the pages that the exporter shows beside its runbooks, embedded so
// that they are at hand when nothing else works.
package docs

import _ "embed"

// Rotation is rotation.md.
//
//go:embed rotation.md
var Rotation string
