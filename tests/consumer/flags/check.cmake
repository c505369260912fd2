# Copyright (c) 2026 the lora authors. SPDX-License-Identifier: MIT
# cmake -DLORA_SOURCE=DIR -DBUILD=DIR -DGENERATOR=NAME -DCOMPILER=PATH -P check.cmake
# Linking lora::lora adds include directories to a compile command, and nothing else.

# The command of one target, without its include directories and its own name.
function(command_of target result)
  file(READ "${BUILD}/compile_commands.json" commands)
  string(JSON count LENGTH "${commands}")
  math(EXPR last "${count} - 1")
  foreach(i RANGE ${last})
    string(JSON command GET "${commands}" ${i} command)
    if(command MATCHES "CMakeFiles/${target}\\.dir")
      string(REGEX REPLACE " (-I|-isystem) ?[^ ]+" "" command "${command}")
      string(REPLACE "${target}" "TARGET" command "${command}")
      set(${result} "${command}" PARENT_SCOPE)
    endif()
  endforeach()
endfunction()

foreach(standard IN ITEMS 20 23)
  file(REMOVE_RECURSE "${BUILD}")
  execute_process(
    COMMAND "${CMAKE_COMMAND}" -S "${CMAKE_CURRENT_LIST_DIR}" -B "${BUILD}" -G "${GENERATOR}"
            "-DCMAKE_CXX_COMPILER=${COMPILER}" "-DLORA_SOURCE=${LORA_SOURCE}" -DCMAKE_CXX_STANDARD=${standard}
            -DCMAKE_EXPORT_COMPILE_COMMANDS=ON
    OUTPUT_QUIET COMMAND_ERROR_IS_FATAL ANY)
  command_of(without_lora without)
  command_of(with_lora with)
  if(NOT without OR NOT without STREQUAL with)
    message(FATAL_ERROR "C++${standard}: expected the same command with and without lora, found\n${without}\n${with}")
  endif()
  message(STATUS "C++${standard}: ${with}")
endforeach()
