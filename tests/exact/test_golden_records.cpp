// Copyright (c) 2026 the lora authors. SPDX-License-Identifier: MIT
// The records of version 1 in tests/data/records (its README.md says what each file is): read, undone, and made again byte
// for byte.
// With LORA_WRITE_RECORDS set in the environment the files are written instead.

#include "exact/record_files.hpp"
#include "exact/sample.hpp"

#include <string>

namespace {

using lora::Index;
using lora::StorageOrder;
using lora_test::append;
using lora_test::Bytes;
using lora_test::FileReader;
using lora_test::read_file;
using lora_test::write_file;

struct Case {
  const char* name;
  Index rows, cols;
  int updates;
};

std::filesystem::path file(const Case& golden, const char* name) { return lora_test::record_file(golden.name, name); }

/// The files of one case, but for the records.
template <class T>
struct Files {
  using Compute = lora::compute_t<T>;
  lora::Matrix<T> w0, merged;
  std::vector<lora::LowRank<Compute>> updates;
  std::vector<double> weights;

  lora::ActiveSet<Compute> set() const {
    std::vector<lora::ActiveUpdate<Compute>> out;
    for (std::size_t i = 0; i < updates.size(); ++i) out.emplace_back(updates[i], weights[i]);
    return lora::ActiveSet<Compute>(out);
  }
};

template <class T>
Files<T> read_files(const Case& golden) {
  using Compute = lora::compute_t<T>;
  Files<T> files;
  files.w0 = lora_test::read_matrix<T>(file(golden, "w0.bin"), golden.rows, golden.cols);
  files.merged = lora_test::read_matrix<T>(file(golden, "merged.bin"), golden.rows, golden.cols);
  const Bytes bytes = read_file(file(golden, "factors.bin"));
  FileReader factors(bytes);
  while (!factors.at_end() && !testing::Test::HasFailure()) {
    const Index rank = factors.number<std::uint32_t>();
    const auto scaling = factors.number<double>();
    files.weights.push_back(factors.number<double>());
    const auto b = factors.matrix<Compute>(golden.rows, rank);
    files.updates.emplace_back(b, factors.matrix<Compute>(rank, golden.cols), lora::scaling::fixed(scaling));
  }
  return files;
}

/// New files of a case.
template <class T>
void write_files(const Case& golden) {
  using Compute = lora::compute_t<T>;
  lora_test::Random random(static_cast<std::uint64_t>(golden.rows * 10000 + golden.cols) + sizeof(T));
  Files<T> files;
  files.w0 = lora_test::weight<T>(golden.rows, golden.cols, random, -4, golden.updates == 1 ? 0 : golden.rows * 4);
  if (golden.updates == 1)  // the second block becomes one of raw elements
    for (Index j = 1024; j < golden.cols; ++j)
      files.w0(0, j) = files.w0(1, j) = lora::detail::from_bits<T>(lora::detail::ScalarTraits<T>::quiet_nan);
  const Index ranks[] = {3, 2, 1};
  const double scalings[] = {0.5, 1.0606601717798212, 4.0}, weights[] = {1.0, -0.75, 0.0};
  for (std::size_t i = 0; i < static_cast<std::size_t>(golden.updates); ++i) {
    const Index rank = golden.updates == 1 ? 1 : ranks[i];
    files.updates.push_back(
        lora_test::update<Compute>(golden.rows, golden.cols, rank, lora::scaling::fixed(scalings[i]), random, -4));
    files.weights.push_back(weights[i]);
  }
  files.merged = files.w0;
  lora::merge_plain(files.merged, files.set());

  Bytes w0, merged, factors;
  append(w0, files.w0);
  append(merged, files.merged);
  for (std::size_t i = 0; i < files.updates.size(); ++i) {
    const lora::LowRank<Compute>& update = files.updates[i];
    const auto rank = static_cast<std::uint32_t>(update.rank());
    const double numbers[] = {update.scaling(), files.weights[i]};
    append(factors, &rank, 1);
    append(factors, numbers, 2);
    append<Compute>(factors, update.B());
    append<Compute>(factors, update.A());
  }
  write_file(file(golden, "w0.bin"), w0);
  write_file(file(golden, "merged.bin"), merged);
  write_file(file(golden, "factors.bin"), factors);
}

template <class T, StorageOrder Order>
void check_record(const Case& golden, const char* name, bool write_record) {
  SCOPED_TRACE(std::string(golden.name) + "/" + name);
  const Files<T> files = read_files<T>(golden);
  ASSERT_FALSE(testing::Test::HasFailure());
  auto w = lora_test::ordered_as<Order>(files.w0);
  const lora::UndoRecord made = lora::merge(w, files.set());
  if (write_record) return write_file(file(golden, name), made.serialize());
  EXPECT_TRUE(lora_test::same_bits(w, files.merged)) << "the merged weight changed";

  const Bytes bytes = read_file(file(golden, name));
  EXPECT_EQ(made.serialize(), bytes) << "the record's bytes changed";
  const lora::UndoRecord record = lora::UndoRecord::deserialize(bytes);
  EXPECT_EQ(record.serialize(), bytes);
  auto undone = lora_test::ordered_as<Order>(files.merged);
  lora::unmerge(undone, files.set(), record);
  EXPECT_TRUE(lora_test::same_bits(undone, files.w0)) << "W0 did not come back";
}

template <class T>
void check_case(const Case& golden) {
  const bool write_files_anew = lora_test::write_records();
  if (write_files_anew) write_files<T>(golden);
  check_record<T, lora::row_major>(golden, "row_major.undo", write_files_anew);
  check_record<T, lora::column_major>(golden, "column_major.undo", write_files_anew);
}

TEST(GoldenRecords, Half) { check_case<Eigen::half>({"half", 11, 37, 3}); }
TEST(GoldenRecords, Bfloat16) { check_case<Eigen::bfloat16>({"bfloat16", 11, 37, 3}); }
TEST(GoldenRecords, Float) { check_case<float>({"float", 11, 37, 3}); }
TEST(GoldenRecords, Double) { check_case<double>({"double", 11, 37, 3}); }
TEST(GoldenRecords, SeveralBlocks) { check_case<Eigen::bfloat16>({"several_blocks", 2, 1030, 1}); }

}  // namespace
