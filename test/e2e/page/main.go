// Command page serves the exporter's pages with example connections, for a browser and
// for check.mjs. / shows all connections, /NAME/ one variant.
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
	"entra-aws-exporter/test/e2e/page/examples"
)

func main() {
	address := flag.String("listen", "127.0.0.1:0", "address to listen on")
	flag.Parse()
	if err := serve(*address); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// variants maps each variant of the page to its example connections.
func variants() map[string][]string {
	return map[string][]string{
		"healthy":     {"corp"},
		"expiring":    {"emea"},
		"quarantined": {"labs"},
		"rotating":    {"apac"},
		"blocked":     {"retail"},
		"approval":    {"iberia"},
		"unpolled":    {"new"},
		"none":        {},
	}
}

func serve(address string) error {
	mux := http.NewServeMux()
	data := examples.New(time.Now())
	all, err := pages(data, func(string) bool { return true })
	if err != nil {
		return err
	}
	mux.Handle("/", all)
	for name, connections := range variants() {
		variant, err := pages(data, func(connection string) bool { return slices.Contains(connections, connection) })
		if err != nil {
			return err
		}
		mux.Handle("/"+name+"/", http.StripPrefix("/"+name, variant))
	}
	listener, err := new(net.ListenConfig).Listen(context.Background(), "tcp", address)
	if err != nil {
		return fmt.Errorf("listening for the example pages: %w", err)
	}
	fmt.Printf("http://%s/\n", listener.Addr())
	server := &http.Server{Handler: mux, ReadHeaderTimeout: 5 * time.Second}
	return server.Serve(listener)
}

// pages serves the example connections that isIncluded accepts.
func pages(data examples.Data, isIncluded func(connection string) bool) (http.Handler, error) {
	return web.New(web.Options{
		Snapshots: func() []model.Snapshot {
			return slices.DeleteFunc(data.Snapshots(), func(s model.Snapshot) bool { return !isIncluded(s.Connection) })
		},
		Rotation: data.Rotation,
		Records: func() []model.RotationRecord {
			return slices.DeleteFunc(data.Records(), func(r model.RotationRecord) bool { return !isIncluded(r.Connection) })
		},
		Ready:  func() error { return nil },
		Config: func() ([]byte, error) { return []byte("connections: []\n"), nil },
		Build:  web.Build{Version: "example"},
		Logger: slog.New(slog.NewTextHandler(os.Stderr, nil)),
	})
}
