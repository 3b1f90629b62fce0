#!/bin/sh
# Runs before the files of cairn-server go, in all formats: stops the server when it goes for good, not at an upgrade.
#
# Arguments: of dpkg a word, of RPM the number of versions that stay, of apk and pacman the version, which they give only
# when the package goes for good.
set -e

case "$1" in
upgrade | failed-upgrade | deconfigure | [1-9]) exit 0 ;;
esac
if [ -d /run/systemd/system ]; then
    systemctl disable --now cairn.service
fi
