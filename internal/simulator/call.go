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

// cloud is which side answers: each has its own clock.
type cloud int

const (
	entra cloud = iota
	aws
)

// operation is one thing that a service does.
type operation struct {
	name   string // for faults and counts: "GET jobs", "ListBearerTokens"
	cloud  cloud
	serve  func(*call) (answer, error)
	refuse func(*call, *clouds.Error) answer // how the protocol words an error
}

// call is one request on its way.
type call struct {
	operation
	sim    *Simulator
	r      *http.Request // as the client sent it
	path   *http.Request // as it was routed: for PathValue
	body   []byte
	caller clouds.Caller

	service   string           // of AWS's calls: its name in signatures,
	namespace string           // that of its error types,
	principal clouds.Principal // and whose keys signed

	id   string        // of the request
	late time.Duration // what the call changes takes effect so much later
}

// answer is what a service answers.
type answer struct {
	status int
	header http.Header
	body   []byte
	stream func(io.Writer) error // instead of body, for what is too long to hold
}

// errLate is the answer to a call whose effect was put off: none.
var errLate = errors.New("the effect comes later")

// read asks the world.
func read[T any](c *call, ask func(*clouds.Model) (T, error)) (T, error) {
	var (
		result T
		err    error
	)
	c.sim.With(func(w *clouds.Model) { result, err = ask(w) })
	return result, err
}

// act changes the world, now or late.
func act[T any](c *call, change func(*clouds.Model) (T, error)) (T, error) {
	if c.late == 0 {
		return read(c, change)
	}
	var none T
	c.sim.With(func(w *clouds.Model) {
		w.Schedule(w.Now().Add(c.late), c.name, func(w *clouds.Model) { _, _ = change(w) })
	})
	return none, errLate
}

// now is the answering cloud's clock.
func (c *call) now() time.Time {
	now, _ := read(c, func(w *clouds.Model) (time.Time, error) {
		if c.cloud == aws {
			return w.AWSNow(), nil
		}
		return w.EntraNow(), nil
	})
	return now
}

// perform serves the call and words its error.
func (c *call) perform() (answer, error) {
	result, err := c.serve(c)
	if err == nil {
		return result, nil
	}
	if errors.Is(err, errLate) {
		return answer{}, err
	}
	var refused *clouds.Error
	if !errors.As(err, &refused) {
		refused = &clouds.Error{Status: http.StatusInternalServerError, Code: "InternalServerException", Message: err.Error()}
	}
	return c.refuse(c, refused), nil
}

// handle runs an operation for a request that has been authenticated, with whatever
// fault lies in wait for it.
func (s *Simulator) handle(w http.ResponseWriter, c *call) {
	s.count(c.name)
	if c.id == "" {
		c.id = s.newID()
	}
	if fault, hit := s.faults.next(c); hit {
		s.logger.Debug("fault", "operation", c.name, "effect", string(fault.Effect), "request", c.id)
		s.suffer(w, c, fault)
		return
	}
	result, err := c.perform()
	if err != nil {
		panic(http.ErrAbortHandler) // only a late effect is without an answer
	}
	s.remember(c, result)
	s.logger.Debug("answered", "operation", c.name, "status", result.status, "request", c.id)
	c.send(w, result)
}

// send writes an answer, with the clock of its cloud.
func (c *call) send(w http.ResponseWriter, result answer) {
	c.sendHeader(w, result)
	switch {
	case result.stream != nil:
		_ = result.stream(w) // the client went away
	case len(result.body) > 0:
		_, _ = w.Write(result.body)
	}
}

func (c *call) sendHeader(w http.ResponseWriter, result answer) {
	header := w.Header()
	header.Set("Date", c.now().UTC().Format(http.TimeFormat))
	if c.cloud == aws {
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
		return &clouds.Error{Status: http.StatusBadRequest, Code: "SerializationException", Message: "The request body is not valid JSON: " + err.Error()}
	}
	return nil
}

// readBody reads a request's body, undoing its compression: a body that is not what
// its Content-Encoding says is refused, as by the clouds.
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

// asJSON is an answer with a JSON body.
func asJSON(status int, contentType string, body any) answer {
	content, err := json.Marshal(body)
	if err != nil {
		panic(fmt.Sprintf("an answer that is no JSON: %v", err))
	}
	return answer{status: status, header: http.Header{"Content-Type": {contentType}}, body: content}
}
