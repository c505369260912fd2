#!/usr/bin/env bash
# Copyright (c) 2026 the lora authors. SPDX-License-Identifier: MIT
# Stacks 32 real adapters on one model in every way there is, and measures what becomes of their tasks: docs/STACKING.md. Fetches the
# model (84 MB, once), builds, runs, and prints tables; results, tables and pictures are left in the build folder's `stacking`.
#
#   bash examples/stacking/run.sh [--quick | --docs] [--data FOLDER] [OPTION...]
#
# --quick: one order, two counts and four ways, a minute instead of half an hour. --docs: tables and pictures go into docs/ as well.
# --data: another folder of tasks and adapters than examples/data/minilm-fixed-heads. OPTION: the program's own, see its --help.
# LORA_MODELS: where the model is kept (default: .cache). LORA_JOBS: how many jobs at once (default: the number of processors).
# LORA_BUILD_DIR: where to build (default: build).
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
root=$(cd "$here/../.." && pwd)
build=$(realpath -m "${LORA_BUILD_DIR:-$root/build}")
model=${LORA_MODELS:-$root/.cache}/all-MiniLM-L6-v2
jobs=${LORA_JOBS:-$(getconf _NPROCESSORS_ONLN)}
data=$root/examples/data/minilm-fixed-heads
out=$build/stacking
options=()
quick=0 docs=0
while (($#)); do
  case $1 in
    --quick) quick=1 options+=(--orders 1 --counts 4,16 --norms 1,2 --way sum --way ties_svd --way iso_c --way tsv_m) ;;
    --data) data=${2:?--data needs a folder} && shift ;;
    --docs) docs=1 ;;
    *) options+=("$1") ;;
  esac
  shift
done

bash "$root/cmake/setup.sh" tool
bash "$root/examples/minilm/fetch.sh" "$model"
if [[ ! -e $build/default/build.ninja ]]; then  # tests/run.sh builds there too
  (
    cd "$root"
    cmake --preset default -B "$build/default" --log-level=WARNING -DLORA_BUILD_TESTS=OFF -DLORA_BUILD_BENCHMARKS=OFF
  )
fi
cmake --build "$build/default" --target stacking --parallel "$jobs"

mkdir -p "$out"
results=$out/$(basename "$data").jsonl
"$build/default/examples/stacking/stacking" "$model/model.safetensors" "$data" "$results" "${options[@]}"
python3 "$here/summary.py" "$results" | tee "${results%.jsonl}.md"
if ((quick)); then exit 0; fi

python=$out/python/bin/python  # one that has matplotlib
if ! "$python" -c 'import matplotlib' 2>/dev/null; then
  if ! { python3 -m venv "$out/python" &&
    "$python" -m pip install --quiet "$(grep '^matplotlib==' "$root/benchmarks/peers/requirements.txt")"; }; then
    echo "matplotlib cannot be installed here: no pictures" >&2
    exit 0
  fi
fi
"$python" "$here/summary.py" "$results" --plots "$out/plots" >/dev/null
if ((docs)); then
  python3 "$here/summary.py" "$results" --into "$root/docs/STACKING.md"
  cp "$out/plots/"*.svg "$root/docs/plots"
fi
echo "results: $results, tables beside it, pictures in $out/plots"
