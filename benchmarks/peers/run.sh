#!/usr/bin/env bash
# Copyright (c) 2026 the lora authors. SPDX-License-Identifier: MIT
# Measures lora beside Eigen, OpenBLAS, MKL, PyTorch and PEFT: the same shapes, the same threads, the programs by turns.
#
#   bash benchmarks/peers/run.sh [--rounds N] [--checkpoint]
#
# --checkpoint: then a whole model of 1.7 GB with the tool and with PEFT (benchmarks/checkpoint.sh).
# Python's packages come by pip into an environment of their own, some GB, once.
# LORA_BUILD_DIR: where to build (default: build). The JSON stays there.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
root=$(cd "$here/../.." && pwd)
LORA_BUILD_DIR=$(realpath -m "${LORA_BUILD_DIR:-$root/build}")
export LORA_BUILD_DIR
rounds=5 checkpoint=0
while (($#)); do
  case $1 in
    --rounds) rounds=${2:?}; shift ;;
    --checkpoint) checkpoint=1 ;;
    *) echo "usage: run.sh [--rounds N] [--checkpoint]" >&2; exit 2 ;;
  esac
  shift
done

bash "$root/cmake/setup.sh" tests
source "$root/benchmarks/openblas.sh"
bash "$here/environment.sh" "$LORA_BUILD_DIR/peft"
cd "$root"
cmake --preset default -B "$LORA_BUILD_DIR/benchmarks" --log-level=WARNING -DLORA_BUILD_TESTS=OFF -DLORA_BUILD_EXAMPLES=OFF
cmake --build "$LORA_BUILD_DIR/benchmarks" --target bench_{merge,forward}{,_native} bench_mixed
"$LORA_BUILD_DIR/peft/bin/python" -B "$here/peers.py" "$LORA_BUILD_DIR/benchmarks/benchmarks" "$rounds" \
  "$LORA_BUILD_DIR/peers.json"
if ((checkpoint)); then bash benchmarks/checkpoint.sh --peft; fi
