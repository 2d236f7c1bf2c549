#!/usr/bin/env bash
# Checks the release without a network: the configuration of GoReleaser, and what the archive
# and the packages of one target contain. After an intended change, write contents.txt:
#   deploy/package/check.sh --update
set -euo pipefail
cd "$(dirname "$0")/../.."
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# A copy of the work tree with a tag and the remote that a release has, limited to one target.
git clone -q . "$work/source"
git ls-files -z | xargs -0 cp -P --remove-destination --parents -t "$work/source"
sed -i -e 's/^    goos: .*/    goos: [linux]/' -e 's/^    goarch: .*/    goarch: [amd64]/' "$work/source/.goreleaser.yaml"
git -C "$work/source" remote set-url origin https://github.com/example/entra-aws-exporter
git -C "$work/source" -c tag.gpgSign=false tag --force v0.1.0
goreleaser=$PWD/.tools/bin/goreleaser
(
	cd "$work/source"
	export GITHUB_REPOSITORY_OWNER=example
	"$goreleaser" check
	"$goreleaser" release --snapshot --skip=sbom,sign,docker >"$work/log" 2>&1 || { cat "$work/log"; exit 1; }
)
dist=$work/source/dist/release

"$dist"/*_linux_amd64*/entra-aws-exporter --version >"$work/version"
if ! head -1 "$work/version" | grep -Eq '^entra-aws-exporter, version 0\.1\.0-SNAPSHOT-[0-9a-f]+ \(branch: .+, revision: [0-9a-f]{40}\)$' ||
	grep -E '^  [a-z ]+: *$' "$work/version"; then
	echo "--version lacks a field:"
	cat "$work/version"
	exit 1
fi

# The size that the page about the image states, within a tenth.
size=$(stat -c %s "$dist"/*_linux_amd64*/entra-aws-exporter)
stated=$(sed -nE 's/.*static and stripped, ([0-9]+) MB.*/\1/p' docs/install-container.md)000000
if [ $((size * 10 / stated)) != 9 ] && [ $((size * 10 / stated)) != 10 ]; then
	echo "docs/install-container.md states a binary of $stated bytes; it has $size"
	exit 1
fi

# The unpacked archive runs, and reads the simulated clouds.
mkdir "$work/archive" "$work/simulated"
tar -xzf "$dist"/*.tar.gz -C "$work/archive" --strip-components=1
go build -o "$work/simulator" ./cmd/simulator
"$work/simulator" --listen-address="127.0.0.1:$((20000 + RANDOM % 10000))" --scenario=single --ca-file="$work/simulated/ca.pem" --write-config="$work/simulated/config.yaml" >"$work/log" 2>&1 &
simulator=$!
trap 'kill $simulator; rm -rf "$work"' EXIT
for _ in $(seq 100); do
	grep -qs 'simulator started' "$work/log" && break
	sleep 0.1
done
(
	set -a
	# shellcheck source=/dev/null
	. "$work/simulated/environment"
	"$work/archive/entra-aws-exporter" --config.file="$work/simulated/config.yaml" metrics 2>&1
) >"$work/metrics"
if ! grep -q '^entra_aws_source_up{.* 1$' "$work/metrics" || grep '^entra_aws_source_up{.* 0$' "$work/metrics"; then
	echo "the archive's binary does not read every source:"
	cat "$work/metrics"
	exit 1
fi

# Mode, owner and path.
list() { sed -E 's/_[^/ ]*_linux_amd64/_VERSION_linux_amd64/' | awk '{ print $1, $2, $NF }' | sort -k3; }
if ! command -v dpkg-deb >/dev/null; then
	echo "dpkg-deb is not installed: the contents are not compared"
	exit
fi
{
	echo "# archive"
	tar -tvzf "$dist"/*.tar.gz | list
	echo "# deb"
	dpkg-deb --contents "$dist"/*.deb | list
	echo "# control"
	dpkg-deb --field "$dist"/*.deb Package Architecture Maintainer Homepage Section Depends
	echo "# conffiles"
	dpkg-deb --info "$dist"/*.deb conffiles
	echo "# scripts"
	dpkg-deb --info "$dist"/*.deb | awk '$NF == "#!/bin/sh" { print $(NF - 1) }' | sort
} >"$work/contents.txt"
[ "${1:-}" != --update ] || cp "$work/contents.txt" deploy/package/contents.txt
diff -u deploy/package/contents.txt "$work/contents.txt"

# The units in the root that the package makes, with systemd's own and what ExecReload runs.
if command -v systemd-analyze >/dev/null; then
	root=$work/root units=(entra-aws-exporter.service entra-aws-exporter-rotate.service entra-aws-exporter-rotate.timer)
	dpkg-deb --extract "$dist"/*.deb "$root"
	cp -rn /lib/systemd/system/. "$root/usr/lib/systemd/system"
	install -D /bin/kill "$root/bin/kill"
	verified=0
	(cd "$root/usr/lib/systemd/system" && systemd-analyze verify --root="$root" "${units[@]}") >"$work/log" 2>&1 || verified=$?
	if [ $verified != 0 ] || grep -q entra-aws-exporter "$work/log"; then # an unknown key is only a warning
		cat "$work/log"
		exit 1
	fi
	exposed() { systemd-analyze security --offline=true --no-pager --root="$root" --threshold="$1" "$2" >"$work/log" || { grep -v ✓ "$work/log"; exit 1; }; }
	exposed 15 "${units[0]}"
	exposed 25 "${units[1]}" # it runs as root, to read the secrets of the first
fi
if command -v rpm >/dev/null; then
	rpm -qp --qf '[%{FILEMODES:perms} %{FILEUSERNAME}/%{FILEGROUPNAME} %{FILENAMES}\n]' "$dist"/*.rpm
fi
