#!/usr/bin/env bash
# Copyright (c) 2026 the lora authors. SPDX-License-Identifier: MIT
# Merges, switches and unmerges a whole synthetic model of 1.7 GB with the tool, beside cp -r: times, and peak memory.
#
#   bash benchmarks/checkpoint.sh [--small] [--dir DIR] [--rounds N]
#
# --small: 200 MB. --dir: where the model and its copies go (default: $TMPDIR or /tmp; about five times the size).
# LORA_BUILD_DIR: where to build (default: build). The JSON stays there.
set -euo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
build=${LORA_BUILD_DIR:-$root/build}
dir=${TMPDIR:-/tmp}
rounds=3
size=()
while (($#)); do
  case $1 in
    --small) size=(--small) ;;
    --dir) dir=${2:?}; shift ;;
    --rounds) rounds=${2:?}; shift ;;
    *) echo "usage: checkpoint.sh [--small] [--dir DIR] [--rounds N]" >&2; exit 2 ;;
  esac
  shift
done

bash "$root/cmake/setup.sh" tests
(
  cd "$root"
  cmake --preset default -B "$build/tool" --log-level=WARNING -DLORA_BUILD_TESTS=OFF -DLORA_BUILD_BENCHMARKS=OFF
)
cmake --build "$build/tool" --target lora_tool

work=$(mktemp -d "$dir/lora-checkpoint-XXXXXX")
trap 'rm -rf "$work"' EXIT
python3 "$root/benchmarks/make_checkpoint.py" "$work" "${size[@]}"
grep -m1 'model name' /proc/cpuinfo || true
python3 "$root/benchmarks/checkpoint.py" "$build/tool/examples/lora" "$work" "$rounds" \
  "$build/checkpoint${size:+-small}.json"
