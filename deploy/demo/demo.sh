#!/usr/bin/env bash
# Both clouds simulated, and the exporter on them, until Ctrl-C. Nothing leaves this
# machine, and the rotation's waits are as short as the clouds are fast.
set -euo pipefail
cd "$(dirname "$0")/../.."
. deploy/demo/processes.sh

begin
start_clouds demo
start_exporter
cat "$directory/status"
cat <<TEXT

Logs and the configuration are in .demo; Ctrl-C ends it. In another terminal:
  make demo-alert                                          rotate the token of "expiring", as Alertmanager would
  bin/entra-aws-simulator story --ca-file=.demo/ca.pem     what really happened; --help: age, fault, quirk …
A command that the exporter names works here with the demo's environment, configuration and pace:
  (set -a; . .demo/environment; bin/entra-aws-exporter --config.file=.demo/config.yaml rotation start quarantined --rotation.pace=$pace)

status page  http://localhost:10199/
metrics      http://localhost:10199/metrics
clouds       https://127.0.0.1:10198/ (the simulator's own certificate authority)
TEXT
wait -n "${pids[@]}" || true
all_alive
