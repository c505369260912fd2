// Copyright (c) 2026 the lora authors. SPDX-License-Identifier: MIT
// Against an installed lora: the package's version is the headers', and a column-major layer merges and unmerges.
#include <lora/lora.hpp>

#include <cstring>
#include <iostream>
#include <string>

#if defined(WITH_FILES)
bool files_work();
#else
bool files_work() { return true; }
#endif

int main() {
  const std::string version = std::to_string(LORA_VERSION_MAJOR) + "." + std::to_string(LORA_VERSION_MINOR) + "." +
                              std::to_string(LORA_VERSION_PATCH);
  if (version != PACKAGE_VERSION) {
    std::cerr << "the headers say " << version << ", the package says " << PACKAGE_VERSION << '\n';
    return 1;
  }

  using Weight = lora::Matrix<double, lora::column_major>;
  const Weight W0 = Weight::Random(17, 29);
  const Weight B = Weight::Random(17, 3), A = Weight::Random(3, 29);
  lora::Linear<double, lora::column_major> layer(W0);
  layer.attach("style", lora::LowRank<double>(B, A, lora::scaling::fixed(0.25)));
  layer.activate({{"style", 1.0}});
  layer.merge();
  const bool changed = layer.weight().matrix() != W0;
  layer.unmerge();
  const auto& W = layer.weight().matrix();
  const bool exact = std::memcmp(W.data(), W0.data(), sizeof(double) * static_cast<std::size_t>(W0.size())) == 0;
  std::cout << "lora " << version << ", changed: " << changed << ", W0 is back: " << exact << '\n';
  return changed && exact && files_work() ? 0 : 1;
}
