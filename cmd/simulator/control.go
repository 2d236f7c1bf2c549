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

// controlTimeout is how long a running simulator may take to answer.
const controlTimeout = 30 * time.Second

// remote is a running simulator.
type remote struct{ url, caFile string }

// addControl adds the commands that speak to a running simulator.
func addControl(cli *kingpin.Application, commands map[string]command) {
	add := func(clause *kingpin.CmdClause, do func(context.Context, *remote, io.Writer) error) {
		var running remote
		clause.Flag("url", "Where the simulator runs.").Default("https://127.0.0.1:10198").StringVar(&running.url)
		clause.Flag("ca-file", "The simulator's CA.").Default(defaultCAFile()).StringVar(&running.caFile)
		commands[clause.FullCommand()] = func(ctx context.Context, _ *slog.Logger, stdout io.Writer) error {
			return do(ctx, &running, stdout)
		}
	}
	get := func(path string) func(context.Context, *remote, io.Writer) error {
		return func(ctx context.Context, running *remote, stdout io.Writer) error {
			return running.call(ctx, http.MethodGet, path, nil, stdout)
		}
	}
	add(cli.Command("state", "Show the clouds as they are."), get("state"))
	add(cli.Command("truth", "Show what really happened, as JSON."), get("truth"))
	add(cli.Command("story", "Show what really happened, one line each."), get("story"))
	add(cli.Command("calls", "Show how often each operation was called."), get("calls"))

	age := cli.Command("age", "Make every token and certificate older by a duration, such as 300d.")
	by := age.Arg("by", "Duration.").Required().String()
	add(age, func(ctx context.Context, running *remote, stdout io.Writer) error {
		return running.post(ctx, "age", map[string]string{"by": *by}, stdout)
	})

	speed := cli.Command("speed", "Divide periods and lags by a number.")
	factor := speed.Arg("speed", "At least 1.").Required().Float64()
	add(speed, func(ctx context.Context, running *remote, stdout io.Writer) error {
		return running.post(ctx, "speed", map[string]float64{"speed": *factor}, stdout)
	})

	skew := cli.Command("skew", "Set the clouds' clocks wrong; without flags, right again.")
	aws := skew.Flag("aws", "AWS's clock, such as 5m or -2d.").Default("0s").String()
	entra := skew.Flag("entra", "Entra's clock.").Default("0s").String()
	add(skew, func(ctx context.Context, running *remote, stdout io.Writer) error {
		return running.post(ctx, "skew", map[string]string{"aws": *aws, "entra": *entra}, stdout)
	})

	quirk := cli.Command("quirk", "Change quirks, or list them all with their values.")
	quirks := quirk.Arg("name=value", "Repeatable.").StringMap()
	add(quirk, func(ctx context.Context, running *remote, stdout io.Writer) error {
		if len(*quirks) == 0 {
			return running.call(ctx, http.MethodGet, "quirks", nil, stdout)
		}
		return running.call(ctx, http.MethodPut, "quirks", *quirks, stdout)
	})
	addFaults(cli, add)
	addHands(cli, add)
}

type adder func(*kingpin.CmdClause, func(context.Context, *remote, io.Writer) error)

func addFaults(cli *kingpin.Application, add adder) {
	fault := cli.Command("fault", "Let things go wrong.")
	var f simulator.Fault
	set := map[string]string{}
	var delay time.Duration
	one := fault.Command("add", "Let calls of an operation fail.")
	one.Arg("operation", `Such as ListBearerTokens, "GET jobs" or "*".`).Required().StringVar(&f.Operation)
	one.Flag("effect", "What happens.").Default(string(simulator.EffectAnswer)).EnumVar((*string)(&f.Effect), effects()...)
	one.Flag("path", "Only calls whose path contains this.").StringVar(&f.Path)
	one.Flag("customer", "Only calls of this AWS account or Entra tenant.").StringVar(&f.Customer)
	one.Flag("status", "Of the answer.").IntVar(&f.Status)
	one.Flag("code", "An error code, worded in the protocol of the operation.").StringVar(&f.Code)
	one.Flag("message", "Its message.").StringVar(&f.Message)
	one.Flag("body", "The body of the answer, instead of a code.").StringVar(&f.Body)
	one.Flag("location", "Of a redirect.").StringVar(&f.Location)
	one.Flag("retry-after", "Seconds, verbatim.").StringVar(&f.RetryAfter)
	one.Flag("delay", "How late.").DurationVar(&delay)
	one.Flag("times", "How often; 0: until cleared.").IntVar(&f.Times)
	one.Flag("probability", "With which it strikes; 0: always.").Float64Var(&f.Probability)
	one.Flag("set", "/JSON/POINTER=JSON, for edit, repeatable.").StringMapVar(&set)
	add(one, func(ctx context.Context, running *remote, stdout io.Writer) error {
		f.Delay = simulator.Duration(delay)
		for pointer, value := range set {
			if f.Set == nil {
				f.Set = map[string]json.RawMessage{}
			}
			f.Set[pointer] = json.RawMessage(value)
		}
		return running.post(ctx, "faults", f, stdout)
	})
	add(fault.Command("list", "List the faults in wait."), func(ctx context.Context, running *remote, stdout io.Writer) error {
		return running.call(ctx, http.MethodGet, "faults", nil, stdout)
	})
	some := fault.Command("clear", "Remove faults; all, unless ids are given.")
	ids := some.Arg("id", "Repeatable.").Ints()
	add(some, func(ctx context.Context, running *remote, stdout io.Writer) error {
		query := url.Values{}
		for _, id := range *ids {
			query.Add("id", strconv.Itoa(id))
		}
		return running.call(ctx, http.MethodDelete, "faults?"+query.Encode(), nil, stdout)
	})
}

func effects() []string {
	all := simulator.Effects()
	names := make([]string, 0, len(all))
	for _, effect := range all {
		names = append(names, string(effect))
	}
	return names
}

func addHands(cli *kingpin.Application, add adder) {
	hand := cli.Command("hand", "Do what a person, a tool or the clouds themselves do: create_token, save_token, pause, add_user, …")
	var h simulator.Action
	hand.Arg("do", "What; a wrong word lists them all.").Required().StringVar(&h.Do)
	hand.Flag("connection", "To which connection; default: the only one.").StringVar(&h.Connection)
	hand.Flag("actor", "Who does it; default: person.").StringVar((*string)(&h.Actor))
	hand.Flag("token-id", "Of a token.").StringVar(&h.TokenID)
	hand.Flag("value", "Of a token.").StringVar(&h.Value)
	hand.Flag("user-name", "Of a user.").StringVar(&h.UserName)
	hand.Flag("display-name", "Of a user.").StringVar(&h.DisplayName)
	hand.Flag("action", "To deny or allow to the exporter, such as sso-directory:ListBearerTokens.").StringVar((*string)(&h.Action))
	hand.Flag("how", "To deny: missing, scp or kms.").StringVar((*string)(&h.How))
	hand.Flag("thumbprint", "Of a certificate.").StringVar(&h.Thumbprint)
	add(hand, func(ctx context.Context, running *remote, stdout io.Writer) error {
		return running.post(ctx, "hands", h, stdout)
	})
}

func (r *remote) post(ctx context.Context, path string, body any, stdout io.Writer) error {
	return r.call(ctx, http.MethodPost, path, body, stdout)
}

// call asks the control API and prints what it answers.
func (r *remote) call(ctx context.Context, method, path string, body any, stdout io.Writer) error {
	roots, err := os.ReadFile(r.caFile)
	if err != nil {
		return fmt.Errorf("reading the simulator's CA (is it running?): %w", err)
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(roots) {
		return fmt.Errorf("%s holds no certificate", r.caFile)
	}
	var content io.Reader = http.NoBody
	if body != nil {
		encoded, err := json.Marshal(body)
		if err != nil {
			return fmt.Errorf("encoding the request: %w", err)
		}
		content = bytes.NewReader(encoded)
	}
	ctx, cancel := context.WithTimeout(ctx, controlTimeout)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, method, strings.TrimSuffix(r.url, "/")+"/control/"+path, content)
	if err != nil {
		return fmt.Errorf("asking the simulator: %w", err)
	}
	client := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: pool, MinVersion: tls.VersionTLS12}}}
	response, err := client.Do(request)
	if err != nil {
		return fmt.Errorf("asking the simulator: %w", err)
	}
	defer func() { _ = response.Body.Close() }()
	if response.StatusCode >= http.StatusBadRequest {
		var refused struct{ Error string }
		if err := json.NewDecoder(response.Body).Decode(&refused); err != nil || refused.Error == "" {
			return fmt.Errorf("the simulator answers %s", response.Status)
		}
		return fmt.Errorf("the simulator refuses: %s", refused.Error)
	}
	if _, err := io.Copy(stdout, response.Body); err != nil {
		return fmt.Errorf("reading the simulator's answer: %w", err)
	}
	return nil
}
