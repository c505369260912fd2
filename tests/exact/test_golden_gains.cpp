// Copyright (c) 2026 the lora authors. SPDX-License-Identifier: MIT
// The records of version 2 in tests/data/records (its README.md says what each file is), of sets with gains: read, undone, and
// made again byte for byte. With LORA_WRITE_RECORDS set in the environment the files are written instead.

#include "exact/record_files.hpp"
#include "exact/sample.hpp"
#include "reference/form.hpp"

#include <string>

namespace {

using lora::Index;
using lora_test::append;
using lora_test::Bytes;

struct GainsCase {
  const char* name;
  Index rows, cols;
  bool several_blocks;

  std::filesystem::path file(const char* part) const { return lora_test::record_file(name, part); }
};

/// Kinds of steps in steps.bin.
enum Step : std::uint32_t { factors = 1, dense = 2, row_gains = 3, column_gains = 4, magnitude = 5 };

template <class Compute>
lora::ActiveSet<Compute> read_steps(const GainsCase& golden) {
  using Updates = std::vector<lora::ActiveUpdate<Compute>>;
  const Bytes bytes = lora_test::read_file(golden.file("steps.bin"));
  lora_test::FileReader steps(bytes);
  Updates updates;
  while (!steps.at_end() && !testing::Test::HasFailure()) {
    const auto kind = steps.number<std::uint32_t>();
    if (kind == factors) {
      const Index rank = steps.number<std::uint32_t>();
      const auto scaling = steps.number<double>(), coefficient = steps.number<double>();
      const auto B = steps.matrix<Compute>(golden.rows, rank), A = steps.matrix<Compute>(rank, golden.cols);
      updates.push_back({lora::LowRank<Compute>(B, A, lora::scaling::fixed(scaling)), coefficient});
    } else if (kind == dense) {
      const auto coefficient = steps.number<double>();
      updates.push_back({lora::Dense<Compute>(steps.matrix<Compute>(golden.rows, golden.cols)), coefficient});
    } else if (kind == row_gains || kind == column_gains) {
      const auto gains = steps.matrix<Compute>(kind == row_gains ? golden.rows : golden.cols, 1);
      const lora::Matrix<Compute> none;
      updates.push_back(reference::Gates<Compute>(golden.rows, golden.cols, kind == row_gains ? gains : none,
                                                  kind == row_gains ? none : gains));
    } else {  // the factors before it are those of a DoRA update
      const auto& low_rank = dynamic_cast<const lora::LowRank<Compute>&>(*updates.back().update);
      updates.back() = {lora::DoRA<Compute>(low_rank, steps.matrix<Compute>(golden.rows, 1)),
                        updates.back().coefficient};
    }
  }
  return lora::ActiveSet<Compute>(updates);
}

/// Normal numbers about 1 with these from the fourth on.
template <class Compute>
lora::Matrix<Compute> gains(lora_test::Random& random, Index size, std::initializer_list<Compute> special) {
  lora::Matrix<Compute> out = lora_test::weight<Compute>(size, 1, random, -3, 0);
  for (Index i = 0; i < size; ++i) out(i, 0) += Compute{1};
  std::copy(special.begin(), special.end(), out.data() + 3);
  return out;
}

template <class Compute>
Bytes make_steps(const GainsCase& golden, lora_test::Random& random) {
  const Index rows = golden.rows, cols = golden.cols;
  Bytes out;
  const auto add_kind = [&](std::uint32_t kind) { append(out, &kind, 1); };
  const auto add_factors = [&](std::uint32_t rank, double scaling, double coefficient) {
    add_kind(factors);
    append(out, &rank, 1);
    const double numbers[] = {scaling, coefficient};
    append(out, numbers, 2);
    append(out, lora_test::weight<Compute>(rows, rank, random, -4, 0));
    append(out, lora_test::weight<Compute>(rank, cols, random, -1, 0));
  };
  const auto add_magnitude = [&] {
    add_kind(magnitude);
    append(out, gains<Compute>(random, rows, {}));
  };
  if (golden.several_blocks) {  // columns times 0 from the second block on: it becomes one of raw elements
    add_factors(1, 0.5, 1.0);
    add_magnitude();
    add_kind(column_gains);
    lora::Matrix<Compute> h = gains<Compute>(random, cols, {});
    h.bottomRows(cols - 1024).setZero();
    append(out, h);
    return out;
  }
  using Limits = std::numeric_limits<Compute>;
  add_factors(2, 1.0606601717798212, 1.0);
  add_factors(3, 0.5, -0.75);
  add_magnitude();
  add_kind(dense);
  const double coefficient = 0.3;
  append(out, &coefficient, 1);
  append(out, lora_test::weight<Compute>(rows, cols, random, -5, 0));
  add_kind(row_gains);
  append(out, gains<Compute>(random, rows, {Compute{0}, -Compute{0}, Limits::infinity(), Limits::denorm_min()}));
  add_kind(column_gains);
  append(out, gains<Compute>(random, cols, {Compute{-1}, Compute{0}, Limits::max(), Limits::quiet_NaN()}));
  add_factors(1, 4.0, 1.25);
  add_magnitude();
  return out;
}

template <class T>
void write_case(const GainsCase& golden) {
  lora_test::Random random(static_cast<std::uint64_t>(golden.rows * 10000 + golden.cols) + 100 + sizeof(T));
  lora::Matrix<T> w0 = lora_test::weight<T>(golden.rows, golden.cols, random, -4, 0);
  if (!golden.several_blocks) w0.topRows(1) = lora_test::weight<T>(1, golden.cols, random, -4, 16);
  Bytes bytes;
  append(bytes, w0);
  lora_test::write_file(golden.file("w0.bin"), bytes);
  lora_test::write_file(golden.file("steps.bin"), make_steps<lora::compute_t<T>>(golden, random));
  lora::merge_plain(w0, read_steps<lora::compute_t<T>>(golden));
  bytes.clear();
  append(bytes, w0);
  lora_test::write_file(golden.file("merged.bin"), bytes);
}

template <class T, lora::StorageOrder Order>
void check_gains_record(const GainsCase& golden, const char* name) {
  SCOPED_TRACE(std::string(golden.name) + "/" + name);
  const auto w0 = lora_test::read_matrix<T>(golden.file("w0.bin"), golden.rows, golden.cols);
  const auto merged = lora_test::read_matrix<T>(golden.file("merged.bin"), golden.rows, golden.cols);
  const auto set = read_steps<lora::compute_t<T>>(golden);
  ASSERT_FALSE(testing::Test::HasFailure());
  auto w = lora_test::ordered_as<Order>(w0);
  const lora::UndoRecord made = lora::merge(w, set);
  if (lora_test::write_records()) return lora_test::write_file(golden.file(name), made.serialize());
  EXPECT_TRUE(lora_test::same_bits(w, merged)) << "the merged weight changed";

  const Bytes bytes = lora_test::read_file(golden.file(name));
  EXPECT_EQ(made.serialize(), bytes) << "the record's bytes changed";
  ASSERT_EQ(bytes.at(8), std::byte{2}) << "the version";
  EXPECT_EQ(bytes.at(64 + 11) >> 7, std::byte{0}) << "the first block is raw: its arithmetic is not looked at";
  const lora::UndoRecord record = lora::UndoRecord::deserialize(bytes);
  EXPECT_EQ(record.serialize(), bytes);
  auto undone = lora_test::ordered_as<Order>(merged);
  lora::unmerge(undone, set, record);
  EXPECT_TRUE(lora_test::same_bits(undone, w0)) << "W0 did not come back";
}

template <class T>
void check_gains(const GainsCase& golden) {
  if (lora_test::write_records()) write_case<T>(golden);
  check_gains_record<T, lora::row_major>(golden, "row_major.undo");
  check_gains_record<T, lora::column_major>(golden, "column_major.undo");
}

TEST(GoldenGains, Half) { check_gains<Eigen::half>({"gains_half", 23, 37, false}); }
TEST(GoldenGains, Bfloat16) { check_gains<Eigen::bfloat16>({"gains_bfloat16", 23, 37, false}); }
TEST(GoldenGains, Float) { check_gains<float>({"gains_float", 23, 37, false}); }
TEST(GoldenGains, Double) { check_gains<double>({"gains_double", 23, 37, false}); }
TEST(GoldenGains, SeveralBlocks) { check_gains<Eigen::bfloat16>({"gains_several_blocks", 2, 1030, true}); }

}  // namespace
