#!/usr/bin/env bash
# Copyright (c) 2026 the lora authors. SPDX-License-Identifier: MIT
# Compiles tests/consumer/find_package with what pkg-config says, and runs it.
#
#   pkg_config.sh PREFIX OUT COMPILER PACKAGE
set -euo pipefail

prefix=$1 out=$2 compiler=$3 package=$4
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
folders=$(find "$prefix" -name pkgconfig -type d | paste -sd :)
export PKG_CONFIG_PATH=$folders

sources=("$here/find_package/main.cpp")
if [[ $package != lora ]]; then sources+=("$here/find_package/files.cpp" -DWITH_FILES); fi
read -ra cflags <<<"$(pkg-config --cflags "$package")"
read -ra libs <<<"$(pkg-config --libs "$package")"
version=$(pkg-config --modversion "$package")
mkdir -p "$(dirname "$out")"
set -x
"$compiler" -std=c++20 "-DPACKAGE_VERSION=\"$version\"" "${cflags[@]}" "${sources[@]}" "${libs[@]}" -o "$out"
"$out"
