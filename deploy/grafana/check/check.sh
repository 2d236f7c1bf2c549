#!/bin/sh
# Checks the dashboards against the types that Grafana publishes; skipped without npm.
set -eu
cd "$(dirname "$0")"
if ! command -v npm >/dev/null; then
	echo "dashboards: npm is not installed, the check against Grafana's types is skipped"
	exit 0
fi
# The versions are exact in package.json; a lock file would name a registry.
npm install --no-package-lock --no-audit --no-fund --loglevel=error >/dev/null
node check.mjs
