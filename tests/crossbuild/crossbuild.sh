#!/usr/bin/env bash
# Copyright (c) 2026 the lora authors. SPDX-License-Identifier: MIT
# The steps of the crossbuild tests.
#
#   crossbuild.sh build DIR NAME COMPILER [FLAG...]   compiles crossbuild.cpp into DIR/NAME and lets it write, capped to
#                                                     each instruction set; the bytes must have the expected digest
#   crossbuild.sh undo DIR NAME...                    each program undoes what two others wrote
#
# LORA_CROSSBUILD_RUNNER: what runs the programs (qemu-aarch64), when this machine cannot.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
mode=${1-} dir=${2-}
shift 2
mkdir -p "$dir"

run() {
  local name=$1
  shift
  read -ra runner <"$dir/$name.runner" || true
  "${runner[@]}" "$dir/$name" "$@"
}

case $mode in
  build)
    name=$1
    shift
    echo "${LORA_CROSSBUILD_RUNNER-}" >"$dir/$name.runner"
    "$@" -std=c++20 "-I$here/../../include" -o "$dir/$name" "$here/crossbuild.cpp"
    isas=(portable avx2 avx512)
    if grep -qs avx512_bf16 /proc/cpuinfo; then isas+=(avx512_bf16); fi
    if [[ $name == aarch64* ]]; then isas=(portable neon); fi
    for isa in "${isas[@]}"; do
      while read -r expected kind; do
        [[ $kind == - ]] && kind=""
        LORA_ISA=$isa run "$name" "write$kind" "$dir/$name$kind.bin"
        found=$(sha256sum <"$dir/$name$kind.bin" | cut -d ' ' -f 1)
        echo "$name, LORA_ISA=$isa: $found $kind"
        if [[ $found != "$expected" ]]; then
          echo "crossbuild: $name with LORA_ISA=$isa (write$kind) writes other bytes than expected.sha256 says" >&2
          exit 1
        fi
      done <"$here/expected.sha256"
    done
    ;;
  undo)
    names=("$@")
    count=${#names[@]}
    for ((i = 0; i < count; ++i)); do
      for j in $(((i + 1) % count)) $(((i + count / 2) % count)); do
        echo "${names[i]} undoes ${names[j]}"
        for kind in "" -dora -dense -products; do
          run "${names[i]}" "undo$kind" "$dir/${names[j]}$kind.bin"
        done
      done
    done
    ;;
  *)
    echo "usage: crossbuild.sh build DIR NAME COMPILER [FLAG...] | undo DIR NAME..." >&2
    exit 2
    ;;
esac
