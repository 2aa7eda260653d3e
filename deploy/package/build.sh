#!/usr/bin/env bash
# SPDX-License-Identifier: MIT OR Apache-2.0
# Builds the packages into DIR: a .deb and a .rpm for each architecture, the SBOM of each
# program, and checksums. The same commit and version give the same bytes.
#
#   deploy/package/build.sh DIR [ARCH...]      amd64 and arm64 unless named
#
# VERSION is the release, git's word by itself; NFPM a command that is nfpm.
set -euo pipefail
cd "$(dirname "$0")/../.."
out=$(mkdir -p "${1:?name a directory}" && realpath "$1")
shift
arches=("$@")
[[ ${#arches[@]} -gt 0 ]] || arches=(amd64 arm64)
read -ra nfpm <<<"${NFPM:-go run github.com/goreleaser/nfpm/v2/cmd/nfpm@v2.45.2}"

commit=$(git rev-parse HEAD)
SOURCE_DATE_EPOCH=$(git log -1 --format=%ct)
export SOURCE_DATE_EPOCH TZ=UTC LC_ALL=C
version=${VERSION:-$(git describe --tags --always --dirty)}

# Packages want a version that begins with a digit and sorts: v1.2.3 is 1.2.3, five commits
# later 1.2.3+5.g0123abc, and without any release 0.0.0~20260102.0123abc.
package_version() {
	if [[ $1 =~ ^v?([0-9].*)$ && $1 == *.* ]]; then
		local v=${BASH_REMATCH[1]}
		if [[ $v =~ ^([^-]+)-([0-9]+)-(g.*)$ ]]; then
			v="${BASH_REMATCH[1]}+${BASH_REMATCH[2]}.${BASH_REMATCH[3]}"
		elif [[ $v == *-* ]]; then
			v=${v/-/\~} # 1.2.3-rc1 comes before 1.2.3
		fi
		echo "${v//-/.}"
	else
		echo "0.0.0~$(date -u -d "@$SOURCE_DATE_EPOCH" +%Y%m%d).${1//-/.}"
	fi
}

build() {
	local arch=$1 root=$work/$1
	mkdir -p "$root/usr/bin" "$root/zsh"
	CGO_ENABLED=0 GOOS=linux GOARCH=$arch go build -trimpath \
		-ldflags "-s -w -X github.com/blufio/blufio/cli.version=$version -X github.com/blufio/blufio/cli.commit=$commit" -o "$root/usr/bin/blufio" .
	chmod 755 "$root/usr/bin/blufio" # whatever umask there is
	go run ./deploy/internal/sbom -version "$version" -time "$SOURCE_DATE_EPOCH" "$root/usr/bin/blufio" >"$work/blufio-$arch.cdx.json"
	local doc=$root/usr/share/doc/blufio lib=$root/usr/lib share=$root/usr/share
	install -D -m 644 -t "$lib/systemd/system" contrib/blufio.service contrib/blufio@.service
	install -D -m 644 contrib/sysusers.d/blufio.conf "$lib/sysusers.d/blufio.conf"
	install -D -m 644 contrib/tmpfiles.d/blufio.conf "$lib/tmpfiles.d/blufio.conf"
	install -D -m 644 contrib/completions/bash/blufio "$share/bash-completion/completions/blufio"
	install -D -m 644 contrib/completions/fish/blufio.fish "$share/fish/vendor_completions.d/blufio.fish"
	install -D -m 644 -t "$root/zsh" contrib/completions/zsh/_blufio
	install -D -m 644 -t "$share/man/man1" contrib/man/*.1
	gzip --best --no-name "$share"/man/man1/*.1
	install -D -m 644 -t "$doc" README.md CONFIG.md DOCTOR.md METRICS.md SECURITY.md LICENSE-MIT LICENSE-APACHE deploy/package/copyright
	install -D -m 644 "$work/blufio-$arch.cdx.json" "$doc/sbom.cdx.json"
	install -D -m 644 -t "$doc/examples" contrib/blufio.toml contrib/logrotate.conf contrib/rsyslog.conf
	install -D -m 644 -t "$doc/examples/blufio.service.d" contrib/blufio.service.d/*.conf
	install -D -m 644 -t "$doc/examples/litestream" contrib/litestream/{README.md,litestream.yml,blufio-litestream.service}
	install -D -m 644 -t "$doc/examples/hub" contrib/hub/{README.md,hub.conf}
	install -D -m 644 -t "$doc/deploy" deploy/README.md
	install -D -m 644 -t "$doc/deploy/prometheus" deploy/prometheus/{prometheus,prometheus-token,blufio.recording,blufio.alerts}.yml
	install -D -m 644 -t "$doc/deploy/grafana/dashboards" deploy/grafana/dashboards/blufio.json
	install -D -m 644 -t "$doc/deploy/grafana/provisioning/dashboards" deploy/grafana/provisioning/dashboards/*.yml
	install -D -m 644 -t "$doc/deploy/grafana/provisioning/datasources" deploy/grafana/provisioning/datasources/*.yml
	mkdir -p "$doc/runbooks"
	for page in docs/runbooks/*.md; do # beside the rest, and not two levels below it
		sed 's,](\.\./\.\./,](../,g' "$page" >"$doc/runbooks/${page##*/}"
	done
	chmod 644 "$doc"/runbooks/*
	install -D -m 644 -t "$share/blufio/hooks" contrib/hooks/README.md
	install -m 755 -t "$share/blufio/hooks" contrib/hooks/{note-backup,post-alert,require-mount}
	find "$root" -type d -exec chmod 755 {} +
	find "$root" -exec touch --no-dereference --date "@$SOURCE_DATE_EPOCH" {} +
	export PACKAGE_ARCH=$arch PACKAGE_ROOT=$root
	for kind in deb rpm; do
		"${nfpm[@]}" package --config deploy/package/nfpm.yaml --packager "$kind" --target "$work/out/" >/dev/null
	done
}

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
PACKAGE_VERSION=$(package_version "$version")
export PACKAGE_VERSION PACKAGE_COMMIT=$commit
mkdir "$work/out"
for arch in "${arches[@]}"; do
	build "$arch"
	cp "$work/blufio-$arch.cdx.json" "$work/out/"
done
(cd "$work/out" && sha256sum -- * >SHA256SUMS)
cp "$work"/out/* "$out/"
ls -l "$out"
