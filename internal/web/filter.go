package web

import (
	"fmt"
	"net/url"
	"slices"
	"strconv"
	"strings"
)

// State is whether a connection needs an operator.
type State string

// The states to filter by.
const (
	StateAny       State = ""
	StateAttention State = "attention" // it has advice that is urgent or a warning
	StateHealthy   State = "healthy"
)

// pageLimit bounds the connections on one page, unless the request sets another limit.
const pageLimit = 50

// filter selects connections and one page of them.
type filter struct {
	Name  string // part of the connection's name, in any case; "": every name
	State State
	Page  int // from 1
	Limit int // connections on a page; 0: all
}

// parseFilter reads name, state, page and limit from the query of a request.
func parseFilter(query url.Values, limit int) (filter, error) {
	f := filter{Name: query.Get("name"), State: State(query.Get("state")), Page: 1, Limit: limit}
	if !slices.Contains([]State{StateAny, StateAttention, StateHealthy}, f.State) {
		return filter{}, fmt.Errorf("state=%q is unknown: use %s or %s, or leave it out", f.State, StateAttention, StateHealthy)
	}
	for name, field := range map[string]*int{"page": &f.Page, "limit": &f.Limit} {
		text := query.Get(name)
		if text == "" {
			continue
		}
		n, err := strconv.Atoi(text)
		if err != nil || n < 1 {
			return filter{}, fmt.Errorf("%s=%q is not a number of at least 1", name, text)
		}
		*field = n
	}
	return f, nil
}

// matches reports whether the filter selects a connection.
func (f filter) matches(connection Connection) bool {
	if !strings.Contains(strings.ToLower(connection.Name), strings.ToLower(f.Name)) {
		return false
	}
	return f.State == StateAny || connection.needsAttention() == (f.State == StateAttention)
}

// apply returns one page of the connections that match, and how many match.
func (f filter) apply(connections []Connection) (page []Connection, total int) {
	matching := slices.DeleteFunc(slices.Clone(connections), func(connection Connection) bool { return !f.matches(connection) })
	total = len(matching)
	if f.Limit == 0 {
		return matching, total
	}
	first := min(total, (f.Page-1)*f.Limit)
	return matching[first:min(total, first+f.Limit)], total
}

// Link returns the query of another page of the same selection.
func (f filter) Link(page int) string {
	query := url.Values{}
	for name, value := range map[string]string{"name": f.Name, "state": string(f.State)} {
		if value != "" {
			query.Set(name, value)
		}
	}
	if page > 1 {
		query.Set("page", strconv.Itoa(page))
	}
	if f.Limit != pageLimit {
		query.Set("limit", strconv.Itoa(f.Limit))
	}
	return "?" + query.Encode()
}
