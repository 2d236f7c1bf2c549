#!/usr/bin/env bash
# Posts an alert to the demo's webhook, as Alertmanager does, then follows the rotation.
set -euo pipefail
cd "$(dirname "$0")/../.."
. deploy/demo/processes.sh
set -a
. "$directory/environment"
set +a

curl --silent --show-error --fail-with-body \
	--header "Authorization: Bearer $(cat "$directory/webhook-token")" \
	--header 'Content-Type: application/json' \
	--data @deploy/demo/alert.json http://localhost:10199/webhook/alertmanager

rm -f "$directory/rotation.seen"
for _ in $(seq 600); do
	exporter rotation show expiring >"$directory/rotation" 2>/dev/null || true
	new_lines rotation <"$directory/rotation"
	grep -qE '^  (ended|stopped)' "$directory/rotation" && break
	sleep 1
done
echo
exporter rotation list
