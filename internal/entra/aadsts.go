package entra

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"regexp"
	"strings"

	"entra-aws-exporter/internal/bridge"
)

// refusal is what a code of Entra's sign-in service means for an application, and
// what to do about it.
type refusal struct{ means, advice string }

// refusals are the codes that an application meets.
// https://learn.microsoft.com/entra/identity-platform/reference-error-codes
var refusals = map[string]refusal{
	"AADSTS7000215": {"the client secret is wrong", "put the secret's value, not its id, into client_secret_file"},
	"AADSTS7000222": {"the client secret has expired", "create a new one for the app registration and write it to client_secret_file"},
	"AADSTS7000216": {"a client secret or assertion is missing", "check the tenant's way to sign in"},
	"AADSTS7000218": {"a client secret or assertion is missing", "the app registration must not be a public client"},
	"AADSTS90002":   {"there is no such tenant", "check tenant_id, and cloud for a national cloud"},
	"AADSTS900023":  {"the tenant id is not valid", "check tenant_id"},
	"AADSTS900382":  {"the tenant is in another national cloud", "check cloud"},
	"AADSTS700016":  {"there is no such application in the tenant", "check client_id and tenant_id"},
	"AADSTS7000112": {"the application is disabled", "enable its sign-in in the enterprise application's properties"},
	"AADSTS7000229": {"the application has no service principal in the tenant: consent is missing", "let an administrator of the tenant consent to it"},
	"AADSTS65001":   {"consent is missing", "let an administrator grant consent to the application's permissions"},
	"AADSTS650052":  {"the tenant has not consented to the application", "let an administrator grant consent"},
	"AADSTS500011":  {"Graph is not known in this tenant by that name", "check cloud and endpoints.graph"},
	"AADSTS500014":  {"the service principal of the application or of Graph is disabled", "enable it in the tenant"},
	"AADSTS501051":  {"the application is not assigned to a role", "assign it, or switch off that assignment is required"},
	"AADSTS53003":   {"a Conditional Access policy blocks the exporter", "exclude the workload identity, or add its address to the policy"},
	"AADSTS700027":  {"the client certificate is not registered, or its signature is wrong", "upload the certificate of client_certificate_file to the app registration"},
	"AADSTS700024":  {"the assertion is not valid now", "check the clock, and the lifetime of the federated token"},
	"AADSTS700021":  {"the federated token does not match", "check issuer, subject and audience of the federated credential"},
	"AADSTS70021":   {"no federated credential matches the token", "check issuer, subject and audience of the federated credential"},
	"AADSTS700211":  {"no federated credential matches the token's issuer", "check the issuer of the federated credential"},
	"AADSTS700212":  {"no federated credential matches the token's audience", "the audience is api://AzureADTokenExchange unless configured otherwise"},
	"AADSTS700213":  {"no federated credential matches the token's subject", "check the subject of the federated credential"},
	"AADSTS5000223": {"the issuer of the federated token cannot be read", "check that its OpenID configuration is public"},
}

var aadsts = regexp.MustCompile(`AADSTS[0-9]{4,8}`)

// explainSignIn classifies a sign-in that failed. No request of ours was sent then.
func explainSignIn(ctx context.Context, x *exchange, cause error) *bridge.Error {
	var assertion *assertionError
	if errors.As(x.err, &assertion) {
		reason, advice := bridge.ReasonAuth, "check the tenant's federated identity"
		var classified *bridge.Error
		if errors.As(assertion.cause, &classified) {
			reason, advice = classified.Reason, classified.Advice
			assertion = &assertionError{errors.New(string(classified.Reason) + ": " + describe(classified))}
		}
		return &bridge.Error{Reason: reason, Unsent: true, Detail: assertion.Error(), Advice: advice, Err: cause}
	}
	if ctx.Err() != nil && x.status < http.StatusBadRequest {
		return unsent(ctx.Err(), "the sign-in to Entra did not end in time")
	}
	if x.err != nil {
		failed := explainTransport(x.err)
		failed.Unsent, failed.Detail = true, "the sign-in to Entra: "+failed.Detail
		return failed
	}
	code := aadsts.FindString(string(x.failure))
	refused := &bridge.Error{Reason: bridge.ReasonAuth, Unsent: true, Status: x.status, Code: code}
	known, listed := refusals[code]
	switch {
	case x.status == http.StatusTooManyRequests:
		refused.Reason, refused.Detail = bridge.ReasonThrottled, "the sign-in to Entra was answered 429"
	case listed:
		refused.Detail, refused.Advice = code+": "+known.means, known.advice
	case code != "":
		refused.Detail, refused.Advice = refusalText(x.failure), "look the code up at https://login.microsoftonline.com/error"
	case x.status >= http.StatusInternalServerError:
		refused.Reason, refused.Detail = bridge.ReasonOther, "the sign-in to Entra was "+answered(x)
	case x.status >= http.StatusBadRequest:
		refused.Detail, refused.Advice = "the sign-in to Entra was "+answered(x), "check endpoints.login, and what stands between"
	case x.status != 0:
		refused.Reason, refused.Detail = bridge.ReasonInvalidResponse, "the sign-in to Entra was "+answered(x)+" that cannot be read"
	default:
		// azidentity names credential and cause, and no request was made.
		refused.Detail = clean(cause.Error())
	}
	return refused
}

// refusalText returns the first sentence of an error that we have no words for.
func refusalText(body []byte) string {
	var answer struct {
		Description string `json:"error_description"`
	}
	if json.Unmarshal(body, &answer) != nil || answer.Description == "" {
		return aadsts.FindString(string(body))
	}
	first, _, _ := strings.Cut(answer.Description, " Trace ID:")
	return clean(first)
}

func describe(e *bridge.Error) string {
	if e.Detail != "" || e.Err == nil {
		return e.Detail
	}
	return e.Err.Error()
}
