#!/usr/bin/env bash
# SPDX-License-Identifier: MIT OR Apache-2.0
# Makes the archives of a version: make.sh COMMIT NAME writes NAME.tar.zst and, for the key
# beside this, NAME.tar.zst.age. It builds that commit in a scratch directory, talks with its
# daemon, and has it hand out a backup while it runs.
set -euo pipefail
commit=$1 name=$2
here=$(realpath "$(dirname "$0")")
repo=$(git -C "$here" rev-parse --show-toplevel)
work=$(mktemp -d)
daemon=
finish() {
	[[ -z $daemon ]] || kill "$daemon" 2>/dev/null || true
	wait
	rm -rf "$work"
}
trap finish EXIT
mkdir -p "$work/source" "$work/home" "$work/data/workspace/notes"
chmod 700 "$work/data"
git -C "$repo" archive "$commit" | tar x -C "$work/source"
(cd "$work/source" && CGO_ENABLED=0 go build -buildvcs=false -trimpath -ldflags "-s -w -X github.com/blufio/blufio/cli.version=$commit" -o "$work/blufio" .)
cat >"$work/blufio.toml" <<-TOML
	[gateway]
	listen = "127.0.0.1:0"
	[bus]
	listen = "127.0.0.1:0"
	[daemon]
	node = "fixture"
TOML
echo "the boiler is in the cellar" >"$work/data/workspace/notes/boiler.txt"
blufio() {
	env -i HOME="$work/home" PATH="$PATH" BLUFIO_VAULT_KEY="passphrase of a fixture" \
		"$work/blufio" --data-dir "$work/data" --config "$work/blufio.toml" "$@"
}
blufio serve 2>"$work/log" &
daemon=$!
blufio health --wait 20s >/dev/null || { cat "$work/log" >&2; exit 1; }
blufio send "remember the boiler code is 4711"
blufio send "hello from a version that was released"
echo "value of a fixture" | blufio config set-secret fixture.secret
blufio backup "$here/$name.tar.zst" --include-workspace --include-device-key
blufio backup "$here/$name.tar.zst.age" --include-workspace --encrypt "$here/recipient.txt"
ls -l "$here"
