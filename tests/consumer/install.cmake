# Copyright (c) 2026 the lora authors. SPDX-License-Identifier: MIT
# cmake -DSOURCE=DIR -DBUILD=DIR -DPREFIX=DIR -DGENERATOR=NAME -DCOMPILER=PATH -P install.cmake
# Installs the headers alone into an empty prefix.

file(REMOVE_RECURSE "${BUILD}" "${PREFIX}")
execute_process(
  COMMAND "${CMAKE_COMMAND}" -S "${SOURCE}" -B "${BUILD}" -G "${GENERATOR}" "-DCMAKE_CXX_COMPILER=${COMPILER}"
          -DLORA_BUILD_TESTS=OFF -DLORA_BUILD_EXAMPLES=OFF -DLORA_BUILD_BENCHMARKS=OFF -DLORA_COMPILED=OFF
  COMMAND_ERROR_IS_FATAL ANY)
execute_process(COMMAND "${CMAKE_COMMAND}" --install "${BUILD}" --prefix "${PREFIX}" COMMAND_ERROR_IS_FATAL ANY)

# Every header arrives.
file(GLOB_RECURSE expected RELATIVE "${SOURCE}/include" "${SOURCE}/include/lora/*")
file(GLOB_RECURSE installed RELATIVE "${PREFIX}/include" "${PREFIX}/include/*")
if(NOT expected STREQUAL installed)
  message(FATAL_ERROR "expected the headers\n  ${expected}\nfound\n  ${installed}")
endif()
