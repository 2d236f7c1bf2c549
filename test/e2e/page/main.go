// Command page serves the exporter's pages with example connections, for looking at
// them and for check.mjs; no cloud, no config. / has all connections, /NAME/ one variant.
package main

import (
	"context"
	"flag"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"slices"
	"time"

	"entra-aws-exporter/internal/model"
	"entra-aws-exporter/internal/web"
	"entra-aws-exporter/internal/web/webtest"
)

func main() {
	address := flag.String("listen", "127.0.0.1:0", "address to listen on; the URL is printed")
	flag.Parse()
	if err := serve(*address); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// variants are the pages to look at, each with some of the example connections.
func variants() map[string][]string {
	return map[string][]string{
		"well":        {"corp"},
		"expiring":    {"emea"},
		"quarantined": {"labs"},
		"rotating":    {"apac"},
		"blocked":     {"retail"},
		"approval":    {"iberia"},
		"unread":      {"new"},
		"none":        {},
	}
}

func serve(address string) error {
	mux := http.NewServeMux()
	clouds := webtest.New(time.Now())
	everything, err := pages(clouds, func(string) bool { return true })
	if err != nil {
		return err
	}
	mux.Handle("/", everything)
	for name, connections := range variants() {
		some, err := pages(clouds, func(connection string) bool { return slices.Contains(connections, connection) })
		if err != nil {
			return err
		}
		mux.Handle("/"+name+"/", http.StripPrefix("/"+name, some))
	}
	listener, err := new(net.ListenConfig).Listen(context.Background(), "tcp", address)
	if err != nil {
		return fmt.Errorf("listening for the example pages: %w", err)
	}
	fmt.Printf("http://%s/\n", listener.Addr())
	server := &http.Server{Handler: mux, ReadHeaderTimeout: 5 * time.Second}
	return server.Serve(listener)
}

// pages serves those of the example connections that are wanted.
func pages(clouds webtest.Clouds, wanted func(connection string) bool) (http.Handler, error) {
	return web.New(web.Options{
		Snapshots: func() []model.Snapshot {
			return slices.DeleteFunc(clouds.Snapshots(), func(s model.Snapshot) bool { return !wanted(s.Connection) })
		},
		Rotation: clouds.Rotation,
		Records: func() []model.RotationRecord {
			return slices.DeleteFunc(clouds.Records(), func(r model.RotationRecord) bool { return !wanted(r.Connection) })
		},
		Ready:  func() error { return nil },
		Config: func() ([]byte, error) { return []byte("connections: []\n"), nil },
		Build:  web.Build{Version: "example"},
		Logger: slog.New(slog.NewTextHandler(os.Stderr, nil)),
	})
}
