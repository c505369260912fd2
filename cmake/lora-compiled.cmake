# Copyright (c) 2026 the lora authors. SPDX-License-Identifier: MIT
# The compiled library: one generated source for each storage type, one for the rest, one for compositions, one for files where
# nlohmann_json is found. Programs that link it see declarations alone: no kernels, no intrinsics, no JSON.

set(compiled_dir "${CMAKE_CURRENT_BINARY_DIR}/compiled")
set(compiled_sources "${compiled_dir}/common.cpp" "${compiled_dir}/compose.cpp")
file(CONFIGURE OUTPUT "${compiled_dir}/common.cpp" CONTENT "#include <lora/instantiate.hpp>\n")
file(CONFIGURE OUTPUT "${compiled_dir}/compose.cpp" CONTENT "#include <lora/compose-inl.hpp>\n")
foreach(type IN ITEMS float double Eigen::half Eigen::bfloat16)
  string(REPLACE "Eigen::" "" name "${type}")
  file(CONFIGURE OUTPUT "${compiled_dir}/${name}.cpp"
       CONTENT "#define LORA_INSTANTIATE ${type}\n#include <lora/instantiate.hpp>\n")
  list(APPEND compiled_sources "${compiled_dir}/${name}.cpp")
endforeach()
if(TARGET lora_io)
  file(CONFIGURE OUTPUT "${compiled_dir}/io.cpp" CONTENT "#include <lora/io-inl.hpp>\n")
  list(APPEND compiled_sources "${compiled_dir}/io.cpp")
endif()

add_library(lora_compiled STATIC ${compiled_sources})
add_library(lora::compiled ALIAS lora_compiled)
set_target_properties(lora_compiled PROPERTIES EXPORT_NAME compiled POSITION_INDEPENDENT_CODE ON)
target_compile_definitions(lora_compiled PUBLIC LORA_COMPILED)
target_link_libraries(lora_compiled PUBLIC lora)
if(TARGET lora_io)
  # Its headers without nlohmann_json, which only the library's own source needs.
  find_package(Threads REQUIRED)
  target_link_libraries(lora_compiled PRIVATE $<BUILD_INTERFACE:lora_io> INTERFACE Threads::Threads)
endif()
if(LORA_OPENMP)
  find_package(OpenMP COMPONENTS CXX QUIET)
  if(OpenMP_CXX_FOUND)
    target_link_libraries(lora_compiled PRIVATE OpenMP::OpenMP_CXX)
  endif()
endif()
if(MINGW)
  target_compile_options(lora_compiled PRIVATE -Wa,-mbig-obj) # more sections than a plain object file has
endif()
if(LORA_SANITIZE)
  target_compile_options(lora_compiled PRIVATE -fsanitize=${LORA_SANITIZE} -fno-sanitize-recover=all -fno-omit-frame-pointer)
endif()
