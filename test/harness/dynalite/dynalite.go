// Package dynalite plays DynamoDB in tests: a process of the npm package dynalite, as
// .ci/tools installs it. Where it is not installed the test is skipped, or fails if the
// environment has DYNALITE=required, as .ci/run does.
package dynalite

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"
)

// Start starts an empty DynamoDB on a free port and returns its URL. It ends with the test.
func Start(t testing.TB) (url string) {
	t.Helper()
	program := filepath.Join(root(), ".tools", "dynalite", "node_modules", "dynalite", "cli.js")
	if _, err := os.Stat(program); err != nil {
		missing(t, program)
	}
	listener, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := listener.Addr().(*net.TCPAddr)
	if err := listener.Close(); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	command := exec.CommandContext(ctx, "node", program, "--host", "127.0.0.1", "--port", strconv.Itoa(address.Port), "--createTableMs", "0")
	var output bytes.Buffer
	command.Stdout, command.Stderr = &output, &output
	if err := command.Start(); err != nil {
		cancel()
		missing(t, "node")
	}
	ended := make(chan error, 1)
	go func() { ended <- command.Wait() }()
	t.Cleanup(func() {
		select {
		case err := <-ended:
			t.Errorf("dynalite ended: %v\n%s", err, output.String())
		default:
			cancel()
			<-ended //nolint:errcheck // it was killed
		}
		cancel()
	})
	for range 200 {
		connection, err := (&net.Dialer{}).DialContext(t.Context(), "tcp", address.String())
		if err == nil {
			_ = connection.Close()
			return "http://" + address.String()
		}
		time.Sleep(50 * time.Millisecond)
	}
	t.Fatal("dynalite does not listen")
	return ""
}

// root is the folder of the module: a test runs in its package's folder.
func root() string {
	directory, err := os.Getwd()
	for err == nil && directory != filepath.Dir(directory) {
		if _, found := os.Stat(filepath.Join(directory, "go.mod")); found == nil {
			return directory
		}
		directory = filepath.Dir(directory)
	}
	return "."
}

func missing(t testing.TB, what string) {
	t.Helper()
	text := what + " is missing, so there is no DynamoDB for this test; install npm and run .ci/tools dynalite"
	if os.Getenv("DYNALITE") == "required" {
		t.Fatal(text)
	}
	t.Skip(text)
}

// Call makes a call of DynamoDB's API and returns the answer; the test fails if it is refused.
func Call(t testing.TB, url, region, operation, body string) string {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), http.MethodPost, url, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	request.Header.Set("Content-Type", "application/x-amz-json-1.0")
	request.Header.Set("X-Amz-Target", "DynamoDB_20120810."+operation)
	request.Header.Set("X-Amz-Date", time.Now().UTC().Format("20060102T150405Z"))
	request.Header.Set("Authorization", fmt.Sprintf("AWS4-HMAC-SHA256 Credential=AKIA/%s/%s/dynamodb/aws4_request, SignedHeaders=host, Signature=0", time.Now().UTC().Format("20060102"), region))
	request.Close = true // a connection that is kept open would stop the time of a bubble
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close() //nolint:errcheck // it was read
	answer, err := io.ReadAll(response.Body)
	if err != nil || response.StatusCode != http.StatusOK {
		t.Fatalf("%s: %s %s %v", operation, response.Status, answer, err)
	}
	return string(answer)
}

// CreateTable creates a table as the state needs it.
func CreateTable(t testing.TB, url, region, name string) {
	t.Helper()
	Call(t, url, region, "CreateTable", fmt.Sprintf(`{"TableName":%q,"BillingMode":"PAY_PER_REQUEST",`+
		`"AttributeDefinitions":[{"AttributeName":"id","AttributeType":"S"}],"KeySchema":[{"AttributeName":"id","KeyType":"HASH"}]}`, name))
	for range 100 { // it is active a moment later
		if strings.Contains(Call(t, url, region, "DescribeTable", fmt.Sprintf(`{"TableName":%q}`, name)), `"ACTIVE"`) {
			return
		}
		time.Sleep(20 * time.Millisecond)
	}
	t.Fatalf("table %s does not become active", name)
}
