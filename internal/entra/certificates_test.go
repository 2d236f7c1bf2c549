package entra

import (
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"entra-aws-exporter/internal/model"
)

const (
	principalURL = "/v1.0/servicePrincipals/" + principal
	metadataURL  = "/" + tenantID + "/federationmetadata/2007-06/federationmetadata.xml"
	samlAppID    = "55555555-5555-5555-5555-555555555555"
)

// selecting answers a GET by what it selects.
func selecting(answers map[string]string) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		body, found := answers[r.URL.Query().Get("$select")]
		if !found {
			answerJSON(w, 400, `{"error":{"code":"BadRequest","message":"not selected: `+r.URL.Query().Get("$select")+`"}}`)
			return
		}
		answerJSON(w, 200, body)
	}
}

// keys writes the three credentials of each certificate as Entra keeps them.
func key(usage string, identifier, der []byte, keyID int) string {
	material := "null"
	if der != nil {
		material = `"` + base64.StdEncoding.EncodeToString(der) + `"`
	}
	id := "null"
	if identifier != nil {
		id = `"` + base64.StdEncoding.EncodeToString(identifier) + `"`
	}
	return fmt.Sprintf(`{"customKeyIdentifier":%s,"displayName":"CN=x","endDateTime":"2030-01-02T03:04:05Z","key":%s,"keyId":"00000000-0000-0000-0000-%012d",`+
		`"startDateTime":"2027-01-02T03:04:05Z","type":"AsymmetricX509Cert","usage":%s}`, id, material, keyID, strings.ReplaceAll(strconv.Quote(usage), `"null"`, "null"))
}

func TestSigningCertificates(t *testing.T) {
	early, late, uploaded := selfSigned(t, "early", at("2027-05-01T00:00:00Z"), nil), selfSigned(t, "late", at("2028-05-01T00:00:00Z"), nil),
		selfSigned(t, "uploaded", at("2029-05-01T00:00:00Z"), nil)
	thumbprint := func(der []byte) []byte { raw, _ := hex.DecodeString(model.Thumbprint(der)); return raw }
	nameless, useless := selfSigned(t, "nameless", at("2032-05-01T00:00:00Z"), nil), selfSigned(t, "useless", at("2033-05-01T00:00:00Z"), nil)
	garbage := []byte("Go cannot parse this")
	const hexThumbprint = "EA2B50464A0C8A453A584F78BAD5BD3A494A2BA3"
	hexText, _ := base64.StdEncoding.DecodeString(hexThumbprint)
	other, untwinned := selfSigned(t, "other", at("2030-05-01T00:00:00Z"), nil), selfSigned(t, "untwinned", at("2031-05-01T00:00:00Z"), nil)
	var lines logLines
	m := newMicrosoft(t)
	m.serve["GET "+principalURL] = selecting(map[string]string{
		principalProperties: `{"preferredTokenSigningKeyThumbprint":"` + strings.ToLower(model.Thumbprint(late)) +
			`","preferredSingleSignOnMode":"saml","notificationEmailAddresses":["ann@example.com","bob@example.com"]}`,
		"keyCredentials": `{"keyCredentials":[null,` + strings.Join([]string{
			key("Verify", thumbprint(late), late, 1), key("Sign", thumbprint(late), nil, 2),
			key("Sign", thumbprint(early), nil, 3), key("Verify", thumbprint(early), early, 4),
			key("Verify", thumbprint(early), early, 5), // twice, counted once
			key("Sign", []byte("odd"), nil, 6), key("Verify", []byte("odd"), uploaded, 7),
			key("Verify", []byte("no twin"), other, 8),
			key("Verify", nil, untwinned, 9), key("Sign", nil, nil, 10),
			key("Sign", garbage, nil, 11), key("Verify", garbage, garbage, 12),
			key("Sign", thumbprint(nameless), nil, 19), key("Verify", nil, nameless, 20), // the twin has no identifier
			strings.Replace(key("null", thumbprint(useless), nil, 21), "AsymmetricX509Cert", "X509CertAndPassword", 1), key("null", thumbprint(useless), useless, 22),
			key("Sign", hexText, nil, 15), key("Verify", hexText, nil, 16), // the identifier as hex text
			key("Sign", []byte("unknown"), nil, 17), key("Verify", []byte("unknown"), nil, 18),
			key("Sign", []byte("twenty bytes exactly"), nil, 13), key("Verify", []byte("twenty bytes exactly"), nil, 14),
		}, ",") + `]}`,
	})
	application := m.application(logTo(&lines))
	for range 2 {
		got, err := application.SigningCertificates(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		want := model.SigningCertificates{
			ActiveThumbprint: model.Thumbprint(late), ActiveKnown: true, NotificationAddresses: 2, SSOMode: model.SingleSignOnSAML,
			Keyless: []model.Certificate{
				{Thumbprint: model.Thumbprint(other), Subject: "CN=other", NotBefore: at("2029-05-01T00:00:00Z"), NotAfter: at("2030-05-01T00:00:00Z"), DER: other},
				{Thumbprint: model.Thumbprint(untwinned), Subject: "CN=untwinned", NotBefore: at("2030-05-01T00:00:00Z"), NotAfter: at("2031-05-01T00:00:00Z"), DER: untwinned},
			},
			Certificates: []model.Certificate{
				{Thumbprint: model.Thumbprint(early), Subject: "CN=early", NotBefore: at("2026-05-01T00:00:00Z"), NotAfter: at("2027-05-01T00:00:00Z"), DER: early},
				{Thumbprint: model.Thumbprint(late), Subject: "CN=late", NotBefore: at("2027-05-01T00:00:00Z"), NotAfter: at("2028-05-01T00:00:00Z"), DER: late},
				{Thumbprint: model.Thumbprint(uploaded), Subject: "CN=uploaded", NotBefore: at("2028-05-01T00:00:00Z"), NotAfter: at("2029-05-01T00:00:00Z"), DER: uploaded},
				{Thumbprint: strings.ToUpper(hex.EncodeToString([]byte("twenty bytes exactly"))), Subject: "CN=x", NotBefore: at("2027-01-02T03:04:05Z"), NotAfter: at("2030-01-02T03:04:05Z")},
				{Thumbprint: model.Thumbprint(garbage), Subject: "CN=x", NotBefore: at("2027-01-02T03:04:05Z"), NotAfter: at("2030-01-02T03:04:05Z"), DER: garbage},
				{Thumbprint: hexThumbprint, Subject: "CN=x", NotBefore: at("2027-01-02T03:04:05Z"), NotAfter: at("2030-01-02T03:04:05Z")},
				{Thumbprint: model.Thumbprint(nameless), Subject: "CN=nameless", NotBefore: at("2031-05-01T00:00:00Z"), NotAfter: at("2032-05-01T00:00:00Z"), DER: nameless},
				{Thumbprint: model.Thumbprint(useless), Subject: "CN=useless", NotBefore: at("2032-05-01T00:00:00Z"), NotAfter: at("2033-05-01T00:00:00Z"), DER: useless},
			},
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Error(diff)
		}
	}
	if none, unread := lines.count("no signing key"), lines.count("unreadable"); none != 2 || unread != 1 {
		t.Errorf("%d and %d lines for two readings:\n%s", none, unread, lines.lines.String())
	}
	if lines.count("@") > 0 {
		t.Error("an address was logged")
	}
}

func TestNoSigningCertificate(t *testing.T) {
	m := newMicrosoft(t)
	m.serve["GET "+principalURL] = selecting(map[string]string{
		principalProperties: `{"preferredTokenSigningKeyThumbprint":null}`,
		"keyCredentials":    `{"keyCredentials":[]}`,
	})
	got, err := m.application().SigningCertificates(t.Context())
	if diff := cmp.Diff(model.SigningCertificates{ActiveKnown: true}, got); diff != "" || err != nil {
		t.Error(diff, err)
	}
}

func TestSAMLApplicationOfItsOwn(t *testing.T) {
	m := newMicrosoft(t)
	application := m.tenant().Application(ApplicationOptions{ServicePrincipalID: principal, SAMLServicePrincipalID: "saml"})
	_, err := application.SigningCertificates(t.Context())
	wantError(t, err, "reading the signing certificate in use: not_found: 404 Request_ResourceNotFound: Resource does not exist. (check service_principal_id and saml.service_principal_id)")
	if calls := m.calls(); len(calls) != 1 || calls[0] != "GET /v1.0/servicePrincipals/saml" {
		t.Errorf("asked %v", calls)
	}
}

// metadata is a federation metadata document with these signing certificates, each in
// the descriptors that Entra repeats them in.
func metadata(ders ...[]byte) string {
	var descriptors strings.Builder
	for _, der := range ders {
		encoded := base64.StdEncoding.EncodeToString(der)
		encoded = encoded[:len(encoded)/2] + "\n   " + encoded[len(encoded)/2:]
		fmt.Fprintf(&descriptors, `<KeyDescriptor use="signing"><KeyInfo xmlns="http://www.w3.org/2000/09/xmldsig#"><X509Data><X509Certificate>%s</X509Certificate></X509Data></KeyInfo></KeyDescriptor>`, encoded)
	}
	return "\ufeff" + `<?xml version="1.0" encoding="utf-8"?><EntityDescriptor ID="_1" entityID="https://sts.windows.net/` + tenantID + `/" xmlns="urn:oasis:names:tc:SAML:2.0:metadata">` +
		`<Signature xmlns="http://www.w3.org/2000/09/xmldsig#"><KeyInfo><X509Data><X509Certificate>` + base64.StdEncoding.EncodeToString([]byte("of the document")) + `</X509Certificate></X509Data></KeyInfo></Signature>` +
		`<RoleDescriptor xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance" xsi:type="fed:SecurityTokenServiceType" xmlns:fed="http://docs.oasis-open.org/wsfed/federation/200706">` + descriptors.String() +
		`<KeyDescriptor use="encryption"><KeyInfo xmlns="http://www.w3.org/2000/09/xmldsig#"><X509Data><X509Certificate>AAAA</X509Certificate></X509Data></KeyInfo></KeyDescriptor></RoleDescriptor>` +
		`<IDPSSODescriptor protocolSupportEnumeration="urn:oasis:names:tc:SAML:2.0:protocol">` + descriptors.String() + `</IDPSSODescriptor></EntityDescriptor>`
}

func xmlAnswer(status int, body string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/samlmetadata+xml; charset=utf-8")
		w.WriteHeader(status)
		_, _ = w.Write([]byte(body))
	}
}

func (m *microsoft) metadataApplication(mod ...func(*TenantOptions)) *Application {
	m.serve["GET "+principalURL] = selecting(map[string]string{principalProperties: `{"appId":"` + samlAppID + `"}`})
	return m.tenant(mod...).Application(ApplicationOptions{ServicePrincipalID: principal, Certificates: model.EntraCertificatesMetadata})
}

func TestFederationMetadata(t *testing.T) {
	early, late := selfSigned(t, "early", at("2027-05-01T00:00:00Z"), nil), selfSigned(t, "late", at("2028-05-01T00:00:00Z"), nil)
	var lines logLines
	m := newMicrosoft(t)
	application := m.metadataApplication(logTo(&lines))
	m.serve["GET "+metadataURL] = xmlAnswer(200, metadata(late, []byte("garbage"), early))
	for range 2 {
		got, err := application.SigningCertificates(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		want := model.SigningCertificates{NotificationAddresses: -1, Certificates: []model.Certificate{
			{Thumbprint: model.Thumbprint(early), Subject: "CN=early", NotBefore: at("2026-05-01T00:00:00Z"), NotAfter: at("2027-05-01T00:00:00Z"), DER: early},
			{Thumbprint: model.Thumbprint(late), Subject: "CN=late", NotBefore: at("2027-05-01T00:00:00Z"), NotAfter: at("2028-05-01T00:00:00Z"), DER: late},
		}}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Error(diff)
		}
	}
	if calls := m.calls(); len(calls) != 3 || lines.count("unreadable") != 1 {
		t.Errorf("asked %v, logged %s", calls, lines.lines.String())
	}
	request := m.seen[1]
	if request.URL.Host != "login.test" || request.URL.Query().Get("appid") != samlAppID || request.Header.Get("Authorization") != "" {
		t.Errorf("asked %s with %q", request.URL, request.Header.Get("Authorization"))
	}
}

// With the application's id from the config, no sign-in and no permission is needed.
func TestFederationMetadataWithoutGraph(t *testing.T) {
	m := newMicrosoft(t)
	m.signIn = func(w http.ResponseWriter, _ *http.Request) {
		t.Error("signed in")
		w.WriteHeader(http.StatusForbidden)
	}
	m.serve["GET "+metadataURL] = xmlAnswer(200, metadata(selfSigned(t, "one", at("2027-05-01T00:00:00Z"), nil)))
	application := m.tenant().Application(ApplicationOptions{SAMLAppID: samlAppID, Certificates: model.EntraCertificatesMetadata})
	got, err := application.SigningCertificates(t.Context())
	if err != nil || len(got.Certificates) != 1 || len(m.calls()) != 1 {
		t.Errorf("%+v, %v, asked %v", got, err, m.calls())
	}
}

func TestFederationMetadataErrors(t *testing.T) {
	const op = "reading the federation metadata: "
	for want, answer := range map[string]http.HandlerFunc{
		op + "invalid_response: unreadable response, HTTP status 200 with text/html: the federation metadata lists no signing certificate":                                              html(200),
		op + "invalid_response: unreadable response, HTTP status 200 with application/samlmetadata+xml: the federation metadata is not XML: XML syntax error on line 1: unexpected EOF": xmlAnswer(200, metadata()[:300]),
		op + "invalid_response: unreadable response, HTTP status 200 with application/samlmetadata+xml: the federation metadata lists no signing certificate":                           xmlAnswer(200, metadata([]byte("garbage"))),
		op + "other: 400 AADSTS90002": xmlAnswer(400, "<html>AADSTS90002: Tenant not found.</html>"),
		op + "not_found: HTTP status 404 with application/samlmetadata+xml (check tenant_id and saml.service_principal_id)": xmlAnswer(404, ""),
		op + "permission: 403 AADSTS53003": xmlAnswer(403, "<html>AADSTS53003: Blocked by Conditional Access.</html>"),
		op + "invalid_response: HTTP status 403 with a web page, probably of a proxy or gateway " +
			"(check http_client.proxy_url, and the proxies and firewalls on the way to the cloud)": html(403),
		op + "timeout: no complete response within 30s":            hanging,
		op + "network: dial tcp: connection refused":               failing(errDial),
		op + "invalid_response: the response is larger than 4 MiB": xmlAnswer(200, strings.Repeat(" ", maxMetadata+1)),
	} {
		inBubble(t, func(t *testing.T) {
			m := newMicrosoft(t)
			application := m.metadataApplication()
			m.serve["GET "+metadataURL] = answer
			_, err := application.SigningCertificates(t.Context())
			wantError(t, err, want)
		})
	}
}
