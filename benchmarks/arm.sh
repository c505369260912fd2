#!/usr/bin/env bash
# Copyright (c) 2026 the lora authors. SPDX-License-Identifier: MIT
# What the kernels for 64-bit Arm cost as far as that can be known without such a machine: they run under qemu, which lists
# every instruction, and llvm-mca's models of processors say how many cycles these take when all data is in the first cache
# and every branch is foreseen. No time on real hardware.
#
#   bash benchmarks/arm.sh
#
# Needs aarch64-linux-gnu-g++, qemu-aarch64 and llvm-mca (Debian: g++-aarch64-linux-gnu qemu-user llvm; the models of
# Neoverse came with LLVM 16). LORA_BUILD_DIR: where to build (default: build).
set -euo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
build=$(realpath -m "${LORA_BUILD_DIR:-$root/build}")/arm
mca=$( (compgen -c llvm-mca- || true) | { grep -xE 'llvm-mca-[0-9]+' || true; } | sort -uV | tail -n 1)
mca=${mca:-llvm-mca}
for tool in aarch64-linux-gnu-g++ aarch64-linux-gnu-objdump qemu-aarch64 "$mca"; do
  command -v "$tool" >/dev/null || { echo "arm.sh: missing: $tool" >&2; exit 1; }
done

mkdir -p "$build"
eigen=/usr/include/eigen3
[[ -e $eigen/Eigen/Core ]] || eigen=/usr/local/include/eigen3
aarch64-linux-gnu-g++ -std=c++20 -O2 -DNDEBUG -static -I "$root/include" -isystem "$eigen" \
  "$root/benchmarks/arm_kernels.cpp" -o "$build/arm_kernels"
python3 "$root/benchmarks/arm.py" "$build/arm_kernels" "$mca"
