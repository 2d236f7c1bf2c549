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
	echo "# conffiles"
	dpkg-deb --info "$dist"/*.deb conffiles
	echo "# scripts"
	dpkg-deb --info "$dist"/*.deb | awk '$NF == "#!/bin/sh" { print $(NF - 1) }' | sort
} >"$work/contents.txt"
[ "${1:-}" != --update ] || cp "$work/contents.txt" deploy/package/contents.txt
diff -u deploy/package/contents.txt "$work/contents.txt"
if command -v rpm >/dev/null; then
	rpm -qp --qf '[%{FILEMODES:perms} %{FILEUSERNAME}/%{FILEGROUPNAME} %{FILENAMES}\n]' "$dist"/*.rpm
fi
