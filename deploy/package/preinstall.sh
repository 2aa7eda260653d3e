#!/bin/sh
# SPDX-License-Identifier: MIT OR Apache-2.0
# Before the files come: their group has to be there. deb: install or upgrade; rpm: 1 or 2.
set -e
if ! getent group blufio >/dev/null; then
	groupadd --system blufio
fi
if ! getent passwd blufio >/dev/null; then
	useradd --system --gid blufio --home-dir /var/lib/blufio --no-create-home --shell /usr/sbin/nologin \
		--comment 'blufio agent' blufio
fi
