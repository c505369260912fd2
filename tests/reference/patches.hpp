// Copyright (c) 2026 the lora authors. SPDX-License-Identifier: MIT
#pragma once

/// What a convolution sees of its input, cut out one number at a time.

#include "lora/layer/conv_geometry.hpp"

namespace reference {

using lora::Index;
using Sizes = std::vector<Index>;

/// A convolution and an input.
struct ConvExample {
  lora::ConvGeometry geometry;
  Index in, out;
  Sizes size;
};

inline Index product(const Sizes& sizes) {
  Index out = 1;
  for (const Index size : sizes) out *= size;
  return out;
}

/// The number at a place in mixed radix, the last digit fastest.
inline Sizes digits(Index number, const Sizes& sizes) {
  Sizes out(sizes.size());
  for (std::size_t d = sizes.size(); d-- > 0; number /= sizes[d]) out[d] = number % sizes[d];
  return out;
}

inline Index numbers_of(const Sizes& values, std::size_t d, Index absent) {
  return values.empty() ? absent : values[d];
}

inline Sizes output_of(const ConvExample& example) {
  const auto& [kernel, stride, padding, dilation, groups] = example.geometry;
  Sizes out;
  for (std::size_t d = 0; d < kernel.size(); ++d) {
    Index count = 0;  // positions at which the whole kernel lies inside the padded input
    const Index padded = example.size[d] + 2 * numbers_of(padding, d, 0);
    for (Index at = 0; at + numbers_of(dilation, d, 1) * (kernel[d] - 1) < padded; at += numbers_of(stride, d, 1))
      ++count;
    out.push_back(count);
  }
  return out;
}

/// Column (sample, position): the numbers that output position sees, by channel and kernel position.
template <class C>
lora::Matrix<C> patches(const ConvExample& example, const lora::Matrix<C>& X, Index first_channel, Index channels) {
  const auto& [kernel, stride, padding, dilation, groups] = example.geometry;
  const Sizes output = output_of(example);
  const Index K = product(kernel), P = product(output), S = product(example.size);
  lora::Matrix<C> out(channels * K, P * X.cols());
  for (Index c = 0; c < X.cols(); ++c)
    for (Index p = 0; p < P; ++p)
      for (Index i = 0; i < channels; ++i)
        for (Index k = 0; k < K; ++k) {
          const Sizes at = digits(p, output), offset = digits(k, kernel);
          Index place = 0;
          bool inside = true;
          for (std::size_t d = 0; d < kernel.size(); ++d) {
            const Index x =
                at[d] * numbers_of(stride, d, 1) + offset[d] * numbers_of(dilation, d, 1) - numbers_of(padding, d, 0);
            inside = inside && x >= 0 && x < example.size[d];
            place = place * example.size[d] + x;
          }
          out(i * K + k, c * P + p) = inside ? X((first_channel + i) * S + place, c) : C(0);
        }
  return out;
}

/// out x (sample, position) to (out, position) x sample.
template <class C>
lora::Matrix<C> by_samples(const lora::Matrix<C>& Y, Index batch) {
  const Index P = Y.cols() / batch;
  lora::Matrix<C> out(Y.rows() * P, batch);
  for (Index c = 0; c < batch; ++c)
    for (Index o = 0; o < Y.rows(); ++o)
      for (Index p = 0; p < P; ++p) out(o * P + p, c) = Y(o, c * P + p);
  return out;
}

}  // namespace reference
