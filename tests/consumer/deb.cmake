# Copyright (c) 2026 the lora authors. SPDX-License-Identifier: MIT
# cmake -DSOURCE=DIR -DBUILD=DIR -DOUT=DIR -DDPKG_DEB=PATH -P deb.cmake
# Makes the Debian package of the headers out of BUILD, checks what it says and holds, and unpacks it into OUT/root.

file(REMOVE_RECURSE "${OUT}")
execute_process(COMMAND "${CMAKE_CPACK_COMMAND}" --config "${BUILD}/CPackConfig.cmake" -G DEB -B "${OUT}"
                OUTPUT_QUIET COMMAND_ERROR_IS_FATAL ANY)
file(GLOB packages RELATIVE "${OUT}" "${OUT}/*.deb")
if(NOT packages MATCHES "^liblora-dev_[0-9.]+_all\\.deb$")
  message(FATAL_ERROR "expected liblora-dev_VERSION_all.deb alone, found ${packages}")
endif()

execute_process(COMMAND "${DPKG_DEB}" -f "${OUT}/${packages}" Depends OUTPUT_VARIABLE depends
                OUTPUT_STRIP_TRAILING_WHITESPACE COMMAND_ERROR_IS_FATAL ANY)
if(NOT depends STREQUAL "libeigen3-dev (>= 3.4), nlohmann-json3-dev (>= 3.9)")
  message(FATAL_ERROR "expected Eigen and nlohmann_json as dependencies, found ${depends}")
endif()

# Everything is as in the tree, and nothing else is there.
execute_process(COMMAND "${DPKG_DEB}" -x "${OUT}/${packages}" "${OUT}/root" COMMAND_ERROR_IS_FATAL ANY)
file(GLOB_RECURSE expected RELATIVE "${SOURCE}" "${SOURCE}/include/lora/*")
list(TRANSFORM expected PREPEND "usr/")
foreach(file IN ITEMS lora-config lora-config-version lora-targets lora-io-targets)
  list(APPEND expected "usr/share/cmake/lora/${file}.cmake")
endforeach()
list(APPEND expected usr/share/doc/liblora-dev/CHANGELOG.md.gz usr/share/doc/liblora-dev/copyright usr/share/pkgconfig/lora.pc
     usr/share/pkgconfig/lora-io.pc)
list(SORT expected)
file(GLOB_RECURSE found RELATIVE "${OUT}/root" "${OUT}/root/*")
list(SORT found)
if(NOT expected STREQUAL found)
  message(FATAL_ERROR "expected\n  ${expected}\nfound\n  ${found}")
endif()
