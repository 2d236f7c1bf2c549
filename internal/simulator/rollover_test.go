package simulator_test

import (
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"entra-aws-exporter/internal/simulator"
	"entra-aws-exporter/internal/simulator/clouds"
	"entra-aws-exporter/test/harness/wire"
)

// idp calls the certificate service with the identity store and provider of the connection.
func (l *harness) idp(operation string, more ...string) reply {
	l.t.Helper()
	members := map[string]string{"directoryId": l.Connection.IdentityStoreID, "idpId": l.Connection.IdPID}
	for i := 0; i < len(more); i += 2 {
		members[more[i]] = more[i+1]
	}
	body, _ := json.Marshal(members)
	return l.amz("https://auth-control.eu-central-1.prod.apps-auth.aws.a2z.com/", "appsauth", "AppsAuthControlPlaneService."+operation, "1.0", string(body))
}

func (l *harness) principal() string { return "/servicePrincipals/" + l.Connection.ServicePrincipalID }

// trail looks events up by their name.
func (l *harness) trail(name string) reply {
	l.t.Helper()
	return l.amz("https://cloudtrail.eu-central-1.amazonaws.com/", "cloudtrail", "CloudTrail_20131101.LookupEvents", "1.1",
		fmt.Sprintf(`{"LookupAttributes":[{"AttributeKey":"EventName","AttributeValue":%q}]}`, name))
}

func (l *harness) connectionState() simulator.ConnectionState { return l.State().Connections[0] }

// TestManualRollover replaces the certificate over the wire as people do, in both orders: in
// the right one every sign-in succeeds, in the wrong one none until the import.
func TestManualRollover(t *testing.T) {
	for _, activateFirst := range []bool{false, true} {
		t.Run(fmt.Sprintf("activate first %v", activateFirst), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				l := newHarness(t).checkingContract()
				old := l.idp("ListExternalIdPCertificates").at("idPCertificates", 0, "certificateId").(string)
				created := l.graph(http.MethodPost, l.principal()+"/addTokenSigningCertificate", `{"displayName":"CN=by hand","endDateTime":"2002-01-01T00:00:00Z"}`)
				if created.status != http.StatusOK || created.at("usage") != "Verify" {
					t.Fatalf("create: %d %s", created.status, created.body)
				}
				activate := func() {
					answer := l.graph(http.MethodPatch, l.principal(), `{"preferredTokenSigningKeyThumbprint":"`+created.at("thumbprint").(string)+`"}`)
					if answer.status != http.StatusNoContent || answer.body != "" {
						t.Errorf("activate: %d %s", answer.status, answer.body)
					}
				}
				if activateFirst {
					activate()
					time.Sleep(time.Hour)
				}
				der, _ := base64.StdEncoding.DecodeString(created.at("key").(string))
				block := string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}))
				if answer := l.idp("ImportExternalIdPCertificate", "x509CertificateInPEM", block, "certificateUse", "SIGNING"); answer.status != http.StatusOK || answer.at("certificateId") == "" {
					t.Errorf("import: %d %s", answer.status, answer.body)
				}
				if !activateFirst {
					time.Sleep(15 * time.Minute)
					activate()
				}
				time.Sleep(24 * time.Hour)
				if answer := l.idp("DeleteExternalIdPCertificate", "certificateId", old); answer.status != http.StatusOK || answer.body != "{}" {
					t.Errorf("delete: %d %s", answer.status, answer.body)
				}
				time.Sleep(time.Hour)
				wantRefused, wantOutage := 0, 0.0
				if activateFirst {
					wantRefused, wantOutage = 6, 3600
				}
				state := l.connectionState()
				if state.SignIns.Refused != wantRefused || state.SignIns.Accepted < 140 || state.SignInOutageSeconds != wantOutage {
					t.Errorf("%+v, outage %v s", state.SignIns, state.SignInOutageSeconds)
				}
				if events := l.trail("ExternalIdPDirectoryLogin").at("Events").([]any); len(events) != wantRefused {
					t.Errorf("CloudTrail tells of %d", len(events))
				}
				if events := l.trail("UserAuthentication").at("Events").([]any); len(events) != 50 {
					t.Errorf("a page has %d events", len(events))
				}
				if len(state.Certificates) != 2 || state.Certificates[0].Signs || len(state.Certificates[0].TrustedAs) != 0 || !state.Certificates[1].Signs || len(state.Certificates[1].TrustedAs) != 1 {
					t.Errorf("certificates: %+v", state.Certificates)
				}
			})
		})
	}
}

// TestRolloverRequests: what the exporter must not send is refused, and changes nothing.
func TestRolloverRequests(t *testing.T) {
	l := newHarness(t)
	before := fmt.Sprint(l.connectionState().Certificates)
	for _, body := range []string{`{"keyCredentials":[]}`, `{"preferredTokenSigningKeyThumbprint":"AB","passwordCredentials":[]}`, `[]`, ``} {
		if answer := l.graph(http.MethodPatch, l.principal(), body); answer.status != http.StatusBadRequest {
			t.Errorf("PATCH %s: %d %s", body, answer.status, answer.body)
		}
	}
	for _, body := range []string{`{}`, `{"displayName":"no CN"}`, `{"displayName":"CN=x","endDateTime":"1990-01-01T00:00:00Z"}`} {
		if answer := l.graph(http.MethodPost, l.principal()+"/addTokenSigningCertificate", body); answer.status != http.StatusBadRequest {
			t.Errorf("POST %s: %d %s", body, answer.status, answer.body)
		}
	}
	for _, filter := range []string{"", "?$filter=createdDateTime%20ge%202026-01-01T00:00:00Z", "?$filter=userId%20eq%20'x'", "?$orderby=createdDateTime"} {
		if answer := l.graph(http.MethodGet, "/auditLogs/signIns"+filter, ""); answer.status != http.StatusBadRequest {
			t.Errorf("GET signIns%s: %d %s", filter, answer.status, answer.body)
		}
		time.Sleep(3 * time.Millisecond)
	}
	if answer := l.trail("ListUsers"); answer.status != http.StatusBadRequest {
		t.Errorf("other events: %d %s", answer.status, answer.body)
	}
	if answer := l.idp("ImportExternalIdPCertificate", "x509CertificateInPEM", "none", "certificateUse", "SIGNING"); answer.status != http.StatusBadRequest {
		t.Errorf("import: %d %s", answer.status, answer.body)
	}
	if after := fmt.Sprint(l.connectionState().Certificates); after != before {
		t.Errorf("changed: %s", after)
	}
}

// TestDemoRepair: nobody signs in by the demo's third connection until AWS trusts what Entra
// signs with.
func TestDemoRepair(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := clouds.New(clouds.Options{Seed: 1})
		if err := simulator.Seed(m, "demo"); err != nil {
			t.Fatal(err)
		}
		s := wire.NewSimulator(t, m, simulator.Options{Seed: 1})
		time.Sleep(time.Hour)
		third := func() simulator.ConnectionState { return s.State().Connections[2] }
		broken := third()
		var signer simulator.CertificateState
		for _, certificate := range broken.Certificates {
			if certificate.Signs {
				signer = certificate
			}
		}
		if broken.SignIns.Accepted != 0 || broken.SignIns.Refused != 7 || signer.Active || len(signer.TrustedAs) != 0 || len(signer.SHA256) != 64 {
			t.Fatalf("before: %+v, signs: %+v", broken.SignIns, signer)
		}
		if _, err := s.Perform(simulator.Action{Do: "import_certificate", Connection: broken.Name, Thumbprint: strings.ToLower(signer.Thumbprint)}); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Hour)
		if after := third(); after.SignIns.Accepted != 6 || after.SignIns.Refused != 7 || after.SignInOutageSeconds != 3600 {
			t.Errorf("after: %+v, outage %v s", after.SignIns, after.SignInOutageSeconds)
		}
		for _, other := range s.State().Connections[:2] {
			if other.SignIns.Refused != 0 || other.SignIns.Accepted != 13 {
				t.Errorf("%s: %+v", other.Name, other.SignIns)
			}
		}
	})
}

func TestCertificateActions(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newHarness(t)
		act := func(do, thumbprint, value string) reply {
			return l.must("POST", "actions", fmt.Sprintf(`{"do":%q,"thumbprint":%q,"value":%q}`, do, thumbprint, value))
		}
		added := act("add_certificate", "", "").at("thumbprint").(string)
		if act("import_certificate", added, "").at("certificate_id") == "" {
			t.Error("no id")
		}
		act("activate_certificate", added, "")
		act("distrust_certificate", added, "")
		time.Sleep(time.Hour)
		act("activate_certificate", l.connectionState().Certificates[0].Thumbprint, "")
		act("change_sign_on", "", "oidc")
		time.Sleep(time.Hour)
		act("change_sign_on", "", "saml")
		act("sign_in_every", "", "1m")
		act("replace_certificate", "", "")
		time.Sleep(time.Hour)
		act("second_idp", "", "")
		act("replace_idp", "", "")
		var outages []string
		for _, outage := range l.must("GET", "timeline", "").at("sign_in_outages").([]any) {
			outages = append(outages, fmt.Sprint(outage.(map[string]any)["Cause"]))
		}
		if got := strings.Join(outages, " "); got != "deleted mode activated" {
			t.Errorf("outages: %s", got)
		}
		if state := l.connectionState(); state.SignIns.Refused < 70 || state.SignIns.Accepted != 1 {
			t.Errorf("%+v", state.SignIns)
		}
		for body, want := range map[string]string{
			`{"do":"import_certificate","thumbprint":"00"}`:   "import_certificate: the application has no certificate 00",
			`{"do":"distrust_certificate","thumbprint":"00"}`: "distrust_certificate: AWS lists no certificate 00",
			`{"do":"sign_in_every","value":"soon"}`:           `sign_in_every: "soon" is no duration of at least 0`,
		} {
			if answer := l.control("POST", "actions", body); answer.at("error") != want {
				t.Errorf("%s: %s", body, answer.body)
			}
		}
	})
}
