package clouds_test

import (
	"fmt"
	"time"

	"entra-aws-exporter/internal/simulator/clouds"
)

// A person deletes the token that is in use. The next cycle fails, and the truth says
// who made the gap.
func Example() {
	now := time.Date(2026, 11, 2, 12, 0, 0, 0, time.UTC)
	w := clouds.New(clouds.Options{Now: func() time.Time { return now }, Seed: 1})
	c := w.Add(clouds.Healthy("corp"))

	person := clouds.CallerFor(clouds.ActorOperator)
	if err := w.DeleteBearerToken(person, c.IdentityStoreID, c.ProvisioningTenantID, c.TokenIDs[0]); err != nil {
		fmt.Println(err)
	}
	now = now.Add(time.Hour)

	job, _ := w.Job(person, c.EntraTenantID, c.ServicePrincipalID, c.JobID)
	fmt.Println(job.Status, job.Quarantine.Reason)
	for _, gap := range w.Outages() {
		fmt.Println(gap.Cause, gap.CausedBy, gap.Seconds(now))
	}
	// Output:
	// quarantine EncounteredQuarantineException
	// deleted operator 3600
}
