// Copyright (c) 2026 the lora authors. SPDX-License-Identifier: MIT
// The size of the undo record, which is part of the contract.

#include "lora/weight/merge.hpp"
#include "reference/expect.hpp"
#include "reference/random.hpp"

namespace {

using lora::Index;
using reference::Random;
using reference::Updates;

template <class Layout>
class RecordSize : public ::testing::Test {
 public:
  using Scalar = typename Layout::Scalar;
  using Compute = lora::compute_t<Scalar>;

  static double bytes(const lora::Matrix<Scalar, Layout::order>& w) {
    return static_cast<double>(static_cast<std::size_t>(w.size()) * sizeof(Scalar));
  }
};
TYPED_TEST_SUITE(RecordSize, reference::Layouts);

TYPED_TEST(RecordSize, IsSmallForAGaussianWeightAndADeltaOfThreePercent) {
  using T = typename TestFixture::Scalar;
  Random random(100);
  const Index rows = 512, cols = 1024;
  const auto w0 = reference::gaussian<T, TypeParam::order>(random, rows, cols, 0.02);
  const lora::Matrix<float> B = reference::gaussian<float>(random, rows, 8),
                            A = reference::gaussian<float>(random, 8, cols);
  double norm = 0;
  for (Index i = 0; i < w0.size(); ++i) norm += std::pow(static_cast<double>(reference::widen(w0.data()[i])), 2);
  const double ratio = 0.03 * std::sqrt(norm) / (B * A).template cast<double>().norm();
  Updates<typename TestFixture::Compute> set;
  set.add(lora::LowRank<typename TestFixture::Compute>(B.template cast<typename TestFixture::Compute>(),
                                                       A.template cast<typename TestFixture::Compute>(),
                                                       lora::scaling::fixed(ratio)));
  auto w = w0;
  const lora::UndoRecord record = lora::merge(w, set);
  const double share = static_cast<double>(record.size_bytes()) / this->bytes(w0);
  this->RecordProperty("percent_of_w0", std::to_string(100 * share));
  EXPECT_LE(share, sizeof(T) == 2 ? 0.05 : 0.04);
  EXPECT_EQ(record.size_bytes(), record.serialize().size());
}

/// Whatever the bits: at most the weight's own bytes, 16 bytes a block, and the fixed header of 72.
TYPED_TEST(RecordSize, IsNeverMoreThanTheWeightAndItsHeaders) {
  using T = typename TestFixture::Scalar;
  Random random(101);
  const Index shapes[][2] = {{0, 0}, {1, 1}, {7, 3}, {300, 260}, {9, 1025}, {2050, 5}};
  for (const auto& [rows, cols] : shapes)
    for (const double size : {1e-6, 1.0, 1e3, 1e9}) {
      auto w = reference::any_patterns<T, TypeParam::order>(random, rows, cols);
      const auto w0 = w;
      Updates<typename TestFixture::Compute> set;
      set.add_gaussian(random, rows, cols, 2, size);
      const lora::UndoRecord record = lora::merge(w, set);
      const bool by_rows = TypeParam::order == lora::row_major;
      const Index lines = by_rows ? rows : cols, length = by_rows ? cols : rows;
      const std::size_t blocks =
          reference::cut({0, 0, lines, length}, reference::block_lines(length), reference::block_length(length)).size();
      EXPECT_LE(static_cast<double>(record.size_bytes()), this->bytes(w0) + static_cast<double>(72 + 16 * blocks))
          << rows << " x " << cols << ", delta " << size;
      lora::unmerge(w, set, record);
      ASSERT_TRUE(reference::same_bits(w0, w));
    }
}

}  // namespace
