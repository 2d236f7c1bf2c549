#!/usr/bin/env bash
# Checks the rules, their tests, the Alertmanager configuration and the exporter's metrics
# with promtool and amtool. The metrics come from the simulator.
set -euo pipefail
cd "$(dirname "$0")/.."
tools=$PWD/.tools/bin

echo "== rules"
(cd deploy/prometheus && "$tools/promtool" check rules --lint-fatal rules/*.yml && "$tools/promtool" test rules tests/*.yml)
echo "== routing"
"$tools/amtool" check-config deploy/alertmanager/alertmanager.yml deploy/compose/alertmanager.yml
if docker compose version >/dev/null 2>&1; then # needs no Docker engine
	docker compose -f deploy/compose/compose.yml config --quiet
else
	echo "docker compose is not installed: only the tests check deploy/compose/compose.yml"
fi

echo "== metrics"
directory=$(mktemp -d)
bin/entra-aws-simulator --listen-address=127.0.0.1:0 --ca-file="$directory/ca.pem" --write-config="$directory/config.yaml" \
	>"$directory/log" 2>&1 &
simulator=$!
trap 'kill $simulator 2>/dev/null; rm -rf "$directory"' EXIT
for _ in $(seq 100); do [ -s "$directory/environment" ] && break; sleep 0.1; done
set -a
. "$directory/environment"
set +a
bin/entra-aws-exporter --config.file="$directory/config.yaml" metrics >"$directory/metrics"
found=$("$tools/promtool" check metrics <"$directory/metrics")
if [ -n "$found" ]; then
	echo "$found"
	exit 1
fi
failed=$(grep '^entra_aws_source_up.* 0$' "$directory/metrics" || true)
if [ -n "$failed" ]; then
	echo "these sources are failing:"
	echo "$failed"
	exit 1
fi
echo "$(grep -c '^entra_aws_' "$directory/metrics") series, no problem found"
