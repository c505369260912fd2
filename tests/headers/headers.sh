#!/usr/bin/env bash
# Copyright (c) 2026 the lora authors. SPDX-License-Identifier: MIT
# Checks headers with a compiler's front end.
#
#   headers.sh alone|orders LIST EVERY COMPILER [FLAG...]
#
# alone: each header, included twice. orders: all of them in one source, in the orders of orders.py.
# LIST: a file with the headers' names, one a line. EVERY: 1 for all of these sources, 8 for every eighth. With -DLORA_COMPILED among the flags, bodies (-inl.hpp) are left out.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
check=$1 list=$2 every=$3
shift 3
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

if [[ " $* " == *" -DLORA_COMPILED "* ]]; then
  grep -v -e '-inl\.hpp$' "$list" >"$work/list"
  list=$work/list
fi
sample() { awk -v every="$every" 'NR % every == 1 % every'; }
source_of() { printf '#include <%s>\n' "${@:2}" >"$work/$1.cpp"; }
case $check in
  alone)
    while read -r header; do source_of "${header//\//_}" "$header" "$header"; done < <(sample <"$list")
    ;;
  orders)
    count=0
    python3 "$here/orders.py" "$here/../../include" "$list" | sample >"$work/orders"
    while read -ra headers; do source_of $((++count)) "${headers[@]}"; done <"$work/orders"
    ;;
  *)
    echo "usage: headers.sh alone|orders LIST EVERY COMPILER [FLAG...]" >&2
    exit 2
    ;;
esac

compile() {
  local source=$1
  shift
  "$@" -fsyntax-only "$source" || { echo "of these headers:" && head -n 8 "$source"; return 1; } >&2
}
export -f compile
find "$work" -name '*.cpp' -print0 | sort -z | xargs -0 -P 2 -I '{}' bash -c 'compile "$@"' _ '{}' "$@"
echo "$(find "$work" -name '*.cpp' | wc -l) sources"
