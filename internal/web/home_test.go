package web_test

import (
	"io/fs"
	"regexp"
	"slices"
	"strings"
	"testing"

	"entra-aws-exporter/docs/runbooks"
	"entra-aws-exporter/internal/model"
	"entra-aws-exporter/internal/web"
)

// What may not be in a page: whatever a strict policy would block, and any address elsewhere.
var (
	tag       = regexp.MustCompile(`<[a-zA-Z][^>]*>`)
	attribute = regexp.MustCompile(`\s([a-zA-Z-]+)\s*=\s*("[^"]*"|'[^']*'|[^\s>]*)`)
	elsewhere = regexp.MustCompile(`(?i)^\s*([a-z]+:|//)`)
	forbidden = regexp.MustCompile(`(?i)^<(script|style|iframe|object|embed|base|form|meta http-equiv)`)
	resource  = regexp.MustCompile(`(?i)@import|url\(`)
)

// straysIn names what is forbidden in a page or stylesheet, sorted, each once.
func straysIn(page string) []string {
	var found []string
	for _, element := range tag.FindAllString(page, -1) {
		if match := forbidden.FindStringSubmatch(element); match != nil {
			found = append(found, strings.ToLower(match[1]))
		}
		for _, match := range attribute.FindAllStringSubmatch(element, -1) {
			name, value := strings.ToLower(match[1]), strings.Trim(match[2], `"'`)
			switch {
			case strings.HasPrefix(name, "on") || name == "style":
				found = append(found, name)
			case slices.Contains([]string{"href", "src", "srcset", "action", "data", "poster"}, name) && elsewhere.MatchString(value):
				found = append(found, "address elsewhere")
			}
		}
	}
	if resource.MatchString(page) {
		found = append(found, "resource elsewhere")
	}
	slices.Sort(found)
	return slices.Compact(found)
}

// TestPagesStayAtHome: no page needs or allows anything but this server.
func TestPagesStayAtHome(t *testing.T) {
	names, err := fs.Glob(runbooks.Pages, "*.md")
	if err != nil || len(names) == 0 {
		t.Fatalf("the runbooks are not embedded: %v", err)
	}
	paths := append(make([]string, 0, 5+len(names)), "/", "/runbooks/", "/rotation", "/rotation-reasons", "/style.css")
	for _, name := range names {
		paths = append(paths, "/runbooks/"+strings.TrimSuffix(name, ".md"))
	}
	for _, path := range paths {
		response := ask(t, options(), "GET", path)
		policy := response.Header.Get("Content-Security-Policy")
		if !strings.HasPrefix(policy, "default-src 'none';") || strings.Contains(policy, "unsafe") || strings.Contains(policy, "script-src") {
			t.Errorf("%s: Content-Security-Policy = %q, which is not strict", path, policy)
		}
		for header, want := range map[string]string{"X-Content-Type-Options": "nosniff", "Referrer-Policy": "no-referrer"} {
			if got := response.Header.Get(header); got != want {
				t.Errorf("%s: %s = %q, want %q", path, header, got, want)
			}
		}
		if found := straysIn(body(t, response)); len(found) > 0 {
			t.Errorf("%s has %s", path, found)
		}
	}
}

// TestStraysAreFound proves that the patterns above can fail.
func TestStraysAreFound(t *testing.T) {
	for page, want := range map[string]string{
		`<SCRIPT>alert(1)</SCRIPT>`:                 "script",
		`<a href="javascript:alert(1)">`:            "address elsewhere",
		`<body onload=x()>`:                         "onload",
		`<p class="a" style="color:red">`:           "style",
		`<style>p{}</style>`:                        "style",
		`<link href="https://fonts.example/a.css">`: "address elsewhere",
		`<img src=//cdn.example/a.png onerror='x'>`: "address elsewhere onerror",
		`body { background: url(x.png) }`:           "resource elsewhere",
		`<meta http-equiv="refresh" content="5">`:   "meta http-equiv",
		`<a href="./runbooks/Name">on=1</a>`:        "",
		`<p title=" onload=x https://a">`:           "",
	} {
		if got := strings.Join(straysIn(page), " "); got != want {
			t.Errorf("%s: found %q, want %q", page, got, want)
		}
	}
}

// TestForeignTextIsEscaped: what the clouds or a config say reaches the page as text.
func TestForeignTextIsEscaped(t *testing.T) {
	const hostile = `"><script>alert(1)</script><img src=//x.example/ onerror=y>`
	o := options()
	snapshot := o.Snapshots()[0]
	snapshot.Connection, snapshot.EntraTenant, snapshot.Ambiguous = hostile, hostile, hostile
	snapshot.Tokens.Tokens[0].ID = hostile
	snapshot.Job.Status, snapshot.Job.ID = model.JobStatus(hostile), hostile
	snapshot.Signing.Certificates[0].Thumbprint, snapshot.Signing.ActiveThumbprint = hostile, hostile
	snapshot.Sources[0].Err = &model.Error{Reason: model.ReasonOther, Op: "listing SCIM tokens", Detail: hostile}
	o.Snapshots = func() []model.Snapshot { return []model.Snapshot{snapshot} }
	o.Rotation = func(string) model.RotationStatus {
		return model.RotationStatus{Phase: model.Phase(hostile), Message: hostile, Blocked: model.BlockedReason(hostile)}
	}
	o.Records = func() []model.RotationRecord {
		return []model.RotationRecord{{Connection: hostile, Trigger: hostile, Reason: hostile, Steps: []model.RotationStep{{Text: hostile}}}}
	}
	o.Build = web.Build{Version: hostile}
	page := body(t, ask(t, o, "GET", "/"))
	if found := straysIn(page); len(found) > 0 {
		t.Errorf("foreign text became %s", found)
	}
	if !strings.Contains(page, "&lt;script&gt;") {
		t.Error("the foreign text is missing")
	}
}
