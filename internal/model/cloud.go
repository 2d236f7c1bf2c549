package model

// Cloud is one of Microsoft's clouds.
type Cloud string

// The clouds.
const (
	CloudPublic   Cloud = "public"
	CloudUSGov    Cloud = "usgov"
	CloudUSGovDoD Cloud = "usgov_dod"
	CloudChina    Cloud = "china"
)

// Clouds lists the closed set.
func Clouds() []Cloud { return []Cloud{CloudPublic, CloudUSGov, CloudUSGovDoD, CloudChina} }

// Endpoints returns the sign-in URL and the root URL of Microsoft Graph; both are empty
// for an unknown cloud.
// https://learn.microsoft.com/entra/identity-platform/authentication-national-cloud
// https://learn.microsoft.com/graph/deployments
func (c Cloud) Endpoints() (login, graph string) {
	switch c {
	case CloudPublic:
		return "https://login.microsoftonline.com", "https://graph.microsoft.com"
	case CloudUSGov:
		return "https://login.microsoftonline.us", "https://graph.microsoft.us"
	case CloudUSGovDoD:
		return "https://login.microsoftonline.us", "https://dod-graph.microsoft.us"
	case CloudChina:
		return "https://login.chinacloudapi.cn", "https://microsoftgraph.chinacloudapi.cn"
	default:
		return "", ""
	}
}

// TokenExchange returns the audience that the cloud requires in a federated token.
// learn.microsoft.com: workload-identity-federation-create-trust
func (c Cloud) TokenExchange() string {
	switch c {
	case CloudUSGov, CloudUSGovDoD:
		return "api://AzureADTokenExchangeUSGov"
	case CloudChina:
		return "api://AzureADTokenExchangeChina"
	default:
		return "api://AzureADTokenExchange"
	}
}
