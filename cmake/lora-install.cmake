# Copyright (c) 2026 the lora authors. SPDX-License-Identifier: MIT
# Install rules: headers, the CMake package, and the tool where it is built.

include(GNUInstallDirs)
include(CMakePackageConfigHelpers)

set(package_dir "${CMAKE_INSTALL_DATADIR}/cmake/lora")

install(
  TARGETS lora
  EXPORT lora-targets
  FILE_SET HEADERS DESTINATION "${CMAKE_INSTALL_INCLUDEDIR}")
install(EXPORT lora-targets NAMESPACE lora:: DESTINATION "${package_dir}")

# lora::io is exported on its own, so that find_package(lora) works on a machine without nlohmann_json.
if(TARGET lora_io)
  install(
    TARGETS lora_io
    EXPORT lora-io-targets
    FILE_SET HEADERS DESTINATION "${CMAKE_INSTALL_INCLUDEDIR}")
  install(EXPORT lora-io-targets NAMESPACE lora:: DESTINATION "${package_dir}")
endif()

# The compiled library: an archive for this machine, found as lora::compiled. It needs neither nlohmann_json nor OpenMP's
# flags to be used; the archive's own dependencies are found by the package's configuration.
if(TARGET lora_compiled)
  install(
    TARGETS lora_compiled
    EXPORT lora-compiled-targets
    ARCHIVE DESTINATION "${CMAKE_INSTALL_LIBDIR}")
  install(EXPORT lora-compiled-targets NAMESPACE lora:: DESTINATION "${package_dir}")
  get_target_property(lora_compiled_links lora_compiled INTERFACE_LINK_LIBRARIES)
endif()
set(lora_compiled_uses_openmp OFF)
if(lora_compiled_links MATCHES "OpenMP")
  set(lora_compiled_uses_openmp ON)
endif()

configure_package_config_file("${CMAKE_CURRENT_LIST_DIR}/lora-config.cmake.in"
                              "${CMAKE_CURRENT_BINARY_DIR}/lora-config.cmake" INSTALL_DESTINATION "${package_dir}")
write_basic_package_version_file(
  "${CMAKE_CURRENT_BINARY_DIR}/lora-config-version.cmake"
  COMPATIBILITY SameMinorVersion
  ARCH_INDEPENDENT)
install(FILES "${CMAKE_CURRENT_BINARY_DIR}/lora-config.cmake" "${CMAKE_CURRENT_BINARY_DIR}/lora-config-version.cmake"
        DESTINATION "${package_dir}")
install(FILES "${CMAKE_CURRENT_SOURCE_DIR}/LICENSE" DESTINATION "${CMAKE_INSTALL_DOCDIR}")

if(TARGET lora_tool)
  install(TARGETS lora_tool RUNTIME DESTINATION "${CMAKE_INSTALL_BINDIR}")
endif()
