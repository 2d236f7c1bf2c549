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
	all := data.Snapshots()
	if err := handle(mux, "", data, all); err != nil {
		return err
	}
	if err := handle(mux, "/fleet", data, data.Fleet(300)); err != nil {
		return err
	}
	for name, connections := range variants() {
		some := slices.DeleteFunc(slices.Clone(all), func(s model.Snapshot) bool { return !slices.Contains(connections, s.Connection) })
		if err := handle(mux, "/"+name, data, some); err != nil {
			return err
		}
	}
	listener, err := new(net.ListenConfig).Listen(context.Background(), "tcp", address)
	if err != nil {
		return fmt.Errorf("listening for the example pages: %w", err)
	}
	fmt.Printf("http://%s/\n", listener.Addr())
	server := &http.Server{Handler: mux, ReadHeaderTimeout: 5 * time.Second}
	return server.Serve(listener)
}

// handle serves the pages of some connections below a path.
func handle(mux *http.ServeMux, path string, data examples.Data, snapshots []model.Snapshot) error {
	pages, err := web.New(web.Options{
		Snapshots: func() []model.Snapshot { return snapshots },
		Rotation:  data.Rotation,
		Records: func() []model.RotationRecord {
			return slices.DeleteFunc(data.Records(), func(r model.RotationRecord) bool {
				return !slices.ContainsFunc(snapshots, func(s model.Snapshot) bool { return s.Connection == r.Connection })
			})
		},
		Ready:    func() error { return nil },
		Reloaded: func() error { return nil },
		Config:   func() ([]byte, error) { return []byte("connections: []\n"), nil },
		Build:    web.Build{Version: "example"},
		Logger:   slog.New(slog.NewTextHandler(os.Stderr, nil)),
	})
	mux.Handle(path+"/", http.StripPrefix(path, pages))
	return err
}
