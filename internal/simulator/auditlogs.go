package simulator

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"io"
	"net/http"
	"slices"
	"strings"
	"time"

	"entra-aws-exporter/internal/simulator/clouds"
)

// logPage is how many entries come on a page of a log at most, and by default.
const logPage, logPageDefault = 1000, 100

// position is where a page ends: the last entry that was sent. Pages go on behind it,
// so entries that appear in the meantime shift nothing.
type position struct {
	At time.Time `json:"at"`
	ID string    `json:"id"`
}

func (p position) token() string {
	content, _ := json.Marshal(p) // a time within the years of RFC 3339
	return base64.RawURLEncoding.EncodeToString(content)
}

func parsePosition(token string) (position, error) {
	var p position
	if token == "" {
		return p, nil
	}
	content, err := base64.RawURLEncoding.DecodeString(token)
	if err == nil {
		err = json.Unmarshal(content, &p)
	}
	if err != nil {
		return p, badRequest("The skip token is not valid.")
	}
	return p, nil
}

// logOrder reads $orderby of a log.
func (o options) descending() (bool, error) {
	switch strings.Join(strings.Fields(o.order), " ") {
	case "", "activityDateTime desc":
		return true, nil
	case "activityDateTime", "activityDateTime asc":
		return false, nil
	default:
		return false, badRequest("The query parameter '$orderby' supports activityDateTime only.")
	}
}

// listProvisioning is the provisioning log, which is streamed: a page has up to 1,000
// entries, and a log a million.
// https://learn.microsoft.com/graph/api/provisioningobjectsummary-list
func listProvisioning(c *call) (answer, error) {
	return c.limited("reports", func() (answer, error) {
		options, err := c.queryOptions(map[string][]string{
			"activityDateTime": {"eq", "gt", "lt"}, "servicePrincipal/id": {"eq"}, "jobId": {"eq"},
			"provisioningStatusInfo/status": {"eq"}, "cycleId": {"eq"}, "id": {"eq"},
		}, logPageDefault, logPage)
		if err != nil {
			return answer{}, err
		}
		descending, err := options.descending()
		if err != nil {
			return answer{}, err
		}
		from, err := parsePosition(options.skipToken)
		if err != nil {
			return answer{}, err
		}
		filter, matches, err := logFilter(options.filter)
		if err != nil {
			return answer{}, err
		}
		page, err := c.logEntries(filter, matches, from, descending, options.top+1)
		if err != nil {
			return answer{}, err
		}
		next := ""
		if len(page) > options.top {
			page = page[:options.top]
			last := page[len(page)-1]
			next = c.nextLink(position{last.At, last.ID}.token())
		}
		return c.streamedCollection("auditLogs/provisioning", len(page), next, func(i int) ([]byte, error) {
			return options.selectJSON(c.logEntity(page[i]))
		}), nil
	})
}

// logFilter splits the conditions into what the world filters by and the rest.
func logFilter(conditions []condition) (clouds.LogFilter, func(clouds.LogEntry) bool, error) {
	var (
		filter clouds.LogFilter
		rest   []func(clouds.LogEntry) bool
	)
	for _, condition := range conditions {
		switch condition.field {
		case "activityDateTime":
			at, err := condition.time()
			if err != nil {
				return filter, nil, err
			}
			switch condition.operator {
			case "gt":
				filter.After = at
			case "lt":
				filter.Before = at
			default:
				rest = append(rest, func(e clouds.LogEntry) bool { return e.At.Equal(at) })
			}
		case "servicePrincipal/id":
			filter.ServicePrincipalID = condition.value
		case "jobId":
			filter.JobID = condition.value
		case "provisioningStatusInfo/status":
			filter.Status = condition.value
		case "cycleId":
			rest = append(rest, func(e clouds.LogEntry) bool { return e.CycleID == condition.value })
		case "id":
			rest = append(rest, func(e clouds.LogEntry) bool { return e.ID == condition.value })
		}
	}
	return filter, func(e clouds.LogEntry) bool {
		return !slices.ContainsFunc(rest, func(matches func(clouds.LogEntry) bool) bool { return !matches(e) })
	}, nil
}

// logEntries returns at most limit entries behind a position, of the world's log and of
// the floods, in order.
func (c *call) logEntries(filter clouds.LogFilter, matches func(clouds.LogEntry) bool, from position, descending bool, limit int) ([]clouds.LogEntry, error) {
	own, err := read(c, func(w *clouds.Model) ([]clouds.LogEntry, error) {
		return w.ProvisioningLog(c.caller, c.tenant(), filter)
	})
	if err != nil {
		return nil, err
	}
	compare := func(a, b clouds.LogEntry) int { return compareEntries(a, b, descending) }
	behind := func(e clouds.LogEntry) bool {
		return matches(e) && (from.ID == "" || compare(e, clouds.LogEntry{At: from.At, ID: from.ID}) > 0)
	}
	list := slices.DeleteFunc(own, func(e clouds.LogEntry) bool { return !behind(e) })
	slices.SortFunc(list, compare)
	list = list[:min(len(list), limit)]
	if now := c.now(); filter.Before.IsZero() || filter.Before.After(now) {
		filter.Before = now // what a flood holds for later has not happened yet
	}
	for _, flood := range c.sim.floodsOf(c.tenant()) {
		if !flood.concerns(filter) {
			continue
		}
		found := 0
		for entry := range flood.entries(filter, from, descending) {
			if behind(entry) && (filter.Status == "" || filter.Status == entry.Status) {
				list = append(list, entry)
				if found++; found >= limit {
					break
				}
			}
		}
		slices.SortFunc(list, compare)
		list = list[:min(len(list), limit)]
	}
	return list, nil
}

func compareEntries(a, b clouds.LogEntry, descending bool) int {
	order := a.At.Compare(b.At)
	if order == 0 {
		order = strings.Compare(a.ID, b.ID)
	}
	if descending {
		return -order
	}
	return order
}

// streamedCollection writes a page entity by entity, so that it is never in memory whole.
func (c *call) streamedCollection(kind string, n int, nextLink string, entity func(int) ([]byte, error)) answer {
	result := answer{status: http.StatusOK, header: http.Header{"Content-Type": {graphContentType}}}
	head, _ := json.Marshal(map[string]any{"@odata.context": c.context(kind)}) // strings always encode
	if nextLink != "" {
		head, _ = json.Marshal(map[string]any{"@odata.context": c.context(kind), "@odata.nextLink": nextLink})
	}
	result.stream = func(w io.Writer) error {
		buffer := bytes.NewBuffer(bytes.TrimSuffix(head, []byte("}")))
		buffer.WriteString(`,"value":[`)
		for i := range n {
			if i > 0 {
				buffer.WriteByte(',')
			}
			content, err := entity(i)
			if err != nil {
				return err
			}
			buffer.Write(content)
			if buffer.Len() > 32<<10 {
				if _, err := buffer.WriteTo(w); err != nil {
					return err
				}
			}
		}
		buffer.WriteString("]}")
		_, err := buffer.WriteTo(w)
		return err
	}
	return result
}
