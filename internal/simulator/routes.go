package simulator

import (
	"context"
	"net/http"
	"net/url"
	"regexp"
	"strings"

	"entra-aws-exporter/internal/simulator/clouds"
)

// The first elements of paths. The real path of the sign-in endpoint has none, because
// the sign-in library takes the first element for the tenant.
const (
	loginPrefix   = "/login"
	graphPrefix   = "/graph"
	awsPrefix     = "/aws"  // then the service's name in signatures
	scimPrefix    = "/scim" // then AWS's own path: /TENANT/scim/v2
	controlPrefix = "/control"
)

// alternateKey marks, in a routed path, an object named by its appId.
const alternateKey = "appId="

var appIDKey = regexp.MustCompile(`\((?i:appId)='([^']*)'\)`)

// routes is the table of everything that is served but the AWS services, whose
// operations are not in their paths.
func (s *Simulator) routes() *http.ServeMux {
	mux := http.NewServeMux()
	add := func(prefix string, operations map[string]operation, wording func(*call, *clouds.Error) response, authenticate func(*call) *clouds.Error) {
		for pattern, op := range operations {
			s.operations[op.name] = true
			op.wording, op.onAWS = wording, prefix == scimPrefix
			method, path, _ := strings.Cut(pattern, " ")
			mux.HandleFunc(method+" "+prefix+path, func(w http.ResponseWriter, r *http.Request) { s.serve(w, r, op, authenticate) })
		}
	}
	add(loginPrefix, loginOperations(), loginError, nil)
	add(graphPrefix+"/v1.0", graphOperations(), graphError, (*call).authenticateGraph)
	add(scimPrefix, scimOperations(), scimError, nil)
	for name, svc := range awsServices() {
		svc.name = name
		for _, op := range svc.operations {
			s.operations[op.name] = true
		}
		mux.HandleFunc(awsPrefix+"/"+name+"/", func(w http.ResponseWriter, r *http.Request) { s.serveAWS(w, r, svc) })
	}
	mux.HandleFunc(graphPrefix+"/", func(w http.ResponseWriter, r *http.Request) {
		s.serve(w, r, operation{name: "unknown graph", wording: graphError, serve: func(*call) (response, error) {
			return response{}, badRequest("Resource not found for the segment '%s'.", r.URL.Path)
		}}, nil)
	})
	s.addControl(mux)
	return mux
}

func (s *Simulator) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	routed := r.Clone(context.WithValue(r.Context(), sentKey{}, r))
	routed.URL = &url.URL{Path: routePath(r.Host, r.URL.Path), RawQuery: r.URL.RawQuery}
	s.mux.ServeHTTP(w, routed)
}

// sentKey finds the request as the client sent it, whose path is signed.
type sentKey struct{}

func (s *Simulator) newCall(routed *http.Request, op operation) (*call, error) {
	c := &call{operation: op, sim: s, r: routed, path: routed, id: s.newID()}
	if original, found := routed.Context().Value(sentKey{}).(*http.Request); found {
		c.r = original
	}
	var err error
	c.body, err = readBody(c.r)
	return c, err
}

func (s *Simulator) serve(w http.ResponseWriter, routed *http.Request, op operation, authenticate func(*call) *clouds.Error) {
	c, err := s.newCall(routed, op)
	if err != nil {
		c.send(w, op.wording(c, clouds.NewError("", http.StatusBadRequest, "BadRequest", err.Error())))
		return
	}
	if authenticate != nil {
		if refused := authenticate(c); refused != nil {
			s.count(op.name)
			c.send(w, op.wording(c, refused))
			return
		}
	}
	s.handle(w, c)
}

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
	{regexp.MustCompile(`^secretsmanager\.[a-z0-9-]+\.(amazonaws\.com(\.cn)?|api\.aws)$`), awsPrefix + "/secretsmanager"},
	{regexp.MustCompile(`^scim\.[a-z0-9-]+\.amazonaws\.com(\.cn)?$`), scimPrefix},
}

// routePath finds a request's place in the table: by host name, by the first element
// of its path, or, with any other path, as a sign-in.
func routePath(host, path string) string {
	path = appIDKey.ReplaceAllString(path, "/"+alternateKey+"$1")
	path = strings.Replace(path, "/microsoft.graph.", "/", 1)
	for _, route := range hostRoutes {
		if route.host.MatchString(host) {
			return route.prefix + path
		}
	}
	for _, prefix := range []string{loginPrefix, graphPrefix, awsPrefix, scimPrefix, controlPrefix, "/-"} {
		if strings.HasPrefix(path+"/", prefix+"/") {
			if prefix == awsPrefix && !strings.HasSuffix(path, "/") {
				path += "/"
			}
			return path
		}
	}
	return loginPrefix + path
}
