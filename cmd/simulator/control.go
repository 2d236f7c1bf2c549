package main

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/url"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/alecthomas/kingpin/v2"

	"entra-aws-exporter/internal/simulator"
)

const controlTimeout = 30 * time.Second

type controlClient struct {
	url, caFile string
	stdout      io.Writer
}

func addControl(cli *kingpin.Application, commands map[string]command) {
	add := func(clause *kingpin.CmdClause, do func(context.Context, *controlClient) error) {
		var client controlClient
		clause.Flag("url", "URL of the running simulator.").Default("https://127.0.0.1:10198").StringVar(&client.url)
		clause.Flag("ca-file", "File of the simulator's certificate authority.").Default(defaultCAFile()).StringVar(&client.caFile)
		commands[clause.FullCommand()] = func(ctx context.Context, _ *slog.Logger, stdout io.Writer) error {
			client.stdout = stdout
			return do(ctx, &client)
		}
	}
	get := func(clause *kingpin.CmdClause, path string) {
		add(clause, func(ctx context.Context, client *controlClient) error {
			return client.call(ctx, http.MethodGet, path, nil)
		})
	}
	post := func(clause *kingpin.CmdClause, path string, body func() any) {
		add(clause, func(ctx context.Context, client *controlClient) error {
			return client.call(ctx, http.MethodPost, path, body())
		})
	}
	get(cli.Command("state", "Show AWS and Entra as they are."), "state")
	get(cli.Command("calls", "Show how often each operation was called."), "calls")

	timeline := cli.Command("timeline", "Show everything that happened in AWS and Entra.")
	asJSON := timeline.Flag("json", "Show JSON instead of lines.").Bool()
	add(timeline, func(ctx context.Context, client *controlClient) error {
		if *asJSON {
			return client.call(ctx, http.MethodGet, "timeline", nil)
		}
		return client.call(ctx, http.MethodGet, "timeline.txt", nil)
	})

	age := cli.Command("age", "Make every token and certificate older by a duration, such as 300d.")
	by := age.Arg("by", "Duration.").Required().String()
	post(age, "age", func() any { return map[string]string{"by": *by} })

	speed := cli.Command("speed", "Divide periods and lags by a number.")
	factor := speed.Arg("speed", "At least 1.").Required().Float64()
	post(speed, "speed", func() any { return map[string]float64{"speed": *factor} })

	skew := cli.Command("skew", "Skew the simulated clocks; without flags, set them right.")
	aws := skew.Flag("aws", "Skew of AWS's clock, such as 5m or -2d.").Default("0s").String()
	entra := skew.Flag("entra", "Skew of Entra's clock.").Default("0s").String()
	post(skew, "skew", func() any { return map[string]string{"aws": *aws, "entra": *entra} })

	quirk := cli.Command("quirk", "Change quirks, or list them with their values.")
	quirks := quirk.Arg("name=value", "Repeatable.").StringMap()
	add(quirk, func(ctx context.Context, client *controlClient) error {
		if len(*quirks) == 0 {
			return client.call(ctx, http.MethodGet, "quirks", nil)
		}
		return client.call(ctx, http.MethodPut, "quirks", *quirks)
	})

	fault := cli.Command("fault", "Inject faults.")
	addFault(fault.Command("add", "Inject a fault into the calls of an operation."), post)
	get(fault.Command("list", "List the active faults."), "faults")
	remove := fault.Command("clear", "Remove faults: all, unless ids are given.")
	ids := remove.Arg("id", "Repeatable.").Ints()
	add(remove, func(ctx context.Context, client *controlClient) error {
		parameters := url.Values{}
		for _, id := range *ids {
			parameters.Add("id", strconv.Itoa(id))
		}
		return client.call(ctx, http.MethodDelete, "faults?"+parameters.Encode(), nil)
	})
	addAction(cli.Command("action", "Act as an operator, a tool, AWS or Entra: create_token, save_token, pause, add_user, …"), post)
}

type poster func(clause *kingpin.CmdClause, path string, body func() any)

func addFault(clause *kingpin.CmdClause, post poster) {
	var f simulator.Fault
	clause.Arg("operation", `Operation, such as ListBearerTokens, "GET jobs" or "*".`).Required().StringVar(&f.Operation)
	clause.Flag("effect", "What happens.").Default(string(simulator.EffectAnswer)).StringVar((*string)(&f.Effect))
	clause.Flag("path", "Only calls whose path contains this.").StringVar(&f.Path)
	clause.Flag("customer", "Only calls of this AWS account or Entra tenant.").StringVar(&f.Customer)
	clause.Flag("status", "HTTP status of the response.").IntVar(&f.Status)
	clause.Flag("code", "Error code, worded in the protocol of the operation.").StringVar(&f.Code)
	clause.Flag("message", "Error message.").StringVar(&f.Message)
	clause.Flag("body", "Body of the response, instead of a code.").StringVar(&f.Body)
	clause.Flag("location", "Location of a redirect.").StringVar(&f.Location)
	clause.Flag("retry-after", "Value of Retry-After, verbatim.").StringVar(&f.RetryAfter)
	clause.Flag("delay", "Delay of the response or the effect.").DurationVar((*time.Duration)(&f.Delay))
	clause.Flag("times", "How often the fault is applied; 0: until cleared.").IntVar(&f.Times)
	clause.Flag("probability", "Probability that the fault is applied; 0: always.").Float64Var(&f.Probability)
	set := clause.Flag("set", "/JSON/POINTER=JSON, for edit; repeatable.").StringMap()
	post(clause, "faults", func() any {
		f.Set = map[string]json.RawMessage{}
		for pointer, value := range *set {
			f.Set[pointer] = json.RawMessage(value)
		}
		return f
	})
}

func addAction(clause *kingpin.CmdClause, post poster) {
	var a simulator.Action
	clause.Arg("do", "The action; an unknown one lists them all.").Required().StringVar(&a.Do)
	clause.Flag("connection", "Connection; default: the only one.").StringVar(&a.Connection)
	clause.Flag("actor", "Who acts; default: operator.").StringVar((*string)(&a.Actor))
	clause.Flag("token-id", "ID of a token.").StringVar(&a.TokenID)
	clause.Flag("value", "Value of a token.").StringVar(&a.Value)
	clause.Flag("user-name", "Name of a user.").StringVar(&a.UserName)
	clause.Flag("action", "Permission to deny to the exporter, or to allow again, such as sso-directory:ListBearerTokens.").StringVar((*string)(&a.Action))
	clause.Flag("how", "How to deny: missing, scp or kms.").StringVar((*string)(&a.How))
	clause.Flag("thumbprint", "Thumbprint of a certificate.").StringVar(&a.Thumbprint)
	post(clause, "actions", func() any { return a })
}

func (c *controlClient) call(ctx context.Context, method, path string, body any) error {
	roots, err := os.ReadFile(c.caFile)
	if err != nil {
		return fmt.Errorf("reading the simulator's CA (is it running?): %w", err)
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(roots) {
		return fmt.Errorf("%s holds no certificate", c.caFile)
	}
	var content bytes.Buffer
	if body != nil {
		if err := json.NewEncoder(&content).Encode(body); err != nil {
			return fmt.Errorf("encoding the request: %w", err)
		}
	}
	ctx, cancel := context.WithTimeout(ctx, controlTimeout)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, method, strings.TrimSuffix(c.url, "/")+"/control/"+path, &content)
	if err != nil {
		return fmt.Errorf("calling the simulator: %w", err)
	}
	client := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: pool, MinVersion: tls.VersionTLS12}}}
	response, err := client.Do(request)
	if err != nil {
		return fmt.Errorf("calling the simulator: %w", err)
	}
	defer func() { _ = response.Body.Close() }()
	if response.StatusCode >= http.StatusBadRequest {
		var refused struct{ Error string }
		if err := json.NewDecoder(response.Body).Decode(&refused); err != nil || refused.Error == "" {
			return fmt.Errorf("the simulator answers %s", response.Status)
		}
		return fmt.Errorf("the simulator refuses: %s", refused.Error)
	}
	if _, err := io.Copy(c.stdout, response.Body); err != nil {
		return fmt.Errorf("reading the simulator's response: %w", err)
	}
	return nil
}
