package app

import (
	"os"
	"slices"
	"strings"
	"testing"

	"entra-aws-exporter/internal/config"
	"entra-aws-exporter/internal/simulator/clouds"
	"entra-aws-exporter/test/harness/dynalite"
)

// TestPermissionsOfTheState runs doctor with a state in AWS. The calls that it makes are
// those of the policy, the pages and doctor itself; without one of them on Secrets Manager,
// which the simulator refuses, doctor names it.
func TestPermissionsOfTheState(t *testing.T) {
	url := dynalite.Start(t)
	dynalite.CreateTable(t, url, "eu-central-1", "entra-aws-exporter")
	h := newHarness(t, []clouds.ConnectionSpec{clouds.Healthy("corp")})
	calls := h.stateInAWS(t, url, "entra-aws-exporter")
	output := h.doctor("corp")
	for _, want := range []string{"  ok      table                          table entra-aws-exporter in eu-central-1\n", "  ok      token values                   one was stored, read and deleted\n"} {
		if !strings.Contains(output, want) {
			t.Fatalf("doctor does not say %q:\n%s", want, output)
		}
	}
	h.With(func(m *clouds.Model) {
		for _, secret := range m.ManagedSecrets() {
			if secret.Deletion.IsZero() {
				t.Errorf("doctor left the secret %s", secret.Name)
			}
		}
	})
	needed := without(calls.actions, nil)
	const kms = "kms:"
	withoutKMS := func(actions []string) []string {
		return slices.DeleteFunc(without(actions, nil), func(action string) bool { return strings.HasPrefix(action, kms) })
	}
	c, err := config.Load(h.path("exporter.yml"))
	if err != nil {
		t.Fatal(err)
	}
	_, checks := stateChecks(c, nil, os.ErrNotExist)
	var named []string
	for _, check := range checks {
		named = append(named, check.needs...)
	}
	for place, has := range map[string][]string{
		"aws-state.json":                     policies(t, "aws-state.json"),
		"aws.md, State in AWS":               withoutKMS(namedIn(t, "permissions/aws.md", "State in AWS")),
		"doctor":                             named,
		"terraform and CloudFormation, part": withoutKMS(policies(t, "aws-state.json", "aws-state-kms.json")),
	} {
		if has = without(has, nil); !slices.Equal(has, needed) {
			t.Errorf("%s has %v, the calls need %v", place, has, needed)
		}
	}
	for _, action := range []clouds.Action{clouds.CreateSecretAction, clouds.GetSecretValueAction, clouds.DeleteSecretAction} {
		h.With(func(m *clouds.Model) { m.Deny(clouds.ActorExporter, action, clouds.DenyMissing) })
		output := h.doctor("corp")
		for _, want := range []string{"allow " + string(action), "  AWS of the state: ", `"Resource": "arn:aws:secretsmanager:eu-central-1:*:secret:entra-aws-exporter/*"}`, `"Resource": "arn:aws:dynamodb:eu-central-1:*:table/entra-aws-exporter", "Condition"`} {
			if !strings.Contains(output, want) {
				t.Errorf("without %s doctor does not say %q:\n%s", action, want, output)
			}
		}
		h.With(func(m *clouds.Model) { m.Allow(clouds.ActorExporter, action) })
	}
}
