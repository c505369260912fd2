#!/usr/bin/env bash
# Copyright (c) 2026 the lora authors. SPDX-License-Identifier: MIT
# Makes sure that what lora is built with is there.
#
#   bash cmake/setup.sh tool|tests|all|full|docs
#
# tool: the command line tool. tests: also the gcc tests and the benchmarks. all: also the clang and aarch64 builds. full: also
# libc++, Windows (mingw-w64, wine), docs, and a browser, which tests look at pages with. docs: what the documentation site is made
# with, and no more.
# Looks first and does nothing when all is there. What is missing is installed with apt-get, as root or through a sudo
# that asks for no password; otherwise the command is printed, and the script exits 1.
set -euo pipefail

case ${1-} in
  tool | tests | all | full | docs) purpose=$1 ;;
  *) echo "usage: setup.sh tool|tests|all|full|docs" >&2; exit 2 ;;
esac

has_command() { command -v "$1" >/dev/null; }
has_header() {
  local place
  for place in /usr/include /usr/local/include /usr/{,local/}include/eigen3 /usr/include/*-linux-gnu; do
    [[ -e $place/$1 ]] && return 0
  done
  return 1
}
compiles() { echo 'int main() {}' | "$@" -x c++ - -o /dev/null 2>/dev/null; }

# missing_packages: the Debian packages whose probe fails.
missing_packages() {
  need() {
    local package=$1
    shift
    "$@" || missing+=("$package")
  }
  missing=()
  if [[ $purpose == docs ]]; then
    need doxygen has_command doxygen
    need python3 has_command python3
    return
  fi
  need g++ compiles g++
  need cmake has_command cmake
  need ninja-build has_command ninja
  need libeigen3-dev has_header Eigen/Core
  need nlohmann-json3-dev has_header nlohmann/json.hpp
  need libcli11-dev has_header CLI/CLI.hpp
  [[ $purpose == tool ]] && return
  need libgtest-dev has_header gtest/gtest.h
  need python3 has_command python3
  need pkg-config has_command pkg-config
  need libbenchmark-dev has_header benchmark/benchmark.h
  need libopenblas-dev has_header openblas_config.h  # cblas.h comes with other libraries too
  [[ $purpose == tests ]] && return
  need clang has_command clang++
  need libomp-dev compiles clang++ -fopenmp
  need libclang-rt-dev compiles clang++ -fsanitize=fuzzer-no-link,address
  need g++-aarch64-linux-gnu compiles aarch64-linux-gnu-g++
  need qemu-user has_command qemu-aarch64
  need googletest test -e /usr/src/googletest/CMakeLists.txt
  [[ $purpose == all ]] && return
  need chromium has_command chromium
  need doxygen has_command doxygen
  need libc++-dev compiles clang++ -stdlib=libc++ -include vector
  need libc++abi-dev compiles clang++ -stdlib=libc++ -include vector
  need g++-mingw-w64-x86-64-posix has_command x86_64-w64-mingw32-g++-posix
  need wine has_command wine
  need wine64 test -e /usr/lib/wine/wine64
}

missing_packages
if ((${#missing[@]})); then
  sudo=()
  if ((EUID != 0)); then sudo=(sudo); fi
  update=(apt-get update)
  install=(apt-get install -y --no-install-recommends "${missing[@]}")
  if ! has_command apt-get || { ((EUID != 0)) && ! sudo -n true 2>/dev/null; }; then
    {
      echo "lora: missing: ${missing[*]}"
      echo "lora: install them and run this again; on Debian or Ubuntu:"
      echo "  sudo ${update[*]} && sudo ${install[*]}"
    } >&2
    exit 1
  fi
  echo "lora: installing ${missing[*]}"
  export DEBIAN_FRONTEND=noninteractive
  "${sudo[@]}" "${update[@]}"
  "${sudo[@]}" "${install[@]}"
  missing_packages
  if ((${#missing[@]})); then
    echo "lora: still missing after the installation: ${missing[*]}" >&2
    exit 1
  fi
fi

[[ $purpose == docs ]] && exit
version=$(cmake --version | sed -n '1s/[^0-9]*\([0-9.]*\).*/\1/p')
if [[ $(printf '%s\n' 3.24 "$version" | sort -V | head -n 1) != 3.24 ]]; then
  echo "lora: expected CMake 3.24 or newer, found $version" >&2
  exit 1
fi
