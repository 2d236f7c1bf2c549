package app

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"entra-aws-exporter/internal/simulator"
	"entra-aws-exporter/internal/simulator/clouds"
)

// The whole procedure for declared tokens: an operator creates the new token and deletes
// the old one, the exporter does the rest. AWS allows it only to probe.
func TestRotationOfDeclaredTokens(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		spec := clouds.Healthy("corp")
		spec.Tokens = []clouds.TokenSpec{{Age: 345 * 24 * time.Hour, Left: 20 * 24 * time.Hour, Saved: true}}
		h := newHarness(t, []clouds.ConnectionSpec{spec})
		c := h.Connection
		by := clouds.CallerFor(clouds.ActorOperator)
		var old, made clouds.BearerToken
		h.With(func(w *clouds.Model) {
			tokens, err := w.ListBearerTokens(by, c.IdentityStoreID, c.ProvisioningTenantID)
			if err != nil {
				t.Fatal(err)
			}
			old = tokens[0]
			if made, err = w.CreateBearerToken(by, c.IdentityStoreID, c.ProvisioningTenantID); err != nil {
				t.Fatal(err)
			}
		})
		declared := "declared: []"
		declare := func(tokens ...clouds.BearerToken) {
			var list []string
			for _, token := range tokens {
				list = append(list, fmt.Sprintf("{token_id: %s, created: %s, expires: %s}", token.ID, token.Created.UTC().Format(time.RFC3339), token.Expires.UTC().Format(time.RFC3339)))
			}
			before := declared
			declared = "declared: [" + strings.Join(list, ", ") + "]"
			h.edit(before, declared)
		}
		h.edit("      usage: cloudtrail\n", "      read_from: declared\n      "+declared+"\n")
		h.edit("    aws:\n", fmt.Sprintf("    tenant_url: %q\n    aws:\n      identity_store_id: %s\n", simulatorURL+"/scim/"+c.ProvisioningTenantID+"/scim/v2", c.IdentityStoreID))
		h.edit("saml: {aws_certificates: console_api}", "saml: {aws_certificates: none}")
		h.edit("rotation: {mode: enabled, ", "rotation: {mode: enabled, issuer: operator, ")
		h.InjectFault(simulator.Fault{Operation: "ListInstances", Status: 400, Code: "AccessDeniedException"})
		declare(old)
		give := func(dry bool) string {
			return h.command(func(ctx context.Context, options Options) error {
				options.Stdin = strings.NewReader(made.Value + "\n")
				return RotationStart(ctx, options, StartOptions{Connection: "corp", DryRun: dry, TokenStdin: true, TokenID: made.ID, Pace: 1})
			})
		}
		expectLines(t, give(true), "connections[0].aws.provisioning_tenant_id: is missing; with tokens.read_from: declared it is not looked up")
		h.edit("    aws:\n", "    aws:\n      provisioning_tenant_id: "+c.ProvisioningTenantID+"\n")
		const undeclared = ", which an operator gave, is not declared yet: add it to tokens.declared with its dates, then give it again"
		expectLines(t, give(true), "dry run: it would be blocked: new_token_rejected: token "+made.ID+undeclared)
		expectLines(t, give(false), "connection corp: new_token_rejected: token "+made.ID+undeclared)
		declare(old, made)
		expectLines(t, give(true), "dry run: tokens declared in the config: "+old.ID, "dry run: a rotation would start: token "+old.ID,
			"dry run: it would test token "+made.ID, "then keep the old token for 1h15m0s, have an operator delete it (approval: never)")

		expectLines(t, give(false), "token "+made.ID+" works at AWS, and from Entra", "saved token "+made.ID+" to Entra (switch): done",
			"corp is blocked in phase retire (delete_refused): the tokens are declared in the config, so token "+old.ID+
				" must be deleted by hand, and removed from tokens.declared; tokens: "+old.ID, "; next: delete the old token at AWS by hand, then rotation reset corp.")
		h.With(func(w *clouds.Model) {
			if err := w.DeleteBearerToken(by, c.IdentityStoreID, c.ProvisioningTenantID, old.ID); err != nil {
				t.Fatal(err)
			}
		})
		declare(made)
		reset := h.command(func(ctx context.Context, options Options) error { return RotationReset(ctx, options, "corp") })
		expectLines(t, reset, "reset: attempt count cleared")
		expectLines(t, h.startRotation(StartOptions{Connection: "corp"}), "resuming", "only token "+made.ID+" ",
			"is declared, and Entra works with it: exclusive (deletion at AWS cannot be verified with declared tokens)",
			"done: token "+made.ID+" is in use, proof exclusive")
		h.With(func(w *clouds.Model) {
			for _, outage := range w.Outages() {
				t.Errorf("provisioning was interrupted: %s", outage)
			}
		})
		for _, operation := range []string{"ListProvisioningTenants", "ListBearerTokens", "CreateBearerToken", "DeleteBearerToken"} {
			if n := h.Calls()[operation]; n > 0 {
				t.Errorf("%s was called %d times", operation, n)
			}
		}
	})
}
