package entra

import (
	"encoding/json"
	"strings"
)

// explainAADSTS returns what a code of Entra's sign-in service means for an application,
// and what to do about it; "" for a code that applications rarely meet.
// https://learn.microsoft.com/entra/identity-platform/reference-error-codes
func explainAADSTS(code string) (meaning, advice string) {
	known := map[string][2]string{
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
		"AADSTS700212":  {"no federated credential matches the token's audience", "both must have the one of the tenant's cloud, see deploy/permissions/entra.md"},
		"AADSTS700213":  {"no federated credential matches the token's subject", "check the subject of the federated credential"},
		"AADSTS5000223": {"the issuer of the federated token cannot be read", "check that its OpenID configuration is public"},
	}[code]
	return known[0], known[1]
}

// errorDescription returns the first sentence of an error with an unlisted code.
func errorDescription(body []byte) string {
	var content struct {
		Description string `json:"error_description"`
	}
	if json.Unmarshal(body, &content) != nil || content.Description == "" {
		return aadstsPattern.FindString(string(body))
	}
	first, _, _ := strings.Cut(content.Description, " Trace ID:")
	return redact(first)
}
