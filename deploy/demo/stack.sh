#!/usr/bin/env bash
# The whole loop with real servers: the simulator, the exporter, Prometheus and
# Alertmanager. It ages a token and prints what follows until the alert is resolved. The
# servers then run until Ctrl-C; with --once they stop.
set -euo pipefail
cd "$(dirname "$0")/../.."
. deploy/demo/processes.sh
PATH=$PATH:$PWD/.tools/bin
connection=corp prometheus=http://localhost:9090 alertmanager=http://localhost:9093

say() { printf '%s  %s\n' "$(date +%H:%M:%S)" "$*"; }
# from SOURCE: each line of the input, with its source.
from() { while IFS= read -r line; do say "$1: $line"; done; }

firing() { # the alerts that fire, one a line
	promtool query instant "$prometheus" 'ALERTS{alertstate="firing"}' |
		sed -n 's/.*alertname="\([^"]*\)".*/\1/p' | sort -u
}
fires() { firing | grep -qx "$1"; }
no_alert() { [ -z "$(firing)" ]; }
decisions() { sed -n 's/.*msg="alert decided" decision=\([a-z_]*\).*/the alert arrives: \1/p' "$directory/exporter.log"; }
rotation() { exporter rotation show "$connection" 2>/dev/null | sed -n 's/^  //p'; }
scraped() { [ -n "$(days_left)" ]; }
days_left() {
	promtool query instant "$prometheus" "floor((entra_aws_scim_active_token_expiry_timestamp_seconds{connection=\"$connection\"} - time()) / 86400)" |
		sed -n 's/.*=> \([0-9-]*\) .*/\1/p'
}

# report: what has changed since the last report.
report() {
	firing >"$directory/firing"
	touch "$directory/fired"
	comm -13 "$directory/fired" "$directory/firing" | sed 's/$/ fires/' | from Prometheus
	comm -23 "$directory/fired" "$directory/firing" | sed 's/$/ is resolved/' | from Prometheus
	cp "$directory/firing" "$directory/fired"
	decisions | new_lines decisions | from webhook
	rotation | new_lines rotation | from rotation
}

begin
start_simulator single
start_exporter
deploy/demo/fast-config.sh alertmanager "$directory" http://localhost:10199/webhook/alertmanager "$directory/webhook-token"
start alertmanager alertmanager --config.file="$directory/alertmanager.yml" --storage.path="$directory/alertmanager" \
	--web.listen-address=localhost:9093 --cluster.listen-address=
deploy/demo/fast-config.sh prometheus "$directory" localhost:10199 localhost:9093
start prometheus prometheus --config.file="$directory/prometheus.yml" --storage.tsdb.path="$directory/prometheus" \
	--web.listen-address=localhost:9090 --rules.alert.resend-delay=2s
await 30 grep -q 'Server is ready' "$directory/prometheus.log"
await 30 amtool --alertmanager.url="$alertmanager" alert query
await 30 scraped
await 30 no_alert # until the first scrape the exporter is absent
say "The simulator, the exporter, Prometheus and Alertmanager run. No alert fires."
say "The token of $connection has $(days_left) days left. The simulator ages it by 210 days."
simulator age 210d >/dev/null

deadline=$((SECONDS + 600)) due=no
until [ $due = over ] && fires EntraAwsRotationSucceeded; do
	all_alive || exit 1
	[ $SECONDS -lt $deadline ] || { echo "the alert was not resolved within ten minutes; logs are in $directory" >&2; exit 1; }
	report
	case $due-$(grep -cx EntraAwsScimTokenRotationDue "$directory/firing") in
	no-1) due=yes ;;
	yes-0) due=over ;;
	esac
	sleep 1
done
report
say "The alert is resolved: the token of $connection has $(days_left) days left."
echo
exporter rotation list
cat <<TEXT

status page   http://localhost:10199/
Prometheus    $prometheus/alerts
Alertmanager  $alertmanager/
simulator     bin/entra-aws-simulator timeline --ca-file=.demo/ca.pem     what happened in AWS and Entra
TEXT
[ "${1:-}" != --once ] || exit 0
echo
echo "Ctrl-C stops everything. Logs and configurations are in .demo."
watch_all
