#!/usr/bin/env bash
# Copyright (c) 2026 the lora authors. SPDX-License-Identifier: MIT
# Merges, switches and unmerges a whole synthetic model of 1.7 GB with the tool, beside cp -r: times, and peak memory.
#
#   bash benchmarks/checkpoint.sh [--small] [--peft] [--dir DIR] [--rounds N]
#
# --small: 200 MB. --peft: PEFT's merge_and_unload beside it, in the environment of benchmarks/peers. --dir: where the model
# and its copies go (default: $TMPDIR or /tmp; about five times the size).
# LORA_BUILD_DIR: where to build (default: build). The JSON stays there.
set -euo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
build=$(realpath -m "${LORA_BUILD_DIR:-$root/build}")
dir=${TMPDIR:-/tmp}
rounds=3
size=() peft=()
while (($#)); do
  case $1 in
    --small) size=(--small) ;;
    --peft) peft=("$build/peft/bin/python" "$root/benchmarks/peers/peft_checkpoint.py") ;;
    --dir) dir=${2:?}; shift ;;
    --rounds) rounds=${2:?}; shift ;;
    *) echo "usage: checkpoint.sh [--small] [--peft] [--dir DIR] [--rounds N]" >&2; exit 2 ;;
  esac
  shift
done

bash "$root/cmake/setup.sh" tests
if ((${#peft[@]})); then bash "$root/benchmarks/peers/environment.sh" "$build/peft"; fi
if [[ ! -e $build/default/build.ninja ]]; then  # tests/run.sh builds there too
  (
    cd "$root"
    cmake --preset default -B "$build/default" --log-level=WARNING -DLORA_BUILD_TESTS=OFF -DLORA_BUILD_BENCHMARKS=OFF
  )
fi
cmake --build "$build/default" --target lora_tool

work=$(mktemp -d "$dir/lora-checkpoint-XXXXXX")
trap 'rm -rf "$work"' EXIT
python3 "$root/benchmarks/make_checkpoint.py" "$work" "${size[@]}"
grep -m1 'model name' /proc/cpuinfo || true
python3 "$root/benchmarks/checkpoint.py" "$build/default/examples/lora" "$work" "$rounds" \
  "$build/checkpoint${size:+-small}.json" "${peft[@]}"
