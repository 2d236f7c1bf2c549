package sigv4

import (
	"fmt"
	"net/http"
	"net/url"
	"path"
	"slices"
	"strconv"
	"strings"
)

// authorization is a parsed Authorization header.
type authorization struct {
	scope         Scope
	signedHeaders []string
	signature     string
}

// parseAuthorization reads "AWS4-HMAC-SHA256 Credential=…/…/…/…/aws4_request, SignedHeaders=…, Signature=…".
func parseAuthorization(header string) (authorization, error) {
	var parsed authorization
	if header == "" {
		return parsed, refuse(Missing, "Missing Authentication Token")
	}
	rest, found := strings.CutPrefix(header, algorithm+" ")
	if !found {
		return parsed, refuse(Incomplete, "Authorization header requires '%s' algorithm.", algorithm)
	}
	fields := map[string]string{}
	for part := range strings.SplitSeq(rest, ",") {
		name, value, _ := strings.Cut(strings.TrimSpace(part), "=")
		fields[name] = value
	}
	for _, name := range []string{"Credential", "SignedHeaders", "Signature"} {
		if fields[name] == "" {
			return parsed, refuse(Incomplete, "Authorization header requires '%s' parameter.", name)
		}
	}
	credential := strings.Split(fields["Credential"], "/")
	if len(credential) != 5 || credential[4] != "aws4_request" {
		return parsed, refuse(Incomplete, "Credential must have exactly 5 slash-delimited elements, e.g. keyid/date/region/service/term, got '%s'", fields["Credential"])
	}
	parsed.scope = Scope{AccessKeyID: credential[0], Date: credential[1], Region: credential[2], Service: credential[3]}
	parsed.signedHeaders = strings.Split(fields["SignedHeaders"], ";")
	parsed.signature = fields["Signature"]
	return parsed, nil
}

func canonicalRequest(r *http.Request, signedHeaders []string, payload string) string {
	var headers strings.Builder
	for _, name := range signedHeaders {
		fmt.Fprintf(&headers, "%s:%s\n", name, canonicalHeader(r, name))
	}
	return strings.Join([]string{
		r.Method,
		canonicalPath(r.URL),
		canonicalQuery(r.URL.RawQuery),
		headers.String(),
		strings.Join(signedHeaders, ";"),
		payload,
	}, "\n")
}

// canonicalHeader joins a header's values, each with its runs of blanks made one.
func canonicalHeader(r *http.Request, name string) string {
	switch values := r.Header.Values(name); {
	case name == "host":
		return r.Host
	case name == "content-length" && len(values) == 0:
		return strconv.FormatInt(r.ContentLength, 10)
	default:
		trimmed := make([]string, len(values))
		for i, value := range values {
			trimmed[i] = strings.Join(strings.Fields(value), " ")
		}
		return strings.Join(trimmed, ",")
	}
}

// canonicalPath normalises the path as sent and encodes it once more, as every
// service but S3 does.
func canonicalPath(u *url.URL) string {
	sent := u.EscapedPath()
	clean := path.Clean("/" + sent)
	if strings.HasSuffix(sent, "/") && clean != "/" {
		clean += "/"
	}
	return encode(clean, "/")
}

// canonicalQuery sorts the parameters by encoded name, then by encoded value.
func canonicalQuery(raw string) string {
	if raw == "" {
		return ""
	}
	var parameters [][2]string
	for part := range strings.SplitSeq(raw, "&") {
		name, value, _ := strings.Cut(part, "=")
		parameters = append(parameters, [2]string{encode(decode(name), ""), encode(decode(value), "")})
	}
	slices.SortFunc(parameters, func(a, b [2]string) int {
		if order := strings.Compare(a[0], b[0]); order != 0 {
			return order
		}
		return strings.Compare(a[1], b[1])
	})
	joined := make([]string, len(parameters))
	for i, parameter := range parameters {
		joined[i] = parameter[0] + "=" + parameter[1]
	}
	return strings.Join(joined, "&")
}

func decode(text string) string {
	if decoded, err := url.QueryUnescape(text); err == nil {
		return decoded
	}
	return text
}

// encode percent-encodes every byte that is not unreserved in RFC 3986 or in keep.
func encode(text, keep string) string {
	var encoded strings.Builder
	for i := range len(text) {
		c := text[i]
		switch {
		case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9',
			strings.IndexByte("-._~", c) >= 0, strings.IndexByte(keep, c) >= 0:
			encoded.WriteByte(c)
		default:
			fmt.Fprintf(&encoded, "%%%02X", c)
		}
	}
	return encoded.String()
}
