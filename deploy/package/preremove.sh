#!/bin/sh
# SPDX-License-Identifier: MIT OR Apache-2.0
# Before the files go. deb: remove or upgrade; rpm: 0 for the last one, 1 for an upgrade, in
# which the daemon runs on until the new program is there.
set -e
case "$1" in
remove | 0) ;;
*) exit 0 ;;
esac
[ -d /run/systemd/system ] || exit 0
systemctl disable --quiet --now blufio.service
for unit in $(systemctl list-units --all --plain --no-legend 'blufio@*.service' | cut -d ' ' -f 1); do
	systemctl disable --quiet --now "$unit"
done
