#!/usr/bin/env bash
# Runs the simulator and the exporter until Ctrl-C. Nothing leaves this machine. The
# rotation's waits are divided by the same number as the simulator's periods.
set -euo pipefail
cd "$(dirname "$0")/../.."
. deploy/demo/processes.sh

begin
start_simulator demo
start_exporter
cat "$directory/status"
cat <<TEXT

Logs and the configuration are in .demo; Ctrl-C ends it. In another terminal:
  make demo-alert                                             rotate the token of "expiring", as Alertmanager would
  make demo-alert KIND=certificate                            roll the certificate of "signing" over
  bin/entra-aws-simulator timeline --ca-file=.demo/ca.pem     what happened in AWS and Entra; --help: age, fault, quirk …
The exporter's commands need the demo's environment, configuration and pace:
  (set -a; . .demo/environment; bin/entra-aws-exporter --config.file=.demo/config.yaml rotation start quarantined --rotation.pace=$pace)
Nobody can sign in by "quarantined": Entra signs with a certificate that AWS does not trust.
With --kind certificate, the command above names the one that ends this outage.

status page  http://localhost:10199/
metrics      http://localhost:10199/metrics
simulator    https://127.0.0.1:10198/ (with its own certificate authority)
TEXT
watch_all
