#!/usr/bin/env bash
# SPDX-License-Identifier: MIT OR Apache-2.0
# Boots a Debian that is thrown away afterwards: machine.sh BASE DIR. BASE is a root file
# system that is not changed; DIR holds what changes, and console.log. The process id of the
# container stands in DIR/nspawn, anew after each reboot. SIGTERM powers it off.
#
# It works also where systemd is not process 1 and control groups are of version 1 or both
# (the container gets groups of its own, so that its limits bite).
set -euo pipefail
base=$(realpath "$1") dir=$(realpath "$2")
# A mount namespace of its own: nothing that is mounted here is seen outside.
[[ -n "${IN_NAMESPACE:-}" ]] || exec env IN_NAMESPACE=1 unshare --mount --propagation private "$0" "$@"

mkdir -p /run/systemd/nspawn "$dir"/{upper,work,root}
mount -t tmpfs tmpfs /run/systemd/nspawn # nspawn wants to propagate mounts from there
mount -t overlay overlay -o "lowerdir=$base,upperdir=$dir/upper,workdir=$dir/work" "$dir/root"

name=e2e$$
groups=()
for kind in systemd unified memory pids cpu; do
	[[ -d /sys/fs/cgroup/$kind ]] || continue
	if [[ $kind = unified ]]; then
		mine=$(sed -n 's/^0:://p' /proc/self/cgroup)
	else
		mine=$(sed -nE "s/^[0-9]+:(name=)?$kind:(.*)/\2/p" /proc/self/cgroup)
	fi
	mkdir "/sys/fs/cgroup/$kind${mine%/}/$name"
	groups+=("/sys/fs/cgroup/$kind${mine%/}/$name")
done
if [[ ${#groups[@]} = 0 ]]; then # version 2 alone
	mine=$(sed -n 's/^0:://p' /proc/self/cgroup)
	mkdir "/sys/fs/cgroup${mine%/}/$name"
	groups+=("/sys/fs/cgroup${mine%/}/$name")
fi

pid=
stop() {
	trap - TERM INT EXIT
	if [[ -n $pid ]]; then
		kill -TERM "$pid" 2>/dev/null || true
		wait "$pid" || true
	fi
	for g in "${groups[@]}"; do
		find "$g" -depth -type d -exec rmdir {} \; 2>/dev/null || true
	done
	umount "$dir/root" || true
	exit 0
}
trap stop TERM INT EXIT

while true; do
	(
		for g in "${groups[@]}"; do echo "$BASHPID" >"$g/cgroup.procs"; done
		# shellcheck disable=SC2016 # for the shell inside
		exec systemd-nspawn --quiet --directory "$dir/root" --machine "$name" --keep-unit --register=no --private-network \
			--console=pipe --kill-signal=SIGRTMIN+4 /bin/sh -c \
			'for c in memory pids cpu; do [ ! -d /sys/fs/cgroup/$c ] || mount -o remount,bind,rw /sys/fs/cgroup/$c; done; exec /lib/systemd/systemd'
	) </dev/null >>"$dir/console.log" 2>&1 &
	pid=$!
	echo "$pid" >"$dir/nspawn.new"
	mv "$dir/nspawn.new" "$dir/nspawn"
	rc=0
	wait "$pid" || rc=$?
	[[ $rc = 133 ]] || break # 133: it asked for a reboot
done
pid=
