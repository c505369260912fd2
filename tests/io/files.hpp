// Copyright (c) 2026 the lora authors. SPDX-License-Identifier: MIT
#pragma once

/// What the file tests share: a folder that goes away, bytes in and out of files, and messages of errors.

#include <lora/io/peft/adapter.hpp>
#include <lora/io/safetensors/safetensors.hpp>

#include <gtest/gtest.h>

#include <bit>
#include <cstdint>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <random>
#include <string>
#include <vector>

// Permissions, pipes, limits and symbolic links, which everybody may make.
#if defined(_WIN32)
#define LORA_TEST_POSIX 0
#else
#define LORA_TEST_POSIX 1
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>
#endif

namespace test {

namespace fs = std::filesystem;

inline fs::path data() { return LORA_TEST_DATA; }

class Folder {
 public:
  Folder() {
    std::random_device random;
    do path_ = fs::temp_directory_path() / ("lora-test-" + std::to_string(random()));
    while (!fs::create_directory(path_));
  }
  Folder(const Folder&) = delete;
  Folder& operator=(const Folder&) = delete;
  ~Folder() {
    std::error_code ignored;
    fs::remove_all(path_, ignored);
  }
  fs::path operator/(const std::string& name) const { return path_ / name; }
  const fs::path& path() const { return path_; }
  std::size_t entries() const {
    return static_cast<std::size_t>(std::distance(fs::directory_iterator(path_), fs::directory_iterator()));
  }

 private:
  fs::path path_;
};

inline void write(const fs::path& path, const std::string& content) {
  std::ofstream file(path, std::ios::binary);
  file.write(content.data(), static_cast<std::streamsize>(content.size()));
  file.close();
  ASSERT_TRUE(file.good()) << path;
}
inline std::string read(const fs::path& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
}

inline std::string length_prefix(std::uint64_t length) {
  const auto bytes = std::bit_cast<std::array<char, 8>>(length);
  return {bytes.data(), bytes.size()};
}
/// A safetensors file: length prefix, JSON, data.
inline std::string safetensors(const std::string& json, const std::string& data = "") {
  return length_prefix(json.size()) + json + data;
}

/// A tensor's bytes.
inline std::string data_of(const lora::io::Safetensors& file, const lora::io::TensorInfo& tensor) {
  std::string bytes(static_cast<std::size_t>(tensor.bytes()), '\0');
  file.read(tensor, 0, std::as_writable_bytes(std::span(bytes)));
  return bytes;
}

/// An update's own tensors in double: B, A and what else there is.
inline std::vector<lora::Matrix<double>> tensors(const lora::io::AdapterUpdate& update) {
  std::vector<lora::Matrix<double>> out;
  std::visit(
      [&](const auto& shared) {
        for (const lora::UpdateTensor& tensor : shared->tensors()) {
          out.emplace_back(tensor.view.rows, tensor.view.cols);
          lora::detail::copy_finite("test", tensor.view, out.back().data());
        }
      },
      update);
  return out;
}

/// The message of the Error `run` throws; empty when it throws none.
template <class ErrorType = lora::io::FileError, class Run>
std::string message(const Run& run) {
  try {
    run();
  } catch (const ErrorType& error) {
    return error.what();
  }
  return "";
}

/// Expects every piece in `text`.
inline void expect_pieces(const std::string& text, const std::vector<std::string>& pieces) {
  for (const std::string& piece : pieces)
    EXPECT_NE(text.find(piece), std::string::npos) << "no \"" << piece << "\" in: " << text;
}

}  // namespace test
