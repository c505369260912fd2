#!/usr/bin/env bash
# Copyright (c) 2026 the lora authors. SPDX-License-Identifier: MIT
# The single header: made twice the bytes are the same; the preprocessor makes the same tokens of it as of the headers, under
# several settings, so that programs have the same bits; a quickstart compiles against it alone and runs.
#
#   single_header.sh SOURCE OUT PYTHON COMPILER [FLAG...]
#
# The flags say where Eigen is.
set -euo pipefail

source=$1 out=$2 python=$3 compiler=$4
shift 4
flags=(-std=c++20 -DNDEBUG "$@")
rm -rf "$out"
mkdir -p "$out"
cd "$out"

# same_tokens NAME HEADER...: the single header of these against the headers themselves.
same_tokens() {
  local name=$1 header setting
  shift
  local single=$name/lora/lora.hpp
  "$python" -B "$source/cmake/single_header.py" "$source/include" "$single" "$@"
  cp "$single" first.hpp
  "$python" -B "$source/cmake/single_header.py" "$source/include" "$single" "$@"
  cmp first.hpp "$single"
  echo '#include <lora/lora.hpp>' >one.cpp
  for header in lora/lora.hpp "$@"; do echo "#include <$header>"; done >many.cpp
  for setting in -O2 -fopenmp -DLORA_TARGETS_X86=0; do
    tokens one.cpp "$setting" "$name" >one.tokens
    tokens many.cpp "$setting" "$source/include" >many.tokens
    cmp one.tokens many.tokens
    echo "$name, $setting: $(wc -l <one.tokens) tokens, the same"
  done
}
tokens() { "$compiler" "${flags[@]}" "$2" -I "$3" -E -P "$1" | tr -s ' \t\n' '\n' | grep .; }

same_tokens single
same_tokens more lora/compose.hpp lora/layer/conv.hpp lora/layer/embedding.hpp lora/update/loha.hpp
"$compiler" "${flags[@]}" -Wall -Wextra -Wpedantic -Wshadow -Werror -I single "$source/examples/quickstart.cpp" -o quickstart
./quickstart
