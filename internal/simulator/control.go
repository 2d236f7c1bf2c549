package simulator

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"

	prommodel "github.com/prometheus/common/model"

	"entra-aws-exporter/internal/model"
	"entra-aws-exporter/internal/simulator/clouds"
)

// addControl adds the API by which operators, tests and demonstrations interfere. It
// has no authentication.
func (s *Simulator) addControl(mux *http.ServeMux) {
	for pattern, handle := range map[string]func(*http.Request) (any, error){
		"GET state":     func(*http.Request) (any, error) { return s.State(), nil },
		"GET timeline":  func(*http.Request) (any, error) { return s.timeline(), nil },
		"GET calls":     func(*http.Request) (any, error) { return s.Calls(), nil },
		"GET quirks":    func(*http.Request) (any, error) { return s.quirkList(), nil },
		"PUT quirks":    control(s.controlQuirks),
		"GET faults":    func(*http.Request) (any, error) { return s.Faults(), nil },
		"POST faults":   control(s.controlAddFault),
		"DELETE faults": s.controlClearFaults,
		"POST age":      control(s.controlAge),
		"POST speed":    control(s.controlSpeed),
		"POST skew":     control(s.controlSkew),
		"POST actions":  control(s.Perform),
	} {
		method, path, _ := strings.Cut(pattern, " ")
		mux.HandleFunc(method+" "+controlPrefix+"/"+path, func(w http.ResponseWriter, r *http.Request) { serveControl(w, r, handle) })
	}
	mux.HandleFunc("GET "+controlPrefix+"/timeline.txt", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/plain; charset=utf-8")
		s.With(func(m *clouds.Model) { _ = m.WriteTimeline(w) }) // the client went away
	})
	mux.HandleFunc("GET /-/healthy", func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte("healthy\n")) })
}

// control reads a JSON request, in which an unknown member is an error.
func control[T any](do func(T) (any, error)) func(*http.Request) (any, error) {
	return func(r *http.Request) (any, error) {
		var request T
		decoder := json.NewDecoder(http.MaxBytesReader(nil, r.Body, maxRequest))
		decoder.DisallowUnknownFields()
		if err := decoder.Decode(&request); err != nil {
			return nil, fmt.Errorf("reading the request: %w", err)
		}
		return do(request)
	}
}

// serveControl answers in JSON: 204 without a result, 400 for a bad request.
func serveControl(w http.ResponseWriter, r *http.Request, handle func(*http.Request) (any, error)) {
	result, err := handle(r)
	status := http.StatusOK
	if err != nil {
		status, result = http.StatusBadRequest, map[string]string{"error": err.Error()}
	}
	if result == nil {
		w.WriteHeader(http.StatusNoContent)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	encoder := json.NewEncoder(w)
	encoder.SetIndent("", "  ")
	_ = encoder.Encode(result) // the client went away
}

func (s *Simulator) quirkList() []object {
	var quirks clouds.Quirks
	s.With(func(m *clouds.Model) { quirks = m.Quirks() })
	return objects(clouds.AllQuirks(), func(quirk clouds.Quirk) object {
		return object{"name": quirk.Name, "value": quirks.Get(quirk.Name), "values": quirk.Values, "doc": quirk.Doc}
	})
}

func (s *Simulator) controlQuirks(wanted map[string]string) (any, error) {
	for name, value := range wanted {
		if err := s.SetQuirk(name, value); err != nil {
			return nil, err
		}
	}
	return nil, nil
}

func (s *Simulator) controlAddFault(fault Fault) (any, error) {
	id, err := s.AddFault(fault)
	return map[string]int{"id": id}, err
}

func (s *Simulator) controlClearFaults(r *http.Request) (any, error) {
	var ids []int
	for _, text := range r.URL.Query()["id"] {
		id, err := strconv.Atoi(text)
		if err != nil {
			return nil, fmt.Errorf("id %q is no number", text)
		}
		ids = append(ids, id)
	}
	s.ClearFaults(ids...)
	return nil, nil
}

func (s *Simulator) controlAge(request struct {
	By string `json:"by"`
}) (any, error) {
	by, err := ParseAge(request.By)
	if err != nil {
		return nil, err
	}
	s.With(func(m *clouds.Model) { m.Age(by) })
	return nil, nil
}

// ParseAge reads a duration as the exporter's config does, "300d", "2w" or "1d12h"; a
// negative one makes younger.
func ParseAge(text string) (time.Duration, error) {
	amount, negative := strings.CutPrefix(text, "-")
	by, err := prommodel.ParseDuration(amount)
	if err != nil {
		return 0, fmt.Errorf("%q is not a duration such as 300d, 2w or 36h", text)
	}
	if negative {
		by = -by
	}
	return time.Duration(by), nil
}

func (s *Simulator) controlSpeed(request struct {
	Speed float64 `json:"speed"`
}) (any, error) {
	var err error
	s.With(func(m *clouds.Model) { err = m.SetSpeed(request.Speed) })
	return nil, err
}

func (s *Simulator) controlSkew(request map[string]string) (any, error) {
	var skew clouds.Skew
	for side, text := range request {
		into := map[string]*time.Duration{"aws": &skew.AWS, "entra": &skew.Entra}[side]
		if into == nil {
			return nil, fmt.Errorf("unknown clock %q: known are aws, entra", side)
		}
		var err error
		if *into, err = ParseAge(text); err != nil {
			return nil, err
		}
	}
	s.With(func(m *clouds.Model) { m.SetSkew(skew) })
	return nil, nil
}

// State is AWS and Entra as of now, for operators and tests. It holds no token value.
type State struct {
	Now         time.Time         `json:"now"`
	Speed       float64           `json:"speed"`
	Quirks      string            `json:"quirks"` // those that are not the default
	Faults      []Fault           `json:"faults"`
	Connections []ConnectionState `json:"connections"`
}

// ConnectionState is one connection as of now.
type ConnectionState struct {
	Name          string          `json:"name"`
	Binding       model.Binding   `json:"binding"`
	Tokens        []TokenState    `json:"tokens"`
	SavedTokenID  string          `json:"saved_token_id"` // "": a value that no token has
	Refused       string          `json:"refused,omitempty"`
	Status        model.JobStatus `json:"status"`
	Schedule      string          `json:"schedule"`
	OutageSeconds float64         `json:"outage_seconds"` // in which AWS would have refused Entra

	Certificates        []CertificateState `json:"certificates"`
	SignIns             SignInState        `json:"sign_ins"`
	SignInOutageSeconds float64            `json:"sign_in_outage_seconds"` // in which AWS would have refused what Entra signs
}

// CertificateState is a SAML certificate as of now.
type CertificateState struct {
	Thumbprint string    `json:"thumbprint"`
	SHA256     string    `json:"sha256"`
	Subject    string    `json:"subject"`
	NotAfter   time.Time `json:"not_after"`
	Listed     bool      `json:"listed"` // by Entra
	Active     bool      `json:"active"`
	Signs      bool      `json:"signs"`
	TrustedAs  []string  `json:"trusted_as"` // ids at AWS; none: it is not trusted
}

// SignInState counts the sign-ins since the start.
type SignInState struct {
	Accepted int `json:"accepted"`
	Refused  int `json:"refused"`
}

// TokenState is one token as of now.
type TokenState struct {
	model.Token
	Accepted clouds.Acceptance `json:"accepted"` // by all, some or none of AWS's nodes
}

// State returns AWS and Entra as of now.
func (s *Simulator) State() State {
	state := State{Faults: s.Faults()}
	s.With(func(m *clouds.Model) {
		state.Now, state.Speed, state.Quirks = m.Now(), m.Speed(), m.Quirks().String()
		for _, connection := range m.Connections() {
			state.Connections = append(state.Connections, s.connectionState(m, rebound(m, connection)))
		}
	})
	return state
}

func (s *Simulator) connectionState(m *clouds.Model, c clouds.Connection) ConnectionState {
	caller := clouds.CallerFor(clouds.ActorSetup) // which nothing is denied to
	state := ConnectionState{Name: c.Name, Binding: c.Binding, SavedTokenID: m.SavedToken(c.ServicePrincipalID)}
	state.Binding.SCIMEndpoint = s.publicAddress(c.SCIMEndpoint)
	tokens, _ := m.ListBearerTokens(caller, c.IdentityStoreID, c.ProvisioningTenantID)
	for _, token := range tokens {
		state.Tokens = append(state.Tokens, TokenState{token.Token, m.TokenAccepted(token.ID)})
	}
	if job, err := m.Job(caller, c.EntraTenantID, c.ServicePrincipalID, c.JobID); err == nil {
		state.Status, state.Schedule = job.Status, string(job.Schedule)
	}
	if held, found := m.EntraState(c.ServicePrincipalID); found && held.Saved.Cause != "" {
		state.Refused = fmt.Sprintf("%s by %s", held.Saved.Cause, held.Saved.CausedBy)
	}
	for _, outage := range m.Outages() {
		if outage.ServicePrincipalID == c.ServicePrincipalID {
			state.OutageSeconds += outage.Seconds(m.Now())
		}
	}
	signInOutages, _ := m.SignInOutagesOf(c.EntraTenantID, c.ServicePrincipalID)
	for _, outage := range signInOutages {
		state.SignInOutageSeconds += outage.Seconds(m.Now())
	}
	state.Certificates, state.SignIns = certificateStates(m, c), signInState(m, c)
	return state
}

// certificateStates are the certificates of Entra, then those that only AWS has.
func certificateStates(m *clouds.Model, c clouds.Connection) []CertificateState {
	caller, states := clouds.CallerFor(clouds.ActorSetup), []CertificateState{}
	stateOf := func(certificate *clouds.Certificate) *CertificateState {
		thumbprint := certificate.Thumbprint()
		for i := range states {
			if states[i].Thumbprint == thumbprint {
				return &states[i]
			}
		}
		sum := sha256.Sum256(certificate.DER())
		states = append(states, CertificateState{
			Thumbprint: thumbprint, SHA256: hex.EncodeToString(sum[:]), Subject: certificate.Subject(), NotAfter: certificate.NotAfter, TrustedAs: []string{},
		})
		return &states[len(states)-1]
	}
	sp, _ := m.ServicePrincipal(caller, c.EntraTenantID, c.ServicePrincipalID)
	signer, _, _ := m.Signer(c.EntraTenantID, c.ServicePrincipalID)
	for _, certificate := range sp.Certificates {
		state := stateOf(certificate.Certificate)
		state.Listed, state.Active, state.Signs = true, state.Thumbprint == sp.ActiveThumbprint(), state.Thumbprint == signer
	}
	trusted, _ := m.IdPCertificates(caller, m.IdPOf(c.IdentityStoreID), c.IdentityStoreID)
	for _, certificate := range trusted {
		state := stateOf(certificate.Certificate)
		state.TrustedAs = append(state.TrustedAs, certificate.CertificateID)
	}
	return states
}

func signInState(m *clouds.Model, c clouds.Connection) (state SignInState) {
	signIns, _ := m.SignInsSinceStart(c.EntraTenantID, c.ServicePrincipalID)
	for _, signIn := range signIns {
		if signIn.Accepted {
			state.Accepted++
		} else {
			state.Refused++
		}
	}
	return state
}

func (s *Simulator) timeline() object {
	result := object{}
	s.With(func(m *clouds.Model) {
		result["entries"] = objects(m.Timeline(), func(entry clouds.Entry) object {
			stamp, kind := entry.Stamped(), fmt.Sprintf("%T", entry)
			return object{"at": stamp.At, "actor": stamp.Actor, "kind": kind[strings.LastIndex(kind, ".")+1:], "text": entry.String(), "data": entry}
		})
		result["outages"] = append([]clouds.Outage{}, m.Outages()...)
		result["sign_in_outages"] = append([]clouds.SignInOutage{}, m.SignInOutages()...)
	})
	return result
}
