// Copyright (c) 2026 the lora authors. SPDX-License-Identifier: MIT
// A layer with one adapter: the merged answer is the unmerged one, and the weight comes back.
#include <lora/lora.hpp>

#include <cstring>
#include <iostream>

int main() {
  const lora::Matrix<float> W0 = lora::Matrix<float>::Random(24, 40);
  const lora::Matrix<float> B = lora::Matrix<float>::Random(24, 4), A = lora::Matrix<float>::Random(4, 40);
  const lora::Activations<float> X = lora::Activations<float>::Random(40, 3);

  lora::Linear<float> layer(W0);
  layer.attach("style", lora::LowRank<float>(B, A, lora::scaling::alpha(8)));
  layer.activate({{"style", 0.5}});
  const lora::Activations<float> unmerged = layer.forward(X);
  layer.merge();
  const float difference = (layer.forward(X) - unmerged).norm() / unmerged.norm();
  layer.unmerge();

  const auto& W = layer.weight().matrix();
  const bool exact = std::memcmp(W.data(), W0.data(), sizeof(float) * static_cast<std::size_t>(W0.size())) == 0;
  std::cout << "merged against unmerged: " << difference << ", W0 is back: " << exact << '\n';
  return exact && difference < 1e-5f ? 0 : 1;
}
