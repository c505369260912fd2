#!/usr/bin/env bash
# Copyright (c) 2026 the lora authors. SPDX-License-Identifier: MIT
# Sets up, builds and runs the tests: gcc with everything, unit tests with clang and sanitizers. One ctest run over all builds comes last.
#
#   bash tests/run.sh [--quick | --ci | --full]
#
# Where a suite takes minutes, a sample of it is run: records, with half of the storage types and orders, and seconds of fuzzing with
# the address sanitizer, every 32nd header alone, a few crossed builds.
# --quick: the gcc build alone.
# --ci, what continuous integration runs: larger samples (LORA_TEST_MORE). What reads files, and more, with the address sanitizer, what promises
# concurrency with the thread sanitizer, every eighth header, a crossed build or two for each setting and 64-bit Arm, compile times.
# --full: all of everything, also the contract suite for 64-bit Arm under qemu, unit tests and the tool for Windows under wine, unit
# tests with libc++, pages in a browser and the documentation site, and the benchmarks are compiled.
# LORA_JOBS: how many jobs at once (default: the number of processors). LORA_BUILD_DIR: where to build (default: build).
set -euo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
build=$(realpath -m "${LORA_BUILD_DIR:-$root/build}")
jobs=${LORA_JOBS:-$(getconf _NPROCESSORS_ONLN)}
purpose=all
builds=(default asan)
more=OFF full=OFF
asan_folders="exact;fuzz"
case "${1-}" in
  "") ;;
  --quick) purpose=tests; builds=(default) ;;
  --ci) more=ON; builds+=(tsan); asan_folders="exact;io;laws;layer;weight;fuzz" ;;
  --full) purpose=full; more=ON; full=ON; builds+=(tsan aarch64 libcxx mingw); asan_folders="" ;;
  *) echo "usage: run.sh [--quick | --ci | --full]" >&2; exit 2 ;;
esac

bash "$root/cmake/setup.sh" "$purpose"

cd "$root"
mkdir -p "$build/ctest"
: >"$build/ctest/CTestTestfile.cmake"
for preset in "${builds[@]}"; do
  printf '\n== building: %s ==\n' "$preset"
  begin=$SECONDS
  options=("-DLORA_TEST_MORE=$more" "-DLORA_TEST_FULL=$full" -DLORA_BUILD_TESTS=ON)
  case $preset in
    default) options+=("-DLORA_BUILD_BENCHMARKS=$full" -DLORA_BUILD_EXAMPLES=ON) ;;  # examples/run.sh builds there too
    asan) options+=("-DLORA_TEST_FOLDERS=$asan_folders") ;;
    mingw) options+=(-DLORA_TEST_FULL=OFF) ;;  # wine takes its time
  esac
  cmake --preset "$preset" -B "$build/$preset" --log-level=WARNING "${options[@]}"
  cmake --build "$build/$preset" --parallel "$jobs"
  echo "built in $((SECONDS - begin)) s"
  echo "subdirs(\"$build/$preset\")" >>"$build/ctest/CTestTestfile.cmake"
done

printf '\n== testing: %s ==\n' "${builds[*]}"
# With the address sanitizer, and no optimisation, the exhaustive kernel tests take minutes, and tests of time say nothing; others walk the
# same code there.
slow='kernel\.(Wide\.EqualsTheReferenceFor|(Contract|Skinny|FpEnvironment)\.)|weight\.FailingAllocation\.'
slow+='|io\.(Safetensors\.AMillion|PeftConfig\.PatternsThatTakeTooLong|PatternKeys\.AllOfThem|ModuleNames\.TimeIsLinear)'
ctest --test-dir "$build/ctest" --parallel "$jobs" --output-on-failure --no-label-summary --exclude-regex "^asan/($slow)"
