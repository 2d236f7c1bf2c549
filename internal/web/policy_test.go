package web_test

import (
	"io/fs"
	"regexp"
	"slices"
	"strings"
	"testing"

	"entra-aws-exporter/docs"
	"entra-aws-exporter/internal/model"
	"entra-aws-exporter/internal/web"
)

// A page must not contain what a strict policy blocks, nor an address of another site.
var (
	tag       = regexp.MustCompile(`<[a-zA-Z][^>]*>`)
	attribute = regexp.MustCompile(`\s([a-zA-Z-]+)\s*=\s*("[^"]*"|'[^']*'|[^\s>]*)`)
	external  = regexp.MustCompile(`(?i)^\s*([a-z]+:|//)`)
	forbidden = regexp.MustCompile(`(?i)^<(script|style|iframe|object|embed|base|meta http-equiv)`)
	resource  = regexp.MustCompile(`(?i)@import|url\(`)
)

// violationsIn returns what is forbidden in a page or stylesheet, sorted, without duplicates.
func violationsIn(page string) []string {
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
			case slices.Contains([]string{"href", "src", "srcset", "action", "data", "poster"}, name) && external.MatchString(value):
				found = append(found, "external address")
			}
		}
	}
	if resource.MatchString(page) {
		found = append(found, "external resource")
	}
	slices.Sort(found)
	return slices.Compact(found)
}

// TestPagesNeedNoOtherHost: no page needs or allows any other host.
func TestPagesNeedNoOtherHost(t *testing.T) {
	paths := []string{"/", "/connections/labs", "/runbooks/", "/style.css"}
	err := fs.WalkDir(docs.Pages, ".", func(path string, entry fs.DirEntry, err error) error {
		if !entry.IsDir() {
			paths = append(paths, "/"+strings.TrimSuffix(path, ".md"))
		}
		return err
	})
	if err != nil || len(paths) < 25 {
		t.Fatalf("the documents are not embedded: %v", err)
	}
	for _, path := range paths {
		response := send(t, options(), "GET", path)
		policy := response.Header.Get("Content-Security-Policy")
		if !strings.HasPrefix(policy, "default-src 'none';") || strings.Contains(policy, "unsafe") || strings.Contains(policy, "script-src") || !strings.Contains(policy, "form-action 'self'") {
			t.Errorf("%s: Content-Security-Policy = %q, want a strict one", path, policy)
		}
		for header, want := range map[string]string{"X-Content-Type-Options": "nosniff", "Referrer-Policy": "no-referrer"} {
			if got := response.Header.Get(header); got != want {
				t.Errorf("%s: %s = %q, want %q", path, header, got, want)
			}
		}
		if found := violationsIn(body(t, response)); len(found) > 0 {
			t.Errorf("%s has %s", path, found)
		}
	}
}

// TestViolationsAreFound proves that the patterns above can match.
func TestViolationsAreFound(t *testing.T) {
	for page, want := range map[string]string{
		`<SCRIPT>alert(1)</SCRIPT>`:                 "script",
		`<a href="javascript:alert(1)">`:            "external address",
		`<body onload=x()>`:                         "onload",
		`<p class="a" style="color:red">`:           "style",
		`<style>p{}</style>`:                        "style",
		`<link href="https://fonts.example/a.css">`: "external address",
		`<img src=//cdn.example/a.png onerror='x'>`: "external address onerror",
		`body { background: url(x.png) }`:           "external resource",
		`<meta http-equiv="refresh" content="5">`:   "meta http-equiv",
		`<a href="./runbooks/Name">on=1</a>`:        "",
		`<p title=" onload=x https://a">`:           "",
	} {
		if got := strings.Join(violationsIn(page), " "); got != want {
			t.Errorf("%s: found %q, want %q", page, got, want)
		}
	}
}

// TestExternalTextIsEscaped: text from AWS, Entra or the configuration stays text.
func TestExternalTextIsEscaped(t *testing.T) {
	const hostile = `"><script>alert(1)</script><img src=//x.example/ onerror=y>`
	o := options()
	snapshot := o.Snapshots()[0]
	snapshot.Connection, snapshot.EntraTenant, snapshot.Ambiguous = hostile, hostile, hostile
	snapshot.Tokens.Tokens[0].ID = hostile
	snapshot.Job.Status, snapshot.Job.ID = model.JobStatus(hostile), hostile
	snapshot.Signing.Certificates[0].Thumbprint, snapshot.Signing.ActiveThumbprint = hostile, hostile
	snapshot.Sources[0].Err = &model.Error{Reason: model.ReasonOther, Op: "listing SCIM tokens", Detail: hostile}
	o.Snapshots = func() []model.Snapshot { return []model.Snapshot{snapshot} }
	o.Rotation = func(string, model.Procedure) model.RotationStatus {
		return model.RotationStatus{Phase: model.Phase(hostile), Message: hostile, Blocked: model.BlockedReason(hostile)}
	}
	o.Records = func() []model.RotationRecord {
		return []model.RotationRecord{{Connection: hostile, Trigger: hostile, Reason: hostile, Steps: []model.RotationStep{{Text: hostile}}}}
	}
	o.Build = web.Build{Version: hostile}
	page := body(t, send(t, o, "GET", "/"))
	if found := violationsIn(page); len(found) > 0 {
		t.Errorf("external text became %s", found)
	}
	if !strings.Contains(page, "&lt;script&gt;") {
		t.Error("the external text is missing")
	}
}
