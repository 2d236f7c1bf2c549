// Package contract checks requests to AWS and Entra, and the responses, against their
// published shapes: Microsoft Graph's OpenAPI documents and CSDL, and the JSON models
// of AWS's console. Tests use it in both directions: for what the clients send, and
// for what the simulator answers.
package contract

import (
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
)

// ErrNotCovered means that the shapes do not describe the request: it says nothing
// about right or wrong.
var ErrNotCovered = errors.New("not covered by the contract")

// Contract is a set of published shapes.
type Contract struct {
	graph  []document
	types  entityTypes
	models []model
}

// Load reads every shape below dir: graph/*.yaml (OpenAPI), graph/*.xml (CSDL) and
// aws/*.json (AWS's model format).
func Load(dir string) (*Contract, error) {
	contract := &Contract{types: entityTypes{}}
	for _, kind := range []struct {
		pattern string
		load    func([]byte) error
	}{
		{"graph/*.yaml", contract.addOpenAPI},
		{"graph/*.xml", contract.addCSDL},
		{"aws/*.json", contract.addModel},
	} {
		files, err := filepath.Glob(filepath.Join(dir, kind.pattern))
		if err != nil || len(files) == 0 {
			return nil, fmt.Errorf("loading the contract: no file matches %s", filepath.Join(dir, kind.pattern))
		}
		for _, file := range files {
			content, err := os.ReadFile(file)
			if err != nil {
				return nil, fmt.Errorf("loading the contract: %w", err)
			}
			if err := kind.load(content); err != nil {
				return nil, fmt.Errorf("loading the contract: %s: %w", file, err)
			}
		}
	}
	return contract, nil
}

// Check checks one exchange and returns everything that does not fit, or
// ErrNotCovered. The request's own body is not read.
func (c *Contract) Check(request *http.Request, requestBody []byte, status int, responseBody []byte) error {
	if target := request.Header.Get("X-Amz-Target"); target != "" {
		return c.checkAWS(request, target, requestBody, status, responseBody)
	}
	if _, path, found := strings.Cut(request.URL.Path, "/v1.0/"); found {
		return c.checkGraph(request, "/"+path, requestBody, status, responseBody)
	}
	return fmt.Errorf("%s %s: %w", request.Method, request.URL.Path, ErrNotCovered)
}

// findings collects what does not fit, each with its place in the document.
type findings struct {
	exchange string // "GET /servicePrincipals"
	part     string // "request" or "response"
	found    []error
}

func (f *findings) add(place, format string, args ...any) {
	f.found = append(f.found, fmt.Errorf("%s: %s: %s: %s", f.exchange, f.part, place, fmt.Sprintf(format, args...)))
}

func (f *findings) err() error { return errors.Join(f.found...) }
