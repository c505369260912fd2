// Copyright (c) 2026 the lora authors. SPDX-License-Identifier: MIT
#pragma once

/// The files in tests/data/records: numbers one after the other, little-endian.

#include "lora/core/matrix.hpp"

#include <gtest/gtest.h>

#include <cstddef>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <vector>

namespace lora_test {

using Bytes = std::vector<std::byte>;

/// Whether the files are to be written instead of checked.
inline bool write_records() { return std::getenv("LORA_WRITE_RECORDS") != nullptr; }

inline std::filesystem::path record_file(const char* folder, const char* name) {
  return std::filesystem::path(LORA_TEST_DATA) / "records" / folder / name;
}

inline Bytes read_file(const std::filesystem::path& path) {
  std::ifstream in(path, std::ios::binary);
  EXPECT_TRUE(in) << path << " is missing";
  const std::vector<char> bytes{std::istreambuf_iterator<char>(in), {}};
  const auto* begin = reinterpret_cast<const std::byte*>(bytes.data());
  return {begin, begin + bytes.size()};
}

inline void write_file(const std::filesystem::path& path, const Bytes& bytes) {
  std::filesystem::create_directories(path.parent_path());
  std::ofstream out(path, std::ios::binary);
  out.write(reinterpret_cast<const char*>(bytes.data()), static_cast<std::streamsize>(bytes.size()));
  ASSERT_TRUE(out.flush()) << path;
}

template <class T>
void append(Bytes& out, const T* values, std::size_t count) {
  const auto* begin = reinterpret_cast<const std::byte*>(values);
  out.insert(out.end(), begin, begin + count * sizeof(T));
}
template <class T>
void append(Bytes& out, const lora::Matrix<T>& matrix) {
  append(out, matrix.data(), static_cast<std::size_t>(matrix.size()));
}

/// Numbers out of bytes, which must outlive it.
class FileReader {
 public:
  explicit FileReader(const Bytes& bytes) : bytes_(&bytes) {}
  bool at_end() const { return offset_ == bytes_->size(); }
  template <class T>
  T number() {
    T value{};
    take(&value, 1);
    return value;
  }
  template <class T>
  lora::Matrix<T> matrix(lora::Index rows, lora::Index cols) {
    lora::Matrix<T> out(rows, cols);
    take(out.data(), static_cast<std::size_t>(out.size()));
    return out;
  }

 private:
  template <class T>
  void take(T* out, std::size_t count) {
    ASSERT_LE(offset_ + count * sizeof(T), bytes_->size());
    std::memcpy(static_cast<void*>(out), bytes_->data() + offset_, count * sizeof(T));
    offset_ += count * sizeof(T);
  }

  const Bytes* bytes_;
  std::size_t offset_ = 0;
};

/// A file of one matrix.
template <class T>
lora::Matrix<T> read_matrix(const std::filesystem::path& path, lora::Index rows, lora::Index cols) {
  const Bytes bytes = read_file(path);
  return FileReader(bytes).matrix<T>(rows, cols);
}

}  // namespace lora_test
