#!/usr/bin/env bash
# Copyright (c) 2026 the lora authors. SPDX-License-Identifier: MIT
# The time examples/quickstart.cpp takes to compile, beside a bare Eigen program with the same flags: best of three.
#
#   bash tests/compile_time.sh [--cxx COMPILER] [--limit SECONDS] [-- FLAGS...]
#
# Exits 1 when quickstart takes longer than the limit.
set -euo pipefail
shopt -s inherit_errexit

usage() {
  echo "usage: compile_time.sh [--cxx COMPILER] [--limit SECONDS] [-- FLAGS...]" >&2
  exit 2
}

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
cxx=${CXX:-g++}
limit=4
flags=(-isystem /usr/include/eigen3)
while (($#)); do
  case $1 in
    --cxx) cxx=${2:?$(usage)}; shift 2 ;;
    --limit) limit=${2:?$(usage)}; shift 2 ;;
    --) shift; flags=("$@"); break ;;
    *) usage ;;
  esac
done
flags=(-std=c++20 -O2 "-I$root/include" "${flags[@]}")

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cat >"$work/eigen.cpp" <<'CPP'
#include <Eigen/Core>
#include <iostream>

int main() {
  const Eigen::MatrixXf B = Eigen::MatrixXf::Random(64, 4), A = Eigen::MatrixXf::Random(4, 48);
  Eigen::MatrixXf W = Eigen::MatrixXf::Random(64, 48);
  W.noalias() += 4.0f * (B * A);
  std::cout << W.norm() << '\n';
}
CPP

# milliseconds FILE
milliseconds() {
  local best=0 begin end time
  for _ in 1 2 3; do
    begin=$(date +%s%N)
    "$cxx" "${flags[@]}" -c "$1" -o "$work/out.o"
    end=$(date +%s%N)
    time=$(((end - begin) / 1000000))
    if ((best == 0 || time < best)); then best=$time; fi
  done
  echo "$best"
}

eigen=$(milliseconds "$work/eigen.cpp")
quickstart=$(milliseconds "$root/examples/quickstart.cpp")
awk -v e="$eigen" -v q="$quickstart" -v l="$limit" -v cxx="$cxx" 'BEGIN {
  printf "compile time with %s -O2, best of 3\n", cxx
  printf "  a bare Eigen program     %6.2f s\n", e / 1000
  printf "  examples/quickstart.cpp  %6.2f s   (limit %g s)\n", q / 1000, l
  if (q / 1000 > l) { print "too slow"; exit 1 }
}'
