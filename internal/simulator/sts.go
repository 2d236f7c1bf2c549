package simulator

import (
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"entra-aws-exporter/internal/simulator/clouds"
)

func stsOperations() map[string]operation {
	return map[string]operation{
		"AssumeRole":          {name: "AssumeRole", serve: assumeRole},
		"GetCallerIdentity":   {name: "GetCallerIdentity", serve: getCallerIdentity},
		"GetWebIdentityToken": {name: "GetWebIdentityToken", serve: getWebIdentityToken},
	}
}

func (c *call) stsResponse(result fields) response {
	return queryResponse(http.StatusOK, c.name+"Response", fields{c.name + "Result": result, "ResponseMetadata": fields{"RequestId": c.id}})
}

func stsError(message string) *clouds.Error {
	return clouds.NewError(clouds.ServiceSTS, http.StatusBadRequest, "ValidationError", message)
}

func assumeRole(c *call) (response, error) {
	form := c.form()
	arn, session := form.Get("RoleArn"), form.Get("RoleSessionName")
	if arn == "" || session == "" {
		return response{}, stsError("RoleArn and RoleSessionName are required.")
	}
	principal, err := mutate(c, func(m *clouds.Model) (clouds.Principal, error) {
		return m.AssumeRole(c.caller, arn, form.Get("ExternalId"))
	})
	if err != nil {
		return response{}, err
	}
	return c.stsResponse(fields{
		"Credentials": fields{
			"AccessKeyId": principal.AccessKeyID, "SecretAccessKey": principal.SecretAccessKey, "SessionToken": principal.SessionToken,
			"Expiration": c.now().Add(time.Hour).UTC().Format(time.RFC3339), // by the service's own clock
		},
		"AssumedRoleUser": fields{"AssumedRoleId": "AROA" + principal.AccessKeyID[4:] + ":" + session, "Arn": principal.ARN},
	}), nil
}

func getCallerIdentity(c *call) (response, error) {
	return c.stsResponse(fields{"Arn": c.principal.ARN, "UserId": c.principal.AccessKeyID, "Account": c.principal.Account}), nil
}

// WebIdentityIssuer is the issuer of an account's web identity tokens. The real one has
// an id of its own per account.
func WebIdentityIssuer(account string) string {
	return "https://" + account + ".tokens.sts.global.api.aws"
}

// getWebIdentityToken makes a token by which an AWS identity signs in elsewhere.
// https://docs.aws.amazon.com/STS/latest/APIReference/API_GetWebIdentityToken.html
func getWebIdentityToken(c *call) (response, error) {
	form := c.form()
	var audiences jwt.ClaimStrings
	for n := 1; form.Get("Audience.member."+strconv.Itoa(n)) != ""; n++ {
		audiences = append(audiences, form.Get("Audience.member."+strconv.Itoa(n)))
	}
	life := 5 * time.Minute
	if text := form.Get("DurationSeconds"); text != "" {
		seconds, err := strconv.Atoi(text)
		if err != nil || seconds < 60 || seconds > 3600 {
			return response{}, stsError("DurationSeconds must be between 60 and 3600.")
		}
		life = time.Duration(seconds) * time.Second
	}
	switch {
	case len(audiences) == 0:
		return response{}, stsError("Audience is required.")
	case form.Get("SigningAlgorithm") != "RS256":
		return response{}, stsError("SigningAlgorithm must be RS256 here; AWS has ES384, too.")
	case c.r.Host == "sts.amazonaws.com":
		return response{}, stsError("GetWebIdentityToken is not available on the global endpoint.")
	}
	if _, err := query(c, func(m *clouds.Model) (struct{}, error) { return struct{}{}, m.MayGetWebIdentityToken(c.caller) }); err != nil {
		return response{}, err
	}
	content := claims{RegisteredClaims: lifetime(c.now(), life), AWS: map[string]any{
		"aws_account": c.principal.Account, "source_region": c.caller.Region, "principal_id": c.principal.ARN,
	}}
	content.Audience, content.Issuer, content.Subject, content.ID = audiences, WebIdentityIssuer(c.principal.Account), webIdentitySubject(c.principal), c.id
	token, err := c.sim.keys.webIdentityToken(content)
	if err != nil {
		return response{}, err
	}
	return c.stsResponse(fields{"Expiration": content.ExpiresAt.UTC().Format(time.RFC3339), "WebIdentityToken": token}), nil
}

// webIdentitySubject is the identity's ARN: of a session, that of its role.
func webIdentitySubject(p clouds.Principal) string {
	role, isSession := strings.CutPrefix(p.ARN, "arn:aws:sts::"+p.Account+":assumed-role/")
	if !isSession {
		return p.ARN
	}
	name, _, _ := strings.Cut(role, "/")
	return "arn:aws:iam::" + p.Account + ":role/" + name
}
