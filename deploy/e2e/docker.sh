#!/usr/bin/env bash
# SPDX-License-Identifier: MIT OR Apache-2.0
# The journey of the image in a real Docker, whose daemon lives as long as this script and
# keeps what it has in a directory that goes away: see container_test.go. As root; docker.io and
# docker-compose are installed where there are none. Arguments go to go test.
#
# Exit code 3: it cannot be run here, and the reason is said.
set -euo pipefail
cd "$(dirname "$0")/../.."
cannot() {
	echo "SKIPPED: make e2e-docker: $*" >&2
	exit 3
}
[[ $(id -u) = 0 ]] || cannot "it starts a Docker of its own, and only root can"
for tool in dockerd:docker.io docker-compose:docker-compose; do
	command -v "${tool%:*}" >/dev/null && continue
	command -v apt-get >/dev/null || cannot "there is no ${tool%:*}, and no apt-get to install it"
	{ apt-get update -q && apt-get install -yq --no-install-recommends "${tool#*:}"; } >&2 || cannot "${tool#*:} cannot be installed"
done

dir=$(mktemp -d /var/tmp/blufio-docker-XXXXXX)
export DOCKER_HOST=unix://$dir/socket
dockerd --iptables=false --ip6tables=false --bridge=none --storage-driver=overlay2 --data-root="$dir/data" --exec-root="$dir/exec" \
	--pidfile="$dir/pid" --host="$DOCKER_HOST" >"$dir/log" 2>&1 &
daemon=$!
end() {
	kill "$daemon" 2>/dev/null || true
	wait "$daemon" || true
	umount "$dir"/exec/netns/* 2>/dev/null || true # of --network=host
	rm -rf "$dir"
}
trap end EXIT
for _ in $(seq 300); do
	docker info >/dev/null 2>&1 && break
	kill -0 "$daemon" 2>/dev/null || break
	sleep 0.1
done
docker info >/dev/null 2>&1 || { tail -20 "$dir/log" >&2; cannot "dockerd does not start"; }
deploy/image/build.sh blufio-e2e >/dev/null
E2E_IMAGE=blufio-e2e go test -count 1 -timeout 10m ./deploy/e2e -run "${1:-Container|Composed}" -v "${@:2}"
