package contract

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"time"
)

// model is the part of AWS's JSON model format that is checked.
type model struct {
	Metadata struct {
		EndpointPrefix string `json:"endpointPrefix"` // also the name in signatures
		TargetPrefix   string `json:"targetPrefix"`
	} `json:"metadata"`
	Operations map[string]struct {
		Input  *shape `json:"input"`
		Output *shape `json:"output"`
	} `json:"operations"`
	Shapes map[string]*shape `json:"shapes"`
}

type shape struct {
	Shape    string            `json:"shape"` // a reference
	Type     string            `json:"type"`  // "": string
	Members  map[string]*shape `json:"members"`
	Member   *shape            `json:"member"`
	Required []string          `json:"required"`
}

func (c *Contract) addModel(content []byte) error {
	var m model
	if err := json.Unmarshal(content, &m); err != nil {
		return err
	}
	c.models = append(c.models, m)
	return nil
}

func (c *Contract) checkAWS(request *http.Request, target string, requestBody []byte, status int, responseBody []byte) error {
	prefix, name, _ := strings.Cut(target, ".")
	for _, m := range c.models {
		operation, found := m.Operations[name]
		if m.Metadata.TargetPrefix != prefix || !found {
			continue
		}
		finds := findings{exchange: target, part: "request"}
		m.checkHeaders(request, &finds)
		m.checkBody(operation.Input, requestBody, &finds)
		finds.part = "response"
		if status < http.StatusBadRequest {
			m.checkBody(operation.Output, responseBody, &finds)
		} else if value, err := decode(responseBody); err != nil {
			finds.add("$", "%v", err)
		} else if _, isObject := value.(map[string]any); !isObject {
			finds.add("$", "%s where an object is described", describe(value))
		}
		return finds.err()
	}
	return fmt.Errorf("%s: %w", target, ErrNotCovered)
}

func (m model) checkHeaders(request *http.Request, found *findings) {
	if request.Method != http.MethodPost {
		found.add("method", "%s instead of POST", request.Method)
	}
	// The JSON version is not checked: hosts are known to differ from the model.
	if sent := request.Header.Get("Content-Type"); !strings.HasPrefix(sent, "application/x-amz-json-1.") {
		found.add("Content-Type", "%q instead of application/x-amz-json-1.x", sent)
	}
	if sent := request.Header.Get("Authorization"); !strings.Contains(sent, "/"+m.Metadata.EndpointPrefix+"/aws4_request") {
		found.add("Authorization", "not signed for the service %q", m.Metadata.EndpointPrefix)
	}
}

func (m model) checkBody(s *shape, body []byte, found *findings) {
	value, err := decode(body)
	if err != nil {
		found.add("$", "%v", err)
		return
	}
	m.check("$", s, value, found)
}

func (m model) check(place string, s *shape, value any, found *findings) {
	if s.Shape != "" {
		s = m.Shapes[s.Shape]
	}
	switch s.Type {
	case "structure":
		m.checkStructure(place, s, value, found)
	case "list":
		items, isList := value.([]any)
		if !isList {
			found.add(place, "%s where a list is described", describe(value))
			return
		}
		for i, item := range items {
			m.check(fmt.Sprintf("%s[%d]", place, i), s.Member, item, found)
		}
	case "boolean":
		if _, isBool := value.(bool); !isBool {
			found.add(place, "%s where a boolean is described", describe(value))
		}
	case "integer", "biginteger":
		if number, isNumber := value.(json.Number); !isNumber || strings.ContainsAny(number.String(), ".eE") {
			found.add(place, "%s where a %s is described", describe(value), s.Type)
		}
	case "timestamp":
		checkTimestamp(place, value, found)
	default:
		if _, isText := value.(string); !isText {
			found.add(place, "%s where a string is described", describe(value))
		}
	}
}

func (m model) checkStructure(place string, s *shape, value any, found *findings) {
	members, isObject := value.(map[string]any)
	if !isObject {
		found.add(place, "%s where a structure is described", describe(value))
		return
	}
	for _, name := range s.Required {
		if members[name] == nil {
			found.add(place, "%s is missing", name)
		}
	}
	for _, name := range sortedKeys(members) {
		switch member, known := s.Members[name]; {
		case !known:
			found.add(place+"."+name, "no such member")
		case members[name] != nil:
			m.check(place+"."+name, member, members[name], found)
		}
	}
}

// checkTimestamp accepts epoch seconds, the JSON protocol's default, and RFC 3339.
func checkTimestamp(place string, value any, found *findings) {
	switch value := value.(type) {
	case json.Number:
		return
	case string:
		if _, err := time.Parse(time.RFC3339Nano, value); err == nil {
			return
		}
	}
	found.add(place, "%s where a timestamp is described", describe(value))
}
