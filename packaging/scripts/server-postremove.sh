#!/bin/sh
# Runs after the files of cairn-server went, in all formats. Data is never deleted, not even by a purge.
#
# Arguments: as in server-preremove.sh; dpkg says "purge" once the configuration went, too.
set -e

case "$1" in
upgrade | failed-upgrade | abort-* | disappear | [1-9]) exit 0 ;;
esac
if [ -d /run/systemd/system ]; then
    systemctl daemon-reload
fi
if [ -d /var/lib/cairn ]; then
    echo "The data of Cairn stays in /var/lib/cairn, with its user cairn; delete both yourself if you want."
fi
