#!/usr/bin/env bash
# Writes the configurations of deploy/prometheus and deploy/alertmanager with other
# addresses and shorter waits, for `make demo-stack`, the end-to-end test and
# deploy/compose. It fails if a text to replace is missing.
#   fast-config.sh prometheus DIRECTORY EXPORTER [ALERTMANAGER…]            host:port each
#   fast-config.sh alertmanager DIRECTORY WEBHOOK TOKEN_FILE [NOTIFICATIONS] URLs; default: no notifications
set -euo pipefail
deploy=$(cd "$(dirname "$0")/.." && pwd)

# replace FROM TO, in $content
replace() {
	[[ $content == *"$1"* ]] || { echo "$0: the configuration no longer has: $1" >&2; exit 1; }
	local rest=$content
	content=
	while [[ $rest == *"$1"* ]]; do # versions of bash differ in ${content//"$1"/"$2"}
		content+=${rest%%"$1"*}$2
		rest=${rest#*"$1"}
	done
	content+=$rest
}

prometheus() {
	local directory=$1 exporter=$2 targets='' alertmanager rule
	shift 2
	for alertmanager in "$@"; do targets+="${targets:+, }\"$alertmanager\""; done
	mkdir -p "$directory/rules"
	content=$(<"$deploy/prometheus/prometheus.yml")
	replace 'interval: 30s' 'interval: 1s'
	replace '"alertmanager:9093"' "$targets"
	replace entra-aws-exporter:10199 "$exporter"
	printf '%s\n' "$content" >"$directory/prometheus.yml"
	# The expressions do not change.
	for rule in "$deploy"/prometheus/rules/*.yml; do
		sed -E 's/^( +(keep_firing_)?for): [0-9]+[smhd]$/\1: 2s/' "$rule" >"$directory/rules/$(basename "$rule")"
	done
}

alertmanager() {
	local directory=$1 webhook=$2 token=$3 notifications=${4:-} receiver
	mkdir -p "$directory"
	content=$(<"$deploy/alertmanager/alertmanager.yml")
	replace $'group_by: [alertname, connection]\n' $'group_by: [alertname, connection]\n  group_wait: 1s\n  group_interval: 2s\n'
	replace 'group_wait: 10s' 'group_wait: 1s'
	replace 'group_interval: 5m' 'group_interval: 2s'
	replace 'repeat_interval: 1h' 'repeat_interval: 10s'
	# Rotations may start at any time.
	replace monday:thursday sunday:saturday
	replace '"08:00"' '"00:00"'
	replace '"16:00"' '"24:00"'
	replace http://entra-aws-exporter:10199/webhook/alertmanager "$webhook"
	replace /etc/alertmanager/entra-aws-exporter.token "$token"
	if [ -n "$notifications" ]; then
		replace http://localhost:9094/replace-me "$notifications"
	else
		receiver=$'    webhook_configs:\n      - url: http://localhost:9094/replace-me\n        send_resolved: true\n'
		replace "$receiver" ''
	fi
	printf '%s\n' "$content" >"$directory/alertmanager.yml"
}

"$@"
