# Copyright (c) 2026 the lora authors. SPDX-License-Identifier: MIT
# cmake -DSOURCE=FILE -P expect_error.cmake -- COMPILER ARGUMENTS...
# Succeeds when compiling FILE fails with an error that matches the regex of its first line, `// expect: REGEX`.

file(STRINGS "${SOURCE}" first_line LIMIT_COUNT 1)
if(NOT first_line MATCHES "^// expect: (.+)$")
  message(FATAL_ERROR "${SOURCE}: expected the first line to be '// expect: REGEX', found '${first_line}'")
endif()
set(expected "${CMAKE_MATCH_1}")

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
if(NOT output MATCHES "error: [^\n]*(${expected})")
  message(FATAL_ERROR "${SOURCE}: expected an error that matches\n  ${expected}\nfound\n${output}")
endif()
