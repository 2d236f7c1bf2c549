#!/bin/sh
# Keeps the user and /var/lib/entra-aws-exporter: the journal and the token values are needed if
# the package is installed again.
set -e
[ -d /run/systemd/system ] || exit 0
systemctl daemon-reload
