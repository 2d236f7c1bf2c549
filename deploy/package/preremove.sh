#!/bin/sh
# Stops the service before a removal; an upgrade restarts it afterwards. dpkg passes a word, rpm
# the number of versions that remain.
set -e
case $1 in
remove | 0) ;;
*) exit 0 ;;
esac
[ -d /run/systemd/system ] || exit 0
systemctl disable --now entra-aws-exporter-rotate.timer entra-aws-exporter.service
