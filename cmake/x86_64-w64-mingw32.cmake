# Copyright (c) 2026 the lora authors. SPDX-License-Identifier: MIT
# Cross compilation for 64-bit Windows with mingw-w64's g++; programs run under wine.
# Debian and Ubuntu: g++-mingw-w64-x86-64-posix wine64

set(CMAKE_SYSTEM_NAME Windows)
set(CMAKE_SYSTEM_PROCESSOR x86_64)
set(CMAKE_C_COMPILER x86_64-w64-mingw32-gcc-posix) # GoogleTest asks for one
set(CMAKE_CXX_COMPILER x86_64-w64-mingw32-g++-posix)
set(CMAKE_RC_COMPILER x86_64-w64-mingw32-windres)
set(CMAKE_CROSSCOMPILING_EMULATOR "${CMAKE_CURRENT_LIST_DIR}/wine.sh")

set(CMAKE_FIND_ROOT_PATH /usr/x86_64-w64-mingw32)
set(CMAKE_FIND_ROOT_PATH_MODE_PROGRAM NEVER)
set(CMAKE_FIND_ROOT_PATH_MODE_LIBRARY ONLY)
set(CMAKE_FIND_ROOT_PATH_MODE_INCLUDE ONLY)
# Eigen is headers only: the host's package serves. So are nlohmann-json and CLI11, but their packages name /usr/include as
# a whole, whose C headers must not be found.
set(CMAKE_FIND_ROOT_PATH_MODE_PACKAGE BOTH)
set(host "${CMAKE_BINARY_DIR}/host")
foreach(package IN ITEMS nlohmann_json/nlohmann CLI11/CLI)
  cmake_path(GET package PARENT_PATH name)
  cmake_path(GET package FILENAME folder)
  if(IS_DIRECTORY "/usr/include/${folder}")
    file(MAKE_DIRECTORY "${host}/${name}")
    file(CREATE_LINK "/usr/include/${folder}" "${host}/${name}/${folder}" SYMBOLIC)
    file(WRITE "${host}/${name}/${name}Config.cmake"
         "if(TARGET ${name}::${name})\n  return()\nendif()\n"
         "add_library(${name}::${name} INTERFACE IMPORTED)\n"
         "target_include_directories(${name}::${name} INTERFACE \"${host}/${name}\")\n")
    file(WRITE "${host}/${name}/${name}ConfigVersion.cmake" "set(PACKAGE_VERSION_COMPATIBLE TRUE)\n")
    set(${name}_DIR "${host}/${name}" CACHE PATH "")
  endif()
endforeach()
# Programs carry gcc's libraries with them; CMake would find OpenMP's as a DLL.
set(CMAKE_EXE_LINKER_FLAGS_INIT -static)
execute_process(COMMAND ${CMAKE_CXX_COMPILER} -print-file-name=libgomp.a OUTPUT_VARIABLE gomp OUTPUT_STRIP_TRAILING_WHITESPACE)
set(OpenMP_gomp_LIBRARY "${gomp}" CACHE FILEPATH "")
