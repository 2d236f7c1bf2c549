#!/usr/bin/env bash
# Posts to the demo's webhook what Alertmanager posts, then shows the rotation's story
# as it goes on.
set -euo pipefail
cd "$(dirname "$0")/../.."
directory=$PWD/.demo
set -a
. "$directory/environment"
set +a
exporter() { bin/entra-aws-exporter --config.file="$directory/config.yaml" "$@"; }

curl --silent --show-error --fail-with-body \
	--header "Authorization: Bearer $(cat "$directory/webhook-token")" \
	--header 'Content-Type: application/json' \
	--data @deploy/demo/alert.json http://localhost:10199/webhook/alertmanager

touch "$directory/shown"
for _ in $(seq 600); do
	exporter rotation show expiring 2>/dev/null >"$directory/story" || true
	grep -vxFf "$directory/shown" "$directory/story" || true # what is new
	cp "$directory/story" "$directory/shown"
	grep -q '^  ended' "$directory/story" && break
	sleep 1
done
echo
exporter rotation list
