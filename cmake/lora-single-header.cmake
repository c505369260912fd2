# Copyright (c) 2026 the lora authors. SPDX-License-Identifier: MIT
# The target lora_single_header: lora.hpp and all that it includes as one file, BUILD/single_include/lora/lora.hpp.
# LORA_SINGLE_HEADER_WITH adds headers to it.

set(LORA_SINGLE_HEADER_WITH "" CACHE STRING "What else goes into the single header, such as lora/compose.hpp;lora/layer/conv.hpp")
find_package(Python3 3.8 COMPONENTS Interpreter QUIET)
if(Python3_Interpreter_FOUND)
  set(single_header "${PROJECT_BINARY_DIR}/single_include/lora/lora.hpp")
  add_custom_command(
    OUTPUT "${single_header}"
    COMMAND Python3::Interpreter -B "${CMAKE_CURRENT_LIST_DIR}/single_header.py" "${include_dir}" "${single_header}"
            ${LORA_SINGLE_HEADER_WITH}
    DEPENDS "${CMAKE_CURRENT_LIST_DIR}/single_header.py" ${core_headers} ${io_headers}
    COMMENT "Making ${single_header}"
    VERBATIM)
  add_custom_target(lora_single_header DEPENDS "${single_header}")
endif()
