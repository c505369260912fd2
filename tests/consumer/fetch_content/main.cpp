// Copyright (c) 2026 the lora authors. SPDX-License-Identifier: MIT
// An engine that owns its weights: the free functions on a strided map of 16-bit memory, two updates, and a switch.
#include <lora/io.hpp>
#include <lora/lora.hpp>

#include <iostream>
#include <vector>

int main() {
  constexpr lora::Index rows = 31, cols = 50, stride = 64;
  std::vector<Eigen::bfloat16> memory(rows * stride);
  for (std::size_t i = 0; i < memory.size(); ++i)
    memory[i] = Eigen::bfloat16(static_cast<float>(i % 97) * 0.01f - 0.5f);
  const std::vector<Eigen::bfloat16> original = memory;
  lora::MatrixMap<Eigen::bfloat16> W(memory.data(), rows, cols, Eigen::OuterStride<>(stride));

  const auto update = [&](lora::Index rank) {
    const lora::Matrix<float> B = lora::Matrix<float>::Random(rows, rank), A = lora::Matrix<float>::Random(rank, cols);
    return lora::LowRank<float>(B, A, lora::scaling::rank_stabilized(0.1));
  };
  const lora::LowRank<float> style = update(4), formal = update(2);
  const lora::ActiveSet<float> both({{style, 0.3}, {formal, -0.7}});
  const lora::ActiveSet<float> one(style);

  const lora::UndoRecord first = lora::merge(W, both);
  const bool changed = memory != original;
  const lora::UndoRecord second = lora::switch_to(W, both, first, one);
  lora::unmerge(W, one, second);
  const bool exact = memory == original;

  bool refused = false;
  try {
    lora::io::Safetensors::open("there-is-no-such-file.safetensors");
  } catch (const lora::io::FileError& error) {
    refused = true;
    std::cout << error.what() << '\n';
  }
  std::cout << "changed: " << changed << ", W0 is back: " << exact << '\n';
  return changed && exact && refused ? 0 : 1;
}
