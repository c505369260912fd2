#!/usr/bin/env bash
# Copyright (c) 2026 the lora authors. SPDX-License-Identifier: MIT
# Makes the Conan package with the system's Eigen and nlohmann_json, and builds and runs its test.
#
#   conan.sh CONAN RECIPE HOME
set -euo pipefail

conan=$1 recipe=$2
export CONAN_HOME=$3
rm -rf "$CONAN_HOME"
"$conan" profile detect
# In the test package's place nothing is built.
"$conan" create "$recipe" --no-remote -o "lora/*:dependencies=system" -s compiler.cppstd=20 -s build_type=Debug \
  -c 'tools.cmake.cmake_layout:test_folder=$TMP'
