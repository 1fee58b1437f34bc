#!/usr/bin/env bash
# Lints and formats the .proto files, checks them against the last committed state for breaking changes, and writes gen/.
# Usage: proto/generate.sh [--check]   --check changes nothing but gen/ and fails when a file is not formatted.
# Needs go and npm; the versions of the tools are pinned here.
set -euo pipefail
cd "$(dirname "$0")"

buf_version=1.75.0
protoc_gen_go=google.golang.org/protobuf/cmd/protoc-gen-go
protoc_gen_connect_go=connectrpc.com/connect/cmd/protoc-gen-connect-go

tools="${COMITY_TOOLS:-${XDG_CACHE_HOME:-$HOME/.cache}/comity/tools}"
if [ ! -x "$tools/buf-$buf_version/node_modules/.bin/buf" ]; then
  mkdir -p "$tools/buf-$buf_version"
  npm install --prefix "$tools/buf-$buf_version" --no-audit --no-fund --no-save --loglevel=error "@bufbuild/buf@$buf_version" >&2
fi
buf="$tools/buf-$buf_version/node_modules/.bin/buf"

# The plugins come from the module graph, so they always match the libraries that run their output.
bin="$(mktemp -d)"
trap 'rm -rf "$bin"' EXIT
go build -o "$bin/" "$protoc_gen_go" "$protoc_gen_connect_go"

if [ "${1:-}" = --check ]; then
  "$buf" format --diff --exit-code
else
  "$buf" format --write
fi
"$buf" lint
# Breaking changes are judged against the newest tag, once there is one: before a release the wire format may still move.
tag="$(git describe --tags --abbrev=0 2>/dev/null || true)"
if [ -n "$tag" ] && git cat-file -e "$tag:proto/buf.yaml" 2>/dev/null; then
  "$buf" breaking --against "$(git rev-parse --show-toplevel)/.git#tag=$tag,subdir=proto"
fi
PATH="$bin:$PATH" "$buf" generate
