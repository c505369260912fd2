# Copyright (c) 2026 the lora authors. SPDX-License-Identifier: MIT

# mingw_clang_flags(GCC VARIABLE): what makes clang compile for Windows with the headers and libraries of mingw-w64's gcc, which it
# does not find where Debian has them.
function(mingw_clang_flags gcc variable)
  execute_process(COMMAND "${gcc}" -print-file-name=libgcc.a OUTPUT_VARIABLE libgcc OUTPUT_STRIP_TRAILING_WHITESPACE)
  cmake_path(GET libgcc PARENT_PATH gcc_dir)
  set(std "${gcc_dir}/include/c++")
  set(${variable} --target=x86_64-w64-mingw32 -nostdinc++ -isystem "${std}" -isystem "${std}/x86_64-w64-mingw32" "-B${gcc_dir}"
                  "-L${gcc_dir}" -Qunused-arguments PARENT_SCOPE)
endfunction()
