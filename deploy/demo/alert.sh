#!/usr/bin/env bash
# Posts an alert to the demo's webhook, as Alertmanager does, then follows what it starts:
#   alert.sh [token | certificate]   the rotation of the token of "expiring", or the rollover
#                                    of the certificate of "signing"
set -euo pipefail
cd "$(dirname "$0")/../.."
. deploy/demo/processes.sh
set -a
. "$directory/environment"
set +a
kind=${1:-token}
case $kind in
token) connection=expiring ;;
certificate) connection=signing ;;
*) echo "$0: $kind is neither token nor certificate" >&2; exit 2 ;;
esac

curl --silent --show-error --fail-with-body \
	--header "Authorization: Bearer $(cat "$directory/webhook-token")" \
	--header 'Content-Type: application/json' \
	--data "@deploy/demo/alert-$kind.json" http://localhost:10199/webhook/alertmanager

rm -f "$directory/rotation.seen"
for _ in $(seq 600); do
	exporter rotation show "$connection" >"$directory/rotation" 2>/dev/null || true
	new_lines rotation <"$directory/rotation"
	grep -qE '^  (ended|stopped)' "$directory/rotation" && break
	sleep 1
done
echo
exporter rotation list
if [ "$kind" = certificate ]; then
	printf '\nThe simulator has of %s:\n' "$connection"
	simulator state | sed -n "/\"name\": \"$connection\"/,/sign_in_outage/p" | sed -n '/"certificates"/,$p'
fi
