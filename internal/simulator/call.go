package simulator

import (
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"time"

	"entra-aws-exporter/internal/simulator/clouds"
)

// maxRequest is how many bytes of a request are read; Graph and AWS take far less.
const maxRequest = 1 << 20

type operation struct {
	name    string // for faults and counts: "GET jobs", "ListBearerTokens"
	onAWS   bool   // which side answers: each has its own clock
	limit   string // the kind of call that Graph throttles together; "": no limit
	serve   func(*call) (response, error)
	wording func(*call, *clouds.Error) response // how the protocol words an error
}

type call struct {
	operation
	sim    *Simulator
	r      *http.Request // as the client sent it
	path   *http.Request // as it was routed: for PathValue
	body   []byte
	caller clouds.Caller

	service   service          // of AWS's calls,
	principal clouds.Principal // and whose keys signed

	id          string        // of the request
	effectDelay time.Duration // what the call changes takes effect so much later
}

type response struct {
	status int
	header http.Header
	body   []byte
}

// errDelayed is the outcome of a call whose effect comes later: no response.
var errDelayed = errors.New("the effect comes later")

func query[T any](c *call, ask func(*clouds.Model) (T, error)) (T, error) {
	var (
		result T
		err    error
	)
	c.sim.With(func(m *clouds.Model) { result, err = ask(m) })
	return result, err
}

func mutate[T any](c *call, change func(*clouds.Model) (T, error)) (T, error) {
	if c.effectDelay == 0 {
		return query(c, change)
	}
	var none T
	c.sim.With(func(m *clouds.Model) {
		m.Schedule(m.Now().Add(c.effectDelay), func(m *clouds.Model) { _, _ = change(m) })
	})
	return none, errDelayed
}

func mutateOnly(c *call, change func(*clouds.Model) error) (response, error) {
	_, err := mutate(c, func(m *clouds.Model) (struct{}, error) { return struct{}{}, change(m) })
	return response{status: http.StatusNoContent}, err
}

func (c *call) now() time.Time {
	var now time.Time
	c.sim.With(func(m *clouds.Model) {
		now = m.EntraNow()
		if c.onAWS {
			now = m.AWSNow()
		}
	})
	return now
}

func (c *call) quirks() clouds.Quirks {
	var quirks clouds.Quirks
	c.sim.With(func(m *clouds.Model) { quirks = m.Quirks() })
	return quirks
}

func (c *call) perform() (response, error) {
	if c.limit != "" {
		if refused, tooMany := c.throttled(); tooMany {
			return refused, nil
		}
	}
	result, err := c.serve(c)
	if err == nil || errors.Is(err, errDelayed) {
		return result, err
	}
	var refused *clouds.Error
	if !errors.As(err, &refused) {
		refused = clouds.NewError("", http.StatusInternalServerError, "InternalServerException", err.Error())
	}
	return c.wording(c, refused), nil
}

func (s *Simulator) handle(w http.ResponseWriter, c *call) {
	s.count(c.name)
	if fault, found := s.faults.match(c); found {
		s.logger.Debug("fault applied", "operation", c.name, "effect", string(fault.Effect), "request", c.id)
		faultyCall{c, fault}.respond(w)
		return
	}
	result, err := c.perform()
	if err != nil {
		panic(http.ErrAbortHandler) // only a delayed effect is without a response
	}
	s.keepForStale(c, result)
	s.logger.Debug("call answered", "operation", c.name, "status", result.status, "request", c.id)
	c.send(w, result)
}

func (c *call) send(w http.ResponseWriter, result response) {
	c.sendHeader(w, result)
	_, _ = w.Write(result.body) // the client went away
}

func (c *call) sendHeader(w http.ResponseWriter, result response) {
	header := w.Header()
	header.Set("Date", c.now().UTC().Format(http.TimeFormat))
	if c.onAWS {
		header.Set("X-Amzn-Requestid", c.id)
	} else {
		header.Set("Request-Id", c.id)
		header.Set("Client-Request-Id", c.r.Header.Get("Client-Request-Id"))
	}
	for name, values := range result.header {
		header[name] = values
	}
	w.WriteHeader(result.status)
}

// wait lets time pass; false when the client gave up.
func wait(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// decode reads a JSON request body, of which unknown members are ignored.
func (c *call) decode(into any) error {
	if err := json.Unmarshal(c.body, into); err != nil {
		return clouds.NewError("", http.StatusBadRequest, "SerializationException", "The request body is not valid JSON: "+err.Error())
	}
	return nil
}

// readBody reads a request's body, undoing its compression: a body that is not what
// its Content-Encoding says is refused, as by AWS and Graph.
func readBody(r *http.Request) ([]byte, error) {
	body, err := io.ReadAll(io.LimitReader(r.Body, maxRequest+1))
	switch {
	case err != nil:
		return nil, fmt.Errorf("reading the request: %w", err)
	case len(body) > maxRequest:
		return nil, fmt.Errorf("the request is longer than %d bytes", maxRequest)
	case r.Header.Get("Content-Encoding") == "gzip":
		unpacked, err := gzip.NewReader(bytes.NewReader(body))
		if err != nil {
			return nil, fmt.Errorf("the body is not gzip as its Content-Encoding says: %w", err)
		}
		if body, err = io.ReadAll(io.LimitReader(unpacked, maxRequest)); err != nil {
			return nil, fmt.Errorf("unpacking the request: %w", err)
		}
	}
	return body, nil
}

func jsonResponse(status int, contentType string, body any) response {
	content, err := json.Marshal(body)
	if err != nil {
		panic(fmt.Sprintf("encoding a response: %v", err))
	}
	return response{status: status, header: http.Header{"Content-Type": {contentType}}, body: content}
}
