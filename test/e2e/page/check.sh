#!/bin/sh
# Checks the pages in headless Chromium: accessibility, policy, width, keyboard. Writes
# screenshots to the given directory. Skipped without npm or Chromium.
#   test/e2e/page/check.sh SCREENSHOTS
set -eu
mkdir -p "$1"
screenshots=$(cd "$1" && pwd)
cd "$(dirname "$0")"
if ! command -v npm >/dev/null; then
	echo "pages: npm is not installed, skipping"
	exit 0
fi
find_chromium() {
	for name in "${CHROMIUM:-chromium}" chromium-browser google-chrome google-chrome-stable; do
		command -v "$name" && return
	done
}
chromium=$(find_chromium || true)
if [ -z "$chromium" ] && [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
	echo "pages: installing Chromium"
	{ apt-get update && DEBIAN_FRONTEND=noninteractive apt-get install --yes --no-install-recommends chromium; } >/dev/null 2>&1 || true
	chromium=$(find_chromium || true)
fi
if [ -z "$chromium" ]; then
	echo "pages: Chromium not found (set CHROMIUM to its path), skipping"
	exit 0
fi
# package.json has exact versions; a lock file would name a registry.
npm install --no-package-lock --no-audit --no-fund --loglevel=error >/dev/null
CHROMIUM=$chromium node check.mjs --screenshots "$screenshots"
echo "pages: screenshots are in $screenshots"
