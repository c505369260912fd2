// Copyright (c) 2026 the lora authors. SPDX-License-Identifier: MIT
#include "check.hpp"

#include <iostream>

int main() {
#if defined(__x86_64__)
  if (!__builtin_cpu_supports("avx2") || !__builtin_cpu_supports("fma")) {
    std::cout << "skipped: this processor has no AVX2 and FMA\n";
    return 77;
  }
#endif
  const Outcome first = first_unit(), second = second_unit();
  std::cout << "merged " << first.merged.size() << " bytes, record " << first.record.size() << " bytes\n"
            << "merged bytes agree: " << (first.merged == second.merged) << '\n'
            << "record bytes agree: " << (first.record == second.record) << '\n'
            << "W0 is back: " << first.exact << ' ' << second.exact << '\n';
  return first == second && first.exact && second.exact ? 0 : 1;
}
