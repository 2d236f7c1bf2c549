package simulator

import (
	"encoding/base64"
	"encoding/xml"
	"net/http"
	"slices"

	"entra-aws-exporter/internal/simulator/clouds"
)

// The parts of federation metadata that say how a tenant signs. Entra lists the same
// certificates in two role descriptors and does not mark the active one.
// https://learn.microsoft.com/entra/identity-platform/federation-metadata
type (
	entityDescriptor struct {
		XMLName  xml.Name         `xml:"urn:oasis:names:tc:SAML:2.0:metadata EntityDescriptor"`
		ID       string           `xml:"ID,attr"`
		EntityID string           `xml:"entityID,attr"`
		Roles    []roleDescriptor `xml:"RoleDescriptor"`
		IDP      roleDescriptor   `xml:"IDPSSODescriptor"`
	}
	roleDescriptor struct {
		Type      string          `xml:"http://www.w3.org/2001/XMLSchema-instance type,attr,omitempty"`
		Protocols string          `xml:"protocolSupportEnumeration,attr"`
		Keys      []keyDescriptor `xml:"KeyDescriptor"`
		SignOn    []signOnService `xml:"SingleSignOnService"`
	}
	keyDescriptor struct {
		Use  string  `xml:"use,attr"`
		Info keyInfo `xml:"http://www.w3.org/2000/09/xmldsig# KeyInfo"`
	}
	keyInfo struct {
		Certificate string `xml:"X509Data>X509Certificate"`
	}
	signOnService struct {
		Binding  string `xml:"Binding,attr"`
		Location string `xml:"Location,attr"`
	}
)

func federationMetadata(c *call) (answer, error) {
	tenant := c.path.PathValue("tenant")
	if err := c.knownTenant(tenant); err != nil {
		return answer{}, err
	}
	appID := c.r.URL.Query().Get("appid")
	if app := c.path.PathValue("app"); app != "" {
		appID = app
	}
	applications, err := read(c, func(w *clouds.Model) ([]clouds.ServicePrincipal, error) {
		return w.ServicePrincipals(clouds.CallerFor(clouds.ActorSetup), tenant, "")
	})
	if err != nil {
		return answer{}, err
	}
	at := slices.IndexFunc(applications, func(sp clouds.ServicePrincipal) bool { return sp.AppID == appID })
	if at < 0 {
		return answer{}, invalidLogin("AADSTS700016", "unauthorized_client", "Application with identifier '%s' was not found in the directory '%s'.", appID, tenant)
	}
	var keys []keyDescriptor
	for _, certificate := range applications[at].Certificates {
		keys = append(keys, keyDescriptor{Use: "signing", Info: keyInfo{base64.StdEncoding.EncodeToString(certificate.DER())}})
	}
	signOn := c.base() + "/" + tenant + "/saml2"
	content, err := xml.Marshal(entityDescriptor{
		ID: "_" + c.id, EntityID: "https://sts.windows.net/" + tenant + "/",
		Roles: []roleDescriptor{{Type: "fed:SecurityTokenServiceType", Protocols: "http://docs.oasis-open.org/wsfed/federation/200706", Keys: keys}},
		IDP: roleDescriptor{
			Protocols: "urn:oasis:names:tc:SAML:2.0:protocol", Keys: keys,
			SignOn: []signOnService{{"urn:oasis:names:tc:SAML:2.0:bindings:HTTP-Redirect", signOn}},
		},
	})
	if err != nil {
		return answer{}, err
	}
	return answer{
		status: http.StatusOK, header: http.Header{"Content-Type": {"application/samlmetadata+xml"}},
		body: append([]byte(xml.Header), content...),
	}, nil
}
