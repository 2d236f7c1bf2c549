package app

import (
	"log/slog"
	"strings"
	"testing"

	"entra-aws-exporter/internal/config"
	"entra-aws-exporter/internal/simulator/clouds"
)

// TestHarmlessKeyIsNoWarning: a webhook while rotation is disabled works as it is. check-config
// tells it; a start logs no warning.
func TestHarmlessKeyIsNoWarning(t *testing.T) {
	h := newHarness(t, []clouds.ConnectionSpec{clouds.Healthy("corp")})
	h.edit("rotation: {mode: enabled, ", "rotation: {mode: disabled, ")
	out := &logBuffer{}
	if err := CheckConfig(h.options(out), ""); err != nil {
		t.Fatal(err)
	}
	expectLines(t, out.String(), "note: ", "rotation.mode is disabled for every connection: the webhook cannot start a rotation")
	c, err := config.Load(h.path("exporter.yml"))
	if err != nil {
		t.Fatal(err)
	}
	log := &logBuffer{}
	logWarnings(slog.New(slog.NewTextHandler(log, nil)), c)
	if strings.Contains(log.String(), "webhook") {
		t.Errorf("logged at a start: %s", log.String())
	}
}
