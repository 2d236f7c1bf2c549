package app

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"text/tabwriter"
	"time"

	"entra-aws-exporter/internal/config"
	"entra-aws-exporter/internal/model"
	"entra-aws-exporter/internal/web"
)

// Server is a running exporter that a command asks.
type Server struct {
	URL           string
	CAFile        string
	BasicAuthFile string // user:password
}

// StatusOptions are the flags of status.
type StatusOptions struct {
	Server Server
	JSON   bool
}

// answerLimit bounds what is read of a server's answer, in bytes.
const answerLimit = 64 << 20

// Status asks a running exporter what it knows.
func Status(ctx context.Context, common Options, options StatusOptions) error {
	body, err := options.Server.get(ctx, "/api/v1/connections")
	if err != nil {
		return err
	}
	if options.JSON {
		_, err := common.Stdout.Write(body)
		return err
	}
	var answer web.Connections
	if err := json.Unmarshal(body, &answer); err != nil {
		return fmt.Errorf("reading the answer of %s: %w", options.Server.URL, err)
	}
	return printStatus(common.Stdout, answer.Connections, time.Now())
}

// get asks the running exporter.
func (s Server) get(ctx context.Context, path string) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, 15*time.Second)
	defer cancel()
	base, err := url.Parse(s.URL)
	if err != nil || base.Host == "" || (base.Scheme != "http" && base.Scheme != "https") {
		return nil, &UsageError{fmt.Sprintf("--url: %q is not a URL such as http://localhost:10199", s.URL)}
	}
	asked := base.JoinPath(path).String()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, asked, nil)
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
		return nil, fmt.Errorf("asking the exporter: %w (--url.ca-file names the authority of its certificate)", err)
	case err != nil:
		return nil, fmt.Errorf("asking the exporter: %w (is it running there? --url names it)", err)
	}
	defer response.Body.Close() //nolint:errcheck // it was read
	body, err := io.ReadAll(io.LimitReader(response.Body, answerLimit))
	if err != nil {
		return nil, fmt.Errorf("asking the exporter: %w", err)
	}
	if response.StatusCode == http.StatusUnauthorized {
		return nil, fmt.Errorf("asking the exporter: %s answered %s (--url.basic-auth-file holds user:password)", asked, response.Status)
	}
	if response.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("asking the exporter: %s answered %s", asked, response.Status)
	}
	return body, nil
}

// printStatus prints one line per connection, and below what a person should do.
func printStatus(out io.Writer, connections []web.Connection, now time.Time) error {
	table := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(table, "CONNECTION\tTOKEN EXPIRES\tJOB\tSAML CERTIFICATE EXPIRES\tROTATION\tSOURCES")
	for _, c := range connections {
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
		fmt.Fprintf(table, "%s\t%s\t%s\t%s\t%s\t%s\n",
			c.Name, in(token, now), job, in(certificate, now), rotation, amiss(c.Sources))
	}
	if err := table.Flush(); err != nil {
		return err
	}
	for _, c := range connections {
		for _, advice := range c.Advice {
			fmt.Fprintf(out, "\n%s: %s\n", c.Name, advice.Message)
			if advice.Command != "" {
				fmt.Fprintf(out, "    %s\n", advice.Command)
			}
		}
	}
	return nil
}

// in says when a time is, and how far away in days.
func in(t, now time.Time) string {
	if t.IsZero() {
		return "-"
	}
	days := int(t.Sub(now).Hours() / 24)
	switch {
	case now.After(t):
		return fmt.Sprintf("expired %s (%d d ago)", moment(t), -days)
	default:
		return fmt.Sprintf("%s (%d d)", moment(t), days)
	}
}

// amiss names the sources that could not be read, with the reason, or not for long, and
// counts those that nobody has tried to read.
func amiss(sources []web.Source) string {
	var names []string
	untried := 0
	for _, source := range sources {
		switch {
		case source.Off:
		case source.Up == nil:
			untried++
		case !*source.Up:
			names = append(names, fmt.Sprintf("%s: %s", source.Source, source.Reason))
		case !source.Fresh:
			names = append(names, string(source.Source)+": stale")
		}
	}
	if untried > 0 {
		names = append(names, fmt.Sprintf("%d not tried yet", untried))
	}
	if len(names) == 0 {
		return "ok"
	}
	return strings.Join(names, ", ")
}
