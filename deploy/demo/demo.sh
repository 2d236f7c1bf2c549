#!/usr/bin/env bash
# Both clouds simulated, and the exporter on them, until Ctrl-C. Nothing leaves this
# machine. Forty minutes of the clouds pass in twenty seconds here, and the rotation's
# waits are as much shorter.
set -euo pipefail
cd "$(dirname "$0")/../.."
pace=${PACE:-120}
directory=$PWD/.demo
rm -rf "$directory"
mkdir -p "$directory"

pids=()
stop() {
	trap - EXIT INT TERM
	kill "${pids[@]}" 2>/dev/null || true
	wait 2>/dev/null || true
}
trap stop EXIT
trap 'stop; exit 0' INT TERM

bin/entra-aws-simulator --speed="$pace" --ca-file="$directory/ca.pem" --write-config="$directory/config.yaml" \
	>"$directory/simulator.log" 2>&1 &
pids+=($!)
for _ in $(seq 100); do
	[ -s "$directory/environment" ] && break
	kill -0 "${pids[0]}" 2>/dev/null || { cat "$directory/simulator.log" >&2; exit 1; }
	sleep 0.1
done
set -a
. "$directory/environment"
set +a

bin/entra-aws-exporter --config.file="$directory/config.yaml" --rotation.pace="$pace" --web.enable-lifecycle \
	>"$directory/exporter.log" 2>&1 &
pids+=($!)
for _ in $(seq 100); do
	grep -q 'msg="Listening on"' "$directory/exporter.log" 2>/dev/null && break
	kill -0 "${pids[1]}" 2>/dev/null || { cat "$directory/exporter.log" >&2; exit 1; }
	sleep 0.1
done
for _ in $(seq 150); do # until the first round of readings is over
	bin/entra-aws-exporter status >"$directory/status" 2>/dev/null && ! grep -q ' -  ' "$directory/status" && break
	sleep 0.2
done
cat "$directory/status"
cat <<TEXT

Logs and the configuration are in .demo; Ctrl-C ends it. In another terminal:
  make demo-alert                                          rotate the token of "expiring", as Alertmanager would
  bin/entra-aws-simulator story --ca-file=.demo/ca.pem     what really happened; --help: age, fault, quirk …

status page  http://localhost:10199/
metrics      http://localhost:10199/metrics
clouds       https://127.0.0.1:10198/ (the simulator's own certificate authority)
TEXT
wait -n "${pids[@]}"
echo "something has ended, see .demo/*.log" >&2
exit 1
