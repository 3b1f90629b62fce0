#!/bin/sh
# Runs after the files of cairn-server are in place, in all formats. It neither enables, starts nor restarts the server.
#
# Arguments: of dpkg "configure" and the version that was there before, if one was; of RPM 1 at the first installation and
# 2 at an upgrade; of apk and pacman the new version and, at an upgrade, the old one.
set -e

case "$1" in
abort-*) exit 0 ;;
esac

# Hosts without systemd-sysusers get the same user by the tools that they have.
if command -v systemd-sysusers >/dev/null; then
    systemd-sysusers /usr/lib/sysusers.d/cairn.conf
elif ! id cairn >/dev/null 2>&1; then
    nologin=$(command -v nologin || echo /bin/false)
    if command -v useradd >/dev/null; then
        useradd --system --user-group --no-create-home --home-dir /var/lib/cairn --shell "$nologin" \
            --comment "Cairn key-value store" cairn
    else
        addgroup -S cairn
        adduser -S -D -H -h /var/lib/cairn -s "$nologin" -G cairn cairn
    fi
fi

# A folder that is there already is left as it is: it may be a mount point with rights that its site chose.
if [ ! -d /var/lib/cairn ]; then
    install -d -m 0700 -o cairn -g cairn /var/lib/cairn
fi

if [ -d /run/systemd/system ]; then
    systemctl daemon-reload
fi

# Alpine's package has no unit, since it has no systemd.
if [ -e /usr/lib/systemd/system/cairn.service ]; then
    start="systemctl enable --now cairn.service"
    restart="systemctl restart cairn.service && cairnctl endpoint health"
else
    start="su -s /bin/sh cairn -c 'set -a && . /etc/cairn/cairn.env && exec cairnd'"
    restart="cairnctl endpoint health"
fi

case "$1${2:+ upgrade}" in
*" upgrade" | [2-9])
    cat <<TEXT
Cairn was upgraded; a server that runs goes on with the old version until it is restarted.
Restart one member at a time, and the next only when this says that all are healthy:
    $restart
TEXT
    ;;
*)
    cat <<TEXT
Cairn is installed; its server is neither enabled nor started. Look at /etc/cairn/cairn.env, then:
    $start
TEXT
    ;;
esac
