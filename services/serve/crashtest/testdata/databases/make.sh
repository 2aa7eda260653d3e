#!/usr/bin/env bash
# SPDX-License-Identifier: MIT OR Apache-2.0
# Makes the database of an earlier version: make.sh COMMIT NAME.db.gz. It builds that commit
# in a scratch directory, talks with it, stops it, and packs what it leaves behind.
set -euo pipefail
commit=$1 out=$(realpath "$2")
repo=$(git -C "$(dirname "$0")" rev-parse --show-toplevel)
work=$(mktemp -d)
running=()
finish() {
	for pid in "${running[@]}"; do kill "$pid" 2>/dev/null || true; done
	wait
	rm -rf "$work"
}
trap finish EXIT
mkdir "$work/source" "$work/home"
git -C "$repo" archive "$commit" | tar x -C "$work/source"
cd "$work/source"
export CGO_ENABLED=0
go build -buildvcs=false -trimpath -ldflags "-s -w -X github.com/blufio/blufio/cli.version=$commit" -o "$work/blufio" .
go build -trimpath -o "$work/llmtest" ./services/agent/llm/llmtest 2>/dev/null || true # later than the first versions
cat >"$work/blufio.toml" <<-TOML
	[gateway]
	listen = "127.0.0.1:0"
	[bus]
	listen = "127.0.0.1:0"
TOML
blufio() {
	env -i HOME="$work/home" PATH="$PATH" BLUFIO_VAULT_KEY="passphrase of a fixture" \
		"$work/blufio" --data-dir "$work/data" --config "$work/blufio.toml" "$@"
}
start() {
	env -i HOME="$work/home" PATH="$PATH" BLUFIO_VAULT_KEY="passphrase of a fixture" \
		"$work/blufio" --data-dir "$work/data" --config "$work/blufio.toml" serve 2>>"$work/log" &
	daemon=$!
	running+=("$daemon")
	until blufio health >/dev/null 2>&1; do
		kill -0 "$daemon" || { cat "$work/log" >&2; exit 1; }
		sleep 0.1
	done
}
stop() {
	kill -INT "$daemon"
	wait "$daemon"
}
has() { blufio "$@" --help 2>/dev/null | grep "^  blufio $* " >/dev/null; }

start
blufio send "remember the boiler code is 4711"
blufio send "hello from an earlier version"
blufio token >/dev/null
has keys issue && (cd "$work" && blufio keys issue --role observer --name dashboard)
has config set-secret && echo "value of a fixture" | blufio config set-secret fixture.secret
stop
if [[ -x $work/llmtest ]]; then
	"$work/llmtest" >"$work/models" &
	running+=("$!")
	until url=$(grep -om1 'http://127[^" ]*/v1' "$work/models"); do sleep 0.1; done
	printf '[agent]\nprovider = "openai"\nmodel = "gpt-4o-mini"\n[openai]\nbase_url = "%s"\napi_key = "of-a-fixture"\n' "$url" >>"$work/blufio.toml"
fi
start
blufio send "what does this cost"
blufio cost stop --reason "over the limit"
stop
gzip -9n <"$work/data/blufio.db" >"$out"
ls -l "$out"
