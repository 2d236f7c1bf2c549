package app

import (
	"net/http"
	"strings"
	"sync"
	"testing"

	"entra-aws-exporter/internal/simulator"
)

// awsState plays the services of a state in AWS: another process is DynamoDB, the simulator
// has Secrets Manager. It notes which action each call needs.
type awsState struct {
	toDynamoDB http.RoundTripper

	mu      sync.Mutex
	answer  serviceAnswer // nil: the services answer
	actions []string
}

// stateInAWS moves the harness's state to a table of a DynamoDB and to the simulator's
// Secrets Manager.
func (h *harness) stateInAWS(t *testing.T, dynamoDB, table string) *awsState {
	t.Helper()
	keys := h.Credentials.Accounts[0].Keys
	t.Setenv("AWS_ACCESS_KEY_ID", keys.AccessKeyID)
	t.Setenv("AWS_SECRET_ACCESS_KEY", keys.SecretAccessKey)
	h.edit("state: {directory: state}", "state: {aws: {table: "+table+", region: "+stateRegion+", recovery_window: 7d, endpoints: {dynamodb: '"+dynamoDB+
		"', secrets_manager: '"+simulator.SecretsManagerEndpoint(simulatorURL)+"'}}}")
	// A connection that is kept open would stop a bubble's time.
	s := &awsState{toDynamoDB: &http.Transport{DisableKeepAlives: true}}
	wrap := func(next http.RoundTripper) http.RoundTripper { return &awsStateTransport{s, next} }
	h.wrapTransport, h.wrapCommand = wrap, wrap
	return s
}

// awsStateTransport is the transport of one process.
type awsStateTransport struct {
	*awsState
	toSimulator http.RoundTripper
}

// RoundTrip implements http.RoundTripper.
func (s *awsStateTransport) RoundTrip(r *http.Request) (*http.Response, error) {
	service, operation, _ := strings.Cut(r.Header.Get("X-Amz-Target"), ".")
	action, next := "secretsmanager:"+operation, s.toSimulator
	switch service {
	case "DynamoDB_20120810":
		action, next = "dynamodb:"+operation, s.toDynamoDB
	case "secretsmanager":
	default:
		return s.toSimulator.RoundTrip(r)
	}
	s.mu.Lock()
	s.actions = append(s.actions, action)
	answer := s.answer
	s.mu.Unlock()
	if answer != nil {
		if response, err := answer(action, r); response != nil || err != nil {
			return response, err
		}
	}
	return next.RoundTrip(r)
}

// answerWith replaces answers from now on; nil: it no longer does.
func (s *awsState) answerWith(answer serviceAnswer) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.answer = answer
}
