// Copyright (c) 2026 the lora authors. SPDX-License-Identifier: MIT
// The route of more than 32 columns through Eigen's product, whichever route this build prefers: it agrees with the
// skinny kernels up to rounding, and adds the low-rank term and the bias.

#include "lora/layer/activations.hpp"
#include "lora/update/low_rank.hpp"
#include "reference/expect.hpp"
#include "reference/random.hpp"

namespace {

using lora::Index;
using reference::Random;

template <class Layout>
class WideForward : public ::testing::Test {
 public:
  using Stored = typename Layout::Scalar;
  using Computed = lora::compute_t<Stored>;

  static void check(Index rows, Index cols, Index batch, bool low_rank) {
    SCOPED_TRACE(::testing::Message() << rows << " x " << cols << ", batch " << batch);
    Random random(70);
    const auto W = reference::gaussian<Stored, Layout::order>(random, rows, cols);
    const auto X = reference::gaussian<Computed, lora::column_major>(random, cols, batch);
    const auto bias = reference::gaussian<Computed>(random, rows, 1);
    reference::Updates<Computed> updates;
    updates.add_gaussian(random, rows, cols, 3, 0.1);
    const auto factors = lora::detail::stack<Computed>(updates.set(), rows, cols);
    lora::Activations<Computed> expected(rows, batch), found(rows, batch);
    const auto x = lora::detail::activation_view(X.data(), X);
    const auto lines = lora::detail::lines_of(W);
    for (Index first = 0; first < batch; first += lora::detail::skinny_batch) {
      const Index count = std::min(lora::detail::skinny_batch, batch - first);
      lora::detail::skinny_forward<Stored, Layout::order>(
          lines, low_rank ? &factors : nullptr, bias.data(), x.columns(first, count),
          lora::detail::activation_view(expected.data(), expected).columns(first, count));
    }
    lora::detail::wide_forward<Stored, Layout::order>(lines, low_rank ? &factors : nullptr, bias.data(), x,
                                                      lora::detail::activation_view(found.data(), found));
    // The same numbers, rows of them and with gaps.
    lora::Matrix<Computed> wider_X(cols, batch + 3), wider_Y(rows, batch + 3);
    wider_X.leftCols(batch) = X;
    const auto strided_X = wider_X.leftCols(batch);
    auto strided_Y = wider_Y.leftCols(batch);
    lora::detail::wide_forward<Stored, Layout::order>(
        lines, low_rank ? &factors : nullptr, bias.data(),
        lora::detail::activation_view(static_cast<const Computed*>(strided_X.data()), strided_X),
        lora::detail::activation_view(strided_Y.data(), strided_Y));
    EXPECT_TRUE(reference::same_bits(found, strided_Y));
    // In the storage type: X is exact there, Y is rounded once.
    const lora::Activations<Stored> narrow_X = X.template cast<Stored>();
    const lora::Activations<Computed> back = narrow_X.template cast<Computed>();
    lora::Activations<Computed> wide_Y(rows, batch);
    lora::Activations<Stored> narrow_Y(rows, batch);
    lora::detail::wide_forward<Stored, Layout::order>(lines, low_rank ? &factors : nullptr, bias.data(),
                                                      lora::detail::activation_view(back.data(), back),
                                                      lora::detail::activation_view(wide_Y.data(), wide_Y));
    lora::detail::wide_forward<Stored, Layout::order>(lines, low_rank ? &factors : nullptr, bias.data(),
                                                      lora::detail::activation_view(narrow_X.data(), narrow_X),
                                                      lora::detail::activation_view(narrow_Y.data(), narrow_Y));
    EXPECT_TRUE(reference::same_bits(wide_Y.template cast<Stored>().eval(), narrow_Y));
    const double unit = std::ldexp(1, -reference::Format<Computed>::mantissa - 1);
    for (Index c = 0; c < batch; ++c)
      for (Index i = 0; i < rows; ++i) {
        double size = std::fabs(static_cast<double>(bias(i, 0)));
        for (Index j = 0; j < cols; ++j)
          size += std::fabs(static_cast<double>(reference::widen(W(i, j))) * static_cast<double>(X(j, c)));
        for (Index k = 0; k < factors.depth(); ++k) {
          double h = 0;
          for (Index j = 0; j < cols; ++j)
            h += std::fabs(static_cast<double>(factors.A().map()(k, j)) * static_cast<double>(X(j, c)));
          size += std::fabs(static_cast<double>(factors.B(i, k))) * h;
        }
        ASSERT_NEAR(static_cast<double>(expected(i, c)), static_cast<double>(found(i, c)),
                    2 * static_cast<double>(cols + factors.depth() + 1) * unit * size)
            << "(" << i << ", " << c << ")";
      }
  }
};
TYPED_TEST_SUITE(WideForward, reference::Layouts);

TYPED_TEST(WideForward, AgreesWithTheSkinnyKernels) {
  this->check(53, 77, 33, true);
  this->check(9, 16, 70, true);
  this->check(17, 5, 40, false);
}

/// More numbers than are widened at a time.
TYPED_TEST(WideForward, AgreesWithTheSkinnyKernelsForLargeWeights) {
  if (TypeParam::order == lora::row_major)
    this->check(1500, 400, 34, false);
  else
    this->check(400, 1500, 34, false);
}

}  // namespace
