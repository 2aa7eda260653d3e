#!/bin/sh
# SPDX-License-Identifier: MIT OR Apache-2.0
# The files are gone; data and configuration stay, until a purge (deb).
set -e
if [ -d /run/systemd/system ]; then
	systemctl daemon-reload
fi
[ "$1" = purge ] || exit 0
# Of the directories of several agents those that are surely ours.
for data in /var/lib/blufio /var/lib/blufio-*; do
	if [ -d "$data" ] && [ "$(stat -c %U "$data")" = blufio ]; then
		rm -rf "$data"
	fi
done
rm -rf /etc/blufio /etc/systemd/system/blufio.service.d /etc/systemd/system/blufio@*.service.d
rm -f /var/log/blufio.log* # where rsyslog writes it
rm -f /etc/systemd/system/multi-user.target.wants/blufio.service /etc/systemd/system/multi-user.target.wants/blufio@*.service
if getent passwd blufio >/dev/null; then
	userdel blufio
fi
if getent group blufio >/dev/null; then # userdel takes it along when nobody else is in it
	groupdel blufio
fi
