// Copyright (c) 2026 the lora authors. SPDX-License-Identifier: MIT
// What does not fit is refused by an exception that names the thing, what was expected and what was found; the weight
// and the record stay as they were.

#include "lora/weight/merge.hpp"
#include "reference/expect.hpp"
#include "reference/random.hpp"

namespace {

using lora::Index;
using reference::Random;
using reference::Threads;
using reference::Updates;

/// Expects an Exception whose message holds all the words.
template <class Exception, class Work>
void expect_error(const Work& work, std::initializer_list<const char*> words) {
  try {
    work();
    ADD_FAILURE() << "nothing was thrown";
  } catch (const Exception& error) {
    for (const char* word : words)
      EXPECT_NE(std::string(error.what()).find(word), std::string::npos) << '"' << word << "\" in: " << error.what();
  }
}

class MergeErrors : public ::testing::Test {
 public:
  MergeErrors() {
    w0 = reference::gaussian<float>(random, 40, 70);
    set.add_gaussian(random, 40, 70, 3, 0.1);
    other.add_gaussian(random, 40, 70, 3, 0.1);
    w = w0;
    record = lora::merge(w, set);
    merged = w;
  }
  /// Both unmerge() and switch_to() refuse, and nothing has changed.
  template <class Weight>
  void expect_refused(Weight& weight, const lora::ActiveSet<float>& from, const lora::UndoRecord& wrong,
                      std::initializer_list<const char*> words) {
    const Weight before = weight;
    expect_error<lora::RecordError>([&] { lora::unmerge(weight, from, wrong); }, words);
    EXPECT_TRUE(reference::same_bits(before, weight));
    expect_error<lora::RecordError>([&] { static_cast<void>(lora::switch_to(weight, from, wrong, from)); }, words);
    EXPECT_TRUE(reference::same_bits(before, weight));
  }
  void TearDown() override {
    lora::unmerge(w, set, record);
    EXPECT_TRUE(reference::same_bits(w0, w));
  }

  Random random{90};
  lora::Matrix<float> w0, w, merged;
  Updates<float> set, other;
  lora::UndoRecord record;
};

TEST_F(MergeErrors, RecordOfAnotherShape) {
  lora::Matrix<float> large = reference::gaussian<float>(random, 41, 70);
  Updates<float> fits;
  fits.add_gaussian(random, 41, 70, 3, 0.1);
  expect_refused(large, fits, record, {"undo record", "shape", "expected 41 x 70", "found 40 x 70"});
}

TEST_F(MergeErrors, RecordOfAnotherType) {
  lora::Matrix<Eigen::half> half = reference::gaussian<Eigen::half>(random, 40, 70);
  expect_refused(half, set, record, {"undo record", "scalar type", "expected half", "found float"});
}

TEST_F(MergeErrors, RecordOfAnotherOrder) {
  lora::Matrix<float, lora::column_major> columns = merged;
  expect_refused(columns, set, record, {"undo record", "storage order", "expected column-major", "found row-major"});
}

TEST_F(MergeErrors, OtherFactors) { expect_refused(w, other, record, {"undo record", "factors", "expected", "found"}); }

TEST_F(MergeErrors, OneBitOfOneFactor) {
  const lora::LowRank<float>& update = set.low_rank();
  lora::Matrix<float> A = update.A();
  A(1, 65) = std::bit_cast<float>(std::bit_cast<std::uint32_t>(A(1, 65)) ^ 1u);
  Updates<float> edited;
  edited.add(lora::LowRank<float>(update.B(), A, update.scaling_rule()));
  expect_refused(w, edited, record, {"factors"});
}

TEST_F(MergeErrors, OtherWeightOrScaling) {
  const lora::LowRank<float>& update = set.low_rank();
  Updates<float> weighted, scaled, empty;
  weighted.add(update, 0.5);
  expect_refused(w, weighted, record, {"factors"});
  scaled.add(lora::LowRank<float>(update.B(), update.A(), lora::scaling::alpha(7)));
  expect_refused(w, scaled, record, {"factors"});
  expect_refused(w, empty, record, {"factors"});
}

TEST_F(MergeErrors, OtherOrderOfTheSet) {
  const lora::ActiveSet<float> forward({set[0], other[0]}), backward({other[0], set[0]});
  lora::Matrix<float> twice = w0;
  const lora::UndoRecord two = lora::merge(twice, forward);
  expect_refused(twice, backward, two, {"factors"});
  expect_refused(twice, set, two, {"factors"});
}

TEST_F(MergeErrors, AnotherWeightOfTheSameShape) {
  lora::Matrix<float> stranger = reference::gaussian<float>(random, 40, 70);
  expect_refused(stranger, set, record, {"undo record", "rows 0 to 39", "columns 0 to 69", "checksum"});
}

TEST_F(MergeErrors, UnmergedWeightIsNotMerged) { expect_refused(w0, set, record, {"checksum"}); }

TEST_F(MergeErrors, EmptyRecord) {
  expect_refused(w, set, lora::UndoRecord(), {"undo record", "found an empty one"});
}

/// A record that was moved away holds nothing any more, and must say so.
TEST_F(MergeErrors, RecordThatWasMovedAway) {
  lora::UndoRecord moved = record;
  const lora::UndoRecord taken = std::move(moved);
  expect_refused(w, set, moved, {"undo record"});  // NOLINT(bugprone-use-after-move)
}

TEST_F(MergeErrors, UpdateThatDoesNotFit) {
  Updates<float> tall, wide;
  tall.add(set.low_rank());
  tall.add_gaussian(random, 41, 70, 1, 0.1);
  wide.add_gaussian(random, 40, 71, 1, 0.1);
  for (const auto& work :
       {+[](lora::Matrix<float>&x, const Updates<float>& y) { static_cast<void>(lora::merge(x, y)); },
        +[](lora::Matrix<float>&x, const Updates<float>& y) { lora::merge_plain(x, y); }}) {
    expect_error<lora::ShapeError>([&] { work(w, tall); }, {"update 1", "expected 40 x 70", "found 41 x 70"});
    expect_error<lora::ShapeError>([&] { work(w, wide); }, {"updates", "expected 40 x 70", "found 40 x 71"});
  }
  expect_error<lora::ShapeError>([&] { static_cast<void>(lora::switch_to(w, set, record, tall)); },
                                 {"update 1", "found 41 x 70"});
  EXPECT_TRUE(reference::same_bits(merged, w));
}

TEST_F(MergeErrors, WeightThatIsNotFinite) {
  const lora::LowRank<float>& update = set.low_rank();
  for (const double weight :
       {std::numeric_limits<double>::quiet_NaN(), std::numeric_limits<double>::infinity(), 1e300}) {
    Updates<float> bad;
    bad.add(update, weight);
    expect_error<lora::ValueError>([&] { static_cast<void>(lora::merge(w, bad)); }, {"coefficient", "finite"});
    expect_error<lora::ValueError>([&] { lora::merge_plain(w, bad); }, {"finite"});
    expect_error<lora::ValueError>([&] { static_cast<void>(lora::switch_to(w, set, record, bad)); }, {"finite"});
    expect_error<lora::ValueError>([&] { static_cast<void>(lora::delta<float>(bad, 40, 70)); }, {"finite"});
  }
  EXPECT_TRUE(reference::same_bits(merged, w));
}

template <class Layout>
class EditedWeight : public ::testing::Test {};
TYPED_TEST_SUITE(EditedWeight, reference::Layouts);

/// One flipped bit in one element, in each of several blocks.
TYPED_TEST(EditedWeight, IsNoticedInEveryBlock) {
  using T = typename TypeParam::Scalar;
  Random random(91);
  const Index rows = 140, cols = 1100;
  ASSERT_GE(rows * cols, 2 * reference::elements_per_thread);
  const auto w0 = reference::gaussian<T, TypeParam::order>(random, rows, cols);
  Updates<lora::compute_t<T>> set, to;
  set.add_gaussian(random, rows, cols, 2, 0.03);
  to.add_gaussian(random, rows, cols, 1, 0.1);
  for (const int count : {1, 2, 3}) {
    const Threads threads(count);
    auto w = w0;
    const lora::UndoRecord record = lora::merge(w, set);
    const auto merged = w;
    for (int round = 0; round < 8; ++round) {
      const Index i = round == 0 ? 0 : round == 1 ? rows - 1 : random.below(rows);
      const Index j = round == 0 ? 0 : round == 1 ? cols - 1 : random.below(cols);
      const auto flipped = reference::bits(w(i, j)) ^ (reference::Bits<T>{1} << random.below(8 * sizeof(T)));
      w(i, j) = std::bit_cast<T>(static_cast<reference::Bits<T>>(flipped));
      const auto edited = w;
      EXPECT_THROW(lora::unmerge(w, set, record), lora::RecordError);
      ASSERT_TRUE(reference::same_bits(edited, w)) << "after an edit at (" << i << ", " << j << ")";
      EXPECT_THROW(static_cast<void>(lora::switch_to(w, set, record, to)), lora::RecordError);
      ASSERT_TRUE(reference::same_bits(edited, w)) << "after an edit at (" << i << ", " << j << ")";
      w(i, j) = merged(i, j);
    }
    lora::unmerge(w, set, record);
    ASSERT_TRUE(reference::same_bits(w0, w));
  }
}

}  // namespace
