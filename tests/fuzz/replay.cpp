// Copyright (c) 2026 the lora authors. SPDX-License-Identifier: MIT
// Runs a fuzz target once on each of its seeds, where the compiler has no libFuzzer. Argument: a file with the seeds'
// names, separated by commas, as libFuzzer's -seed_inputs=@FILE has it.

#include "fuzz/fuzz.hpp"

#include <fstream>
#include <iterator>
#include <vector>

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size);
extern "C" std::size_t LLVMFuzzerMutate(std::uint8_t*, std::size_t size, std::size_t) { return size; }

int main(int count, char** arguments) {
  fuzz::require(count == 2, "expected one argument");
  std::ifstream list(arguments[1]);
  std::size_t seeds = 0;
  for (std::string name; std::getline(list, name, ','); ++seeds) {
    std::ifstream file(name, std::ios::binary);
    fuzz::require(file.is_open(), name.c_str());
    const std::vector<char> bytes{std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
    LLVMFuzzerTestOneInput(reinterpret_cast<const std::uint8_t*>(bytes.data()), bytes.size());
  }
  fuzz::require(seeds != 0, "expected seeds");
  std::printf("%zu seeds\n", seeds);
  return 0;
}
