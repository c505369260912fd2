#!/usr/bin/env bash
# Copyright (c) 2026 the lora authors. SPDX-License-Identifier: MIT
# Sets up, builds the command line tool, and does its main job on examples/data: look, merge, verify, unmerge, and the
# original file is back.
#
#   bash examples/run.sh
#
# LORA_JOBS: how many jobs at once (default: the number of processors). LORA_BUILD_DIR: where to build (default: build).
set -euo pipefail
shopt -s inherit_errexit

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
build=${LORA_BUILD_DIR:-$root/build}
jobs=${LORA_JOBS:-$(getconf _NPROCESSORS_ONLN)}
section() { printf '\n== %s ==\n' "$1"; }
run() {
  printf '$ lora'
  printf ' %s' "${@/#"$work/"/}"
  printf '\n'
  "$build/tool/examples/lora" "$@"
}
sha256() { cmake -E sha256sum "$1" | cut -d ' ' -f 1; }

bash "$root/cmake/setup.sh" tool

section "building the tool"
(
  cd "$root"
  cmake --preset default -B "$build/tool" --log-level=WARNING -DLORA_BUILD_TESTS=OFF -DLORA_BUILD_BENCHMARKS=OFF
)
cmake --build "$build/tool" --parallel "$jobs"

section "quickstart"
"$build/tool/examples/quickstart"

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$root/examples/data"
base=base.safetensors

section "what the files hold"
run inspect "$base"
run inspect adapters/games

section "merging two adapters, with an undo file"
run merge --base "$base" --adapter adapters/games --adapter adapters/science=0.5 \
  --out "$work/merged.safetensors" --undo "$work/merged.undo"
if cmp -s "$base" "$work/merged.safetensors"; then
  echo "error: the merged file equals the base" >&2
  exit 1
fi
run inspect "$work/merged.undo"

section "verifying: merged against unmerged, and back, layer by layer"
run verify --base "$base" --adapter adapters/games
run verify --base "$base" --adapter adapters/science

section "unmerging"
run unmerge --merged "$work/merged.safetensors" --undo "$work/merged.undo" --out "$work/restored.safetensors"

before=$(sha256 "$base")
after=$(sha256 "$work/restored.safetensors")
echo "SHA-256 of the original  $before"
echo "SHA-256 of the restored  $after"
if [[ $before != "$after" ]]; then
  echo "error: the restored file differs from the original" >&2
  exit 1
fi
echo "the original file is back, every bit"
