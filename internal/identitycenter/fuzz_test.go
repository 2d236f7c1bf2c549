package identitycenter

import (
	"bytes"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/cloudtrail/types"

	"entra-aws-exporter/internal/model"
)

// FuzzTokenService feeds answers of any kind to the reader of the undocumented API: it
// gives tokens fit for a label, or a classified error that does not quote the answer.
func FuzzTokenService(f *testing.F) {
	for _, seed := range []string{
		`{"BearerTokens":[{"TokenId":"a","CreationTime":1713363979.436,"ExpirationTime":"2027-03-01T00:00:00Z","Token":"value"}]}`,
		`{"BearerTokens":[null,{"TokenId":"a","CreationTime":0}]}`, `{"BearerTokens":null}`, `null`, `[]`, `<html>`, `{"BearerTokens":[{"TokenId":1e999}]}`,
		`{"__type":"x#AccessDeniedException","message":"m"}`, `{"message":7}`, ``,
	} {
		f.Add(200, seed)
		f.Add(400, seed)
	}
	f.Fuzz(func(t *testing.T, status int, body string) {
		response := &http.Response{StatusCode: status, Header: http.Header{}, Body: io.NopCloser(strings.NewReader(body))}
		var page tokenPage
		err := decodeResponse(response, &page)
		var tokens []model.Token
		if err == nil {
			tokens, err = page.tokens()
		}
		if err != nil {
			err = apiCall{op: "listing", action: "x:Y", alternative: "instead"}.classify(err)
			var classified *model.Error
			if !errors.As(err, &classified) || classified.Reason == "" {
				t.Fatalf("not classified: %v", err)
			}
			if strings.ContainsAny(err.Error(), "\n\r\x00") {
				t.Fatalf("not fit for a line: %q", err)
			}
			return
		}
		seen := map[string]bool{}
		for _, token := range oldestFirst(tokens) {
			if token.ID == "" || seen[token.ID] {
				t.Fatalf("an id that is empty or there twice: %q", token.ID)
			}
			seen[token.ID] = true
			for _, at := range []time.Time{token.Created, token.Expires} {
				if !at.IsZero() && (at.Unix() < 0 || at.Year() > 2300) {
					t.Fatalf("an implausible date: %s", at)
				}
			}
		}
	})
}

// FuzzTrailEvent feeds records of any kind to the reader of CloudTrail.
func FuzzTrailEvent(f *testing.F) {
	f.Add(`{"eventTime":"2026-03-01T00:00:00Z","eventSource":"identitystore-scim.amazonaws.com","userAgent":"u","sourceIPAddress":"192.0.2.1",` +
		`"userIdentity":{"accessKeyId":"K","userName":"planted-person"},"requestParameters":{"tenantId":"t"}}`)
	f.Add(`{"eventSource":"identitystore-scim.amazonaws.com","userIdentity":null,"requestParameters":"none","eventTime":7}`)
	f.Add(`null`)
	f.Add(``)
	f.Fuzz(func(t *testing.T, record string) {
		for _, at := range []*time.Time{nil, aws.Time(time.Unix(1772323200, 0))} {
			call, err := parseTrailEvent(types.Event{CloudTrailEvent: &record, EventTime: at})
			if err != nil {
				continue
			}
			if len(call.UserAgent)+len(call.SourceIP)+len(call.AccessKeyID) > 2000 {
				t.Fatal("what is kept is not bounded")
			}
			if strings.Contains(record, `"userName":"planted-person"`) && strings.Contains(call.UserAgent+call.SourceIP+call.AccessKeyID, "planted-person") &&
				strings.Count(record, "planted-person") == 1 {
				t.Fatalf("personal data is kept: %+v", call)
			}
		}
	})
}

// FuzzCertificates feeds files of any kind to the reader of certificates.
func FuzzCertificates(f *testing.F) {
	f.Add([]byte("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"))
	f.Add([]byte("MIIB"))
	f.Add([]byte{0x30, 0x82, 0x01})
	f.Add([]byte("-----BEGIN"))
	f.Add(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: []byte(strings.Repeat("0", 100))}))
	f.Fuzz(func(t *testing.T, content []byte) {
		for _, certificate := range parseCertificates(content, func(int, error) {}) {
			parsed, err := x509.ParseCertificate(certificate.DER)
			if err != nil || !parsed.NotAfter.Equal(certificate.NotAfter) || certificate.Thumbprint != model.Thumbprint(parsed.Raw) {
				t.Fatalf("what was read does not hold: %v", err)
			}
		}
		// The same as the console's API would hand it over.
		text, _ := json.Marshal(string(content))
		var list certificateList
		if json.Unmarshal(bytes.Join([][]byte{[]byte(`{"idPCertificates":[{"x509CertificateInPEM":`), text, []byte(`}]}`)}, nil), &list) == nil {
			listed, _ := list.certificates(func(string, error) {})
			for _, certificate := range listed {
				if len(certificate.DER) > 0 && certificate.Thumbprint != model.Thumbprint(certificate.DER) {
					t.Fatal("a thumbprint of other bytes")
				}
			}
		}
	})
}

// FuzzSignIn feeds records of any kind to the reader of sign-ins.
func FuzzSignIn(f *testing.F) {
	f.Add(`{"eventTime":"2026-03-01T00:00:00Z","eventName":"UserAuthentication","userIdentity":{"onBehalfOf":{"userId":"u","identityStoreArn":"arn:aws:identitystore::1:identitystore/d-1"}},` +
		`"additionalEventData":{"CredentialType":"EXTERNAL_IDP","UserName":"n"},"serviceEventDetails":{"UserAuthentication":"Success"}}`)
	f.Add(`{"eventTime":"2026-03-01T00:00:00Z","eventName":"ExternalIdPDirectoryLogin","responseElements":{"ExternalIdPDirectoryLogin":"Failure"}}`)
	f.Add(`{"eventName":7,"userIdentity":"none","responseElements":[]}`)
	f.Add(`null`)
	f.Add(``)
	f.Fuzz(func(t *testing.T, record string) {
		for _, name := range []string{signedInEvent, signInRefusedEvent} {
			signIn, err := parseSignIn(types.Event{CloudTrailEvent: &record, Username: aws.String("planted-person")}, name, "d-1")
			if err != nil {
				if strings.Contains(err.Error(), "planted-person") {
					t.Fatalf("a user is named: %v", err)
				}
				continue
			}
			if signIn.at.IsZero() || !strings.Contains(record, "Success") && !strings.Contains(record, "Failure") && !strings.Contains(record, `\u`) {
				t.Fatalf("%s was read from %q: %+v", name, record, signIn)
			}
		}
	})
}
