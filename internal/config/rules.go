package config

import (
	"errors"
	"fmt"
	"net/netip"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"time"

	prommodel "github.com/prometheus/common/model"
)

// rule is a format of text.
type rule struct {
	format      matcher
	description string // "an AWS region"
	example     string
}

// matcher accepts a text: a pattern, or a condition that no pattern can express.
type matcher interface{ MatchString(text string) bool }

type condition func(text string) bool

func (c condition) MatchString(text string) bool { return c(text) }

func (r rule) String() string {
	if r.example == "" {
		return r.description
	}
	return r.description + " such as " + r.example
}

var rules = map[string]rule{ //nolint:gochecknoglobals // a table that never changes
	"name": {regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]{0,62}$`),
		`a name of at most 63 letters, digits, ".", "_" and "-" that begins with a letter or digit`, "corp"},
	"uuid": {regexp.MustCompile(`^[0-9A-Fa-f]{8}(-[0-9A-Fa-f]{4}){3}-[0-9A-Fa-f]{12}$`),
		"a UUID", "11111111-1111-1111-1111-111111111111"},
	"region": {regexp.MustCompile(`^[a-z]{2,4}(-[a-z]+){1,3}-[0-9]{1,2}$`),
		"an AWS region", "eu-central-1"},
	"role_arn": {regexp.MustCompile(`^arn:aws[a-z-]*:iam::[0-9]{12}:role/[A-Za-z0-9+=,.@/_-]+$`),
		"the ARN of an IAM role", "arn:aws:iam::111122223333:role/NAME"},
	"identity_store_id": {regexp.MustCompile(`^(d-[0-9a-f]{10}|[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12})$`),
		"an identity store ID", "d-1234567890"},
	"provisioning_tenant_id": {regexp.MustCompile(`^[A-Za-z0-9-]{1,64}$`),
		"the ID in AWS's SCIM endpoint", "kE370acb0d7-97b3-4383-8d96-000000000000"},
	"token_id": {regexp.MustCompile(`^[A-Za-z0-9._:-]{1,64}$`),
		"the ID of a SCIM token (not its value)", "11111111-1111-1111-1111-111111111111"},
	"table": {regexp.MustCompile(`^[A-Za-z0-9_.-]{3,255}$`),
		`the name of a DynamoDB table (not its ARN): 3 to 255 letters, digits, "_", "." and "-"`, "entra-aws-exporter"},
	"secret_prefix": {regexp.MustCompile(`^[A-Za-z0-9/_+=.@-]{0,127}/$`),
		`the beginning of the names of secrets: at most 128 letters, digits and /_+=.@-, with a "/" at its end`, "entra-aws-exporter/"},
	"common_name": {regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9 ._-]{0,31}$`),
		`a common name of at most 32 letters, digits, spaces, ".", "_" and "-"`, "entra-aws-exporter"},
	"word": {regexp.MustCompile(`^[!-~]+$`), "one word without spaces", ""},
	"endpoint": {isURL(func(u *url.URL) bool {
		return u.RawQuery == "" && (u.Scheme == "https" || u.Scheme == "http" && isLoopback(u.Hostname()))
	}), "an https URL without user, query or fragment (http only on the loopback interface)", "https://login.example.com"},
	"login": {isURL(func(u *url.URL) bool {
		return u.RawQuery == "" && u.Scheme == "https" && strings.Trim(u.Path, "/") == ""
	}), "an https URL without a path (the sign-in adds the tenant)", "https://login.example.com"},
	"graph": {isURL(func(u *url.URL) bool {
		return u.RawQuery == "" && u.Scheme == "https"
	}), "an https URL without user, query or fragment", "https://graph.example.com"},
	"tenant_url": {isURL(func(u *url.URL) bool {
		return u.Scheme == "https"
	}), "an https URL without user or fragment", "https://scim.eu-central-1.amazonaws.com/ID/scim/v2?aadOptscim062020"},
	"proxy_url": {isURL(func(u *url.URL) bool {
		return slices.Contains([]string{"http", "https", "socks5"}, u.Scheme)
	}), "an http, https or socks5 URL without a user (the config must not have a password)", "http://proxy.example.com:3128"},
	"host_suffix": {condition(isHostSuffix), "a domain with at least one dot, localhost or an IP address", "scim.example.com"},
}

// isURL accepts absolute URLs without user and fragment, if accepts does.
func isURL(accepts func(*url.URL) bool) condition {
	return func(text string) bool {
		u, err := url.Parse(text)
		return err == nil && u.Hostname() != "" && u.User == nil && u.Fragment == "" && accepts(u)
	}
}

func isLoopback(host string) bool {
	ip, err := netip.ParseAddr(host)
	return host == "localhost" || err == nil && ip.IsLoopback()
}

var domain = regexp.MustCompile(`^\.?[A-Za-z0-9-]+(\.[A-Za-z0-9-]+)+$`)

// isHostSuffix refuses a suffix without a dot: with "com" a token could be sent anywhere.
func isHostSuffix(text string) bool {
	_, err := netip.ParseAddr(text)
	return err == nil || text == "localhost" || domain.MatchString(text)
}

func parseDuration(text string) (Duration, error) {
	d, err := prommodel.ParseDuration(text)
	if err != nil {
		return 0, fmt.Errorf("%s is not a duration; it is a number with a unit such as 30s, 15m, 24h, 60d, 2w or 1y", quoteSafe(text))
	}
	return d, nil
}

func parseTime(text string) (time.Time, error) {
	for _, layout := range []string{time.RFC3339, time.DateOnly} {
		if at, err := time.Parse(layout, text); err == nil {
			return at.UTC(), nil
		}
	}
	return time.Time{}, fmt.Errorf("%s is not a time; it is written 2026-03-01T00:00:00Z or 2026-03-01", quoteSafe(text))
}

var (
	entraSecret = regexp.MustCompile(`^[A-Za-z0-9_.~-]{3}[0-9]Q~`)
	longBase64  = regexp.MustCompile(`^[A-Za-z0-9+=_:-][A-Za-z0-9+/=_:-]{64,}$`)
)

// checkPath refuses a secret in the place of its file's path.
func checkPath(path string) error {
	if strings.ContainsAny(path, "\r\n") || strings.HasPrefix(path, "AGE-SECRET-KEY-") || strings.HasPrefix(path, "-----BEGIN") ||
		entraSecret.MatchString(path) || longBase64.MatchString(path) {
		return errors.New("looks like the secret itself; put it into a file and give the path of that file")
	}
	return nil
}
