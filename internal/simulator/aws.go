package simulator

import (
	"bytes"
	"encoding/json"
	"encoding/xml"
	"errors"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"entra-aws-exporter/internal/simulator/clouds"
	"entra-aws-exporter/internal/simulator/sigv4"
)

type service struct {
	name       string // in signatures
	namespace  string // of error types, in front of "#"
	operations map[string]operation
	wording    func(*call, *clouds.Error) response
	action     func(*call) string // which operation a request names
}

func awsServices() map[string]service {
	return map[string]service{
		"identitystore":  {namespace: "com.amazonaws.identitystore", operations: identityStoreOperations(), wording: jsonError, action: jsonTarget},
		"appsauth":       {namespace: "com.amazonaws.appsauth", operations: idpOperations(), wording: jsonError, action: jsonTarget},
		"sso":            {operations: map[string]operation{"SWBExternalService.ListInstances": {name: "ListInstances", serve: listInstances}}, wording: jsonError, action: jsonTarget},
		"cloudtrail":     {operations: cloudTrailOperations(), wording: jsonError, action: jsonTarget},
		"secretsmanager": {operations: secretsOperations(), wording: jsonError, action: jsonTarget},
		"sts":            {operations: stsOperations(), wording: queryError, action: func(c *call) string { return c.form().Get("Action") }},
	}
}

func jsonTarget(c *call) string { return c.r.Header.Get("X-Amz-Target") }

func (c *call) form() url.Values {
	form, err := url.ParseQuery(string(c.body))
	if err != nil {
		return url.Values{}
	}
	return form
}

func (s *Simulator) serveAWS(w http.ResponseWriter, routed *http.Request, svc service) {
	c, err := s.newCall(routed, operation{name: svc.name, onAWS: true, wording: svc.wording})
	c.service = svc
	if err != nil {
		c.send(w, svc.wording(c, clouds.NewError("", http.StatusBadRequest, "SerializationException", err.Error())))
		return
	}
	op, known := svc.operations[svc.action(c)]
	if c.r.Method != http.MethodPost || !known {
		s.count("unknown " + svc.name)
		c.send(w, svc.wording(c, clouds.NewError("", http.StatusNotFound, "UnknownOperationException", "The requested operation is not supported.")))
		return
	}
	c.name, c.serve = op.name, op.serve
	if refused := c.authenticateAWS(); refused != nil {
		s.count(op.name)
		c.send(w, svc.wording(c, refused))
		return
	}
	s.handle(w, c)
}

func (c *call) authenticateAWS() *clouds.Error {
	scope, err := sigv4.Parse(c.r)
	if err != nil {
		return signatureError(err)
	}
	principal, err := query(c, func(m *clouds.Model) (clouds.Principal, error) { return m.Principal(scope.AccessKeyID) })
	var refused *clouds.Error
	if errors.As(err, &refused) {
		return refused
	}
	key := sigv4.Key{Secret: principal.SecretAccessKey, SessionToken: principal.SessionToken}
	if _, err := sigv4.Verify(c.r, c.body, key, c.service.name, c.now()); err != nil {
		return signatureError(err)
	}
	if region := hostRegion(c.r.Host); region != "" && region != scope.Region {
		return clouds.NewError("", http.StatusBadRequest, "InvalidSignatureException", "Credential should be scoped to a valid region.")
	}
	c.principal = principal
	c.caller = clouds.Caller{Actor: principal.Actor, Account: principal.Account, Region: scope.Region}
	return nil
}

func signatureError(err error) *clouds.Error {
	var refused *sigv4.Error
	if !errors.As(err, &refused) {
		return clouds.NewError("", http.StatusInternalServerError, "InternalFailure", err.Error())
	}
	return clouds.NewError("", http.StatusBadRequest, refused.Code, refused.Message)
}

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
func jsonError(c *call, err *clouds.Error) response {
	body := map[string]string{"__type": err.Code, "message": err.Message}
	if c.service.namespace != "" { // the console's services
		body = map[string]string{"__type": c.service.namespace + "#" + err.Code, "Message": err.Message}
	}
	if err.Reason != "" {
		body["Reason"] = err.Reason
	}
	result := jsonResponse(err.Status, "application/x-amz-json-1.1", body)
	result.header.Set("X-Amzn-Errortype", err.Code+":http://internal.amazon.com/coral/com.amazon.coral.service/")
	return result
}

// awsResponse is a response of the JSON protocols, in the version of the request.
func (c *call) awsResponse(body any) response {
	contentType := c.r.Header.Get("Content-Type")
	if !strings.HasPrefix(contentType, "application/x-amz-json-") {
		contentType = "application/x-amz-json-1.1"
	}
	return jsonResponse(http.StatusOK, contentType, body)
}

// epoch is a timestamp of the JSON protocols: seconds with milliseconds.
func epoch(t time.Time) json.Number {
	content, _ := json.Marshal(float64(t.UnixMilli()) / 1000) // a finite number
	return json.Number(content)
}

var queryErrors = map[string]string{
	"MissingAuthenticationTokenException": "MissingAuthenticationToken", "IncompleteSignatureException": "IncompleteSignature",
	"UnrecognizedClientException": "InvalidClientTokenId", "ExpiredTokenException": "ExpiredToken",
	"InvalidSignatureException": "SignatureDoesNotMatch", "AccessDeniedException": "AccessDenied", "UnknownOperationException": "InvalidAction",
}

// fields are elements of a response of the query protocol: text, or fields again.
type fields map[string]any

func (f fields) write(to *bytes.Buffer) {
	for _, name := range slices.Sorted(maps.Keys(f)) {
		to.WriteString("<" + name + ">")
		switch value := f[name].(type) {
		case fields:
			value.write(to)
		case string:
			_ = xml.EscapeText(to, []byte(value)) // a buffer never fails
		}
		to.WriteString("</" + name + ">")
	}
}

func queryResponse(status int, root string, content fields) response {
	var body bytes.Buffer
	body.WriteString("<" + root + ` xmlns="https://sts.amazonaws.com/doc/2011-06-15/">`)
	content.write(&body)
	body.WriteString("</" + root + ">")
	return response{status: status, header: http.Header{"Content-Type": {"text/xml"}}, body: body.Bytes()}
}

func queryError(c *call, err *clouds.Error) response {
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
	return queryResponse(status, "ErrorResponse", fields{
		"Error": fields{"Type": kind, "Code": code, "Message": err.Message}, "RequestId": c.id,
	})
}
