# Copyright (c) 2026 the lora authors. SPDX-License-Identifier: MIT
"""The Conan recipe of the tree that it lies in: conan create cmake/packaging/conan --build=missing -s compiler.cppstd=20

Options: io (files; needs nlohmann_json), compiled (the compiled library as well), dependencies: where Eigen and nlohmann_json
come from, "conan" or "system" (Debian's packages, or what CMake finds).

CMake finds lora's own package with find_package(lora COMPONENTS ...): nothing is generated in its place.
"""

import os
import re

from conan import ConanFile
from conan.tools.build import check_min_cppstd
from conan.tools.cmake import CMake, CMakeDeps, CMakeToolchain, cmake_layout
from conan.tools.files import copy, load, rmdir
from conan.tools.system.package_manager import Apt

required_conan_version = ">=2.0"


class LoraRecipe(ConanFile):
    name = "lora"
    license = "MIT"
    description = "Exact low-rank adaptation: merge, unmerge and switch adapters without losing a bit"
    topics = ("lora", "peft", "neural-networks", "eigen", "header-only")
    package_type = "static-library"
    settings = "os", "arch", "compiler", "build_type"
    options = {"io": [True, False], "compiled": [True, False], "dependencies": ["conan", "system"], "fPIC": [True, False]}
    default_options = {"io": True, "compiled": False, "dependencies": "conan", "fPIC": True}

    @property
    def _tree(self):
        return os.path.join(self.recipe_folder, "..", "..", "..")

    def set_version(self):
        header = load(self, os.path.join(self._tree, "include", "lora", "core", "version.hpp"))
        parts = [re.search(rf"LORA_VERSION_{part} (\d+)", header).group(1) for part in ("MAJOR", "MINOR", "PATCH")]
        self.version = ".".join(parts)

    def export_sources(self):
        for pattern in ("CMakeLists.txt", "LICENSE", "cmake/*", "include/*"):
            # What test_package builds in the tree is not part of it: the revision would change with each build.
            copy(self, pattern, self._tree, self.export_sources_folder, excludes=("*/build/*", "*/__pycache__/*", "*.pyc"))

    def config_options(self):
        if self.settings.os == "Windows":
            del self.options.fPIC

    def configure(self):
        if not self.options.compiled:
            self.package_type = "header-library"
            self.options.rm_safe("fPIC")

    def layout(self):
        cmake_layout(self)

    def requirements(self):
        if self.options.dependencies == "conan":
            self.requires("eigen/[>=3.4.0 <6]", transitive_headers=True)
            if self.options.io:
                self.requires("nlohmann_json/[>=3.9 <4]", transitive_headers=True)

    def system_requirements(self):
        if self.options.dependencies == "system":
            Apt(self).install(["libeigen3-dev"] + (["nlohmann-json3-dev"] if self.options.io else []))

    def package_id(self):
        if not self.info.options.compiled:
            self.info.settings.clear()

    def validate(self):
        if self.settings.get_safe("compiler.cppstd"):
            check_min_cppstd(self, 20)

    def generate(self):
        toolchain = CMakeToolchain(self)
        toolchain.user_presets_path = False
        for option in ("TESTS", "EXAMPLES", "BENCHMARKS"):
            toolchain.cache_variables[f"LORA_BUILD_{option}"] = False
        toolchain.cache_variables["LORA_OPENMP"] = False  # threads come from an executor
        toolchain.cache_variables["LORA_COMPILED"] = bool(self.options.compiled)
        toolchain.cache_variables["CMAKE_DISABLE_FIND_PACKAGE_nlohmann_json"] = not self.options.io
        toolchain.generate()
        CMakeDeps(self).generate()

    def build(self):
        cmake = CMake(self)
        cmake.configure()
        cmake.build()

    def package(self):
        copy(self, "LICENSE", self.source_folder, os.path.join(self.package_folder, "licenses"))
        CMake(self).install()
        rmdir(self, os.path.join(self.package_folder, "share", "doc"))

    def package_info(self):
        self.cpp_info.set_property("cmake_find_mode", "none")
        with_conan = self.options.dependencies == "conan"

        core = self.cpp_info.components["core"]
        core.set_property("pkg_config_name", "lora")
        core.libdirs = []
        core.builddirs = [os.path.join("share", "cmake", "lora")]
        core.requires = ["eigen::eigen"] if with_conan else []
        if self.options.io:
            io = self.cpp_info.components["io"]
            io.set_property("pkg_config_name", "lora-io")
            io.libdirs = []
            io.requires = ["core"] + (["nlohmann_json::nlohmann_json"] if with_conan else [])
            if self.settings.os in ("Linux", "FreeBSD"):
                io.system_libs = ["pthread"]
        if self.options.compiled:
            compiled = self.cpp_info.components["compiled"]
            compiled.set_property("pkg_config_name", "lora-compiled")
            compiled.libs = ["lora_compiled"]
            compiled.defines = ["LORA_COMPILED"]
            compiled.requires = ["core"]
            if self.settings.os in ("Linux", "FreeBSD"):
                compiled.system_libs = ["pthread"]
