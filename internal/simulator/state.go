package simulator

import (
	"fmt"
	"strings"
	"time"

	"entra-aws-exporter/internal/model"
	"entra-aws-exporter/internal/simulator/clouds"
)

// State is the simulated clouds as of now, for people and tests. It holds no token value.
type State struct {
	Now         time.Time         `json:"now"`
	AWSClock    time.Time         `json:"aws_clock"`
	EntraClock  time.Time         `json:"entra_clock"`
	Speed       float64           `json:"speed"`
	Quirks      string            `json:"quirks"` // those that are not the default
	Faults      []Fault           `json:"faults"`
	Connections []ConnectionState `json:"connections"`
}

// ConnectionState is one connection as of now.
type ConnectionState struct {
	Name         string             `json:"name"`
	AppID        string             `json:"app_id"`
	Binding      model.Binding      `json:"binding"`
	Tokens       []TokenState       `json:"tokens"`
	SavedTokenID string             `json:"saved_token_id"` // "": a value that no token has
	Refused      string             `json:"refused,omitempty"`
	Status       model.JobStatus    `json:"status"`
	Schedule     string             `json:"schedule"`
	LastCycle    string             `json:"last_cycle,omitempty"`
	LastCycleEnd time.Time          `json:"last_cycle_end,omitzero"`
	Certificates []CertificateState `json:"certificates"`
	GapSeconds   float64            `json:"gap_seconds"` // in which AWS would have refused Entra
}

// TokenState is one token as of now.
type TokenState struct {
	model.Token
	Accepted clouds.Acceptance `json:"accepted"` // by all, some or none of AWS's nodes
}

// CertificateState is one SAML signing certificate of Entra's.
type CertificateState struct {
	Thumbprint string    `json:"thumbprint"`
	NotAfter   time.Time `json:"not_after"`
	Active     bool      `json:"active"`
}

// State returns the simulated clouds as of now.
func (s *Simulator) State() State {
	state := State{Faults: s.Faults()}
	s.With(func(w *clouds.Model) {
		state.Now, state.AWSClock, state.EntraClock = w.Now(), w.AWSNow(), w.EntraNow()
		state.Speed, state.Quirks = w.Speed(), w.Quirks().String()
		for _, connection := range w.Connections() {
			state.Connections = append(state.Connections, s.connectionState(w, current(w, connection)))
		}
	})
	return state
}

func (s *Simulator) connectionState(w *clouds.Model, c clouds.Connection) ConnectionState {
	everybody := clouds.CallerFor(clouds.ActorSetup)
	state := ConnectionState{Name: c.Name, AppID: c.AppID, Binding: c.Binding, SavedTokenID: w.SavedToken(c.ServicePrincipalID)}
	state.Binding.SCIMEndpoint = s.shown(c.SCIMEndpoint)
	tokens, _ := w.ListBearerTokens(everybody, c.IdentityStoreID, c.ProvisioningTenantID) // nobody denies the scene anything
	for _, token := range tokens {
		state.Tokens = append(state.Tokens, TokenState{token.Token, w.TokenAccepted(token.ID)})
	}
	if job, err := w.Job(everybody, c.EntraTenantID, c.ServicePrincipalID, c.JobID); err == nil {
		state.Status, state.Schedule = job.Status, string(job.Schedule)
		if job.LastCycle != nil {
			state.LastCycle, state.LastCycleEnd = string(job.LastCycle.State), job.LastCycle.Ended
		}
	}
	if sp, err := w.ServicePrincipal(everybody, c.EntraTenantID, c.ServicePrincipalID); err == nil {
		for _, certificate := range sp.Certificates {
			state.Certificates = append(state.Certificates, CertificateState{
				certificate.Thumbprint(), certificate.NotAfter(), sp.Preferred == certificate.Certificate,
			})
		}
	}
	if holding, found := w.EntraState(c.ServicePrincipalID); found && holding.Saved.Cause != "" {
		state.Refused = fmt.Sprintf("%s by %s", holding.Saved.Cause, holding.Saved.CausedBy)
	}
	for _, gap := range w.Outages() {
		if gap.ServicePrincipalID == c.ServicePrincipalID {
			state.GapSeconds += gap.Seconds(w.Now())
		}
	}
	return state
}

// Truth is what really happened, whatever anybody believes.
type Truth struct {
	Records []TruthRecord   `json:"records"`
	Gaps    []clouds.Outage `json:"gaps"`
}

// TruthRecord is one thing that happened.
type TruthRecord struct {
	At    time.Time    `json:"at"`
	Actor clouds.Actor `json:"actor"`
	Kind  string       `json:"kind"` // Creation, Deletion, Save, Start, CycleEnded, Holding, …
	Text  string       `json:"text"`
	Data  clouds.Entry `json:"data"`
}

// Truth returns what really happened since the world began.
func (s *Simulator) Truth() Truth {
	truth := Truth{Records: []TruthRecord{}, Gaps: []clouds.Outage{}}
	s.With(func(w *clouds.Model) {
		for _, record := range w.Timeline() {
			moment := record.Stamped()
			kind := fmt.Sprintf("%T", record)
			truth.Records = append(truth.Records, TruthRecord{moment.At, moment.Actor, kind[strings.LastIndex(kind, ".")+1:], record.String(), record})
		}
		truth.Gaps = append(truth.Gaps, w.Outages()...)
	})
	return truth
}
