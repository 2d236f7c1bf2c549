package simulator

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"entra-aws-exporter/internal/simulator/clouds"
)

// condition is one "field operator value" of a $filter; several are joined by "and".
type condition struct {
	field    string // "servicePrincipal/id"; "targetResources/any/id" of a lambda
	operator string // eq | gt | ge | lt | le
	value    string // without quotes
}

func (c condition) time() (time.Time, error) {
	at, err := time.Parse(time.RFC3339Nano, c.value)
	if err != nil {
		return at, badRequest("Invalid filter clause: '%s' is not a literal of type Edm.DateTimeOffset.", c.value)
	}
	return at, nil
}

var (
	lambda     = regexp.MustCompile(`^([A-Za-z]+)/any\(\s*([a-z]+)\s*:\s*([a-z]+)/([A-Za-z]+) (eq) '((?:[^']|'')*)'\s*\)`)
	comparison = regexp.MustCompile(`^([A-Za-z/]+) (eq|gt|ge|lt|le) ('(?:[^']|'')*'|[0-9A-Za-z:.+-]+)`)
)

// parseFilter reads the part of OData's $filter that Graph's audit logs and
// directory objects are asked with here. Anything else is refused as unsupported.
// https://learn.microsoft.com/graph/filter-query-parameter
func parseFilter(filter string, supported map[string][]string) ([]condition, error) {
	var conditions []condition
	rest := strings.TrimSpace(filter)
	for rest != "" {
		var (
			parsed condition
			length int
		)
		if m := lambda.FindStringSubmatch(rest); m != nil && m[2] == m[3] {
			parsed, length = condition{m[1] + "/any/" + m[4], m[5], strings.ReplaceAll(m[6], "''", "'")}, len(m[0])
		} else if m := comparison.FindStringSubmatch(rest); m != nil {
			value := m[3]
			if strings.HasPrefix(value, "'") {
				value = strings.ReplaceAll(value[1:len(value)-1], "''", "'")
			}
			parsed, length = condition{m[1], m[2], value}, len(m[0])
		} else {
			return nil, badRequest("Invalid filter clause: syntax error at '%s'.", rest)
		}
		if !slices.Contains(supported[parsed.field], parsed.operator) {
			return nil, &clouds.Error{
				Service: clouds.ServiceGraph, Status: http.StatusBadRequest, Code: "Request_UnsupportedQuery",
				Message: fmt.Sprintf("Unsupported or invalid query filter clause specified for property '%s': operator '%s'.", parsed.field, parsed.operator),
			}
		}
		conditions = append(conditions, parsed)
		rest = strings.TrimSpace(rest[length:])
		if rest == "" {
			break
		}
		after, joined := strings.CutPrefix(rest, "and ")
		if !joined {
			return nil, badRequest("Invalid filter clause: syntax error at '%s'.", rest)
		}
		rest = strings.TrimSpace(after)
	}
	return conditions, nil
}

// options are the query options of a request.
type options struct {
	filter    []condition
	selected  []string // empty: everything
	top       int
	order     string // "activityDateTime desc"; "" none asked for
	skipToken string
}

// queryOptions reads the query of a request, with what may be filtered by which operators.
func (c *call) queryOptions(filters map[string][]string, topDefault, topMax int) (options, error) {
	query := c.r.URL.Query()
	for name := range query {
		if !slices.Contains([]string{"$filter", "$select", "$top", "$orderby", "$skiptoken", "$count"}, name) && strings.HasPrefix(name, "$") {
			return options{}, badRequest("The query parameter '%s' is not supported.", name)
		}
	}
	read := options{top: topDefault, order: query.Get("$orderby"), skipToken: query.Get("$skiptoken")}
	var err error
	if read.filter, err = parseFilter(query.Get("$filter"), filters); err != nil {
		return read, err
	}
	if text := query.Get("$top"); text != "" {
		read.top, err = strconv.Atoi(text)
		if err != nil || read.top < 1 || read.top > topMax {
			return read, badRequest("Invalid page size specified: '%s'. Must be between 1 and %d inclusive.", text, topMax)
		}
	}
	if text := query.Get("$select"); text != "" {
		for name := range strings.SplitSeq(text, ",") {
			read.selected = append(read.selected, strings.TrimSpace(name))
		}
	}
	return read, nil
}

// selectFrom keeps what was asked for.
func (o options) selectFrom(entity map[string]any) map[string]any {
	if len(o.selected) == 0 {
		return entity
	}
	kept := map[string]any{}
	for _, name := range o.selected {
		if value, found := entity[name]; found {
			kept[name] = value
		}
	}
	return kept
}

// selectJSON encodes what was asked for of an entity that is a struct.
func (o options) selectJSON(entity any) ([]byte, error) {
	content, err := json.Marshal(entity)
	if err != nil || len(o.selected) == 0 {
		return content, err
	}
	var members map[string]any
	if err := json.Unmarshal(content, &members); err != nil {
		return nil, err
	}
	return json.Marshal(o.selectFrom(members))
}

// nextLink is the address of the next page.
func (c *call) nextLink(skipToken string) string {
	query := c.r.URL.Query()
	query.Set("$skiptoken", skipToken)
	next := url.URL{Scheme: "https", Host: c.r.Host, Path: c.r.URL.Path, RawQuery: query.Encode()}
	return next.String()
}

func badRequest(format string, args ...any) *clouds.Error {
	return &clouds.Error{Service: clouds.ServiceGraph, Status: http.StatusBadRequest, Code: "BadRequest", Message: fmt.Sprintf(format, args...)}
}
