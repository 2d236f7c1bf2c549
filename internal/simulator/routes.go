package simulator

import (
	"context"
	"net/http"
	"net/url"
	"regexp"
	"strings"

	"entra-aws-exporter/internal/simulator/clouds"
)

// alternateKey marks, in a routed path, an object named by its appId.
const alternateKey = "appId="

var byAppID = regexp.MustCompile(`\((?i:appId)='([^']*)'\)`)

// routes is the table of everything that is served but the AWS services, whose
// operations are not in their paths.
func (s *Simulator) routes() *http.ServeMux {
	mux := http.NewServeMux()
	add := func(prefix string, operations map[string]operation, refuse func(*call, *clouds.Error) answer, authenticate func(*call) *clouds.Error) {
		for pattern, op := range operations {
			s.operations[op.name] = true
			op.refuse = refuse
			if prefix == scimPrefix {
				op.cloud = aws
			}
			method, path, _ := strings.Cut(pattern, " ")
			mux.HandleFunc(method+" "+prefix+path, func(w http.ResponseWriter, r *http.Request) { s.serve(w, r, op, authenticate) })
		}
	}
	add(loginPrefix, s.loginOperations(), loginError, nil)
	add(graphPrefix+"/v1.0", s.graphOperations(), graphError, func(c *call) (err *clouds.Error) {
		c.caller, err = c.graphCaller()
		return err
	})
	add(scimPrefix, s.scimOperations(), scimError, nil)
	add("", map[string]operation{"GET /metadata/identity/oauth2/token": {name: "GET managed identity", serve: managedIdentity}}, metadataServiceError, nil)

	for name, service := range s.awsServices() {
		for _, op := range service.operations {
			s.operations[op.name] = true
		}
		mux.HandleFunc(awsPrefix+"/"+name+"/", func(w http.ResponseWriter, r *http.Request) {
			s.serveAWS(w, sent(r), r, service)
		})
	}
	mux.HandleFunc(graphPrefix+"/", func(w http.ResponseWriter, r *http.Request) {
		s.serve(w, r, operation{name: "unknown graph", refuse: graphError, serve: func(*call) (answer, error) {
			return answer{}, badRequest("Resource not found for the segment '%s'.", r.URL.Path)
		}}, nil)
	})
	s.addControl(mux)
	return mux
}

// loginPrefix is where the sign-in endpoint is routed; its real path has no prefix,
// because the sign-in library takes the first element for the tenant.
const loginPrefix = "/login"

// ServeHTTP implements http.Handler.
func (s *Simulator) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	routed := r.Clone(context.WithValue(r.Context(), sentKey{}, r))
	routed.URL = &url.URL{Path: routePath(r.Host, r.URL.Path), RawQuery: r.URL.RawQuery}
	s.mux.ServeHTTP(w, routed)
}

// sentKey finds the request as the client sent it, whose path is signed.
type sentKey struct{}

func sent(r *http.Request) *http.Request {
	if original, found := r.Context().Value(sentKey{}).(*http.Request); found {
		return original
	}
	return r
}

// serve runs an operation of a service whose operations have paths.
func (s *Simulator) serve(w http.ResponseWriter, routed *http.Request, op operation, authenticate func(*call) *clouds.Error) {
	c := &call{operation: op, sim: s, r: sent(routed), path: routed, id: s.newID()}
	var err error
	if c.body, err = readBody(c.r); err != nil {
		c.send(w, op.refuse(c, &clouds.Error{Status: http.StatusBadRequest, Code: "BadRequest", Message: err.Error()}))
		return
	}
	if authenticate != nil {
		if refused := authenticate(c); refused != nil {
			s.count(op.name)
			c.send(w, op.refuse(c, refused))
			return
		}
	}
	s.handle(w, c)
}

// ownPrefixes are the first elements of paths that are routed as they are.
var ownPrefixes = []string{loginPrefix, graphPrefix, awsPrefix, scimPrefix, "/metadata", "/control", "/-"}

// hostRoutes gives the clouds' own host names their place in the table.
var hostRoutes = []struct {
	host   *regexp.Regexp
	prefix string
}{
	{regexp.MustCompile(`^(login\.microsoftonline\.(com|us)|login\.chinacloudapi\.cn)$`), loginPrefix},
	{regexp.MustCompile(`^(graph\.microsoft\.(com|us)|dod-graph\.microsoft\.us|microsoftgraph\.chinacloudapi\.cn)$`), graphPrefix},
	{regexp.MustCompile(`^(up\.sso|identitystore)\.[a-z0-9-]+\.(amazonaws\.com(\.cn)?|api\.aws)$`), awsPrefix + "/identitystore"},
	{regexp.MustCompile(`^auth-control\.[a-z0-9-]+\.prod\.apps-auth\.aws\.a2z\.com$`), awsPrefix + "/appsauth"},
	{regexp.MustCompile(`^sso\.[a-z0-9-]+\.(amazonaws\.com(\.cn)?|api\.aws)$`), awsPrefix + "/sso"},
	{regexp.MustCompile(`^sts(\.[a-z0-9-]+)?\.(amazonaws\.com(\.cn)?|api\.aws)$`), awsPrefix + "/sts"},
	{regexp.MustCompile(`^cloudtrail\.[a-z0-9-]+\.(amazonaws\.com(\.cn)?|api\.aws)$`), awsPrefix + "/cloudtrail"},
	{regexp.MustCompile(`^scim\.[a-z0-9-]+\.amazonaws\.com(\.cn)?$`), scimPrefix},
}

// routePath finds a request's place in the table: by host name, by the first element
// of its path, or, with any other path, as a sign-in.
func routePath(host, path string) string {
	path = byAppID.ReplaceAllString(path, "/"+alternateKey+"$1")
	path = strings.Replace(path, "/microsoft.graph.", "/", 1)
	for _, route := range hostRoutes {
		if route.host.MatchString(host) {
			return route.prefix + path
		}
	}
	for _, prefix := range ownPrefixes {
		if path == prefix || strings.HasPrefix(path, prefix+"/") {
			if strings.HasPrefix(path, awsPrefix) && !strings.HasSuffix(path, "/") {
				path += "/"
			}
			return path
		}
	}
	return loginPrefix + path
}
