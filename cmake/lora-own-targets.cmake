# Copyright (c) 2026 the lora authors. SPDX-License-Identifier: MIT
# What lora's own tests, examples and benchmarks are compiled with. Nothing here reaches a consumer.

add_library(lora_own INTERFACE)
target_link_libraries(lora_own INTERFACE lora::lora)
if(TARGET lora::io)
  target_link_libraries(lora_own INTERFACE lora::io)
endif()
if(CMAKE_CXX_COMPILER_ID MATCHES "GNU|Clang")
  target_compile_options(lora_own INTERFACE -Wall -Wextra -Wpedantic -Wshadow -Wconversion)
endif()

if(CMAKE_CXX_COMPILER_ID STREQUAL "GNU" AND CMAKE_CXX_COMPILER_VERSION VERSION_LESS 13)
  target_compile_options(lora_own INTERFACE -Wno-restrict) # false alarms about "text" + std::string, gcc bug 105651
endif()

if(LORA_OPENMP)
  find_package(OpenMP COMPONENTS CXX QUIET)
  if(OpenMP_CXX_FOUND)
    target_link_libraries(lora_own INTERFACE OpenMP::OpenMP_CXX)
  else()
    message(STATUS "lora: OpenMP was not found: the library runs on one thread")
  endif()
endif()

if(LORA_SANITIZE)
  target_compile_options(lora_own INTERFACE -fsanitize=${LORA_SANITIZE} -fno-sanitize-recover=all
                                            -fno-omit-frame-pointer)
  target_link_options(lora_own INTERFACE -fsanitize=${LORA_SANITIZE})
endif()

# The kernels, compiled once for the project's larger programs.
file(CONFIGURE OUTPUT "${CMAKE_BINARY_DIR}/lora-kernels.cpp" CONTENT "#include <lora/instantiate.hpp>\n")
add_library(lora_kernels STATIC EXCLUDE_FROM_ALL "${CMAKE_BINARY_DIR}/lora-kernels.cpp")
target_link_libraries(lora_kernels PUBLIC lora_own)
target_compile_definitions(lora_kernels PUBLIC LORA_EXTERN_TEMPLATES)
