# Copyright (c) 2026 the lora authors. SPDX-License-Identifier: MIT
# Run by cpack when the components are laid out: Debian wants the licence as /usr/share/doc/PACKAGE/copyright, and nowhere else.

if(NOT CPACK_GENERATOR STREQUAL "DEB")
  return()
endif()
foreach(component IN LISTS CPACK_COMPONENTS_ALL)
  string(TOUPPER "${component}" upper)
  set(package "${CPACK_DEBIAN_${upper}_PACKAGE_NAME}")
  set(root "${CPACK_TEMPORARY_INSTALL_DIRECTORY}/${component}")
  if(package AND IS_DIRECTORY "${root}")
    file(MAKE_DIRECTORY "${root}/usr/share/doc/${package}")
    file(COPY_FILE "${CPACK_LORA_LICENSE}" "${root}/usr/share/doc/${package}/copyright")
    file(REMOVE_RECURSE "${root}/usr/share/doc/lora")
    execute_process(COMMAND gzip -9nc "${CPACK_LORA_CHANGELOG}" OUTPUT_FILE "${root}/usr/share/doc/${package}/CHANGELOG.md.gz"
                    COMMAND_ERROR_IS_FATAL ANY)
  endif()
endforeach()
