package identitycenter_test

import (
	"strings"
	"testing"

	"entra-aws-exporter/internal/cloudhttp"
	"entra-aws-exporter/internal/identitycenter"
)

func TestWebIdentityToken(t *testing.T) {
	cloud := newCloud(t)
	cloud.answers["GetWebIdentityToken"] = func(call) answer {
		return answer{body: `<GetWebIdentityTokenResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/"><GetWebIdentityTokenResult>
			<WebIdentityToken>header.claims.signature</WebIdentityToken><Expiration>2099-01-01T00:00:00Z</Expiration>
			</GetWebIdentityTokenResult></GetWebIdentityTokenResponse>`}
	}
	identity, err := identitycenter.NewWebIdentity(identitycenter.WebIdentityOptions{
		Name: "corp", Region: region, RoleARN: "arn:aws:iam::111122223333:role/exporter", Options: cloudhttp.Options{Transport: cloud},
	})
	if err != nil {
		t.Fatal(err)
	}
	token, err := identity.WebIdentityToken(t.Context(), "api://AzureADTokenExchange")
	if err != nil || token.Reveal() != "header.claims.signature" {
		t.Fatalf("got %q, %v", token.Reveal(), err)
	}
	sent := cloud.last("GetWebIdentityToken")
	for _, want := range []string{"Audience.member.1=api%3A%2F%2FAzureADTokenExchange", "SigningAlgorithm=RS256", "DurationSeconds=300"} {
		if !strings.Contains(sent.body, want) {
			t.Errorf("%s is not in %s", want, sent.body)
		}
	}
	if sent.request.URL.Host != "sts.eu-central-1.amazonaws.com" || !strings.Contains(sent.request.Header.Get("Authorization"), assumedKey) {
		t.Errorf("sent to %s signed by %s", sent.request.URL.Host, sent.request.Header.Get("Authorization"))
	}
}

func TestWebIdentityErrors(t *testing.T) {
	const doing = "asking AWS for a web identity for tenant corp: "
	refusal := func(code, message string) string {
		return `<ErrorResponse><Error><Type>Sender</Type><Code>` + code + `</Code><Message>` + message + `</Message></Error></ErrorResponse>`
	}
	for want, failing := range map[string]answer{
		doing + "auth: OutboundWebIdentityFederationDisabledException: disabled (enable outbound web identity federation for the account, see deploy/permissions/aws.md)": {
			status: 403, body: refusal("OutboundWebIdentityFederationDisabledException", "disabled")},
		doing + "permission: AccessDenied: User: u is not authorized to perform: sts:GetWebIdentityToken (allow sts:GetWebIdentityToken, see deploy/permissions/aws.md)": {
			status: 403, body: refusal("AccessDenied", "User: u is not authorized to perform: sts:GetWebIdentityToken")},
		doing + "invalid_response: the response has no token": {
			body: `<GetWebIdentityTokenResponse><GetWebIdentityTokenResult></GetWebIdentityTokenResult></GetWebIdentityTokenResponse>`},
	} {
		cloud := newCloud(t)
		cloud.answers["GetWebIdentityToken"] = func(call) answer { return failing }
		identity, err := identitycenter.NewWebIdentity(identitycenter.WebIdentityOptions{Name: "corp", Region: region, Options: cloudhttp.Options{Transport: cloud}})
		if err != nil {
			t.Fatal(err)
		}
		_, err = identity.WebIdentityToken(t.Context(), "api://AzureADTokenExchange")
		wantError(t, err, want)
	}
	_, err := identitycenter.NewWebIdentity(identitycenter.WebIdentityOptions{Name: "corp", Region: "x"})
	wantError(t, err, `tenant corp: aws_web_identity.region: "x" is not an AWS region, write for example eu-central-1`)
}
