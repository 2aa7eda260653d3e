#!/usr/bin/env bash
# SPDX-License-Identifier: MIT OR Apache-2.0
# The journey of a package on a machine with a real systemd: see journey_test.go. As root,
# on Debian or a kin; what is missing is installed, and a Debian to boot is fetched once
# (about a minute) and kept in E2E_BASE. Arguments go to go test, as -run Journey/upgrade.
#
# Exit code 3: it cannot be run here, and the reason is said.
set -euo pipefail
cd "$(dirname "$0")/../.."
cannot() {
	echo "SKIPPED: make e2e: $*" >&2
	exit 3
}
[[ $(id -u) = 0 ]] || cannot "it boots a machine, and only root can"
need=()
for tool in debootstrap:debootstrap systemd-nspawn:systemd-container dpkg-deb:dpkg; do
	command -v "${tool%:*}" >/dev/null || need+=("${tool#*:}")
done
if [[ ${#need[@]} -gt 0 ]]; then
	command -v apt-get >/dev/null || cannot "there is no ${need[*]}, and no apt-get to install it"
	{ apt-get update -q && apt-get install -yq --no-install-recommends "${need[@]}"; } >&2 || cannot "${need[*]} cannot be installed"
fi
unshare --mount true 2>/dev/null || cannot "this machine lets nobody mount"

include=systemd,systemd-sysv,dbus,procps,ca-certificates,rsyslog,logrotate,rpm
base=${E2E_BASE:-/var/cache/blufio-e2e/bookworm-$(cksum <<<"$include" | cut -d ' ' -f 1)}
if [[ ! -e $base/.ready ]]; then
	rm -rf "$base"
	mkdir -p "$(dirname "$base")"
	debootstrap --variant=minbase --include="$include" bookworm "$base" >&2 ||
		cannot "a Debian cannot be fetched"
	rm -rf "$base"/var/cache/apt/*.bin "$base"/var/cache/apt/archives/*.deb "$base"/var/lib/apt/lists/*
	touch "$base/.ready"
fi

make build >/dev/null
packages=$(mktemp -d)
trap 'rm -rf "$packages"' EXIT
for version in v1.0.0 v1.0.1; do
	VERSION=$version deploy/package/build.sh "$packages" amd64 >/dev/null
done
[[ $# -gt 0 ]] || set -- -run 'Journey|ByHand|Runbooks|RPM'
E2E_BASE=$base E2E_PACKAGES=$packages go test -count 1 -timeout 20m ./deploy/e2e -v "$@"
