package inmemory_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"entra-aws-exporter/test/harness/inmemory"
)

func get(ctx context.Context, t *testing.T, transport http.RoundTripper) (*http.Response, error) {
	t.Helper()
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, "https://cloud.example/path?q=1", strings.NewReader("question"))
	if err != nil {
		t.Fatal(err)
	}
	return (&http.Client{Transport: transport}).Do(request)
}

func TestTransportResponse(t *testing.T) {
	transport := inmemory.NewTransport(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		w.Header().Set("Date", "now")
		w.WriteHeader(http.StatusAccepted)
		w.Header().Set("Date", "too late")
		_, _ = fmt.Fprintf(w, "%s %s %s %s %d %s", r.Method, r.Host, r.RequestURI, body, r.ContentLength, r.Header.Get("Content-Length"))
	}))
	response, err := get(t.Context(), t, transport)
	if err != nil {
		t.Fatal(err)
	}
	body, err := io.ReadAll(response.Body)
	if want := "POST cloud.example /path?q=1 question 8 8"; err != nil || string(body) != want {
		t.Errorf("body %q, %v; want %q", body, err, want)
	}
	if response.StatusCode != http.StatusAccepted || response.Header.Get("Date") != "now" {
		t.Errorf("status %d, date %q", response.StatusCode, response.Header.Get("Date"))
	}
	transport.Wait()
}

func TestTransportEmptyResponse(t *testing.T) {
	response, err := get(t.Context(), t, inmemory.NewTransport(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {})))
	if err != nil {
		t.Fatal(err)
	}
	if body, err := io.ReadAll(response.Body); response.StatusCode != http.StatusOK || len(body) != 0 || err != nil {
		t.Errorf("status %d, body %q, %v", response.StatusCode, body, err)
	}
}

func TestTransportDeadlines(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		transport := inmemory.NewTransport(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Query().Get("q") == "1" {
				<-r.Context().Done()
			}
		}))
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		begin := time.Now()
		if _, err := get(ctx, t, transport); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("got %v", err)
		}
		if waited := time.Since(begin); waited != time.Minute {
			t.Errorf("waited %v", waited)
		}
		transport.Wait() // the context of the handler has ended too
	})
}

func TestTransportSlowBody(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		transport := inmemory.NewTransport(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			for {
				if _, err := io.WriteString(w, "x"); err != nil {
					return
				}
				select {
				case <-time.After(time.Second):
				case <-r.Context().Done():
					return
				}
			}
		}))
		ctx, cancel := context.WithTimeout(t.Context(), 10500*time.Millisecond)
		defer cancel()
		response, err := get(ctx, t, transport)
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(response.Body)
		if string(body) != strings.Repeat("x", 11) || !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("body %q, %v", body, err)
		}
		transport.Wait()
	})
}

func TestTransportClosedBody(t *testing.T) {
	transport := inmemory.NewTransport(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		for {
			if _, err := w.Write(make([]byte, 1<<20)); err != nil {
				return
			}
		}
	}))
	response, err := get(t.Context(), t, transport)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.CopyN(io.Discard, response.Body, 5<<20); err != nil {
		t.Fatal(err)
	}
	_ = response.Body.Close()
	transport.Wait()
}

func TestTransportReset(t *testing.T) {
	for _, written := range []string{"", "half a resp"} {
		transport := inmemory.NewTransport(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			if written != "" {
				_, _ = io.WriteString(w, written)
			}
			panic(http.ErrAbortHandler)
		}))
		response, err := get(t.Context(), t, transport)
		if written == "" {
			if !errors.Is(err, syscall.ECONNRESET) {
				t.Errorf("got %v, want a reset", err)
			}
			continue
		}
		if err != nil {
			t.Fatal(err)
		}
		if body, err := io.ReadAll(response.Body); string(body) != written || !errors.Is(err, io.ErrUnexpectedEOF) {
			t.Errorf("body %q, %v", body, err)
		}
	}
}
