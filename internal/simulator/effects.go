package simulator

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"

	"entra-aws-exporter/internal/simulator/clouds"
)

// signInPage is what a proxy answers instead of JSON.
const signInPage = "<!DOCTYPE html>\n<html><head><title>Sign in</title></head><body><h1>Sign in to continue</h1></body></html>\n"

// faultyCall is a call that a fault meets.
type faultyCall struct {
	*call
	fault Fault
}

func (c faultyCall) respond(w http.ResponseWriter) {
	fault := c.fault
	if answers := fault.Effect == EffectAnswer || fault.Effect == EffectDelay; answers && !wait(c.r.Context(), time.Duration(fault.Delay)) {
		return
	}
	switch fault.Effect {
	case EffectAnswer:
		c.send(w, c.injectedResponse())
	case EffectDelay: // the effect comes with the answer, not before
		c.send(w, c.realResponse())
	case EffectHang:
		<-c.r.Context().Done()
	case EffectTrickle:
		c.trickle(w, c.realResponse())
	case EffectHuge:
		c.sendHuge(w)
	case EffectLost:
		c.realResponse()
		panic(http.ErrAbortHandler)
	case EffectLate:
		c.effectDelay = time.Duration(fault.Delay)
		_, _ = c.perform()
		panic(http.ErrAbortHandler)
	case EffectReset:
		panic(http.ErrAbortHandler)
	case EffectStale:
		c.send(w, c.staleResponse())
	case EffectHTML:
		status := fault.Status
		if status == 0 {
			status = http.StatusOK
		}
		c.send(w, response{status: status, header: http.Header{"Content-Type": {"text/html; charset=utf-8"}}, body: []byte(signInPage)})
	case EffectRedirect:
		location := fault.Location
		if location == "" {
			location = "https://signin.example/"
		}
		c.send(w, response{status: http.StatusFound, header: http.Header{"Location": {location}}})
	case EffectEdit:
		c.send(w, c.patchedResponse())
	}
}

func (c faultyCall) realResponse() response {
	result, _ := c.perform() // no effect is late here
	return result
}

func (c faultyCall) injectedResponse() response {
	fault := c.fault
	result := response{status: fault.Status, header: http.Header{}, body: []byte(fault.Body)}
	switch {
	case fault.Code != "":
		result = c.wording(c.call, clouds.NewError("", fault.Status, fault.Code, fault.Message))
	case fault.Body != "":
		result.header.Set("Content-Type", "application/json")
	}
	if fault.RetryAfter != "" {
		result.header.Set("Retry-After", fault.RetryAfter)
	}
	if fault.RetryAfterDate > 0 {
		result.header.Set("Retry-After", c.now().Add(time.Duration(fault.RetryAfterDate)).UTC().Format(http.TimeFormat))
	}
	return result
}

func (c faultyCall) trickle(w http.ResponseWriter, result response) {
	every := time.Duration(c.fault.Delay)
	if every == 0 {
		every = time.Second
	}
	c.sendHeader(w, result)
	for i := range result.body {
		if !wait(c.r.Context(), every) {
			return
		}
		if _, err := w.Write(result.body[i : i+1]); err != nil {
			return
		}
		if flusher, can := w.(http.Flusher); can {
			flusher.Flush()
		}
	}
}

// sendHuge sends valid JSON that is too long for memory.
func (c faultyCall) sendHuge(w http.ResponseWriter) {
	c.send(w, response{status: http.StatusOK, header: http.Header{"Content-Type": {"application/json"}}, body: []byte(`{"value":"`)})
	chunk := bytes.Repeat([]byte("x"), 64<<10)
	for range (100 << 20) / len(chunk) {
		if _, err := w.Write(chunk); err != nil {
			return // the client went away
		}
	}
	_, _ = w.Write([]byte(`"}`))
}

func readKey(c *call) string { return c.name + " " + c.r.URL.RequestURI() + " " + string(c.body) }

const maxRemembered = 64 << 10

func (s *Simulator) keepForStale(c *call, result response) {
	isRead := strings.HasPrefix(c.name, "GET ") || strings.HasPrefix(c.name, "List") || strings.HasPrefix(c.name, "Lookup") || strings.HasPrefix(c.name, "SCIM GET ")
	if !isRead || result.status != http.StatusOK || len(result.body) > maxRemembered {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.lastReads) > 1000 {
		clear(s.lastReads)
	}
	s.lastReads[readKey(c)] = result
}

func (c faultyCall) staleResponse() response {
	c.sim.mu.Lock()
	result, found := c.sim.lastReads[readKey(c.call)]
	c.sim.mu.Unlock()
	if found {
		return result
	}
	return c.realResponse()
}

// patchedResponse puts values into the real response. What is not JSON stays.
func (c faultyCall) patchedResponse() response {
	result := c.realResponse()
	var document any
	decoder := json.NewDecoder(bytes.NewReader(result.body))
	decoder.UseNumber() // serial numbers are larger than a float64
	if err := decoder.Decode(&document); err != nil {
		return result
	}
	for pointer, value := range c.fault.Set {
		document = put(document, strings.Split(strings.TrimPrefix(pointer, "/"), "/"), value)
	}
	content, err := json.Marshal(document)
	if err != nil {
		return response{status: http.StatusInternalServerError, body: fmt.Appendf(nil, "the edited answer is no JSON: %v", err)}
	}
	result.body = content
	return result
}

// put sets a value by the steps of a JSON pointer; "*" is every element of an array.
func put(document any, steps []string, value json.RawMessage) any {
	if len(steps) == 0 || steps[0] == "" {
		return value
	}
	switch node := document.(type) {
	case map[string]any:
		if _, there := node[steps[0]]; !there && len(steps) > 1 && (steps[1] == "-" || steps[1] == "*") {
			return node // a list that is not there gets no elements
		}
		node[steps[0]] = put(node[steps[0]], steps[1:], value)
	case []any:
		for i := range node {
			if steps[0] == "*" || steps[0] == strconv.Itoa(i) {
				node[i] = put(node[i], steps[1:], value)
			}
		}
		if steps[0] == "-" {
			return append(node, put(nil, steps[1:], value))
		}
	case nil:
		return map[string]any{steps[0]: put(nil, steps[1:], value)}
	}
	return document
}
