#!/usr/bin/env bash
# Copyright (c) 2026 the lora authors. SPDX-License-Identifier: MIT
# What lora costs a compiler: the time of two small programs, header-only and with the compiled library's declarations
# (LORA_COMPILED), as ratios to a bare Eigen product in the same run. User seconds at -O2, medians, the programs by turns.
#
#   bash tests/compile_time.sh [--cxx COMPILER] [--repeat N] [--slack PERCENT] [--PROGRAM RATIO]... [--PROGRAM-kb KB]... [-- FLAGS...]
#
# --PROGRAM RATIO: the most that PROGRAM may take: quickstart, quickstart-compiled (examples/quickstart.cpp), load-save,
# load-save-compiled (tests/compile_time/load_save.cpp). --slack: how much more is taken for noise (default: 15).
# --PROGRAM-kb KB: the largest that its object may be; without, it is printed alone, for compilers differ.
# Exits 1 when a program takes more, or does not compile.
set -euo pipefail
shopt -s inherit_errexit

usage() {
  echo "usage: compile_time.sh [--cxx COMPILER] [--repeat N] [--slack PERCENT] [--PROGRAM RATIO]... [--PROGRAM-kb KB]..." \
    "[-- FLAGS...]" >&2
  exit 2
}

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
cxx=${CXX:-g++}
repeat=3
slack=15
programs=(eigen quickstart quickstart-compiled load-save load-save-compiled)
declare -A limit=([quickstart]=3.6 [quickstart-compiled]=1.3 [load-save]=17.5 [load-save-compiled]=1.7)
declare -A size_limit=()
declare -A source=([eigen]=tests/compile_time/eigen_product.cpp
                   [quickstart]=examples/quickstart.cpp [load-save]=tests/compile_time/load_save.cpp)
flags=(-isystem /usr/include/eigen3)
while (($#)); do
  option=$1
  [[ $option == -- ]] && { shift; flags=("$@"); break; }
  [[ $option == --* && $# -ge 2 ]] || usage
  case ${option#--} in
    cxx) cxx=$2 ;;
    repeat) repeat=$2 ;;
    slack) slack=$2 ;;
    *-kb) program=${option#--}; program=${program%-kb}; [[ -v "limit[$program]" ]] || usage; size_limit[$program]=$2 ;;
    *) [[ -v "limit[${option#--}]" ]] || usage; limit[${option#--}]=$2 ;;
  esac
  shift 2
done
flags=(-std=c++20 -O2 "-I$root/include" "${flags[@]}")

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# compile PROGRAM: the user seconds go into PROGRAM.times
compile() {
  local define=()
  [[ $1 != *-compiled ]] || define=(-DLORA_COMPILED)
  local TIMEFORMAT=%3U
  { time "$cxx" "${flags[@]}" "${define[@]}" -c "$root/${source[${1%-compiled}]}" -o "$work/$1.o" 2>"$work/errors"; } \
    2>>"$work/$1.times" || { head -n 5 "$work/errors" >&2; return 1; }
}
median() { sort -n "$1" | awk '{ t[NR] = $1 } END { print (t[int((NR + 1) / 2)] + t[int(NR / 2) + 1]) / 2 }'; }

broken=()
for ((turn = 0; turn < repeat; ++turn)); do
  for program in "${programs[@]}"; do
    [[ " ${broken[*]} " == *" $program "* ]] || compile "$program" || broken+=("$program")
  done
done

echo "user seconds with $cxx -O2, medians of $repeat"
printf '%-20s %8s %8s %8s %10s %8s\n' program seconds ratio limit "object kB" limit
base=$(median "$work/eigen.times")
status=0
for program in "${programs[@]}"; do
  if [[ " ${broken[*]} " == *" $program "* ]]; then
    printf '%-20s does not compile\n' "$program"
    status=1
    continue
  fi
  awk -v program="$program" -v time="$(median "$work/$program.times")" -v base="$base" -v limit="${limit[$program]-}" \
    -v slack="$slack" -v size="$(stat -c %s "$work/$program.o")" -v size_limit="${size_limit[$program]-}" 'BEGIN {
      late = limit != "" && time / base > limit * (1 + slack / 100)
      large = size_limit != "" && size > size_limit * 1000
      printf "%-20s %8.2f %8.2f %8s %10.0f %8s%s%s\n", program, time, time / base, limit, size / 1000, size_limit,
             late ? "  too slow" : "", large ? "  too large" : ""
      exit late || large
    }' || status=1
done
exit $status
