// Copyright (c) 2026 the lora authors. SPDX-License-Identifier: MIT
#pragma once

/// Forward passes beside the scalar reference.

#include "lora/layer/linear.hpp"
#include "reference/expect.hpp"
#include "reference/forward.hpp"
#include "reference/random.hpp"

#include <cfenv>

#if defined(__SSE__)
#include <xmmintrin.h>
#endif

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
    std::vector<lora::ActiveName> active;
    for (std::size_t i = 0; i < updates.size(); ++i) {
      active.push_back({std::to_string(i), updates.coefficient(i)});
      layer.attach(active.back().name, updates[i].update);
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

  /// One case: no update, one, two or three, as the batch says, with a bias or none.
  static void check(reference::Random& random, Index rows, Index cols, Index batch) {
    SCOPED_TRACE(::testing::Message() << rows << " x " << cols << ", batch " << batch);
    const auto W = reference::gaussian<Stored, order>(random, rows, cols);
    reference::Updates<Computed> updates;
    if (batch % 2 == 1) updates.add_gaussian(random, rows, cols, 1 + random.below(20), 0.3, -0.7);
    if (batch % 3 == 1) {
      updates.add_gaussian(random, rows, cols, 2, 1, 0);
      updates.add_gaussian(random, rows, cols, 3, 0.1);
    }
    check(W, updates, batch % 4 < 2 ? random_bias(random, rows) : std::vector<Computed>{},
          reference::gaussian<Computed>(random, cols, batch));
  }

  /// An update and a bias, with 1, 2 and 3 threads.
  static void check_threads(reference::Random& random, Index rows, Index cols, Index batch) {
    const auto W = reference::gaussian<Stored, order>(random, rows, cols);
    reference::Updates<Computed> updates;
    updates.add_gaussian(random, rows, cols, 5, 0.1);
    const std::vector<Computed> bias = random_bias(random, rows);
    const auto X = reference::gaussian<Computed>(random, cols, batch);
    const auto expected = reference::forward<Stored, order>(W, updates.set(), bias, X);
    for (const int count : {1, 2, 3}) {
      const reference::Threads threads(count);
      SCOPED_TRACE(::testing::Message() << rows << " x " << cols << ", batch " << batch << ", " << count << " threads");
      check(W, updates, bias, X, expected);
    }
  }

  /// Weights and activations of any bits; the activations ordinary ones for 20 and more rows of them.
  static void check_any_bits(reference::Random& random, Index cols, Index batch) {
    const auto W = reference::any_patterns<Stored, order>(random, 37, cols);
    auto X = reference::gaussian<Computed>(random, cols, batch);
    if (cols < 20) X = reference::any_patterns<Computed>(random, cols, batch);
    reference::Updates<Computed> updates;
    updates.add_gaussian(random, 37, cols, 2, 0.3);
    check(W, updates, {}, X);
    check(W, {}, {}, X);
  }

  /// The first `tiny` columns of W and the last `tiny` rows of X are denormal, and in the first `small` columns of X the
  /// rest is zero, so that the low-rank term is denormal, too. 2 threads, under the caller's rounding and flushing.
  static void check_environment(reference::Random& random, Index rows, Index cols, Index batch, Index tiny, Index small) {
    auto W = reference::gaussian<Stored, order>(random, rows, cols);
    W.leftCols(tiny) = reference::gaussian<Stored, order>(random, rows, tiny, denormal<Stored>());
    lora::Matrix<Computed> X = reference::gaussian<Computed>(random, cols, batch);
    X.bottomRows(tiny) = reference::gaussian<Computed>(random, tiny, batch, denormal<Computed>());
    X.topLeftCorner(cols - tiny, small).setZero();
    reference::Updates<Computed> updates;
    updates.add_gaussian(random, rows, cols, 3, 0.1);
    const lora::Matrix<Computed> expected = reference::forward<Stored, order>(W, updates, {}, X);
    lora::Linear<Stored, order> layer(W);
    layer.attach("a", updates[0].update);
    layer.activate({{"a", 1.0}});
    const reference::Threads threads(2);

    lora::Activations<Computed> Y(rows, batch);
    std::fesetround(FE_UPWARD);
    layer.forward_into(X, Y);
    const int rounding = std::fegetround();
    std::fesetround(FE_TONEAREST);
    EXPECT_EQ(rounding, FE_UPWARD);
    EXPECT_TRUE(reference::same_bits(expected, Y));
#if defined(__SSE__)
    Y.setZero();
    const unsigned before = _mm_getcsr();
    _mm_setcsr(before | 0x8040u);
    layer.forward_into(X, Y);
    const unsigned after = _mm_getcsr();
    _mm_setcsr(before);
    EXPECT_EQ(after, before | 0x8040u);
    EXPECT_TRUE(reference::same_bits(expected, Y));
#endif
  }

 private:
  template <class Scalar>
  static double denormal() {
    return 50 * static_cast<double>(std::numeric_limits<Scalar>::denorm_min());
  }
};
