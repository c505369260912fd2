# Copyright (c) 2026 the lora authors. SPDX-License-Identifier: MIT
# cmake -DSOURCE=FILE [-DFIRST=REGEX] -P expect_error.cmake -- COMPILER ARGUMENTS...
# Succeeds when compiling FILE fails and the first error matches FIRST; without FIRST, when an error matches the regex of
# the file's first line, `// expect: REGEX`.

set(expected "${FIRST}")
if(NOT FIRST)
  file(STRINGS "${SOURCE}" first_line LIMIT_COUNT 1)
  if(NOT first_line MATCHES "^// expect: (.+)$")
    message(FATAL_ERROR "${SOURCE}: expected the first line to be '// expect: REGEX', found '${first_line}'")
  endif()
  set(expected "${CMAKE_MATCH_1}")
endif()

set(command "")
set(seen FALSE)
math(EXPR last "${CMAKE_ARGC} - 1")
foreach(i RANGE ${last})
  if(seen)
    list(APPEND command "${CMAKE_ARGV${i}}")
  elseif("${CMAKE_ARGV${i}}" STREQUAL "--")
    set(seen TRUE)
  endif()
endforeach()

execute_process(COMMAND ${command} "${SOURCE}" RESULT_VARIABLE status OUTPUT_VARIABLE output ERROR_VARIABLE output)
if(status EQUAL 0)
  message(FATAL_ERROR "${SOURCE}: expected an error, but it compiled")
endif()
set(errors "${output}")
if(FIRST)
  string(REGEX MATCH "(fatal )?error: [^\n]*" errors "${output}")
endif()
if(NOT errors MATCHES "error: [^\n]*(${expected})")
  message(FATAL_ERROR "${SOURCE}: expected an error that matches\n  ${expected}\nfound\n${output}")
endif()
