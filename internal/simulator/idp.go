package simulator

import (
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"net/http"
	"strings"

	"entra-aws-exporter/internal/simulator/clouds"
)

const idpTarget = "AppsAuthControlPlaneService."

// idpOperations are those of the console's service for the external identity provider.
func idpOperations() map[string]operation {
	return map[string]operation{
		idpTarget + "ListExternalIdPConfigurationsForDirectory": {name: "ListExternalIdPConfigurationsForDirectory", serve: listIDPConfigurations},
		idpTarget + "ListExternalIdPCertificates":               {name: "ListExternalIdPCertificates", serve: listIDPCertificates},
		idpTarget + "ImportExternalIdPCertificate":              {name: "ImportExternalIdPCertificate", serve: importIDPCertificate},
		idpTarget + "DeleteExternalIdPCertificate":              {name: "DeleteExternalIdPCertificate", serve: deleteIDPCertificate},
	}
}

// idpRequest is what the service's requests hold.
type idpRequest struct {
	IDPID          string `json:"idpId"`
	DirectoryID    string `json:"directoryId"`
	CertificateID  string `json:"certificateId"`
	CertificateUse string `json:"certificateUse"`
	PEM            string `json:"x509CertificateInPEM"`
}

func (c *call) idpRequest() (idpRequest, error) {
	var request idpRequest
	if sent := c.r.Header.Get("Content-Type"); sent != "application/x-amz-json-1.0" {
		return request, &clouds.Error{
			Service: clouds.ServiceAppsAuth, Status: http.StatusNotFound, Code: "UnknownOperationException",
			Message: "The service speaks application/x-amz-json-1.0, not " + sent + ".",
		}
	}
	return request, c.decode(&request)
}

func listIDPConfigurations(c *call) (answer, error) {
	request, err := c.idpRequest()
	if err != nil {
		return answer{}, err
	}
	configurations, err := read(c, func(w *clouds.Model) ([]clouds.IdPConfiguration, error) {
		return w.IdPConfigurations(c.caller, request.DirectoryID)
	})
	if err != nil {
		return answer{}, err
	}
	list := []map[string]any{}
	for _, configuration := range configurations {
		certificates := []map[string]string{}
		for _, id := range configuration.CertificateIDs {
			certificates = append(certificates, map[string]string{"certificateId": id, "status": "ACTIVE"})
		}
		list = append(list, map[string]any{
			"idpId": configuration.IdPID, "isEnabled": configuration.Enabled,
			"idpSAMLAssociationValue": map[string]any{
				"idpSAMLConfig":     map[string]any{"entityId": configuration.EntityID, "loginURL": configuration.LoginURL, "wantRequestSigned": false},
				"idpCertificateIds": certificates,
			},
		})
	}
	return c.asAWS(map[string]any{"associations": list}), nil
}

func listIDPCertificates(c *call) (answer, error) {
	request, err := c.idpRequest()
	if err != nil {
		return answer{}, err
	}
	certificates, err := read(c, func(w *clouds.Model) ([]clouds.IdPCertificate, error) {
		return w.IdPCertificates(c.caller, request.IDPID, request.DirectoryID)
	})
	if err != nil {
		return answer{}, err
	}
	list := []map[string]any{}
	for _, certificate := range certificates {
		list = append(list, idpCertificateEntity(certificate))
	}
	return c.asAWS(map[string]any{"idPCertificates": list}), nil
}

func idpCertificateEntity(certificate clouds.IdPCertificate) map[string]any {
	der := certificate.DER()
	entity := map[string]any{
		"certificateId": certificate.CertificateID, "version": 3,
		"notBefore": epoch(certificate.NotBefore()), "notAfter": epoch(certificate.NotAfter()),
		"x509CertificateInPEM": string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})),
		"serialNumber":         0, "serialNumberString": "0", "subjectName": "", "issuerName": "", "signatureAlgorithmName": "", "publicKey": "",
	}
	parsed, err := x509.ParseCertificate(der)
	if err != nil {
		return entity // what it claims is all there is
	}
	entity["serialNumber"], entity["serialNumberString"] = json.Number(parsed.SerialNumber.String()), parsed.SerialNumber.String()
	entity["subjectName"], entity["issuerName"] = parsed.Subject.String(), parsed.Issuer.String()
	entity["signatureAlgorithmName"] = strings.ReplaceAll(parsed.SignatureAlgorithm.String(), "-", "with")
	entity["publicKey"] = base64.StdEncoding.EncodeToString(parsed.RawSubjectPublicKeyInfo)
	return entity
}

func importIDPCertificate(c *call) (answer, error) {
	request, err := c.idpRequest()
	if err != nil {
		return answer{}, err
	}
	id, err := act(c, func(w *clouds.Model) (string, error) {
		return w.ImportIdPCertificate(c.caller, request.IDPID, request.DirectoryID, request.PEM)
	})
	if err != nil {
		return answer{}, err
	}
	return c.asAWS(map[string]string{"certificateId": id}), nil
}

func deleteIDPCertificate(c *call) (answer, error) {
	request, err := c.idpRequest()
	if err != nil {
		return answer{}, err
	}
	_, err = act(c, func(w *clouds.Model) (struct{}, error) {
		return nothing(w.DeleteIdPCertificate(c.caller, request.IDPID, request.DirectoryID, request.CertificateID))
	})
	if err != nil {
		return answer{}, err
	}
	return c.asAWS(struct{}{}), nil
}
