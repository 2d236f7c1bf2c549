package poller

import (
	"encoding/json"
	"fmt"
	"time"

	"entra-aws-exporter/internal/model"
)

// Replica names this process among those that share a store. One of them reads what a
// record in it counts, the others show the record.
type Replica struct {
	ID string
	// IsDead tells whether a replica has certainly ended, so that the others need not wait
	// for it. Optional.
	IsDead func(id string) bool
}

// maxClockSkew is how far apart the clocks of two replicas may be.
const maxClockSkew = 5 * time.Minute

// claim is the part of a record that says which replica reads for it. It keeps others from
// reading, too. Nothing is counted twice without it: a record is only written over the
// revision that it was read with.
type claim struct {
	Replica string    `json:"replica"`
	Expires time.Time `json:"expires"` // by the replica's clock
	Read    time.Time `json:"read"`    // when something was last read
}

// claimOf returns the claim in a record. A record that nobody can decode has none.
func claimOf(content []byte) claim {
	var record struct {
		Reader claim `json:"reader"`
	}
	_ = json.Unmarshal(content, &record) // whoever uses the rest of it reports the error
	return record.Reader
}

// in adds the claim to a record, which is a JSON object with fields.
func (c claim) in(record []byte) []byte {
	encoded, err := json.Marshal(c)
	if err != nil {
		panic(err) // strings and times
	}
	return fmt.Appendf(nil, `{"reader":%s,%s`, encoded, record[1:])
}

// isOf tells whether a replica holds the claim, by its own clock.
func (c claim) isOf(replica Replica) bool {
	return c.Replica == replica.ID && time.Now().Before(c.Expires)
}

// keepsOut tells whether another replica than this one reads.
func (c claim) keepsOut(replica Replica) bool {
	return c.Replica != "" && c.Replica != replica.ID && time.Now().Before(c.Expires.Add(maxClockSkew)) &&
		(replica.IsDead == nil || !replica.IsDead(c.Replica))
}

// claimLength outlasts a poll that takes all of its time, and one more that fails.
func claimLength(interval time.Duration) time.Duration { return 2*interval + maxEventTimeout }

// check is the error of a replica that shows what another one reads, if that has not read
// anything for too long.
func (c claim) check(interval time.Duration) error {
	if time.Since(c.Read) <= claimLength(interval)+maxClockSkew {
		return nil
	}
	return &model.Error{
		Reason: model.ReasonOther, Op: "showing what another replica reads",
		Detail: fmt.Sprintf("replica %s has read nothing since %s", c.Replica, c.Read.UTC().Format(time.RFC3339)),
		Advice: "see the log of that replica; if it has ended, another one goes on",
	}
}
