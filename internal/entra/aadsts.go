package entra

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"regexp"
	"strings"

	"entra-aws-exporter/internal/model"
)

// refusal is what a code of Entra's sign-in service means for an application, and
// what to do about it.
type refusal struct{ means, advice string }

// refusalOf knows the codes that an application meets.
// https://learn.microsoft.com/entra/identity-platform/reference-error-codes
func refusalOf(code string) (known refusal, listed bool) {
	switch code {
	case "AADSTS7000215":
		known = refusal{"the client secret is wrong", "put the secret's value, not its id, into client_secret_file"}
	case "AADSTS7000222":
		known = refusal{"the client secret has expired", "create a new one for the app registration and write it to client_secret_file"}
	case "AADSTS7000216":
		known = refusal{"a client secret or assertion is missing", "check the tenant's way to sign in"}
	case "AADSTS7000218":
		known = refusal{"a client secret or assertion is missing", "the app registration must not be a public client"}
	case "AADSTS90002":
		known = refusal{"there is no such tenant", "check tenant_id, and cloud for a national cloud"}
	case "AADSTS900023":
		known = refusal{"the tenant id is not valid", "check tenant_id"}
	case "AADSTS900382":
		known = refusal{"the tenant is in another national cloud", "check cloud"}
	case "AADSTS700016":
		known = refusal{"there is no such application in the tenant", "check client_id and tenant_id"}
	case "AADSTS7000112":
		known = refusal{"the application is disabled", "enable its sign-in in the enterprise application's properties"}
	case "AADSTS7000229":
		known = refusal{"the application has no service principal in the tenant: consent is missing", "let an administrator of the tenant consent to it"}
	case "AADSTS65001":
		known = refusal{"consent is missing", "let an administrator grant consent to the application's permissions"}
	case "AADSTS650052":
		known = refusal{"the tenant has not consented to the application", "let an administrator grant consent"}
	case "AADSTS500011":
		known = refusal{"Graph is not known in this tenant by that name", "check cloud and endpoints.graph"}
	case "AADSTS500014":
		known = refusal{"the service principal of the application or of Graph is disabled", "enable it in the tenant"}
	case "AADSTS501051":
		known = refusal{"the application is not assigned to a role", "assign it, or switch off that assignment is required"}
	case "AADSTS53003":
		known = refusal{"a Conditional Access policy blocks the exporter", "exclude the workload identity, or add its address to the policy"}
	case "AADSTS700027":
		known = refusal{"the client certificate is not registered, or its signature is wrong", "upload the certificate of client_certificate_file to the app registration"}
	case "AADSTS700024":
		known = refusal{"the assertion is not valid now", "check the clock, and the lifetime of the federated token"}
	case "AADSTS700021":
		known = refusal{"the federated token does not match", "check issuer, subject and audience of the federated credential"}
	case "AADSTS70021":
		known = refusal{"no federated credential matches the token", "check issuer, subject and audience of the federated credential"}
	case "AADSTS700211":
		known = refusal{"no federated credential matches the token's issuer", "check the issuer of the federated credential"}
	case "AADSTS700212":
		known = refusal{"no federated credential matches the token's audience", "both must have the one of the tenant's cloud, see deploy/permissions/entra.md"}
	case "AADSTS700213":
		known = refusal{"no federated credential matches the token's subject", "check the subject of the federated credential"}
	case "AADSTS5000223":
		known = refusal{"the issuer of the federated token cannot be read", "check that its OpenID configuration is public"}
	default:
		return refusal{}, false
	}
	return known, true
}

var aadsts = regexp.MustCompile(`AADSTS[0-9]{4,8}`)

// explainSignIn classifies a sign-in that failed. No request of ours was sent then.
func explainSignIn(ctx context.Context, x *exchange, cause error) *model.Error {
	var assertion *assertionError
	if errors.As(x.err, &assertion) {
		reason, advice := model.ReasonAuth, "check the tenant's federated identity"
		var classified *model.Error
		if errors.As(assertion.cause, &classified) {
			reason, advice = classified.Reason, classified.Advice
			assertion = &assertionError{errors.New(string(classified.Reason) + ": " + describe(classified))}
		}
		return &model.Error{Reason: reason, Unsent: true, Detail: assertion.Error(), Advice: advice, Err: cause}
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
	refused := &model.Error{Reason: model.ReasonAuth, Unsent: true, Status: x.status, Code: code}
	known, listed := refusalOf(code)
	switch {
	case x.status == http.StatusTooManyRequests:
		refused.Reason, refused.Detail = model.ReasonThrottled, "the sign-in to Entra was answered 429"
	case listed:
		refused.Detail, refused.Advice = code+": "+known.means, known.advice
	case code != "":
		refused.Detail, refused.Advice = refusalText(x.failure), "look the code up at https://login.microsoftonline.com/error"
	case x.status >= http.StatusInternalServerError:
		refused.Reason, refused.Detail = model.ReasonOther, "the sign-in to Entra was "+answered(x)
	case x.status >= http.StatusBadRequest:
		refused.Detail, refused.Advice = "the sign-in to Entra was "+answered(x), "check endpoints.login, and what stands between"
	case x.status != 0:
		refused.Reason, refused.Detail = model.ReasonInvalidResponse, "the sign-in to Entra was "+answered(x)+" that cannot be read"
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

func describe(e *model.Error) string {
	if e.Detail != "" || e.Err == nil {
		return e.Detail
	}
	return e.Err.Error()
}
