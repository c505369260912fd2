// Copyright (c) 2026 the lora authors. SPDX-License-Identifier: MIT

// A layer with an update: unmerged, merged, switched and back, to the last bit.

#include <lora/lora.hpp>

#include <cmath>
#include <cstdio>

int main() {
  const lora::Index out = 48, in = 64, rank = 4, batch = 3;
  const lora::Matrix<float> W0 = lora::Matrix<float>::Random(out, in);
  const lora::Matrix<float> B = lora::Matrix<float>::Random(out, rank), A = lora::Matrix<float>::Random(rank, in);
  const lora::Activations<float> X = lora::Activations<float>::Random(in, batch);  // one column per sample

  lora::LowRank<float> style(B, A, lora::scaling::alpha(8));  // s = 8 / rank
  lora::LowRank<float> formal(B, -A, lora::scaling::rank_stabilized(2));

  lora::Linear<float> layer(W0);
  layer.attach("style", style);
  layer.attach("formal", formal);
  layer.activate({{"style", 1.0}});

  const lora::Matrix<float> D = layer.delta();          // s B A
  const lora::Activations<float> Y = layer.forward(X);  // W0 X + s B (A X)
  layer.merge();                                        // W = W0 + s B A, in place, one pass
  const lora::Activations<float> merged = layer.forward(X);
  layer.activate({{"formal", 0.7}, {"style", 0.3}});  // merged: switches in one pass
  layer.unmerge();                                    // W0 again, every bit

  const float difference = (Y - merged).cwiseAbs().maxCoeff();
  const bool same = layer.weight().matrix() == W0;
  std::printf("delta is %d x %d; merged and unmerged differ by %.1e; W0 is %s\n", static_cast<int>(D.rows()),
              static_cast<int>(D.cols()), static_cast<double>(difference), same ? "back, every bit" : "LOST");
  return same && difference < 1e-4f ? 0 : 1;
}
