#!/usr/bin/env bash
# Checks the chart without a cluster: lint, the schemas of Kubernetes and of the Prometheus
# operator, the tests of the rules, and the values in chart/ci. Those must render, with each text
# that their comments name; those in chart/ci/invalid must fail with the text of their first line.
# The plain manifest must be the chart with its defaults:
#   deploy/kubernetes/check.sh --update   # writes entra-aws-exporter.yaml
set -euo pipefail
cd "$(dirname "$0")/../.."
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
chart=deploy/kubernetes/chart
plain=deploy/kubernetes/entra-aws-exporter.yaml

render() { # NAME HELM FLAGS…
	.tools/bin/helm template entra-aws-exporter $chart --namespace monitoring "${@:2}" >"$work/$1" 2>"$work/error" ||
		{ grep -v 'msg="found symbolic link' "$work/error"; return 1; }
}
validate() { .tools/bin/kubeconform -strict -schema-location '.tools/schemas/{{.ResourceKind}}{{.KindSuffix}}.json' "$@"; }

.tools/bin/helm lint --strict --quiet $chart 2>"$work/error" || { cat "$work/error"; exit 1; }
render default.yaml
awk '/^```yaml/ { inside = 1; next } /^```/ { inside = 0 } inside' $chart/README.md >"$work/readme-values"
render readme.yaml --values="$work/readme-values" || { echo "the values in the README do not render"; exit 1; }
for values in $chart/ci/*.yaml; do
	render "$(basename "$values")" --values="$values" || { echo "$values does not render"; exit 1; }
	while IFS= read -r text; do
		grep -qF -- "$text" "$work/$(basename "$values")" || { echo "$values renders no \"$text\""; exit 1; }
	done < <(sed -n 's/^#   //p' "$values")
done
validate -summary "$work"/*.yaml deploy/kubernetes/*.yaml
if sed 's/containerPort/contanerPort/' "$work/default.yaml" | validate >"$work/error"; then
	echo "a misspelt field is not noticed"
	exit 1
fi

failing=0
for values in $chart/ci/invalid/*.yaml; do
	want=$(sed -n '1s/^# //p' "$values")
	if found=$(render invalid --values="$values") || [[ $found != *"$want"* ]]; then
		printf '%s\nwants  %s\nfound  %s\n' "$values" "$want" "${found:-no error}"
		failing=1
	fi
done
[ $failing = 0 ]

# The chart of a release runs the image of the same release.
.ci/package-chart 9.8.7 Example "$work" >/dev/null
released=$work/entra-aws-exporter-9.8.7.tgz
.tools/bin/helm template x "$released" | grep -qF 'image: ghcr.io/example/entra-aws-exporter:9.8.7' || { echo "the released chart has another image"; exit 1; }
if tar -xOzf "$released" | grep -n OWNER; then
	echo "the released chart has the placeholder OWNER"
	exit 1
fi

# What the exporter says of the rendered configuration.
for rendered in default full readme state-in-aws; do
	awk '/^  config.yaml: \|/ { inside = 1; next } /^[^ ]/ { inside = 0 } inside' "$work/$rendered.yaml" | sed 's/^    //' >"$work/config.yml"
	bin/entra-aws-exporter --config.file="$work/config.yml" check-config >"$work/error" 2>&1 || { cat "$work/error"; exit 1; }
done

# With the default limits, the chart's rules pass the tests of the rules.
render rule.yaml --set prometheusRule.enabled=true --show-only=templates/prometheusrule.yaml
mkdir -p "$work/prometheus/rules"
sed -n '/^spec:$/,$s/^  //p' "$work/rule.yaml" >"$work/prometheus/rules/chart.yml"
cp -r deploy/prometheus/tests "$work/prometheus"
.tools/bin/promtool check rules --lint-fatal "$work/prometheus/rules/chart.yml"
(cd "$work/prometheus" && "$OLDPWD/.tools/bin/promtool" test rules tests/*.yml >"$work/error") || { cat "$work/error"; exit 1; }

{ sed '/^---$/,$d' $plain; cat "$work/default.yaml"; } >"$work/plain.yaml"
[ "${1:-}" != --update ] || cp "$work/plain.yaml" $plain
diff -u $plain "$work/plain.yaml"
