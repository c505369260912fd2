# Copyright (c) 2026 the lora authors. SPDX-License-Identifier: MIT
# Install rules: headers, the CMake package, pkg-config's files, the compiled library and the tool where they are built. The
# install components: headers, compiled, tool.

include(GNUInstallDirs)
include(CMakePackageConfigHelpers)

set(package_dir "${CMAKE_INSTALL_DATADIR}/cmake/lora")

install(
  TARGETS lora
  EXPORT lora-targets
  FILE_SET HEADERS DESTINATION "${CMAKE_INSTALL_INCLUDEDIR}" COMPONENT headers)
install(EXPORT lora-targets NAMESPACE lora:: DESTINATION "${package_dir}" COMPONENT headers)

# lora::io is exported on its own, so that find_package(lora) works on a machine without nlohmann_json.
if(TARGET lora_io)
  install(
    TARGETS lora_io
    EXPORT lora-io-targets
    FILE_SET HEADERS DESTINATION "${CMAKE_INSTALL_INCLUDEDIR}" COMPONENT headers)
  install(EXPORT lora-io-targets NAMESPACE lora:: DESTINATION "${package_dir}" COMPONENT headers)
endif()

# The compiled library: an archive for this machine, found as lora::compiled. It needs neither nlohmann_json nor OpenMP's
# flags to be used; the archive's own dependencies are found by lora-compiled-dependencies.cmake, which is installed with it:
# the headers' package says nothing of a machine.
if(TARGET lora_compiled)
  install(
    TARGETS lora_compiled
    EXPORT lora-compiled-targets
    ARCHIVE DESTINATION "${CMAKE_INSTALL_LIBDIR}" COMPONENT compiled)
  install(EXPORT lora-compiled-targets NAMESPACE lora:: DESTINATION "${package_dir}" COMPONENT compiled)
  get_target_property(lora_compiled_links lora_compiled INTERFACE_LINK_LIBRARIES)
  set(lora_compiled_uses_openmp OFF)
  if(lora_compiled_links MATCHES "OpenMP")
    set(lora_compiled_uses_openmp ON)
  endif()
  # By the names that systems give one processor. A toolchain file may leave it empty.
  string(CONFIGURE [=[
find_package(Threads QUIET)
string(TOLOWER "${CMAKE_SYSTEM_PROCESSOR}" lora_processor_)
string(REPLACE amd64 x86_64 lora_processor_ "${lora_processor_}")
string(REPLACE arm64 aarch64 lora_processor_ "${lora_processor_}")
string(TOLOWER "@CMAKE_SYSTEM_PROCESSOR@" lora_own_processor_)
string(REPLACE amd64 x86_64 lora_own_processor_ "${lora_own_processor_}")
string(REPLACE arm64 aarch64 lora_own_processor_ "${lora_own_processor_}")
if(lora_processor_ AND NOT "${CMAKE_SYSTEM_NAME} ${lora_processor_}" STREQUAL "@CMAKE_SYSTEM_NAME@ ${lora_own_processor_}")
  list(APPEND lora_compiled_missing_
       "a library compiled for ${CMAKE_SYSTEM_NAME} ${lora_processor_} (this one is for @CMAKE_SYSTEM_NAME@ ${lora_own_processor_})")
endif()
]=] lora_compiled_dependencies @ONLY)
  if(lora_compiled_uses_openmp)
    string(APPEND lora_compiled_dependencies
           "find_package(OpenMP QUIET COMPONENTS CXX)\n"
           "if(NOT TARGET OpenMP::OpenMP_CXX)\n"
           "  list(APPEND lora_compiled_missing_ \"OpenMP for C++, which it was compiled with (Debian, Ubuntu, for clang: libomp-dev)\")\n"
           "endif()\n")
  endif()
  file(CONFIGURE OUTPUT "${PROJECT_BINARY_DIR}/lora-compiled-dependencies.cmake"
       CONTENT "${lora_compiled_dependencies}" @ONLY)
  install(FILES "${PROJECT_BINARY_DIR}/lora-compiled-dependencies.cmake" DESTINATION "${package_dir}" COMPONENT compiled)
endif()

configure_package_config_file("${CMAKE_CURRENT_LIST_DIR}/lora-config.cmake.in"
                              "${CMAKE_CURRENT_BINARY_DIR}/lora-config.cmake" INSTALL_DESTINATION "${package_dir}")
write_basic_package_version_file(
  "${CMAKE_CURRENT_BINARY_DIR}/lora-config-version.cmake"
  COMPATIBILITY SameMinorVersion
  ARCH_INDEPENDENT)
install(FILES "${CMAKE_CURRENT_BINARY_DIR}/lora-config.cmake" "${CMAKE_CURRENT_BINARY_DIR}/lora-config-version.cmake"
        DESTINATION "${package_dir}" COMPONENT headers)
install(FILES "${CMAKE_CURRENT_SOURCE_DIR}/LICENSE" DESTINATION "${CMAKE_INSTALL_DOCDIR}" COMPONENT headers)
include("${CMAKE_CURRENT_LIST_DIR}/lora-pkgconfig.cmake")

if(TARGET lora_tool)
  install(TARGETS lora_tool RUNTIME DESTINATION "${CMAKE_INSTALL_BINDIR}" COMPONENT tool)
endif()

if(PROJECT_IS_TOP_LEVEL)
  include("${CMAKE_CURRENT_LIST_DIR}/lora-cpack.cmake")
endif()
