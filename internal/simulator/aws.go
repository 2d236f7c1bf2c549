package simulator

import (
	"encoding/json"
	"encoding/xml"
	"errors"
	"net/http"
	"net/url"
	"strings"
	"time"

	"entra-aws-exporter/internal/simulator/clouds"
	"entra-aws-exporter/internal/simulator/sigv4"
)

// awsPrefix is where AWS's services begin on this host: /aws/SERVICE/, SERVICE being
// the name in signatures.
const awsPrefix = "/aws"

// service is one of AWS's APIs.
type service struct {
	name       string // in signatures
	namespace  string // of error types, in front of "#"
	operations map[string]operation
	wording    func(*call, *clouds.Error) answer
	action     func(*http.Request, []byte) string // which operation a request names
}

func (s *Simulator) awsServices() map[string]service {
	return map[string]service{
		"identitystore": {name: "identitystore", namespace: "com.amazonaws.identitystore", operations: identityStoreOperations(), wording: jsonError, action: target},
		"appsauth":      {name: "appsauth", namespace: "com.amazonaws.appsauth", operations: idpOperations(), wording: jsonError, action: target},
		"sso":           {name: "sso", namespace: "com.amazonaws.swbexternalservice", operations: map[string]operation{"SWBExternalService.ListInstances": {name: "ListInstances", serve: listInstances}}, wording: jsonError, action: target},
		"cloudtrail":    {name: "cloudtrail", namespace: "com.amazonaws.cloudtrail", operations: cloudTrailOperations(), wording: jsonError, action: target},
		"sts":           {name: "sts", operations: stsOperations(), wording: queryError, action: queryAction},
	}
}

// target is the operation of the JSON protocols.
func target(r *http.Request, _ []byte) string { return r.Header.Get("X-Amz-Target") }

// queryAction is the operation of the query protocol.
func queryAction(_ *http.Request, body []byte) string {
	form, err := url.ParseQuery(string(body))
	if err != nil {
		return ""
	}
	return form.Get("Action")
}

// serveAWS authenticates a request to a service and runs the operation that it names.
func (s *Simulator) serveAWS(w http.ResponseWriter, r, routed *http.Request, svc service) {
	c := &call{sim: s, r: r, path: routed, id: s.newID(), service: svc.name, namespace: svc.namespace}
	c.operation = operation{name: svc.name, cloud: aws, refuse: svc.wording}
	var err error
	if c.body, err = readBody(r); err != nil {
		c.send(w, svc.wording(c, &clouds.Error{Status: http.StatusBadRequest, Code: "SerializationException", Message: err.Error()}))
		return
	}
	named := svc.action(r, c.body)
	op, known := svc.operations[named]
	if r.Method != http.MethodPost || !known {
		s.count("unknown " + svc.name)
		c.send(w, svc.wording(c, &clouds.Error{Status: http.StatusNotFound, Code: "UnknownOperationException", Message: "The requested operation is not supported."}))
		return
	}
	op.cloud, op.refuse = aws, svc.wording
	c.operation = op
	if refused := c.signedBy(svc.name); refused != nil {
		s.count(op.name)
		c.send(w, svc.wording(c, refused))
		return
	}
	s.handle(w, c)
}

// signedBy verifies the signature and sets the caller.
func (c *call) signedBy(serviceName string) *clouds.Error {
	scope, err := sigv4.Parse(c.r)
	if err != nil {
		return signatureError(err)
	}
	principal, err := read(c, func(w *clouds.Model) (clouds.Principal, error) { return w.Principal(scope.AccessKeyID) })
	var refused *clouds.Error
	if errors.As(err, &refused) {
		return &clouds.Error{Status: http.StatusBadRequest, Code: refused.Code, Message: refused.Message}
	}
	key := sigv4.Key{Secret: principal.SecretAccessKey, SessionToken: principal.SessionToken}
	if _, err := sigv4.Verify(c.r, c.body, key, serviceName, c.now()); err != nil {
		return signatureError(err)
	}
	if region := hostRegion(c.r.Host); region != "" && region != scope.Region {
		return &clouds.Error{Status: http.StatusBadRequest, Code: "InvalidSignatureException", Message: "Credential should be scoped to a valid region."}
	}
	c.principal = principal
	c.caller = clouds.Caller{Actor: principal.Actor, Account: principal.Account, Region: scope.Region}
	return nil
}

// signatureError names a refusal as the JSON protocols do.
func signatureError(err error) *clouds.Error {
	var refused *sigv4.Error
	if !errors.As(err, &refused) {
		return &clouds.Error{Status: http.StatusInternalServerError, Code: "InternalFailure", Message: err.Error()}
	}
	code := map[sigv4.Kind]string{
		sigv4.Missing: "MissingAuthenticationTokenException", sigv4.Incomplete: "IncompleteSignatureException",
		sigv4.UnknownKey: "UnrecognizedClientException", sigv4.Expired: "ExpiredTokenException", sigv4.Mismatch: "InvalidSignatureException",
	}[refused.Kind]
	return &clouds.Error{Status: http.StatusBadRequest, Code: code, Message: refused.Message}
}

// hostRegion finds the region in a host name of AWS's; "" in any other.
func hostRegion(host string) string {
	if !strings.Contains(host, "amazonaws.") && !strings.HasSuffix(host, ".aws.a2z.com") {
		return ""
	}
	for label := range strings.SplitSeq(host, ".") {
		if strings.Count(label, "-") >= 2 && label[len(label)-1] >= '0' && label[len(label)-1] <= '9' {
			return label
		}
	}
	return ""
}

// jsonError words an error as the JSON protocols do.
// https://smithy.io/2.0/aws/protocols/aws-json-1_1-protocol.html
func jsonError(c *call, err *clouds.Error) answer {
	body := map[string]string{"__type": c.namespace + "#" + err.Code, "Message": err.Message}
	if c.service == "cloudtrail" || c.service == "sso" {
		body = map[string]string{"__type": err.Code, "message": err.Message}
	}
	result := asJSON(err.Status, "application/x-amz-json-1.1", body)
	result.header.Set("X-Amzn-Errortype", err.Code+":http://internal.amazon.com/coral/com.amazon.coral.service/")
	return result
}

// asAWS is an answer of the JSON protocols, in the version that was asked with.
func (c *call) asAWS(body any) answer {
	contentType := c.r.Header.Get("Content-Type")
	if !strings.HasPrefix(contentType, "application/x-amz-json-") {
		contentType = "application/x-amz-json-1.1"
	}
	return asJSON(http.StatusOK, contentType, body)
}

// epoch is a timestamp of the JSON protocols: seconds with milliseconds.
func epoch(t time.Time) json.Number {
	content, _ := json.Marshal(float64(t.UnixMilli()) / 1000) // a finite number
	return json.Number(content)
}

// queryErrors are the names that the query protocol has for what the JSON ones call
// otherwise.
var queryErrors = map[string]string{
	"MissingAuthenticationTokenException": "MissingAuthenticationToken", "IncompleteSignatureException": "IncompleteSignature",
	"UnrecognizedClientException": "InvalidClientTokenId", "ExpiredTokenException": "ExpiredToken",
	"InvalidSignatureException": "SignatureDoesNotMatch", "AccessDeniedException": "AccessDenied", "UnknownOperationException": "InvalidAction",
}

// queryError words an error as the query protocol does.
func queryError(c *call, err *clouds.Error) answer {
	code, status := err.Code, err.Status
	if renamed, found := queryErrors[code]; found {
		code = renamed
	}
	switch code {
	case "MissingAuthenticationToken", "InvalidClientTokenId", "ExpiredToken", "SignatureDoesNotMatch", "AccessDenied":
		status = http.StatusForbidden
	}
	kind := "Sender"
	if status >= http.StatusInternalServerError {
		kind = "Receiver"
	}
	type detail struct{ Type, Code, Message string }
	return asXML(status, struct {
		XMLName   xml.Name `xml:"https://sts.amazonaws.com/doc/2011-06-15/ ErrorResponse"`
		Error     detail
		RequestID string `xml:"RequestId"`
	}{Error: detail{kind, code, err.Message}, RequestID: c.id})
}

func asXML(status int, body any) answer {
	content, err := xml.Marshal(body)
	if err != nil {
		panic("an answer that is no XML: " + err.Error())
	}
	return answer{status: status, header: http.Header{"Content-Type": {"text/xml"}}, body: content}
}
