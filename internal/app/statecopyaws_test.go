package app

import (
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"entra-aws-exporter/internal/simulator/clouds"
	"entra-aws-exporter/test/harness/dynalite"
)

// From a directory to DynamoDB and Secrets Manager, and back into an empty directory: the
// exporter goes on there. It is refused while a rotation runs, on either side, and repeating
// it copies nothing.
func TestStateCopyToAWS(t *testing.T) {
	url := dynalite.Start(t)
	dynalite.CreateTable(t, url, stateRegion, "copied")
	synctest.Test(t, func(t *testing.T) {
		h := newHarness(t, []clouds.ConnectionSpec{clouds.Expiring("expiring")})
		h.edit(fastIntervals, strings.Replace(slowIntervals, "events: 1h", "events: 5m", 1))
		directory := h.read("exporter.yml")
		h.stateInAWS(t, url, "copied")
		h.write("aws.yml", h.read("exporter.yml"))
		h.write("back.yml", strings.ReplaceAll(directory, "directory: state", "directory: back"))
		h.write("exporter.yml", directory)
		h.start()
		time.Sleep(15 * time.Minute)
		h.alert()
		time.Sleep(30 * time.Minute)
		for _, pair := range [][2]string{{"exporter.yml", "aws.yml"}, {"aws.yml", "exporter.yml"}} {
			if out := h.copyState(pair[0], pair[1]); !strings.Contains(out, "of connection expiring runs: wait for its end, or abort it") {
				t.Errorf("%v while a rotation runs: %s", pair, out)
			}
		}
		record := h.waitForOutcome("expiring")
		time.Sleep(2 * time.Hour)
		counted := h.eventsCounted()
		h.stop()

		for _, pair := range [][2]string{{"exporter.yml", "aws.yml"}, {"aws.yml", "back.yml"}} {
			first, again := h.copyState(pair[0], pair[1]), h.copyState(pair[0], pair[1])
			if !strings.Contains(first, "copied 4, already there 0\n") || !strings.Contains(again, "copied 0, already there 4\n") {
				t.Errorf("%v: %s, then %s", pair, first, again)
			}
		}
		value := ""
		h.With(func(m *clouds.Model) { value = m.TokenValue(record.NewTokenID) })
		if items := dynalite.Call(t, url, stateRegion, "Scan", `{"TableName":"copied"}`); value == "" || strings.Contains(items, value) {
			t.Error("the table has a value, or there is none")
		}

		for _, config := range []string{"aws.yml", "back.yml"} {
			h.write("exporter.yml", h.read(config))
			h.start()
			time.Sleep(firstPoll)
			if list := h.rotations("expiring"); len(list) != 1 || list[0].ID != record.ID {
				t.Errorf("%s shows %+v", config, list)
			}
			if now := h.eventsCounted(); now < counted {
				t.Errorf("%s: %d events, %d before", config, now, counted)
			}
			if info := h.series().matching("scim_token_info", record.NewTokenID, `role="in_use"`); len(info) != 1 {
				t.Errorf("%s: the token in use is not known", config)
			}
			if probe := h.series().matching(`entra_aws_scim_probe_success{connection="expiring"} 1`); len(probe) != 1 {
				t.Errorf("%s: the value is not used", config)
			}
			h.stop()
		}
	})
}

// A copy that is cut off is repeated: what is there stays as it is.
func TestStateCopyCutOff(t *testing.T) {
	url := dynalite.Start(t)
	dynalite.CreateTable(t, url, stateRegion, "cut")
	synctest.Test(t, func(t *testing.T) {
		h := newHarness(t, []clouds.ConnectionSpec{clouds.Expiring("expiring")})
		h.edit(fastIntervals, slowIntervals)
		directory := h.read("exporter.yml")
		s := h.stateInAWS(t, url, "cut")
		h.write("aws.yml", h.read("exporter.yml"))
		h.write("exporter.yml", directory)
		h.start()
		time.Sleep(15 * time.Minute)
		h.alert()
		h.waitForOutcome("expiring")
		h.stop()
		for _, denied := range []string{"secretsmanager:CreateSecret", "dynamodb:UpdateItem"} {
			s.answerWith(denies(denied))
			if out := h.copyState("exporter.yml", "aws.yml"); !strings.Contains(out, "allow "+denied) {
				t.Errorf("without %s: %s", denied, out)
			}
		}
		s.answerWith(nil)
		if out := h.copyState("exporter.yml", "aws.yml"); !strings.Contains(out, ", already there 0\n") {
			t.Errorf("repeated: %s", out)
		}
		if out := h.copyState("exporter.yml", "aws.yml"); !strings.Contains(out, "copied 0, ") {
			t.Errorf("once more: %s", out)
		}
	})
}
