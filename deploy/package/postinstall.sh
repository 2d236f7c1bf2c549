#!/bin/sh
# Restarts a running service after an upgrade. The first start is left to the administrator,
# because the configuration must be edited before.
set -e
[ -d /run/systemd/system ] || exit 0
systemctl daemon-reload
systemctl try-restart entra-aws-exporter.service
