package awsstate_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"entra-aws-exporter/internal/model"
	"entra-aws-exporter/internal/simulator/clouds"
	"entra-aws-exporter/internal/state/awsstate"
	"entra-aws-exporter/test/harness/dynalite"
)

// denied is how DynamoDB refuses an action.
func denied(action, more string) answer {
	return func(http.RoundTripper, *http.Request) (*http.Response, error) {
		return awsError(http.StatusBadRequest, "AccessDeniedException",
			"User: arn:aws:iam::111122223333:user/exporter is not authorized to perform: "+action+" on resource: arn:aws:dynamodb:eu-central-1:111122223333:table/state"+more), nil
	}
}

// editTable edits the description of a table.
func editTable(old, replacement string) answer {
	return func(next http.RoundTripper, r *http.Request) (*http.Response, error) {
		response, err := next.RoundTrip(r)
		if err != nil {
			return nil, err
		}
		body, err := io.ReadAll(response.Body)
		_ = response.Body.Close()
		edited := strings.Replace(string(body), old, replacement, 1)
		response.Header.Del("X-Amz-Crc32")
		response.Header.Del("Content-Length")
		response.ContentLength, response.Body = int64(len(edited)), io.NopCloser(strings.NewReader(edited))
		return response, err
	}
}

// TestBadInput shows for each bad store what its check says: one sentence with what to do.
func TestBadInput(t *testing.T) {
	const always = 1 << 30
	create := func(t *testing.T, h *harness, name, attributes, schema string) {
		dynalite.Call(t, h.dynamoDB, region, "CreateTable", fmt.Sprintf(`{"TableName":%q,"BillingMode":"PAY_PER_REQUEST","AttributeDefinitions":[%s],"KeySchema":[%s]}`, name, attributes, schema))
		time.Sleep(100 * time.Millisecond) // until it is active
	}
	const idIsString, idIsKey = `{"AttributeName":"id","AttributeType":"S"}`, `{"AttributeName":"id","KeyType":"HASH"}`
	deny := func(actions ...clouds.Action) func(*testing.T, *harness, *awsstate.Options) {
		return func(_ *testing.T, h *harness, _ *awsstate.Options) {
			h.With(func(m *clouds.Model) {
				for _, action := range actions {
					m.Deny(clouds.ActorExporter, action, clouds.DenyMissing)
				}
			})
		}
	}
	for _, test := range []struct {
		name    string
		prepare func(*testing.T, *harness, *awsstate.Options)
		want    string // of Check; "": it is the write of a token that fails
		write   string // of the write of a token
		is      error
	}{
		{
			name:    "no table, or in another region",
			prepare: func(_ *testing.T, _ *harness, o *awsstate.Options) { o.Table = "missing" },
			want:    "reading table missing in eu-central-1: not_found: the table does not exist in this region of this account (create it, or correct state.aws.table, state.aws.region and the sign-in)",
		}, {
			name: "another partition key",
			prepare: func(t *testing.T, h *harness, o *awsstate.Options) {
				create(t, h, "other", `{"AttributeName":"pk","AttributeType":"S"}`, `{"AttributeName":"pk","KeyType":"HASH"}`)
				o.Table = "other"
			},
			want: "reading table other in eu-central-1: other: the table has another key schema (its partition key must be id, a string, and it must have no sort key: create a table with it, and set state.aws.table)",
		}, {
			name: "a sort key",
			prepare: func(t *testing.T, h *harness, o *awsstate.Options) {
				create(t, h, "sorted", idIsString+`,{"AttributeName":"sk","AttributeType":"S"}`, idIsKey+`,{"AttributeName":"sk","KeyType":"RANGE"}`)
				o.Table = "sorted"
			},
			want: "reading table sorted in eu-central-1: other: the table has another key schema (its partition key must be id, a string, and it must have no sort key: create a table with it, and set state.aws.table)",
		}, {
			name: "a number as its key",
			prepare: func(t *testing.T, h *harness, o *awsstate.Options) {
				create(t, h, "numbers", `{"AttributeName":"id","AttributeType":"N"}`, idIsKey)
				o.Table = "numbers"
			},
			want: "reading table numbers in eu-central-1: other: the table has another key schema (its partition key must be id, a string, and it must have no sort key: create a table with it, and set state.aws.table)",
		}, {
			name: "a global table",
			prepare: func(_ *testing.T, h *harness, _ *awsstate.Options) {
				h.to("DescribeTable", always, editTable(`"TableStatus"`, `"Replicas":[{"RegionName":"eu-west-1"}],"TableStatus"`))
			},
			want: "table TABLE in eu-central-1: unsafe place for state: it is a global table with eventual consistency, where writes in two regions overwrite each other; use a table without replicas, or one with multi-Region strong consistency",
			is:   model.ErrUnsafe,
		}, {
			name: "a table that is being deleted",
			prepare: func(_ *testing.T, h *harness, _ *awsstate.Options) {
				h.to("DescribeTable", always, editTable(`"ACTIVE"`, `"DELETING"`))
			},
			want: "checking table TABLE in eu-central-1: other: the table's status is DELETING (create another table, or restore this one from a backup)",
		}, {
			name: "a table that is being created",
			prepare: func(_ *testing.T, h *harness, _ *awsstate.Options) {
				h.to("DescribeTable", always, editTable(`"ACTIVE"`, `"CREATING"`))
			},
			want: "checking table TABLE in eu-central-1: timeout: the table is being created",
			is:   model.ErrUnavailable,
		}, {
			name: "dynamodb:GetItem is missing",
			prepare: func(_ *testing.T, h *harness, _ *awsstate.Options) {
				h.to("GetItem", always, denied("dynamodb:GetItem", " because no identity-based policy allows the dynamodb:GetItem action"))
			},
			want: "reading table TABLE in eu-central-1: permission: AccessDeniedException: User: arn:aws:iam::111122223333:user/exporter is not authorized to perform: dynamodb:GetItem on resource: arn:aws:dynamodb:eu-central-1:111122223333:table/state because no identity-based policy allows the dynamodb:GetItem action (allow dynamodb:GetItem, see deploy/permissions/aws.md)",
		}, {
			name: "dynamodb:UpdateItem is denied",
			prepare: func(_ *testing.T, h *harness, _ *awsstate.Options) {
				h.to("UpdateItem", always, denied("dynamodb:UpdateItem", " with an explicit deny in a service control policy"))
			},
			want: "writing table TABLE in eu-central-1: permission: AccessDeniedException: User: arn:aws:iam::111122223333:user/exporter is not authorized to perform: dynamodb:UpdateItem on resource: arn:aws:dynamodb:eu-central-1:111122223333:table/state with an explicit deny in a service control policy (an explicit deny, such as a service control policy, forbids dynamodb:UpdateItem: exempt this identity there, see deploy/permissions/aws.md)",
		}, {
			name: "dynamodb:DescribeTable is missing",
			prepare: func(_ *testing.T, h *harness, _ *awsstate.Options) {
				h.to("DescribeTable", always, denied("dynamodb:DescribeTable", ""))
			},
			want: "checking table TABLE in eu-central-1: permission: AccessDeniedException: User: arn:aws:iam::111122223333:user/exporter is not authorized to perform: dynamodb:DescribeTable on resource: arn:aws:dynamodb:eu-central-1:111122223333:table/state (allow dynamodb:DescribeTable, see deploy/permissions/aws.md)",
		}, {
			name: "the key of the table is denied",
			prepare: func(_ *testing.T, h *harness, _ *awsstate.Options) {
				h.to("GetItem", always, func(http.RoundTripper, *http.Request) (*http.Response, error) {
					return awsError(http.StatusBadRequest, "AccessDeniedException", "KMS key access denied error: com.amazon.coral.service.AccessDeniedException: The ciphertext refers to a customer master key that you are not allowed to use"), nil
				})
			},
			want: "reading table TABLE in eu-central-1: permission: AccessDeniedException: KMS key access denied error: com.amazon.coral.service.AccessDeniedException: The ciphertext refers to a customer master key that you are not allowed to use (allow kms:Decrypt on the key that encrypts the table, and check its state, see deploy/permissions/aws.md)",
		}, {
			name:    "secretsmanager:GetSecretValue is missing",
			prepare: deny(clouds.GetSecretValueAction),
			want:    "reading secret entra-aws-exporter/check: permission: AccessDeniedException: User: arn:aws:sts::111122223333:assumed-role/exporter/session is not authorized to perform: secretsmanager:GetSecretValue because no identity-based policy allows the secretsmanager:GetSecretValue action (allow secretsmanager:GetSecretValue, see deploy/permissions/aws.md)",
		}, {
			name:    "secretsmanager:CreateSecret is missing",
			prepare: deny(clouds.CreateSecretAction),
			write:   "creating secret NAME: permission: AccessDeniedException: User: arn:aws:sts::111122223333:assumed-role/exporter/session is not authorized to perform: secretsmanager:CreateSecret because no identity-based policy allows the secretsmanager:CreateSecret action (allow secretsmanager:CreateSecret, see deploy/permissions/aws.md)",
		}, {
			name:    "secretsmanager:DeleteSecret is missing",
			prepare: deny(clouds.DeleteSecretAction),
			write:   "deleting secret ARN: permission: AccessDeniedException: User: arn:aws:sts::111122223333:assumed-role/exporter/session is not authorized to perform: secretsmanager:DeleteSecret because no identity-based policy allows the secretsmanager:DeleteSecret action (allow secretsmanager:DeleteSecret, see deploy/permissions/aws.md)",
		}, {
			name: "the key of the secrets is denied",
			prepare: func(t *testing.T, h *harness, o *awsstate.Options) {
				o.KMSKeyID = "alias/tokens"
				deny(clouds.GenerateDataKeyAction)(t, h, o)
			},
			write: "creating secret NAME: permission: AccessDeniedException: Access to KMS is not allowed (allow kms:GenerateDataKey and kms:Decrypt on the KMS key alias/tokens, and check its state, see deploy/permissions/aws.md)",
		}, {
			name: "the keys of the sign-in are wrong",
			prepare: func(_ *testing.T, h *harness, _ *awsstate.Options) {
				h.to("GetItem", always, func(http.RoundTripper, *http.Request) (*http.Response, error) {
					return awsError(http.StatusBadRequest, "UnrecognizedClientException", "The security token included in the request is invalid."), nil
				})
			},
			want: "reading table TABLE in eu-central-1: auth: UnrecognizedClientException: The security token included in the request is invalid. (check state.aws.profile, state.aws.role_arn or the environment, and this host's clock, see deploy/permissions/aws.md)",
		}, {
			name:    "the endpoint cannot be reached",
			prepare: func(_ *testing.T, _ *harness, o *awsstate.Options) { o.DynamoDBEndpoint = "http://127.0.0.1:1" },
			want:    "reading table TABLE in eu-central-1: network: dial tcp 127.0.0.1:1: connect: connection refused",
			is:      model.ErrUnavailable,
		}, {
			name: "another program's records",
			prepare: func(t *testing.T, h *harness, o *awsstate.Options) {
				dynalite.Call(t, h.dynamoDB, region, "PutItem", fmt.Sprintf(`{"TableName":%q,"Item":{"id":{"S":"entra-aws-exporter/check/check"},"stock":{"N":"7"}}}`, o.Table))
			},
			want: "table TABLE in eu-central-1, item entra-aws-exporter/check/check: unreadable: not an entra-aws-exporter record; the item is left unchanged: give the exporter a table of its own",
			is:   model.ErrUnreadable,
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			h := newHarness(t)
			options := h.options(h.table(t))
			test.prepare(t, h, &options)
			store := awsstate.Open(options)
			err := store.Check(t.Context())
			want := strings.ReplaceAll(test.want, "TABLE", options.Table)
			if test.write != "" {
				if err != nil {
					t.Errorf("the check fails: %v", err)
				}
				err = store.Tokens().Write(t.Context(), "b/1", model.NewSecret("value"))
				if err == nil {
					err = store.Tokens().Destroy(t.Context(), "b/1")
				}
				want = test.write
			}
			var classified *model.Error
			if err == nil || maskNames(err.Error()) != want {
				t.Errorf("got  %v\nwant %s", err, want)
			}
			if errors.As(err, &classified) || test.is != nil && !errors.Is(err, test.is) || errors.Is(err, model.ErrUnavailable) != (test.is == model.ErrUnavailable) { //nolint:errorlint // the very value
				t.Errorf("the error is of another kind: %v", err)
			}
			if test.write == "" {
				h.With(func(m *clouds.Model) {
					if created := m.ManagedSecrets(); len(created) != 0 {
						t.Errorf("created: %+v", created)
					}
				})
			}
		})
	}
}

// maskNames hides the parts of names that are random.
func maskNames(text string) string {
	for _, each := range []struct{ begin, name string }{
		{"secret arn:aws:secretsmanager:", "ARN"}, {"secret entra-aws-exporter/b/", "NAME"},
	} {
		if before, after, found := strings.Cut(text, each.begin); found {
			_, rest, _ := strings.Cut(after, ": permission")
			text = before + "secret " + each.name + ": permission" + rest
		}
	}
	return text
}

// An hour of throttling: every call gives up within a minute, and none blocks anything.
func TestThrottledForAnHour(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		began, calls := time.Now(), 0
		options := awsstate.Options{Table: "state", SecretPrefix: "x/"}
		options.SignIn.Region, options.SignIn.Version = region, "test"
		options.SignIn.Transport = roundTripper(func(*http.Request) (*http.Response, error) {
			calls++
			if time.Since(began) < time.Hour {
				return awsError(http.StatusBadRequest, "ThrottlingException", "Rate exceeded"), nil
			}
			return &http.Response{StatusCode: http.StatusOK, Header: http.Header{}, Body: io.NopCloser(bytes.NewReader([]byte("{}")))}, nil
		})
		t.Setenv("AWS_ACCESS_KEY_ID", "AKIA")
		t.Setenv("AWS_SECRET_ACCESS_KEY", "key")
		journal := awsstate.Open(options).Journal()
		for time.Since(began) < time.Hour {
			before := time.Now()
			_, _, err := journal.Load(t.Context(), "a")
			_, saved := journal.Save(t.Context(), "a", []byte("1"), "0")
			for what, err := range map[string]error{"load": err, "save": saved} {
				if !errors.Is(err, model.ErrUnavailable) || !strings.Contains(err.Error(), "table state in eu-central-1: throttled: ThrottlingException: Rate exceeded") {
					t.Fatalf("%s: %v", what, err)
				}
			}
			if took := time.Since(before); took > 2*time.Minute {
				t.Fatalf("a load and a save took %s", took)
			}
			time.Sleep(8 * time.Minute)
		}
		if _, _, err := journal.Load(t.Context(), "a"); err != nil {
			t.Errorf("after the hour: %v", err)
		}
		t.Logf("%d calls", calls)
	})
}
