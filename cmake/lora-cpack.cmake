# Copyright (c) 2026 the lora authors. SPDX-License-Identifier: MIT
# cpack -G DEB: liblora-dev (the headers, for every machine) and, where they are built, liblora-compiled-dev and lora-tool.
# Configure with -DCMAKE_INSTALL_PREFIX=/usr (the preset `package`), so that libraries go where Debian has them.

set(CPACK_PACKAGE_NAME lora)
set(CPACK_PACKAGE_VENDOR "the lora authors")
set(CPACK_PACKAGE_CONTACT "the lora authors")
set(CPACK_PACKAGE_DESCRIPTION_SUMMARY "exact low-rank adaptation of neural network weights")
set(CPACK_RESOURCE_FILE_LICENSE "${PROJECT_SOURCE_DIR}/LICENSE")
set(CPACK_PACKAGE_CHECKSUM SHA256)
set(CPACK_PACKAGING_INSTALL_PREFIX "/usr")
set(CPACK_VERBATIM_VARIABLES ON)
set(CPACK_STRIP_FILES ON)

set(CPACK_COMPONENTS_ALL headers)
if(TARGET lora_compiled AND LORA_COMPILED)
  list(APPEND CPACK_COMPONENTS_ALL compiled)
endif()
if(TARGET lora_tool)
  list(APPEND CPACK_COMPONENTS_ALL tool)
endif()

set(CPACK_DEB_COMPONENT_INSTALL ON)
set(CPACK_DEBIAN_FILE_NAME DEB-DEFAULT)
set(CPACK_DEBIAN_PACKAGE_MAINTAINER "${CPACK_PACKAGE_CONTACT}")
set(CPACK_PRE_BUILD_SCRIPTS "${CMAKE_CURRENT_LIST_DIR}/lora-cpack-documents.cmake")
set(CPACK_LORA_LICENSE "${PROJECT_SOURCE_DIR}/LICENSE")
set(CPACK_LORA_CHANGELOG "${PROJECT_SOURCE_DIR}/CHANGELOG.md")

set(CPACK_DEBIAN_HEADERS_PACKAGE_NAME liblora-dev)
set(CPACK_DEBIAN_HEADERS_PACKAGE_ARCHITECTURE all)
set(CPACK_DEBIAN_HEADERS_PACKAGE_SECTION libdevel)
set(CPACK_DEBIAN_HEADERS_PACKAGE_DEPENDS "libeigen3-dev (>= 3.4)")
if(TARGET lora_io)
  string(APPEND CPACK_DEBIAN_HEADERS_PACKAGE_DEPENDS ", nlohmann-json3-dev (>= 3.9)")
endif()
set(CPACK_COMPONENT_HEADERS_DESCRIPTION
    "Headers of lora: LoRA and other updates are merged into weights and\ntaken out again to the last bit. C++20, on Eigen.")

set(CPACK_DEBIAN_COMPILED_PACKAGE_NAME liblora-compiled-dev)
set(CPACK_DEBIAN_COMPILED_PACKAGE_SECTION libdevel)
set(CPACK_DEBIAN_COMPILED_PACKAGE_DEPENDS "liblora-dev (= ${PROJECT_VERSION})")
set(CPACK_COMPONENT_COMPILED_DESCRIPTION
    "The lora library compiled once, as an archive. Programs that link it\nsee declarations alone.")

set(CPACK_DEBIAN_TOOL_PACKAGE_NAME lora-tool)
set(CPACK_DEBIAN_TOOL_PACKAGE_SECTION utils)
set(CPACK_DEBIAN_TOOL_PACKAGE_SHLIBDEPS ON)
set(CPACK_COMPONENT_TOOL_DESCRIPTION
    "The command line tool lora: merges adapters into models, verifies,\nswitches, unmerges byte for byte.")

include(CPack)
