// Package inmemory carries HTTP requests to a handler without a network. It is for tests
// in a testing/synctest bubble, where virtual time stands still while a socket is read.
package inmemory

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"sync"
	"syscall"
)

// Transport is a round tripper that calls a handler, each time in a goroutine of its
// own. It behaves as http.Transport does: the response begins with its header, the body
// is streamed, the request's context ends both, and a handler that panics with
// http.ErrAbortHandler looks like a connection reset by its peer.
type Transport struct {
	handler http.Handler
	running sync.WaitGroup
}

// NewTransport returns a Transport to a handler.
func NewTransport(handler http.Handler) *Transport { return &Transport{handler: handler} }

// Wait waits until every handler that was called has returned. A test ends with it.
func (t *Transport) Wait() { t.running.Wait() }

// RoundTrip implements http.RoundTripper.
func (t *Transport) RoundTrip(r *http.Request) (*http.Response, error) {
	request, err := serverRequest(r)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancel(r.Context())
	reader, writer := io.Pipe()
	w := &streamedResponse{request: r, header: http.Header{}, body: writer, started: make(chan *http.Response, 1)}
	failed := make(chan error, 1)
	// The end of the context ends the body, for the handler and for the client.
	stop := context.AfterFunc(ctx, func() { _ = writer.CloseWithError(ctx.Err()) })
	t.running.Go(func() {
		defer cancel()
		err := invoke(t.handler, w, request.WithContext(ctx))
		stop()
		if err == nil {
			w.WriteHeader(http.StatusOK) // no effect when the handler wrote
			// A handler that returned because the context ended has not finished its response,
			// so the body must not end like a complete one.
			_ = writer.CloseWithError(ctx.Err())
			return
		}
		_ = writer.CloseWithError(io.ErrUnexpectedEOF)
		failed <- err
	})
	select {
	case response := <-w.started:
		response.Body = reader
		return response, nil
	case <-r.Context().Done():
		cancel()
		return nil, r.Context().Err()
	case err := <-failed:
		// The header may have been sent just before.
		select {
		case response := <-w.started:
			response.Body = reader
			return response, nil
		default:
			return nil, err
		}
	}
}

// serverRequest turns a client's request into the one that a server sees. The body is read
// at once: a client that retries may rewind it while the handler still runs.
func serverRequest(r *http.Request) (*http.Request, error) {
	var body []byte
	if r.Body != nil {
		var err error
		body, err = io.ReadAll(r.Body)
		_ = r.Body.Close()
		if err != nil {
			return nil, fmt.Errorf("reading the request body: %w", err)
		}
	}
	request := r.Clone(r.Context())
	request.Body, request.ContentLength = http.NoBody, int64(len(body))
	if len(body) > 0 {
		request.Body = io.NopCloser(bytes.NewReader(body))
		request.Header.Set("Content-Length", strconv.Itoa(len(body)))
	}
	if request.Header == nil {
		request.Header = http.Header{}
	}
	if request.Header.Get("User-Agent") == "" {
		request.Header.Set("User-Agent", "Go-http-client/1.1")
	}
	if request.Host == "" {
		request.Host = r.URL.Host
	}
	request.RequestURI = r.URL.RequestURI()
	request.RemoteAddr = "192.0.2.1:49152" // a documentation address, RFC 5737
	if r.URL.Scheme == "https" {
		request.TLS = &tls.ConnectionState{HandshakeComplete: true}
	}
	return request, nil
}

// invoke serves one request; an aborted handler is the error that the client sees.
func invoke(handler http.Handler, w http.ResponseWriter, r *http.Request) (err error) {
	defer func() {
		switch cause := recover(); {
		case cause == nil:
		case isAbort(cause):
			err = &net.OpError{Op: "read", Net: "tcp", Err: syscall.ECONNRESET}
		default:
			panic(cause)
		}
	}()
	handler.ServeHTTP(w, r)
	return nil
}

func isAbort(cause any) bool {
	err, isError := cause.(error)
	return isError && errors.Is(err, http.ErrAbortHandler)
}

// streamedResponse is the server's end of a response.
type streamedResponse struct {
	request *http.Request
	header  http.Header
	body    *io.PipeWriter
	started chan *http.Response
	sent    bool
}

func (w *streamedResponse) Header() http.Header { return w.header }

func (w *streamedResponse) WriteHeader(status int) {
	if w.sent {
		return
	}
	w.sent = true
	length := int64(-1)
	if n, err := strconv.ParseInt(w.header.Get("Content-Length"), 10, 64); err == nil {
		length = n
	}
	w.started <- &http.Response{
		Status: strconv.Itoa(status) + " " + http.StatusText(status), StatusCode: status,
		Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1,
		Header: w.header.Clone(), ContentLength: length, Request: w.request,
	}
}

func (w *streamedResponse) Write(content []byte) (int, error) {
	w.WriteHeader(http.StatusOK)
	if w.request.Method == http.MethodHead {
		return len(content), nil
	}
	return w.body.Write(content)
}

// Flush implements http.Flusher: nothing is held back but the header.
func (w *streamedResponse) Flush() { w.WriteHeader(http.StatusOK) }
