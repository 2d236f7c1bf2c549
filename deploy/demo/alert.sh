#!/usr/bin/env bash
# Posts to the demo's webhook what Alertmanager posts, then shows the rotation's story
# as it goes on.
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

rm -f "$directory/story.seen"
for _ in $(seq 600); do
	exporter rotation show expiring >"$directory/story" 2>/dev/null || true
	news story <"$directory/story"
	grep -qE '^  (ended|stopped)' "$directory/story" && break
	sleep 1
done
echo
exporter rotation list
