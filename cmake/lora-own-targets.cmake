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

if(MINGW)
  target_compile_options(lora_own INTERFACE -Wa,-mbig-obj) # more sections than a plain object file has
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

# The project's larger programs use the compiled library.
if(NOT TARGET lora_compiled)
  include("${CMAKE_CURRENT_LIST_DIR}/lora-compiled.cmake")
endif()
add_library(lora_own_compiled INTERFACE)
target_link_libraries(lora_own_compiled INTERFACE lora_own lora_compiled)
