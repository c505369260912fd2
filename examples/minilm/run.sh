#!/usr/bin/env bash
# Copyright (c) 2026 the lora authors. SPDX-License-Identifier: MIT
# Fetches the model (84 MB, once), builds the example, and checks its sentence vectors against PyTorch's and PEFT's.
#
#   bash examples/minilm/run.sh [--bench [THREADS] | --serve [THREADS]]
#
# --bench: sentences per second instead, with PyTorch + PEFT beside it (THREADS: default the number of processors);
# --serve: a stream of requests for 32 adapters (examples/serve_many.cpp), with PEFT beside it too, twice by turns. They come with pip
# into an environment of their own, some GB, once; LORA_PEFT_PYTHON names a Python that has them already.
# LORA_MODELS: where the model is kept (default: .cache). LORA_JOBS: how many jobs at once (default: the number of
# processors). LORA_BUILD_DIR: where to build (default: build).
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
root=$(cd "$here/../.." && pwd)
build=$(realpath -m "${LORA_BUILD_DIR:-$root/build}")
model=${LORA_MODELS:-$root/.cache}/all-MiniLM-L6-v2
processors=$(getconf _NPROCESSORS_ONLN)
usage() {
  echo "usage: run.sh [--bench [THREADS] | --serve [THREADS]]" >&2
  exit 2
}
case $#,${1-} in
  0,) bench=0 ;;
  [12],--bench | [12],--serve) bench=1 threads=${2:-$processors} ;;
  *) usage ;;
esac
if ((bench)) && [[ ! $threads =~ ^[1-9][0-9]*$ ]]; then usage; fi

bash "$root/cmake/setup.sh" tool
bash "$here/fetch.sh" "$model"
if [[ ! -e $build/default/build.ninja ]]; then  # tests/run.sh builds there too
  (
    cd "$root"
    cmake --preset default -B "$build/default" --log-level=WARNING -DLORA_BUILD_TESTS=OFF -DLORA_BUILD_BENCHMARKS=OFF
  )
fi
cmake --build "$build/default" --target minilm serve_many --parallel "${LORA_JOBS:-$processors}"

data=("$root/examples/data/minilm" "$here/expected.safetensors")
program=("$build/default/examples/minilm/minilm" "$model/model.safetensors" "${data[@]}")
many=("$build/default/examples/minilm/serve_many" "$model/model.safetensors" "$root/examples/data/minilm-fixed-heads")
if ((!bench)); then
  "${program[@]}"
  exec "${many[@]}"
fi

python=${LORA_PEFT_PYTHON:-$build/peft/bin/python}
if [[ -z ${LORA_PEFT_PYTHON-} ]]; then
  bash "$root/benchmarks/peers/environment.sh" "$build/peft" ||
    echo "PyTorch and PEFT cannot be installed here: the benchmark goes without them" >&2
fi
grep -m1 'model name' /proc/cpuinfo || true
has_peer() { "$python" -c 'import peft' 2>/dev/null; }
if [[ $1 == --serve ]]; then
  for turn in 1 2; do
    echo "turn $turn"
    "${many[@]}" --bench "$threads"
    if has_peer; then "$python" -B "$here/peer_many.py" "$model" "${many[2]}" "$threads"; fi
  done
else
  "${program[@]}" --bench --threads "$threads"
  if has_peer; then "$python" -B "$here/peer.py" "$model" "${data[@]}" "$threads"; fi
fi
