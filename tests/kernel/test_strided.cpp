// Copyright (c) 2026 the lora authors. SPDX-License-Identifier: MIT
// Weights in somebody else's memory: strided, at any address, inside other matrices. What lies between the lines stays.

#include "lora/weight/merge.hpp"
#include "reference/expect.hpp"
#include "reference/random.hpp"

namespace {

using lora::Index;
using reference::Random;
using reference::Updates;

template <class Layout>
class Strided : public ::testing::Test {
 public:
  using Scalar = typename Layout::Scalar;
  using Compute = lora::compute_t<Scalar>;
  using Weight = lora::Matrix<Scalar, Layout::order>;
  using Map = lora::MatrixMap<Scalar, Layout::order>;

  /// A weight of rows x cols that starts `offset` elements into a buffer of guard values, `padding` elements between
  /// the lines.
  struct Buffer {
    Buffer(const Weight& weight, Index offset, Index padding)
        : lines(weight.outerSize()),
          length(weight.innerSize()),
          start(offset),
          stride(length + padding),
          memory(static_cast<std::size_t>(2 * offset + lines * stride)),
          rows(weight.rows()),
          cols(weight.cols()) {
      for (std::size_t i = 0; i < memory.size(); ++i) memory[i] = guard(i);
      map() = weight;
    }
    static Scalar guard(std::size_t i) {
      return std::bit_cast<Scalar>(static_cast<reference::Bits<Scalar>>(0x5a5a5a5a5a5a5a5au + 3 * i));
    }
    Map map() { return Map(memory.data() + start, rows, cols, Eigen::OuterStride<>(stride)); }
    bool guards_stand() const {
      for (std::size_t i = 0; i < memory.size(); ++i) {
        const Index place = static_cast<Index>(i) - start;
        const bool inside = place >= 0 && place < lines * stride && place % stride < length;
        if (!inside && reference::bits(memory[i]) != reference::bits(guard(i))) return false;
      }
      return true;
    }

    Index lines, length, start, stride;
    std::vector<Scalar> memory;
    Index rows, cols;
  };
};
TYPED_TEST_SUITE(Strided, reference::Layouts);

TYPED_TEST(Strided, MapsEqualTheReferenceAndKeepTheirPadding) {
  using T = typename TestFixture::Scalar;
  Random random(20);
  const Index shapes[][2] = {{1, 1}, {8, 32}, {9, 33}, {33, 9}, {17, 1025}, {1030, 12}, {64, 64}, {5, 0}};
  for (const auto& [rows, cols] : shapes)
    for (const Index offset : {0, 1, 31})
      for (const Index padding : {0, 1, 40}) {
        const auto w0 = reference::gaussian<T, TypeParam::order>(random, rows, cols);
        Updates<typename TestFixture::Compute> from, to;
        from.add_gaussian(random, rows, cols, 2, 0.03);
        to.add_gaussian(random, rows, cols, 1, 0.3);
        typename TestFixture::Buffer buffer(w0, offset, padding);
        SCOPED_TRACE(::testing::Message() << rows << " x " << cols << ", offset " << offset << ", padding " << padding);

        const auto expected = reference::merge<T, TypeParam::order>(w0, from);
        const lora::UndoRecord record = lora::merge(buffer.map(), from);
        ASSERT_TRUE(reference::same_bits(expected.weight, buffer.map()));
        ASSERT_TRUE(reference::same_record(expected.record, record));
        ASSERT_TRUE(buffer.guards_stand());
        const lora::UndoRecord next = lora::switch_to(buffer.map(), from, record, to);
        ASSERT_TRUE((reference::same_record(reference::merge<T, TypeParam::order>(w0, to).record, next)));
        ASSERT_TRUE(buffer.guards_stand());
        lora::unmerge(buffer.map(), to, next);
        ASSERT_TRUE(reference::same_bits(w0, buffer.map()));
        ASSERT_TRUE(buffer.guards_stand());
        lora::merge_plain(buffer.map(), from);
        ASSERT_TRUE(reference::same_bits(expected.weight, buffer.map()));
        ASSERT_TRUE(buffer.guards_stand());
      }
}

TYPED_TEST(Strided, BlocksAndRefsOfAMatrixAreWeightsToo) {
  using T = typename TestFixture::Scalar;
  using Plain = typename TestFixture::Weight;
  Random random(21);
  const auto whole = reference::gaussian<T, TypeParam::order>(random, 50, 70);
  Updates<typename TestFixture::Compute> set;
  set.add_gaussian(random, 21, 43, 3, 0.03);
  const Plain part = whole.block(5, 9, 21, 43);
  const auto expected = reference::merge<T, TypeParam::order>(part, set);

  Plain changed = whole;
  const lora::UndoRecord record = lora::merge(changed.block(5, 9, 21, 43), set);
  EXPECT_TRUE(reference::same_bits(expected.weight, changed.block(5, 9, 21, 43)));
  EXPECT_TRUE(reference::same_record(expected.record, record));
  Eigen::Ref<Plain, 0, Eigen::OuterStride<>> ref(changed.block(5, 9, 21, 43));
  lora::unmerge(ref, set, record);
  EXPECT_TRUE(reference::same_bits(whole, changed));
}

TYPED_TEST(Strided, ElementsApartWithinALineAreRefused) {
  using T = typename TestFixture::Scalar;
  using Plain = typename TestFixture::Weight;
  Random random(22);
  auto memory = reference::gaussian<T, TypeParam::order>(random, 8, 8);
  const Plain before = memory;
  Updates<typename TestFixture::Compute> set;
  set.add_gaussian(random, 4, 4, 1, 1);
  using Stride = Eigen::Stride<Eigen::Dynamic, Eigen::Dynamic>;
  Eigen::Map<Plain, 0, Stride> map(memory.data(), 4, 4, Stride(16, 2));
  EXPECT_THROW(static_cast<void>(lora::merge(map, set)), lora::ShapeError);
  EXPECT_TRUE(reference::same_bits(before, memory));
}

}  // namespace
