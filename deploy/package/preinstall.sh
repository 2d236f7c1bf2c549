#!/bin/sh
# Creates the user before its files are unpacked.
set -e
getent passwd entra-aws-exporter >/dev/null ||
	useradd --system --user-group --no-create-home --home-dir /var/lib/entra-aws-exporter --shell /usr/sbin/nologin entra-aws-exporter
