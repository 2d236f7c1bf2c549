// Package runbooks holds one page per alert, embedded so that the exporter can show
// them when nothing else works.
package runbooks

import "embed"

// Pages are the runbooks, NAME.md for the alert NAME.
//
//go:embed *.md
var Pages embed.FS
