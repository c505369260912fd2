#!/usr/bin/env bash
# Copyright (c) 2026 the lora authors. SPDX-License-Identifier: MIT
# Builds and runs the benchmarks, each program's cases in one randomly interleaved run, and prints their medians, their ratios
# and their distance from the limits of the machine.
#
#   bash benchmarks/run.sh [--full] [-O3 | --native] [merge | forward | mixed]
#
# Without --full: 4096 x 4096 at rank 16, in about a minute. --full: all shapes, ranks and batches, in about a quarter of an hour.
# -O3, --native: the programs compiled with -O3, or with -O2 -march=native, instead of -O2.
# merge, forward, mixed: one of the three programs. LORA_ISA=avx2 or portable caps the instruction set.
# LORA_BUILD_DIR: where to build (default: build). The JSON stays there.
set -euo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
build=$(realpath -m "${LORA_BUILD_DIR:-$root/build}")
full=() suffix="" programs=(bench_merge bench_forward bench_mixed)
for argument; do
  case $argument in
    --full) full=(--full) ;;
    -O3) suffix=_O3 ;;
    --native) suffix=_native ;;
    merge | forward | mixed) programs=("bench_$argument") ;;
    *) echo "usage: run.sh [--full] [-O3 | --native] [merge | forward | mixed]" >&2; exit 2 ;;
  esac
done
options=(--benchmark_repetitions=7 --benchmark_min_time=0.02)

bash "$root/cmake/setup.sh" tests
source "$root/benchmarks/openblas.sh"
cd "$root"
cmake --preset default -B "$build/benchmarks" --log-level=WARNING -DLORA_BUILD_TESTS=OFF -DLORA_BUILD_EXAMPLES=OFF
cmake --build "$build/benchmarks" --target "${programs[@]/%/$suffix}" drift

grep -m1 'model name' /proc/cpuinfo || true
files=()
for program in "${programs[@]}"; do
  file=$build/benchmarks/$program$suffix${full:+-full}${LORA_ISA:+-$LORA_ISA}.json
  "$build/benchmarks/benchmarks/$program$suffix" "${full[@]}" --benchmark_enable_random_interleaving=true "${options[@]}" \
    --benchmark_report_aggregates_only=true --benchmark_out="$file" --benchmark_out_format=json >/dev/null
  files+=("$file")
done
python3 benchmarks/table.py "${files[@]}"
"$build/benchmarks/benchmarks/drift" | tee "$build/benchmarks/drift.txt"
