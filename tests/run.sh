#!/usr/bin/env bash
# Copyright (c) 2026 the lora authors. SPDX-License-Identifier: MIT
# Sets up, builds and runs all tests: gcc with everything, the unit tests with clang and sanitizers, the contract suite for
# 64-bit Arm under qemu. One ctest run over all builds comes last.
#
#   bash tests/run.sh [--quick]
#
# --quick: the gcc build alone. LORA_JOBS: how many jobs at once (default: the number of processors).
# LORA_BUILD_DIR: where to build (default: build).
set -euo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
build=$(realpath -m "${LORA_BUILD_DIR:-$root/build}")
jobs=${LORA_JOBS:-$(getconf _NPROCESSORS_ONLN)}
purpose=all
builds=(default asan aarch64)
case "${1-}" in
  "") ;;
  --quick) purpose=tests; builds=(default) ;;
  *) echo "usage: run.sh [--quick]" >&2; exit 2 ;;
esac

bash "$root/cmake/setup.sh" "$purpose"

cd "$root"
mkdir -p "$build/ctest"
: >"$build/ctest/CTestTestfile.cmake"
for preset in "${builds[@]}"; do
  printf '\n== building: %s ==\n' "$preset"
  begin=$SECONDS
  cmake --preset "$preset" -B "$build/$preset" --log-level=WARNING
  cmake --build "$build/$preset" --parallel "$jobs"
  echo "built in $((SECONDS - begin)) s"
  echo "subdirs(\"$build/$preset\")" >>"$build/ctest/CTestTestfile.cmake"
done

printf '\n== testing: %s ==\n' "${builds[*]}"
# Without optimisation and with sanitizers the exhaustive kernel tests take minutes; weight, layer and the other kernel
# tests walk the same code there.
ctest --test-dir "$build/ctest" --parallel "$jobs" --output-on-failure --no-label-summary \
  --exclude-regex '^asan/(kernel\.(Batched\.EqualsTheReferenceFor|(Contract|Skinny|FpEnvironment)\.)|weight\.FailingAllocation\.|io\.Safetensors\.AMillion)'
