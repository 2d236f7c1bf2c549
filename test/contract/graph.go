package contract

import (
	"encoding/xml"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"

	"gopkg.in/yaml.v3"
)

// document is the part of an OpenAPI document that is checked.
type document struct {
	Paths      map[string]map[string]yaml.Node `yaml:"paths"`
	Components struct {
		Schemas    map[string]*schema   `yaml:"schemas"`
		Responses  map[string]*message  `yaml:"responses"`
		Parameters map[string]parameter `yaml:"parameters"`
	} `yaml:"components"`

	operations map[string]map[string]operation // by path template, then method
}

type operation struct {
	Parameters  []parameter         `yaml:"parameters"`
	RequestBody *message            `yaml:"requestBody"`
	Responses   map[string]*message `yaml:"responses"`
	Pageable    *struct{}           `yaml:"x-ms-pageable"`
}

type parameter struct {
	Ref  string `yaml:"$ref"`
	Name string `yaml:"name"`
	In   string `yaml:"in"`
}

type message struct {
	Ref     string `yaml:"$ref"`
	Content map[string]struct {
		Schema *schema `yaml:"schema"`
	} `yaml:"content"`
}

func (c *Contract) addOpenAPI(content []byte) error {
	var d document
	if err := yaml.Unmarshal(content, &d); err != nil {
		return err
	}
	d.operations = map[string]map[string]operation{}
	for path, item := range d.Paths {
		d.operations[path] = map[string]operation{}
		for method, node := range item {
			if strings.HasPrefix(method, "x-") || method == "parameters" {
				continue
			}
			var op operation
			if err := node.Decode(&op); err != nil {
				return fmt.Errorf("%s %s: %w", method, path, err)
			}
			d.operations[path][strings.ToUpper(method)] = op
		}
	}
	// Reading the credentials is undocumented; it answers in the shape of writing them.
	for path, methods := range d.operations {
		if put, found := methods[http.MethodPut]; found && strings.HasSuffix(path, "/synchronization/secrets") {
			methods[http.MethodGet] = operation{Responses: put.Responses}
		}
	}
	c.graph = append(c.graph, d)
	return nil
}

// entityTypes says, by type and property of the CSDL, what may be null, and which
// types are open.
type entityTypes map[string]entityType

type entityType struct {
	open     bool
	required map[string]bool // not nullable
}

func (c *Contract) addCSDL(content []byte) error {
	type csdlType struct {
		Name       string `xml:"Name,attr"`
		OpenType   bool   `xml:"OpenType,attr"`
		Properties []struct {
			Name     string `xml:"Name,attr"`
			Nullable string `xml:"Nullable,attr"`
		} `xml:"Property"`
	}
	var csdl struct {
		ComplexTypes []csdlType `xml:"ComplexType"`
		EntityTypes  []csdlType `xml:"EntityType"`
	}
	if err := xml.Unmarshal(content, &csdl); err != nil {
		return err
	}
	for _, t := range append(csdl.ComplexTypes, csdl.EntityTypes...) {
		required := map[string]bool{}
		for _, property := range t.Properties {
			required[property.Name] = property.Nullable == "false"
		}
		c.types[t.Name] = entityType{open: t.OpenType, required: required}
	}
	return nil
}

func (c *Contract) checkGraph(request *http.Request, path string, requestBody []byte, status int, responseBody []byte) error {
	d, template, op, found := c.findOperation(request.Method, path)
	if !found {
		return fmt.Errorf("%s %s: %w", request.Method, path, ErrNotCovered)
	}
	finds := findings{exchange: request.Method + " " + template}
	v := validator{schemas: d.Components.Schemas, types: c.types, findings: &finds}

	finds.part = "request"
	checkQuery(request, d, op, &finds)
	switch {
	case op.RequestBody != nil:
		v.checkMessage(d, op.RequestBody, requestBody)
	case len(requestBody) > 0:
		finds.add("$", "a body where none is described")
	}

	finds.part = "response"
	answer := op.Responses["2XX"]
	if status >= http.StatusBadRequest {
		answer = op.Responses["default"]
	}
	switch {
	case status == http.StatusNoContent:
		if len(responseBody) > 0 {
			finds.add("$", "a body with status 204")
		}
	case answer == nil:
		finds.add("$", "status %d is not described", status)
	default:
		v.checkMessage(d, answer, responseBody)
	}
	return finds.err()
}

// findOperation matches a path against the templates; the one with the fewest
// placeholders wins.
func (c *Contract) findOperation(method, path string) (document, string, operation, bool) {
	var (
		bestDocument document
		bestTemplate string
		best         operation
		fewest       = -1
	)
	for _, d := range c.graph {
		for template, methods := range d.operations {
			placeholders, fits := matchPath(template, path)
			if op, found := methods[method]; found && fits && (fewest < 0 || placeholders < fewest) {
				bestDocument, bestTemplate, best, fewest = d, template, op, placeholders
			}
		}
	}
	return bestDocument, bestTemplate, best, fewest >= 0
}

func matchPath(template, path string) (placeholders int, fits bool) {
	want, have := strings.Split(template, "/"), strings.Split(path, "/")
	if len(want) != len(have) {
		return 0, false
	}
	for i := range want {
		switch {
		case strings.HasPrefix(want[i], "{") && have[i] != "":
			placeholders++
		case want[i] != strings.TrimPrefix(have[i], "microsoft.graph."):
			return 0, false
		}
	}
	return placeholders, true
}

func checkQuery(request *http.Request, d document, op operation, found *findings) {
	allowed := map[string]bool{"$skiptoken": op.Pageable != nil}
	for _, p := range op.Parameters {
		if name, isRef := strings.CutPrefix(p.Ref, "#/components/parameters/"); isRef {
			p = d.Components.Parameters[name]
		}
		allowed[p.Name] = allowed[p.Name] || p.In == "query"
	}
	query := request.URL.Query()
	for _, name := range slices.Sorted(maps.Keys(query)) {
		if !allowed[name] {
			found.add("?"+name, "no such parameter")
		}
	}
}

func (v *validator) checkMessage(d document, m *message, body []byte) {
	if name, isRef := strings.CutPrefix(m.Ref, "#/components/responses/"); isRef {
		m = d.Components.Responses[name]
	}
	content, hasContent := m.Content["application/json"]
	if !hasContent {
		if len(body) > 0 {
			v.findings.add("$", "a body where none is described")
		}
		return
	}
	v.checkBody(content.Schema, body)
}
