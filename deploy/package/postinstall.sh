#!/bin/sh
# SPDX-License-Identifier: MIT OR Apache-2.0
# The files are there. deb: configure, and the version before if there was one; rpm: 1 for
# the first one and 2 for an upgrade.
set -e
case "$1" in
configure) [ -n "${2:-}" ] && upgrade=yes || upgrade=no ;;
1) upgrade=no ;;
2) upgrade=yes ;;
*) exit 0 ;; # the package manager undoes something
esac

if [ ! -d /var/lib/blufio ]; then
	install -d -m 0700 -o blufio -g blufio /var/lib/blufio
fi
[ -d /run/systemd/system ] || exit 0
systemctl daemon-reload
if [ "$upgrade" = no ]; then
	echo 'blufio is installed. systemctl enable --now blufio starts it, blufio status shows how it is.'
	exit 0
fi
# Whatever runs goes on with the new program; what does not is left as it is. That one does
# not come up again is told, and no reason to leave the package half installed.
systemctl try-restart blufio.service 'blufio@*.service' ||
	echo 'blufio does not run after the upgrade; systemctl status blufio says why' >&2
