package identitycenter

import (
	"net/http"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"entra-aws-exporter/internal/cloudhttp"
)

const (
	attemptTimeout  = 20 * time.Second // one HTTP request, its response included
	writeTimeout    = 20 * time.Second // of one write, the sign-in included
	metadataTimeout = 3 * time.Second  // the same for a metadata service, which is link-local
	maxBody         = 8 << 20          // bytes; the largest legitimate response is a page of CloudTrail
	minSkew         = 2 * time.Minute  // a smaller one does not matter to signatures
)

// httpClients makes the HTTP clients of a session, and knows AWS's clock.
type httpClients struct {
	cloudhttp.Options
	cloud *Cloud
	name  string       // of the first connection that uses them
	skew  atomic.Int64 // how far AWS's clock is ahead, as time.Duration; 0 below minSkew

	mu      sync.Mutex
	clients map[string]*http.Client // by service
}

func newHTTPClients(name string, cloud *Cloud) *httpClients {
	return &httpClients{Options: cloud.options, cloud: cloud, name: name, clients: make(map[string]*http.Client)}
}

// client returns the HTTP client for one service.
func (h *httpClients) client(service string) *http.Client {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.clients[service] != nil {
		return h.clients[service]
	}
	ways := h.cloud.waysTo(service)
	client := *ways.client
	client.Transport = &awsTransport{h, service, client.Transport, ways.direct}
	h.clients[service] = &client
	return &client
}

// now is the time by AWS's clock, as far as a response has told it.
func (h *httpClients) now() time.Time { return time.Now().Add(time.Duration(h.skew.Load())) }

// awsTransport keeps requests to a metadata service away from proxies, and compares the
// clocks after every other request.
type awsTransport struct {
	*httpClients
	service      string
	next, direct http.RoundTripper
}

// RoundTrip implements http.RoundTripper.
func (t *awsTransport) RoundTrip(request *http.Request) (*http.Response, error) {
	if isMetadata(request) {
		return t.direct.RoundTrip(request)
	}
	response, err := t.next.RoundTrip(request)
	if err == nil {
		t.compareClocks(response)
	}
	return response, err
}

// isMetadata recognises the addresses of AWS's metadata services: EC2's, ECS's and EKS's.
// https://docs.aws.amazon.com/sdkref/latest/guide/feature-container-credentials.html
func isMetadata(request *http.Request) bool {
	address, err := netip.ParseAddr(request.URL.Hostname())
	return err == nil && (address.Is4() && address.IsLinkLocalUnicast() ||
		netip.MustParsePrefix("fd00:ec2::/32").Contains(address))
}

// compareClocks remembers how far AWS's clock is ahead. Requests are signed by AWS's
// clock, so polls continue. The poller warns, once for all connections.
func (t *awsTransport) compareClocks(response *http.Response) {
	date := cloudhttp.Date(response)
	if date.IsZero() || response.Header.Get("Age") != "" {
		return
	}
	skew := time.Until(date).Round(time.Second)
	if skew.Abs() < minSkew {
		skew = 0
	}
	if before := t.skew.Swap(int64(skew)); (before != 0) != (skew != 0) {
		t.Logger.Debug("clock skew changed", "connection", t.name, "service", t.service, "aws_is_ahead_by", skew.String())
	}
}
