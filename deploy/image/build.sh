#!/usr/bin/env bash
# SPDX-License-Identifier: MIT OR Apache-2.0
# Builds the image of deploy/Dockerfile: deploy/image/build.sh NAME[:TAG] [ARCH]. It takes the
# certificates of this machine (CERTIFICATES names others) and Go's time zones. Nothing is
# fetched. DOCKER is the command, docker by itself; with DOCKER= only rootfs.tar is made,
# in DIR, and nothing built.
set -euo pipefail
cd "$(dirname "$0")/../.."
name=${1:?name the image}
arch=${2:-$(go env GOARCH)}
certificates=${CERTIFICATES:-/etc/ssl/certs/ca-certificates.crt}
SOURCE_DATE_EPOCH=$(git log -1 --format=%ct)
version=${VERSION:-$(git describe --tags --always --dirty)}
commit=$(git rev-parse HEAD)

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
root=$work/root
mkdir -p "$root"/{etc/blufio,etc/ssl/certs,usr/bin,usr/share,var/lib/blufio}
CGO_ENABLED=0 GOOS=linux GOARCH=$arch go build -trimpath \
	-ldflags "-s -w -X github.com/blufio/blufio/cli.version=$version -X github.com/blufio/blufio/cli.commit=$commit" -o "$root/usr/bin/blufio" .
install -m 644 "$certificates" "$root/etc/ssl/certs/ca-certificates.crt"
install -m 644 "$(go env GOROOT)/lib/time/zoneinfo.zip" "$root/usr/share/zoneinfo.zip"
chmod 755 "$root/usr/bin/blufio"
echo 'blufio:x:65532:65532:blufio:/var/lib/blufio:/sbin/nologin' >"$root/etc/passwd"
echo 'blufio:x:65532:' >"$root/etc/group"
find "$root" -type d -exec chmod 755 {} +

context=${DIR:-$work/context}
mkdir -p "$context"
archive=(tar --create --sort=name --mtime="@$SOURCE_DATE_EPOCH" --numeric-owner --format=ustar --directory "$root")
"${archive[@]}" --owner=0 --group=0 --exclude=./var/lib/blufio --file "$context/rootfs.tar" .
chmod 700 "$root/var/lib/blufio"
"${archive[@]}" --owner=65532 --group=65532 --file "$work/data.tar" ./var/lib/blufio
tar --concatenate --file "$context/rootfs.tar" "$work/data.tar"
cp deploy/Dockerfile "$context/"

docker=${DOCKER-docker}
[[ -z $docker ]] || $docker build --quiet --tag "$name" --label "org.opencontainers.image.version=$version" \
	--label "org.opencontainers.image.revision=$commit" --label "org.opencontainers.image.licenses=MIT OR Apache-2.0" "$context"
