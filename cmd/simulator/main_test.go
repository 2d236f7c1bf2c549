package main

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"entra-aws-exporter/internal/config"
)

// started is the simulator as a program, on a free port.
func started(t *testing.T, arguments ...string) (url, dir string) {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := listener.Addr().String()
	if err := listener.Close(); err != nil {
		t.Fatal(err)
	}
	dir = t.TempDir()
	ctx, cancel := context.WithCancel(t.Context())
	var output bytes.Buffer
	var group sync.WaitGroup
	group.Go(func() {
		arguments = append([]string{
			"serve", "--listen-address", address, "--ca-file", filepath.Join(dir, "ca.pem"), "--write-config", filepath.Join(dir, "exporter.yml"),
		}, arguments...)
		if code := run(ctx, arguments, &output, &output); code != exitOK {
			t.Errorf("exit %d: %s", code, output.String())
		}
	})
	t.Cleanup(func() {
		cancel()
		group.Wait()
	})
	url = "https://" + address
	deadline := time.Now().Add(20 * time.Second)
	for {
		if _, code := ask(t, url, dir, "calls"); code == exitOK {
			return url, dir
		}
		if time.Now().After(deadline) {
			t.Fatal("the simulator did not start")
		}
		<-time.After(20 * time.Millisecond)
	}
}

// ask runs a control command and returns what it printed.
func ask(t *testing.T, url, dir string, arguments ...string) (string, int) {
	t.Helper()
	var output bytes.Buffer
	code := run(t.Context(), append(arguments, "--url", url, "--ca-file", filepath.Join(dir, "ca.pem")), &output, &output)
	return output.String(), code
}

func TestWrittenConfig(t *testing.T) {
	for scenario, connections := range map[string]int{"single": 1, "demo": 4, "fleet-150": 150} {
		t.Run(scenario, func(t *testing.T) {
			url, dir := started(t, "--scenario", scenario)
			loaded, err := config.Load(filepath.Join(dir, "exporter.yml"))
			if err != nil {
				t.Fatal(err)
			}
			if len(loaded.Connections) != connections || loaded.Tenants[0].Endpoints.Login != url {
				t.Errorf("%d connections, sign-in at %s", len(loaded.Connections), loaded.Tenants[0].Endpoints.Login)
			}
			if secret, err := loaded.Tenants[0].ClientSecretFile.Read(); err != nil || secret.IsZero() {
				t.Errorf("client secret: %v", err)
			}
			if token, err := loaded.Connections[0].Tokens.SCIMTokenFile.Read(); err != nil || token.IsZero() {
				t.Errorf("SCIM token: %v", err)
			}
			written, err := os.ReadFile(filepath.Join(dir, "exporter.yml"))
			if hosts := strings.Count(string(written), "scim_allowed_hosts: [127.0.0.1, localhost]\n"); err != nil || hosts != connections {
				t.Errorf("%d of %d connections have the two hosts, %v", hosts, connections, err)
			}
			environment, err := os.ReadFile(filepath.Join(dir, "environment"))
			if err != nil || !strings.Contains(string(environment), "AWS_SHARED_CREDENTIALS_FILE="+filepath.Join(dir, "aws-credentials")) {
				t.Errorf("environment: %s %v", environment, err)
			}
		})
	}
}

func TestControlCommands(t *testing.T) {
	url, dir := started(t, "--scenario", "single", "--quirk", "new_lag=20s", "--speed", "2")
	for _, step := range []struct {
		command, want string
		code          int
	}{
		{"state", `"quirks": "new_lag=20s"`, exitOK},
		{"state", `"speed": 2`, exitOK},
		{"age 300d", "", exitOK},
		{"age soon", `the simulator refuses: "soon" is not a duration such as 300d, 2w or 36h`, exitFailed},
		{"speed 10", "", exitOK},
		{"state", `"speed": 10`, exitOK},
		{"skew --aws 5m", "", exitOK},
		{"quirk put_secrets=replaces", "", exitOK},
		{"quirk", `"value": "replaces"`, exitOK},
		{"fault add ListBearerTokens --status 500 --code InternalServerException --times 2", `"id": 1`, exitOK},
		{"fault add ListBearerTokens --effect edit --set /BearerTokens=[]", `"id": 2`, exitOK},
		{"fault add Nothing --status 500", `fault: unknown operation "Nothing"`, exitFailed},
		{"fault add ListBearerTokens --effect explode", `the simulator refuses: fault: unknown effect "explode"`, exitFailed},
		{"fault list", `"code": "InternalServerException"`, exitOK},
		{"fault clear 1", "", exitOK},
		{"fault list", `"id": 2`, exitOK},
		{"action create_token", `"token_id"`, exitOK},
		{"action create_token", "ServiceQuotaExceededException", exitFailed},
		{"timeline", "operator   created token", exitOK},
		{"timeline --json", `"kind": "Creation"`, exitOK},
		{"--help", "", exitOK},
		{"frobnicate", "", exitUsage},
	} {
		output, code := ask(t, url, dir, strings.Fields(step.command)...)
		if code != step.code || !strings.Contains(output, step.want) {
			t.Errorf("%s: exit %d: %s", step.command, code, output)
		}
	}
}

func TestServeRefusals(t *testing.T) {
	ca := filepath.Join(t.TempDir(), "ca.pem")
	for arguments, want := range map[string]string{
		"serve --scenario moon --ca-file " + ca:                             `unknown scenario "moon": known are single, demo, fleet-N`,
		"serve --scenario fleet-x --ca-file " + ca:                          `scenario "fleet-x": want fleet- and a number`,
		"serve --speed 0.1 --ca-file " + ca:                                 "--speed=0.1: want a number of at least 1",
		"serve --listen-address 127.0.0.1:0 --quirk a=b --ca-file " + ca:    `unknown quirk "a"`,
		"serve --listen-address nowhere --ca-file " + ca:                    "listening: ",
		fmt.Sprintf("state --ca-file %s", filepath.Join(ca, "missing.pem")): "reading the simulator's CA (is it running?)",
	} {
		var output bytes.Buffer
		if code := run(t.Context(), strings.Fields(arguments), &output, &output); code != exitFailed || !strings.Contains(output.String(), want) {
			t.Errorf("%s: exit %d: %s", arguments, code, output.String())
		}
	}
}

func TestAddressURL(t *testing.T) {
	for address, want := range map[string]string{
		"127.0.0.1:10198": "https://127.0.0.1:10198", "0.0.0.0:10198": "https://localhost:10198", "[::1]:80": "https://[::1]:80",
	} {
		tcp, err := net.ResolveTCPAddr("tcp", address)
		if err != nil {
			t.Fatal(err)
		}
		if got := addressURL(tcp); got != want {
			t.Errorf("%s: %s, want %s", address, got, want)
		}
	}
}
