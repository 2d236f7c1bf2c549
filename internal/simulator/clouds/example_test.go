package clouds_test

import (
	"fmt"
	"time"

	"entra-aws-exporter/internal/simulator/clouds"
)

// An operator deletes the token in use. The next cycle fails, and the timeline says who
// caused the outage.
func Example() {
	now := time.Date(2026, 11, 2, 12, 0, 0, 0, time.UTC)
	w := clouds.New(clouds.Options{Now: func() time.Time { return now }, Seed: 1})
	c := w.Add(clouds.Healthy("corp"))

	operator := clouds.CallerFor(clouds.ActorOperator)
	if err := w.DeleteBearerToken(operator, c.IdentityStoreID, c.ProvisioningTenantID, c.TokenIDs[0]); err != nil {
		fmt.Println(err)
	}
	now = now.Add(time.Hour)

	job, _ := w.Job(operator, c.EntraTenantID, c.ServicePrincipalID, c.JobID)
	fmt.Println(job.Status, job.Quarantine.Reason)
	for _, outage := range w.Outages() {
		fmt.Println(outage.Cause, outage.CausedBy, outage.Seconds(now))
	}
	// Output:
	// quarantine EncounteredQuarantineException
	// deleted operator 3600
}
