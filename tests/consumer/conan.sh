#!/usr/bin/env bash
# Copyright (c) 2026 the lora authors. SPDX-License-Identifier: MIT
# Makes the Conan package, and builds and runs its test: with the system's Eigen and nlohmann_json, and with Conan packages of
# them, which are made of the system's headers here, since there may be no ConanCenter.
#
#   conan.sh CONAN RECIPE HOME
set -euo pipefail

conan=$1 recipe=$2
export CONAN_HOME=$3
rm -rf "$CONAN_HOME"
"$conan" profile detect

# stand_in NAME VERSION FOLDER INCLUDES TARGET: packages /usr/include/FOLDER as ConanCenter's recipe does.
stand_in() {
  mkdir -p "$CONAN_HOME/recipes/$1"
  cat >"$CONAN_HOME/recipes/$1/conanfile.py" <<EOF
from conan import ConanFile
from conan.tools.files import copy


class StandIn(ConanFile):
    name, version, package_type = "$1", "$2", "header-library"

    def package(self):
        copy(self, "$3/*", "/usr/include", self.package_folder + "/include")

    def package_info(self):
        self.cpp_info.includedirs = ["$4"]
        self.cpp_info.set_property("cmake_file_name", "${5%%::*}")
        self.cpp_info.set_property("cmake_target_name", "$5")
EOF
  "$conan" create "$CONAN_HOME/recipes/$1" --no-remote
}
stand_in eigen 3.4.0 eigen3 include/eigen3 Eigen3::Eigen
stand_in nlohmann_json 3.11.2 nlohmann include nlohmann_json::nlohmann_json

# In the test package's place nothing is built.
for dependencies in system conan; do
  "$conan" create "$recipe" --no-remote -o "lora/*:dependencies=$dependencies" -s compiler.cppstd=20 -s build_type=Debug \
    -c 'tools.cmake.cmake_layout:test_folder=$TMP'
done
