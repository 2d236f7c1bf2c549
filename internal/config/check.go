package config

import (
	"errors"
	"fmt"
	"net/netip"
	"net/url"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	prommodel "github.com/prometheus/common/model"
)

// The words of a check tag:
//
//	required   the key must be there (a list: with at least one item)
//	a|b|c      one of these
//	1s..1d     a duration or number from … to …
//	zero       0 is right besides the range
//	NAME       one of the rules below
//
// A list's check is that of each of its items.

// rule is what a text of a kind looks like.
type rule struct {
	valid func(string) bool
	is    string // "an AWS region"
	like  string // an example
}

var rules = map[string]rule{ //nolint:gochecknoglobals // a table that never changes
	"name": {matches(`^[A-Za-z0-9][A-Za-z0-9._-]{0,62}$`),
		`a name of at most 63 letters, digits, ".", "_" and "-" that begins with a letter or digit`, "corp"},
	"uuid": {matches(`^[0-9A-Fa-f]{8}(-[0-9A-Fa-f]{4}){3}-[0-9A-Fa-f]{12}$`),
		"a UUID", "11111111-1111-1111-1111-111111111111"},
	"region": {matches(`^[a-z]{2,4}(-[a-z]+){1,3}-[0-9]{1,2}$`),
		"an AWS region", "eu-central-1"},
	"role_arn": {matches(`^arn:aws[a-z-]*:iam::[0-9]{12}:role/[A-Za-z0-9+=,.@/_-]+$`),
		"the ARN of an IAM role", "arn:aws:iam::111122223333:role/NAME"},
	"identity_store_id": {matches(`^(d-[0-9a-f]{10}|[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12})$`),
		"an identity store id", "d-1234567890"},
	"provisioning_tenant_id": {matches(`^[A-Za-z0-9-]{1,64}$`),
		"the id in AWS's SCIM endpoint", "kE370acb0d7-97b3-4383-8d96-000000000000"},
	"token_id": {matches(`^[A-Za-z0-9._:-]{1,64}$`),
		"the id of a SCIM token (not its value)", "11111111-1111-1111-1111-111111111111"},
	"word":        {matches(`^[!-~]+$`), "one word without spaces", ""},
	"endpoint":    {isEndpoint, "an https URL without user, query or fragment (http only on the loopback interface)", "https://login.example.com"},
	"login":       {isLogin, "an https URL without a path (the sign-in adds the tenant)", "https://login.example.com"},
	"graph":       {isGraph, "an https URL without user, query or fragment", "https://graph.example.com"},
	"tenant_url":  {isTenantURL, "an https URL without user or fragment", "https://scim.eu-central-1.amazonaws.com/ID/scim/v2?aadOptscim062020"},
	"proxy_url":   {isProxyURL, "an http, https or socks5 URL without a user (a password has no place in the config)", "http://proxy.example.com:3128"},
	"host_suffix": {isHostSuffix, "a domain with at least one dot, localhost or an IP address", "scim.example.com"},
	"labels":      {nil, "labels with values", "{rotate: scim-token}"},
}

func matches(pattern string) func(string) bool { return regexp.MustCompile(pattern).MatchString }

// check says what is wrong with a decoded value, by the words of the field's tag.
func (f field) check(value reflect.Value) error {
	for _, word := range f.checks {
		low, high, isRange := strings.Cut(word, "..")
		named, isRule := rules[word]
		switch {
		case isRange:
			if !within(value, low, high) && (!f.says("zero") || !value.IsZero()) {
				return fmt.Errorf("%v is out of range; it must be %s", value.Interface(), f.wanted())
			}
		case strings.Contains(word, "|"):
			if err := oneOf(value.String(), strings.Split(word, "|")); err != nil {
				return err
			}
		case isRule:
			if !named.valid(value.String()) {
				return fmt.Errorf("%s is not %s", shown(value.String()), named)
			}
		}
		if word == "uuid" { // Graph writes them in lower case
			value.SetString(strings.ToLower(value.String()))
		}
	}
	return nil
}

// wanted says what the value must be.
func (f field) wanted() string {
	for _, word := range f.checks {
		if strings.Contains(word, "|") {
			return "it is one of " + strings.ReplaceAll(word, "|", ", ")
		}
		if low, high, ok := strings.Cut(word, ".."); ok {
			text := "from " + low + " to " + high
			if f.says("zero") {
				text = "0 or " + text
			}
			return text
		}
		if named, ok := rules[word]; ok {
			return "it is " + named.String()
		}
	}
	switch {
	case f.kind.Kind() == reflect.Slice:
		return "at least one is needed"
	case f.kind == reflect.TypeFor[time.Time]():
		return "it is a time such as 2026-03-01T00:00:00Z"
	case f.kind.Kind() == reflect.Bool:
		return "it is true or false"
	case f.kind == reflect.TypeFor[Path](), f.kind == reflect.TypeFor[SecretFile]():
		return "it is the path of a file"
	default:
		return "it is needed"
	}
}

// instead says what to do about a value of the kind that is empty: removing the key helps
// only where nothing in it is needed.
func (f field) instead(kind reflect.Type) string {
	optional := kind.Kind() == reflect.Pointer
	if optional {
		kind = kind.Elem()
	}
	needed := strings.Join(neededKeys(kind), ", ")
	switch {
	case needed != "" && optional:
		return "it needs " + needed + ", or remove the key"
	case needed != "":
		return "it needs " + needed
	case f.says("required"):
		return f.wanted()
	default:
		return "give it a value or remove the key"
	}
}

// neededKeys are those without which a mapping of the kind is not complete.
func neededKeys(kind reflect.Type) []string {
	if kind.Kind() != reflect.Struct {
		return nil
	}
	var needed []string
	for _, f := range fields(kind) {
		if f.says("required") || len(neededKeys(f.kind)) > 0 {
			needed = append(needed, f.key)
		}
	}
	return needed
}

func (r rule) String() string {
	if r.like == "" {
		return r.is
	}
	return r.is + " such as " + r.like
}

func oneOf(value string, right []string) error {
	if slices.Contains(right, value) {
		return nil
	}
	return fmt.Errorf("%s is not one of %s", shown(value), strings.Join(right, ", "))
}

// within compares durations and whole numbers with the bounds of a tag.
func within(value reflect.Value, low, high string) bool {
	bound := func(text string) int64 {
		if value.Type() == reflect.TypeFor[Duration]() {
			d, _ := prommodel.ParseDuration(text)
			return int64(d)
		}
		n, _ := strconv.ParseInt(text, 10, 64)
		return n
	}
	return value.Int() >= bound(low) && value.Int() <= bound(high)
}

func parseDuration(text string) (Duration, error) {
	d, err := prommodel.ParseDuration(text)
	if err != nil {
		return 0, fmt.Errorf("%s is not a duration; it is a number with a unit such as 30s, 15m, 24h, 60d, 2w or 1y", shownNumber(text))
	}
	return d, nil
}

func parseTime(text string) (time.Time, error) {
	for _, layout := range []string{time.RFC3339, time.DateOnly} {
		if at, err := time.Parse(layout, text); err == nil {
			return at.UTC(), nil
		}
	}
	return time.Time{}, fmt.Errorf("%s is not a time; it is written 2026-03-01T00:00:00Z or 2026-03-01", shown(text))
}

var entraSecret = regexp.MustCompile(`^[A-Za-z0-9_.~-]{3}[0-9]Q~`)

// checkPath catches a secret that was written where the path of its file belongs.
func checkPath(path string) error {
	switch {
	case strings.ContainsAny(path, "\r\n"),
		strings.HasPrefix(path, "AGE-SECRET-KEY-"),
		strings.HasPrefix(path, "-----BEGIN"),
		entraSecret.MatchString(path),
		len(path) > 64 && !strings.ContainsAny(path[:1], "./") && strings.Trim(path, base64Alphabet) == "":
		return errors.New("looks like the secret itself; put it into a file and give the path of that file")
	}
	return nil
}

const base64Alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/=_:-"

func isEndpoint(text string) bool {
	u, ok := parseURL(text)
	return ok && u.RawQuery == "" && (u.Scheme == "https" || u.Scheme == "http" && isLoopback(u.Hostname()))
}

func isGraph(text string) bool {
	u, ok := parseURL(text)
	return ok && u.RawQuery == "" && u.Scheme == "https"
}

func isLogin(text string) bool {
	u, ok := parseURL(text)
	return ok && isGraph(text) && strings.Trim(u.Path, "/") == ""
}

func isTenantURL(text string) bool {
	u, ok := parseURL(text)
	return ok && u.Scheme == "https"
}

func isProxyURL(text string) bool {
	u, ok := parseURL(text)
	return ok && (u.Scheme == "http" || u.Scheme == "https" || u.Scheme == "socks5")
}

func parseURL(text string) (*url.URL, bool) {
	u, err := url.Parse(text)
	if err != nil || u.Hostname() == "" || u.User != nil || u.Fragment != "" {
		return nil, false
	}
	return u, true
}

func isLoopback(host string) bool {
	ip, err := netip.ParseAddr(host)
	return host == "localhost" || err == nil && ip.IsLoopback()
}

var domain = regexp.MustCompile(`^\.?[A-Za-z0-9-]+(\.[A-Za-z0-9-]+)+$`)

// A suffix without a dot ("com") would let a token go to anybody.
func isHostSuffix(text string) bool {
	_, err := netip.ParseAddr(text)
	return err == nil || text == "localhost" || domain.MatchString(text)
}
