package contract

import (
	"bytes"
	"errors"
	"io"
	"net/http"
	"strings"
	"sync"
)

// Recorder is a transport that checks every exchange against a contract.
type Recorder struct {
	contract *Contract
	next     http.RoundTripper

	mu       sync.Mutex
	checked  int
	problems []error
}

// NewRecorder returns a Recorder before next.
func NewRecorder(contract *Contract, next http.RoundTripper) *Recorder {
	return &Recorder{contract: contract, next: next}
}

// RoundTrip implements http.RoundTripper. It reads both bodies whole, so it does not
// suit tests about streaming.
func (r *Recorder) RoundTrip(request *http.Request) (*http.Response, error) {
	requestBody, err := replaceBody(&request.Body)
	if err != nil {
		return nil, err
	}
	response, err := r.next.RoundTrip(request)
	if err != nil {
		return nil, err
	}
	responseBody, err := replaceBody(&response.Body)
	if err != nil {
		return nil, err
	}
	// Only what can have a published shape: a page of HTML is a fault, not an answer.
	if len(responseBody) > 0 && !strings.Contains(response.Header.Get("Content-Type"), "json") {
		return response, nil
	}
	problem := r.contract.Check(request, requestBody, response.StatusCode, responseBody)
	r.mu.Lock()
	defer r.mu.Unlock()
	switch {
	case problem == nil:
		r.checked++
	case !errors.Is(problem, ErrNotCovered):
		r.checked++
		r.problems = append(r.problems, problem)
	}
	return response, nil
}

// Result returns how many exchanges the contract covered, and what did not fit.
func (r *Recorder) Result() (checked int, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.checked, errors.Join(r.problems...)
}

// replaceBody reads a body and puts a fresh one in its place.
func replaceBody(body *io.ReadCloser) ([]byte, error) {
	if *body == nil || *body == http.NoBody {
		return nil, nil
	}
	content, err := io.ReadAll(*body)
	_ = (*body).Close()
	*body = io.NopCloser(bytes.NewReader(content))
	return content, err
}
