package token

import (
	"testing"
	"testing/synctest"
	"time"

	"entra-aws-exporter/internal/model"
	"entra-aws-exporter/rotate"
)

func TestExpiredAfterAnHourOfGrace(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := observer{&session{Session: &rotate.Session{AWS: rotate.Clock{Offset: time.Minute, Known: true}}}}
		for ago, expired := range map[time.Duration]bool{time.Hour - time.Second: false, time.Hour + time.Second: true, 2 * time.Hour: true} {
			if o.expired(model.Token{Expires: time.Now().Add(time.Minute - ago)}) != expired {
				t.Errorf("%s after the expiry by AWS's clock: want expired %v", ago, expired)
			}
		}
		o.AWS.Known = false
		if o.expired(model.Token{Expires: time.Now().Add(-24 * time.Hour)}) {
			t.Error("expired by an unknown clock")
		}
	})
}
