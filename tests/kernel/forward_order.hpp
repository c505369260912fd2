// Copyright (c) 2026 the lora authors. SPDX-License-Identifier: MIT
#pragma once

/// Forward passes beside the scalar reference.

#include "lora/layer/linear.hpp"
#include "reference/expect.hpp"
#include "reference/forward.hpp"
#include "reference/random.hpp"

template <class Layout>
class ForwardOrder : public ::testing::Test {
 public:
  using Stored = typename Layout::Scalar;
  using Computed = lora::compute_t<Stored>;
  using Index = lora::Index;
  static constexpr lora::StorageOrder order = Layout::order;

  static std::vector<Computed> random_bias(reference::Random& random, Index rows) {
    std::vector<Computed> bias;
    for (Index i = 0; i < rows; ++i) bias.push_back(static_cast<Computed>(random.normal()));
    return bias;
  }

  /// Compares all columns at once, and X, Y and W away from every boundary, with the reference.
  static void check(const lora::Matrix<Stored, order>& W, const reference::Updates<Computed>& updates,
                    const std::vector<Computed>& bias, const lora::Matrix<Computed>& X) {
    check(W, updates, bias, X, reference::forward<Stored, order>(W, updates.set(), bias, X));
  }
  static void check(const lora::Matrix<Stored, order>& W, const reference::Updates<Computed>& updates,
                    const std::vector<Computed>& bias, const lora::Matrix<Computed>& X,
                    const lora::Matrix<Computed>& expected) {
    const Index lines = order == lora::row_major ? W.rows() : W.cols(),
                length = order == lora::row_major ? W.cols() : W.rows();
    std::vector<Stored> memory(static_cast<std::size_t>(1 + lines * (length + 3)),
                               Stored(std::numeric_limits<float>::quiet_NaN()));
    lora::MatrixMap<Stored, order> map(memory.data() + 1, W.rows(), W.cols(), Eigen::OuterStride<>(length + 3));
    map = W;
    auto layer = lora::Linear<Stored>::view(map);
    if (!bias.empty())
      layer.set_bias(Eigen::Map<const Eigen::Matrix<Computed, Eigen::Dynamic, 1>>(bias.data(), W.rows()));
    std::vector<lora::ActiveUpdate> active;
    for (const lora::Weighted<Computed>& update : updates.set()) {
      active.push_back({std::to_string(active.size()), update.weight});
      layer.attach(active.back().name, *update.update);
    }
    layer.activate(active);

    lora::Activations<Computed> x(X.rows() + 1, X.cols()), y(W.rows() + 1, X.cols());
    x.setConstant(std::numeric_limits<Computed>::quiet_NaN());
    x.bottomRows(X.rows()) = X;
    y.setConstant(std::numeric_limits<Computed>::quiet_NaN());
    y.row(0).setZero();
    layer.forward_into(x.bottomRows(X.rows()), y.bottomRows(W.rows()));
    ASSERT_TRUE(reference::same_bits(expected, y.bottomRows(W.rows())));
    ASSERT_TRUE((y.row(0).array() == Computed{0}).all());
  }
};
