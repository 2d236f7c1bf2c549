// Command page serves the exporter's pages with example connections, for looking at
// them and for check.mjs; no cloud, no config.
package main

import (
	"context"
	"flag"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"time"

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

func serve(address string) error {
	clouds := webtest.New(time.Now())
	handler, err := web.New(web.Options{
		Snapshots: clouds.Snapshots,
		Rotation:  clouds.Rotation,
		Records:   clouds.Records,
		Ready:     func() error { return nil },
		Config:    func() ([]byte, error) { return []byte("connections: []\n"), nil },
		Build:     web.Build{Version: "example"},
		Logger:    slog.New(slog.NewTextHandler(os.Stderr, nil)),
	})
	if err != nil {
		return err
	}
	listener, err := new(net.ListenConfig).Listen(context.Background(), "tcp", address)
	if err != nil {
		return fmt.Errorf("listening for the example pages: %w", err)
	}
	fmt.Printf("http://%s/\n", listener.Addr())
	server := &http.Server{Handler: handler, ReadHeaderTimeout: 5 * time.Second}
	return server.Serve(listener)
}
