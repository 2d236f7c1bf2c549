package app

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"entra-aws-exporter/internal/model"
	"entra-aws-exporter/internal/simulator/clouds"
	"entra-aws-exporter/test/harness/dynalite"
)

const stateRegion = "eu-central-1"

// serviceAnswer answers instead of a service of the state; nil, nil: the service itself does.
type serviceAnswer func(action string, r *http.Request) (*http.Response, error)

// serviceError is how DynamoDB and Secrets Manager refuse a call.
func serviceError(code, message string) (*http.Response, error) {
	return &http.Response{
		StatusCode: http.StatusBadRequest, Header: http.Header{"Content-Type": {"application/x-amz-json-1.1"}},
		Body: io.NopCloser(strings.NewReader(fmt.Sprintf(`{"__type":%q,"message":%q}`, code, message))),
	}, nil
}

func denies(action string) serviceAnswer {
	return func(called string, _ *http.Request) (*http.Response, error) {
		if called != action {
			return nil, nil //nolint:nilnil // see serviceAnswer
		}
		return serviceError("AccessDeniedException", "not authorized to perform: "+action)
	}
}

// throttles refuses every call for this time, from the first one on.
func throttles(limit time.Duration) serviceAnswer {
	var began time.Time
	return func(string, *http.Request) (*http.Response, error) {
		if began.IsZero() {
			began = time.Now()
		}
		if time.Since(began) > limit {
			return nil, nil //nolint:nilnil // see serviceAnswer
		}
		return serviceError("ThrottlingException", "Rate exceeded")
	}
}

// TestBadStateInAWS starts an exporter with each state in AWS that it cannot use. It says so
// in one sentence with what to do, in its log, to a command and on the page; readings go on,
// and nothing is created. Once the state is repaired, the rotation begins.
func TestBadStateInAWS(t *testing.T) {
	url := dynalite.Start(t)
	create := func(t *testing.T, table, attribute, kind string) {
		dynalite.Call(t, url, stateRegion, "CreateTable", fmt.Sprintf(`{"TableName":%q,"BillingMode":"PAY_PER_REQUEST",`+
			`"AttributeDefinitions":[{"AttributeName":%q,"AttributeType":%q}],"KeySchema":[{"AttributeName":%[2]q,"KeyType":"HASH"}]}`, table, attribute, kind))
	}
	const (
		noTable = "reading table TABLE in REGION: not_found: the table does not exist in this region of this account (create it, or correct state.aws.table, state.aws.region and the sign-in)"
		noKey   = "reading table TABLE in REGION: other: the table has another key schema (its partition key must be id, a string, and it must have no sort key: create a table with it, and set state.aws.table)"
		denied  = ": permission: AccessDeniedException: not authorized to perform: ACTION (allow ACTION, see deploy/permissions/aws.md)"
	)
	for n, test := range []struct {
		name    string
		prepare func(t *testing.T, h *harness, table string) // creates the table; nil: a good one
		answer  serviceAnswer
		repair  func(t *testing.T, h *harness, table string) // nil: the services answer again by themselves
		want    string
		planned bool // the state is good enough for a start; what the plan proves fails
	}{
		{
			name:    "no table",
			prepare: func(*testing.T, *harness, string) {},
			repair:  func(t *testing.T, _ *harness, table string) { dynalite.CreateTable(t, url, stateRegion, table) },
			want:    noTable,
		}, {
			name: "another key schema",
			prepare: func(t *testing.T, _ *harness, table string) {
				create(t, table, "pk", "S")
			},
			repair: func(t *testing.T, h *harness, table string) {
				h.stop()
				h.edit(table, table+"-2")
				dynalite.CreateTable(t, url, stateRegion, table+"-2")
				h.start()
			},
			want: noKey,
		}, {
			name: "a table in another region",
			prepare: func(t *testing.T, h *harness, table string) {
				dynalite.CreateTable(t, url, stateRegion, table)
				h.edit("region: "+stateRegion+", recovery", "region: eu-west-1, recovery")
			},
			answer: func(action string, r *http.Request) (*http.Response, error) { // each region has tables of its own
				if strings.HasPrefix(action, "dynamodb:") && !strings.Contains(r.Header.Get("Authorization"), "/"+stateRegion+"/") {
					return serviceError("ResourceNotFoundException", "Requested resource not found")
				}
				return nil, nil //nolint:nilnil // see serviceAnswer
			},
			repair: func(_ *testing.T, h *harness, _ string) {
				h.stop()
				h.edit("region: eu-west-1, recovery", "region: "+stateRegion+", recovery")
				h.start()
			},
			want: noTable,
		},
		{name: "dynamodb:GetItem", answer: denies("dynamodb:GetItem"), want: "reading table TABLE in REGION" + denied},
		{name: "dynamodb:UpdateItem", answer: denies("dynamodb:UpdateItem"), want: "writing table TABLE in REGION" + denied},
		{name: "dynamodb:DescribeTable", answer: denies("dynamodb:DescribeTable"), want: "checking table TABLE in REGION" + denied},
		{name: "secretsmanager:GetSecretValue", answer: denies("secretsmanager:GetSecretValue"), want: "reading secret entra-aws-exporter/check" + denied},
		{name: "secretsmanager:CreateSecret", answer: denies("secretsmanager:CreateSecret"), want: denied, planned: true},
		{name: "secretsmanager:DeleteSecret", answer: denies("secretsmanager:DeleteSecret"), want: denied, planned: true},
		{
			name: "the key of the table",
			answer: func(action string, _ *http.Request) (*http.Response, error) {
				if action != "dynamodb:GetItem" {
					return nil, nil //nolint:nilnil // see serviceAnswer
				}
				return serviceError("AccessDeniedException", "KMS key access denied error")
			},
			want: "reading table TABLE in REGION: permission: AccessDeniedException: KMS key access denied error (allow kms:Decrypt on the key that encrypts the table, and check its state, see deploy/permissions/aws.md)",
		}, {
			name: "the key of the secrets",
			answer: func(action string, _ *http.Request) (*http.Response, error) {
				if action != "secretsmanager:CreateSecret" {
					return nil, nil //nolint:nilnil // see serviceAnswer
				}
				return serviceError("EncryptionFailure", "The ciphertext refers to a key that does not exist")
			},
			want:    ": permission: EncryptionFailure: The ciphertext refers to a key that does not exist (allow kms:GenerateDataKey and kms:Decrypt on the KMS key aws/secretsmanager, and check its state, see deploy/permissions/aws.md)",
			planned: true,
		}, {
			name:   "throttled",
			answer: throttles(time.Hour),
			want:   "reading table TABLE in REGION: throttled: ThrottlingException: Rate exceeded (it is tried again; if this lasts, raise the table's capacity)",
		}, {
			name: "Secrets Manager throttled",
			answer: func() serviceAnswer {
				throttled := throttles(time.Hour)
				return func(action string, r *http.Request) (*http.Response, error) {
					if action != "secretsmanager:CreateSecret" {
						return nil, nil //nolint:nilnil // see serviceAnswer
					}
					return throttled(action, r)
				}
			}(),
			want:    ": throttled: ThrottlingException: Rate exceeded",
			planned: true,
		}, {
			name: "another program's records",
			prepare: func(t *testing.T, _ *harness, table string) {
				dynalite.CreateTable(t, url, stateRegion, table)
				dynalite.Call(t, url, stateRegion, "PutItem", fmt.Sprintf(`{"TableName":%q,"Item":{"id":{"S":"entra-aws-exporter/check"},"stock":{"N":"7"}}}`, table))
			},
			repair: func(t *testing.T, _ *harness, table string) {
				dynalite.Call(t, url, stateRegion, "DeleteItem", fmt.Sprintf(`{"TableName":%q,"Key":{"id":{"S":"entra-aws-exporter/check"}}}`, table))
			},
			want: "table TABLE in REGION, item entra-aws-exporter/check: unreadable: not an entra-aws-exporter record; the item is left unchanged: give the exporter a table of its own",
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				h := newHarness(t, []clouds.ConnectionSpec{clouds.Expiring("expiring")})
				h.edit(fastIntervals, eventIntervals)
				table := fmt.Sprint("table-", n)
				s := h.stateInAWS(t, url, table)
				if s.answerWith(test.answer); test.prepare == nil {
					dynalite.CreateTable(t, url, stateRegion, table)
				} else {
					test.prepare(t, h, table)
				}
				region := stateRegion
				if strings.Contains(h.read("exporter.yml"), "eu-west-1, recovery") {
					region = "eu-west-1"
				}
				want := strings.NewReplacer("TABLE", table, "REGION", region, "ACTION", test.name).Replace(test.want)

				h.start()
				time.Sleep(10 * time.Minute)
				waits := `entra_aws_rotation_waiting_info{connection="expiring",kind="scim_token",reason="store_unavailable"} 1`
				if strings.HasPrefix(want, "reading table") { // shown before anything is due
					h.series().expect(t, waits)
				}
				status, _ := h.alert()
				command := h.startRotation(StartOptions{Connection: "expiring", Pace: 1})
				time.Sleep(20 * time.Minute)
				for _, source := range []model.Source{model.SourceTokens, model.SourceSCIM, model.SourceUsage, model.SourceJob, model.SourceCertificates, model.SourceAppCredentials} {
					h.series().expect(t, `entra_aws_source_up{connection="expiring",source="`+string(source)+`"} 1`)
				}
				h.expectCreated(0)
				if !strings.Contains(command, want) || !test.planned && !strings.Contains(command, want+"\n") && !strings.HasSuffix(command, want) {
					t.Errorf("the command says\n%s, want\n%s", command, want)
				}
				throttled := strings.Contains(test.name, "throttled")
				switch {
				case !test.planned:
					h.series().expect(t, waits)
					if log := h.logs.String(); strings.Count(log, `msg="state unavailable" place="table `+table+` in `+region+`" err="`+want+`"`) != 1 {
						t.Errorf("the log does not say once\n%s:\n%s", want, log)
					}
					if page := h.get("/connections/expiring"); !strings.Contains(page, "Waiting: store unavailable.") || !strings.Contains(page, "and has not started. expiring: ") {
						t.Errorf("the page does not show that the rotation waits: %s", page)
					}
					if status != http.StatusServiceUnavailable || len(h.rotations("expiring")) > 0 {
						t.Errorf("a rotation began: %d %+v", status, h.rotations("expiring"))
					}
				case throttled:
					h.series().expect(t, waits)
				default:
					h.series().expect(t, `entra_aws_rotation_blocked_info{connection="expiring",kind="scim_token",reason="token_store_unwritable"} 1`)
				}
				if lines := strings.Count(h.logs.String(), "level=ERROR"); lines > 8 {
					t.Errorf("%d errors were logged in half an hour:\n%s", lines, h.logs.String())
				}

				if throttled {
					time.Sleep(time.Hour)
				} else {
					s.answerWith(nil)
				}
				if test.repair != nil {
					test.repair(t, h, table)
				}
				time.Sleep(10 * time.Minute)
				switch {
				case !test.planned:
					if status, answer := h.alert(); status != http.StatusAccepted {
						t.Errorf("repaired: %d %s", status, answer)
					}
				case !throttled:
					h.command(func(ctx context.Context, o Options) error { return RotationReset(ctx, o, "expiring") })
					h.startRotation(StartOptions{Connection: "expiring", Force: true, Pace: 1})
				}
				time.Sleep(15 * time.Minute)
				h.expectCreated(1)
				h.series().expect(t, `entra_aws_source_up{connection="expiring",source="events"} 1`)
			})
		})
	}
}

// expectCreated demands that so many tokens were created, and that as many values are kept.
func (h *harness) expectCreated(want int) {
	h.t.Helper()
	h.With(func(m *clouds.Model) {
		created, kept := 0, 0
		for range clouds.EntriesOf[clouds.Creation](m) {
			created++
		}
		for _, secret := range m.ManagedSecrets() {
			if secret.Deletion.IsZero() && !strings.Contains(secret.Name, "-check.") { // one that proves the store
				kept++
			}
		}
		if created != want || kept != want {
			h.t.Errorf("%d tokens were created and %d values are kept, want %d", created, kept, want)
		}
	})
}
