package app

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"net/http"
	"net/url"
	"strings"
	"text/tabwriter"
	"time"

	"entra-aws-exporter/internal/config"
	"entra-aws-exporter/internal/model"
	"entra-aws-exporter/internal/web"
)

// StatusOptions are the flags of status and healthcheck.
type StatusOptions struct {
	URL           string // of the running exporter
	CAFile        string
	BasicAuthFile string // user:password
	JSON          bool
	Name          string // part of the connections' names; "": all
	All           bool   // print every connection and cause, however many there are
}

// responseLimit bounds a response body, in bytes.
const responseLimit = 64 << 20

// Status prints what a running exporter knows.
func Status(ctx context.Context, common Options, options StatusOptions) error {
	body, err := options.get(ctx, "/api/v1/connections", url.Values{"name": {options.Name}})
	if err != nil {
		return err
	}
	if options.JSON {
		_, err := common.Stdout.Write(body)
		return err
	}
	var response web.Connections
	if err := json.Unmarshal(body, &response); err != nil {
		return fmt.Errorf("decoding the response of %s: %w", options.URL, err)
	}
	return printStatus(common.Stdout, response, options.All, time.Now())
}

// Healthcheck prints the answer of a running exporter's health check, and fails unless it is 200.
func Healthcheck(ctx context.Context, common Options, options StatusOptions) error {
	body, err := options.get(ctx, "/-/healthy", nil)
	if err != nil {
		return err
	}
	_, err = common.Stdout.Write(body)
	return err
}

// get returns the body of a page.
func (s StatusOptions) get(ctx context.Context, path string, query url.Values) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, 15*time.Second)
	defer cancel()
	base, err := url.Parse(s.URL)
	if err != nil || base.Host == "" || (base.Scheme != "http" && base.Scheme != "https") {
		return nil, &UsageError{fmt.Sprintf("--url: %q is not a URL such as http://localhost:10199", s.URL)}
	}
	page := base.JoinPath(path)
	page.RawQuery = query.Encode()
	address := page.String()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
	if err != nil {
		return nil, fmt.Errorf("--url: %w", err)
	}
	if s.BasicAuthFile != "" {
		credentials, err := model.SecretFile(s.BasicAuthFile).Read()
		if err != nil {
			return nil, fmt.Errorf("--url.basic-auth-file: %w", err)
		}
		user, password, _ := strings.Cut(credentials.Reveal(), ":")
		request.SetBasicAuth(user, password)
	}
	transport, err := newTransport(config.HTTPClient{TLSConfig: config.TLSConfig{CAFile: config.Path(s.CAFile)}})
	if err != nil {
		return nil, fmt.Errorf("--url.ca-file: %w", err)
	}
	response, err := (&http.Client{Transport: transport}).Do(request)
	var untrusted *tls.CertificateVerificationError
	switch {
	case errors.As(err, &untrusted):
		return nil, fmt.Errorf("cannot reach the exporter: %w (set --url.ca-file to the CA of its certificate)", err)
	case err != nil:
		return nil, fmt.Errorf("cannot reach the exporter: %w (check that it runs and that --url is right)", err)
	}
	defer response.Body.Close() //nolint:errcheck // it was read
	body, err := io.ReadAll(io.LimitReader(response.Body, responseLimit))
	switch {
	case err != nil:
		return nil, fmt.Errorf("reading the response of %s: %w", address, err)
	case response.StatusCode == http.StatusUnauthorized:
		return nil, fmt.Errorf("%s answered %s (set --url.basic-auth-file to a file with user:password)", address, response.Status)
	case response.StatusCode != http.StatusOK:
		return nil, fmt.Errorf("%s answered %s", address, response.Status)
	}
	return body, nil
}

// shownLines is how many causes, and how many connections with and without any, are
// printed. More are a number.
const shownLines = 30

// printStatus prints what needs attention, what expires next, and one line per connection.
func printStatus(out io.Writer, status web.Connections, showAll bool, now time.Time) error {
	limit := shownLines
	if showAll {
		limit = math.MaxInt
	}
	printCauses(out, status, limit)
	table := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	if len(status.ExpiresNext) > 0 {
		fmt.Fprintln(table, "EXPIRES NEXT\tWHAT\tOF")
		for _, expiry := range status.ExpiresNext[:min(len(status.ExpiresNext), 5)] {
			fmt.Fprintf(table, "%s\t%s\t%s\n", relativeTime(expiry.Expires, now), expiry.Kind.Label(), expiry.Owner())
		}
		fmt.Fprintln(table)
	}
	fmt.Fprintln(table, "CONNECTION\tTOKEN EXPIRES\tJOB\tSAML CERTIFICATE EXPIRES\tROTATION\tSOURCES")
	harmed, healthy := 0, 0
	for _, c := range status.Connections {
		total := &healthy
		if len(c.Advice) > 0 {
			total = &harmed
		}
		if *total++; *total <= limit {
			printConnection(table, c, now)
		}
	}
	if harmed, healthy = max(0, harmed-limit), max(0, healthy-limit); harmed+healthy > 0 {
		fmt.Fprintf(table, "%d more need attention, %d more need nothing; --all shows them\n", harmed, healthy)
	}
	return table.Flush()
}

// cause is advice that several connections may share, such as that of their tenant.
type cause struct {
	owner  string // the first one
	others int
	advice []web.Advice
}

// printCauses prints one block for each cause, the most harmful first.
func printCauses(out io.Writer, status web.Connections, limit int) {
	var causes []*cause
	known := make(map[string]*cause)
	add := func(owner string, advice []web.Advice) {
		for _, group := range web.GroupAdvice(advice) {
			key := fmt.Sprint(group)
			if same := known[key]; same != nil {
				same.others++
				continue
			}
			known[key] = &cause{owner: owner, advice: group}
			causes = append(causes, known[key])
		}
	}
	add("exporter", status.Advice)
	for _, c := range status.Connections {
		add(c.Name, c.Advice)
	}
	for _, shown := range causes[:min(len(causes), limit)] {
		shown.print(out)
	}
	if more := len(causes) - limit; more > 0 {
		fmt.Fprintf(out, "%d more causes; --all shows them\n\n", more)
	}
}

func (c *cause) print(out io.Writer) {
	owner, also := c.owner, ""
	if c.others > 0 {
		owner += fmt.Sprintf(" and %d more", c.others)
	}
	for _, a := range c.advice {
		fmt.Fprintf(out, "%s: %s%s\n", owner, also, a.Message)
		if a.Command != "" {
			fmt.Fprintf(out, "    %s\n", a.Command)
		}
		also = "also: "
	}
	fmt.Fprintln(out)
}

func printConnection(table io.Writer, c web.Connection, now time.Time) {
	token, certificate, job := time.Time{}, time.Time{}, "-"
	if c.Tokens != nil {
		token = c.Tokens.ActiveExpires
	}
	if c.Certificates != nil {
		certificate = c.Certificates.ActiveExpires
	}
	if c.Job != nil {
		job = string(c.Job.Status)
	}
	rotation := string(c.Rotation.Mode)
	if c.Rotation.Phase != "" && c.Rotation.Phase != model.PhaseIdle {
		rotation += ", " + string(c.Rotation.Phase)
	}
	if c.Rollover != nil && c.Rollover.Phase != model.PhaseIdle {
		rotation += "; rollover " + string(c.Rollover.Phase)
	}
	fmt.Fprintf(table, "%s\t%s\t%s\t%s\t%s\t%s\n",
		c.Name, relativeTime(token, now), job, relativeTime(certificate, now), rotation, failingSources(c.Sources))
}

// relativeTime shows a date of expiry, and how many days away it is.
func relativeTime(t, now time.Time) string {
	days := int(t.Sub(now).Hours() / 24)
	switch {
	case t.IsZero():
		return "-"
	case now.After(t):
		return fmt.Sprintf("expired %s (%d d ago)", formatTime(t), -days)
	default:
		return fmt.Sprintf("%s (%d d)", formatTime(t), days)
	}
}

// failingSources names the sources that are down, with the reason, or stale, and counts
// those that were never polled.
func failingSources(sources []web.Source) string {
	var failing []string
	untried := 0
	for _, source := range sources {
		switch {
		case source.Off:
		case source.Up == nil:
			untried++
		case !*source.Up:
			failing = append(failing, fmt.Sprintf("%s: %s", source.Source, source.Reason))
		case !source.Fresh:
			failing = append(failing, string(source.Source)+": stale")
		}
	}
	if untried > 0 {
		failing = append(failing, fmt.Sprintf("%d not polled yet", untried))
	}
	if len(failing) == 0 {
		return "ok"
	}
	return strings.Join(failing, ", ")
}
