// Package docs embeds the pages that the exporter serves beside its runbooks, so that
// they are available when nothing else works.
package docs

import _ "embed"

// Rotation is rotation.md.
//
//go:embed rotation.md
var Rotation string

// RotationReasons is rotation-reasons.md.
//
//go:embed rotation-reasons.md
var RotationReasons string
