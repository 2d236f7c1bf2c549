// Package docs embeds the runbooks and the pages about rotation, so that the exporter can
// show them when nothing else works.
package docs

import "embed"

// Pages are the pages about rotation that an operator needs, and runbooks/NAME.md for each
// alert NAME.
//
//go:embed rotation.md rotation-reasons.md rollover.md runbooks/*.md
var Pages embed.FS
