package contract

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
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

	schemas map[string]*schema // of the shapes
}

type shape struct {
	Shape    string            `json:"shape"` // a reference
	Type     string            `json:"type"`  // "": string
	Members  map[string]*shape `json:"members"`
	Member   *shape            `json:"member"`
	Required []string          `json:"required"`
}

// schema translates a shape into the words of OpenAPI.
func (s *shape) schema() *schema {
	if s == nil {
		return nil
	}
	if s.Shape != "" {
		return &schema{Ref: schemaPrefix + s.Shape}
	}
	kind, known := map[string]string{
		"structure": "object", "list": "array", "boolean": "boolean", "integer": "integer", "biginteger": "integer", "timestamp": "timestamp",
	}[s.Type]
	if !known {
		kind = "string"
	}
	translated := &schema{Type: kind, Required: s.Required, Items: s.Member.schema(), Properties: map[string]*schema{}}
	for name, member := range s.Members {
		translated.Properties[name] = member.schema()
	}
	return translated
}

func (c *Contract) addModel(content []byte) error {
	m := model{schemas: map[string]*schema{}}
	if err := json.Unmarshal(content, &m); err != nil {
		return err
	}
	for name, s := range m.Shapes {
		m.schemas[name] = s.schema()
	}
	c.models = append(c.models, m)
	return nil
}

func (c *Contract) checkAWS(request *http.Request, target string, requestBody []byte, status int, responseBody []byte) error {
	prefix, name, _ := strings.Cut(target, ".")
	for _, m := range c.models {
		described, found := m.Operations[name]
		if m.Metadata.TargetPrefix != prefix || !found {
			continue
		}
		finds := findings{exchange: target, part: "request"}
		v := validator{schemas: m.schemas, closed: true, findings: &finds}
		m.checkHeaders(request, &finds)
		v.checkBody(described.Input.schema(), requestBody)
		finds.part = "response"
		output := &schema{Type: "object"}
		if status < http.StatusBadRequest {
			output = described.Output.schema()
		} else {
			v.closed = false // an error has any members
		}
		v.checkBody(output, responseBody)
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
