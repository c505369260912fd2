#!/usr/bin/env bash
# Copyright (c) 2026 the lora authors. SPDX-License-Identifier: MIT
# Builds and runs the merge benchmark, all ways in one interleaved run, and prints its medians and their ratios.
#
#   bash benchmarks/run.sh [-O3]
#
# -O3: the programs compiled with -O3 instead of -O2. LORA_ISA=avx2 or portable caps the instruction set.
# LORA_BUILD_DIR: where to build (default: build). The JSON stays there.
set -euo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
build=${LORA_BUILD_DIR:-$root/build}
program=bench_merge
case "${1-}" in
  "") ;;
  -O3) program=bench_merge_O3 ;;
  *) echo "usage: run.sh [-O3]" >&2; exit 2 ;;
esac

bash "$root/cmake/setup.sh" tests
cd "$root"
cmake --preset default -B "$build/benchmarks" --log-level=WARNING -DLORA_BUILD_TESTS=OFF -DLORA_BUILD_EXAMPLES=OFF
cmake --build "$build/benchmarks" --target "$program" drift

json=$build/benchmarks/$program${LORA_ISA:+-$LORA_ISA}.json
"$build/benchmarks/benchmarks/$program" --benchmark_enable_random_interleaving=true --benchmark_repetitions=9 \
  --benchmark_min_time=0.03 --benchmark_report_aggregates_only=true --benchmark_out="$json" \
  --benchmark_out_format=json >/dev/null
grep -m1 'model name' /proc/cpuinfo || true
python3 benchmarks/table.py "$json"
echo
"$build/benchmarks/benchmarks/drift"
