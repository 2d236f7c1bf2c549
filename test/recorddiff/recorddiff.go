// Package recorddiff shows what a step of a rotation changed in its journal record, for
// tests that compare it with one line.
package recorddiff

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"entra-aws-exporter/internal/model"
	"entra-aws-exporter/rotate"
	"entra-aws-exporter/rotate/journal"
)

// Changes lists what differs between two records, in the journal's part of the rotation and
// in the procedure's: "path=value", or "no path". Times are relative to now; skew is how far
// AWS's clock is ahead.
func Changes(t *testing.T, before, after *journal.Record, kind model.Procedure, skew time.Duration) []string {
	t.Helper()
	if after.Rotation == nil { // what it was is of no use any more
		ended := *before
		ended.Rotation = nil
		before = &ended
	}
	was, is := leaves(t, before, kind, skew), leaves(t, after, kind, skew)
	var changed []string
	for path, value := range is {
		if was[path] != value {
			changed = append(changed, path+"="+value)
		}
	}
	for path := range was {
		if _, left := is[path]; !left {
			changed = append(changed, "no "+path)
		}
	}
	slices.Sort(changed)
	return changed
}

// Outcome says what a step returned: the next phase, a dash for none, or the error with its
// next command, and after how long.
func Outcome(next model.Phase, err error, took time.Duration) string {
	text := cmp.Or(string(next), "-")
	if err != nil {
		text = err.Error()
	}
	if blocked, found := errors.AsType[*rotate.BlockedError](err); found && blocked.Command != "" {
		text += "; next: " + blocked.Command
	}
	if took > 0 {
		text += " after " + took.String()
	}
	return text
}

// leaves are the values of a record, by short paths.
func leaves(t *testing.T, r *journal.Record, kind model.Procedure, skew time.Duration) map[string]string {
	t.Helper()
	found := map[string]string{}
	var visit func(path string, value any)
	visit = func(path string, value any) {
		switch value := value.(type) {
		case map[string]any:
			if _, timestamps := value["local"]; timestamps {
				found[path] = clocks(value, skew)
				return
			}
			if isEntry(value) && path != "" {
				found[path] = textOf(value)
				if imported, shown := value["imported"]; shown {
					visit(path+".imported", imported)
				}
				return
			}
			for key, inner := range value {
				visit(strings.TrimPrefix(path+"."+key, "."), inner)
			}
		case []any:
			for i, inner := range value {
				visit(fmt.Sprint(path, ".", i+1), inner)
			}
		case float64:
			found[path] = fmt.Sprint(value)
			if duration := time.Duration(value); duration >= time.Second {
				found[path] = duration.String()
			}
		default:
			found[path] = relative(value, 0)
		}
	}
	visit("", decode(t, r.Procedures[kind], "memory"))
	visit("", decode(t, r.Rotation, "progress"))
	for _, ended := range r.History {
		found["ended"] = strings.TrimSpace(fmt.Sprint(ended.Outcome, " ", ended.Proof, " ", ended.Reason))
	}
	maps.DeleteFunc(found, func(path, _ string) bool { return strings.HasPrefix(path, "steps.") })
	return found
}

// isEntry tells whether an object is an operation, a token or a certificate: it is shown by
// a few of its fields.
func isEntry(value map[string]any) bool {
	_, operation := value["intent"]
	_, token := value["id"]
	_, certificate := value["sha256"]
	return operation || token || certificate
}

func textOf(value map[string]any) string {
	var texts []string
	for _, field := range []string{"target", "why", "outcome", "error", "id", "role", "evidence", "sha256", "origin"} {
		if text, found := value[field].(string); found && text != "" {
			texts = append(texts, text)
		}
	}
	return strings.Join(texts, " ")
}

// clocks is a time, and how it differs on the other clocks; "-": it is not known by AWS's,
// "~": by Graph's.
func clocks(at map[string]any, skew time.Duration) string {
	local := relative(at["local"], 0)
	text := local
	switch {
	case at["aws"] == nil:
		text += "-"
	case relative(at["aws"], skew) != local:
		text += " (AWS " + relative(at["aws"], skew) + ")"
	}
	switch {
	case at["graph"] == nil:
		text += "~"
	case relative(at["graph"], 0) != local:
		text += " (Graph " + relative(at["graph"], 0) + ")"
	}
	return text
}

// relative is a value of JSON; a time is given by its distance from now.
func relative(value any, ahead time.Duration) string {
	text := fmt.Sprint(value)
	at, err := time.Parse(time.RFC3339Nano, text)
	if err != nil {
		return text
	}
	return Relative(at, ahead)
}

// Relative is the distance of a time from now, on a clock that is this far ahead.
func Relative(at time.Time, ahead time.Duration) string {
	if at = at.Add(-ahead); at.Equal(time.Now()) {
		return "now"
	}
	return time.Until(at).String()
}

// decode is a part of a record as JSON has it, with what a procedure keeps in it.
func decode(t *testing.T, part any, kept string) map[string]any {
	t.Helper()
	var fields map[string]any
	content, err := json.Marshal(part)
	if err == nil {
		err = json.Unmarshal(content, &fields)
	}
	if err != nil {
		t.Fatal(err)
	}
	inner, _ := fields[kept].(map[string]any)
	delete(fields, kept)
	maps.Copy(fields, inner)
	return fields
}
