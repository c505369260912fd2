// Copyright (c) 2026 the lora authors. SPDX-License-Identifier: MIT
#pragma once

/// What the fuzz targets share: a requirement, a file in memory, and mutations that keep a safetensors file in one
/// piece.

#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <span>
#include <string>
#include <string_view>

#include <sys/mman.h>
#include <unistd.h>

/// libFuzzer's mutation of data[0, size): returns the new size, at most `capacity`.
extern "C" std::size_t LLVMFuzzerMutate(std::uint8_t* data, std::size_t size, std::size_t capacity);

namespace fuzz {

/// Ends the program, which a fuzzer takes for a finding, unless the condition holds.
inline void require(bool condition, const char* what) {
  if (condition) return;
  std::fprintf(stderr, "finding: %s\n", what);
  std::abort();
}

/// For the message of an error about the input.
inline void require_printable(std::string_view message) {
  require(message.size() < 4096, "a message without an end");
  for (const char c : message) require(static_cast<unsigned char>(c) >= 0x20 && c != 0x7f, "an unprintable message");
}

/// A file that lives in memory and has a name to be opened by.
class MemoryFile {
 public:
  MemoryFile() : descriptor_(::memfd_create("fuzz", MFD_CLOEXEC)) {
    require(descriptor_ >= 0, "no file in memory");
    path_ = "/proc/self/fd/" + std::to_string(descriptor_);
  }
  MemoryFile(const MemoryFile&) = delete;
  MemoryFile& operator=(const MemoryFile&) = delete;
  ~MemoryFile() { ::close(descriptor_); }

  const std::filesystem::path& path() const { return path_; }

  void fill(std::span<const std::uint8_t> bytes) {
    require(::ftruncate(descriptor_, 0) == 0, "cannot empty the file");
    require(::pwrite(descriptor_, bytes.data(), bytes.size(), 0) == static_cast<ssize_t>(bytes.size()),
            "cannot fill the file");
  }

 private:
  int descriptor_;
  std::filesystem::path path_;
};

/// The text that stands between a safetensors file's length prefix and its data, as far as the file goes.
inline std::string_view header_text(std::span<const std::uint8_t> file) {
  if (file.size() < 8) return {};
  std::uint64_t length = 0;
  std::memcpy(&length, file.data(), 8);
  return {reinterpret_cast<const char*>(file.data()) + 8,
          static_cast<std::size_t>(std::min<std::uint64_t>(length, file.size() - 8))};
}

/// Mutates a safetensors file: the header alone, with a length prefix that fits it, or anything at all.
inline std::size_t mutate_safetensors(std::uint8_t* data, std::size_t size, std::size_t capacity, unsigned seed) {
  if (seed % 4 == 0 || size < 8) return LLVMFuzzerMutate(data, size, capacity);
  std::string header(header_text({data, size}));
  const std::string rest(reinterpret_cast<const char*>(data) + 8 + header.size(), size - 8 - header.size());
  if (capacity < 8 + rest.size()) return LLVMFuzzerMutate(data, size, capacity);
  const std::size_t room = std::min(capacity - 8 - rest.size(), 2 * header.size() + 64);
  const std::size_t before = std::min(header.size(), room);
  header.resize(room);
  header.resize(LLVMFuzzerMutate(reinterpret_cast<std::uint8_t*>(header.data()), before, room));
  const std::uint64_t length = header.size();
  std::memcpy(data, &length, 8);
  std::memcpy(data + 8, header.data(), header.size());
  std::memcpy(data + 8 + header.size(), rest.data(), rest.size());
  return 8 + header.size() + rest.size();
}

}  // namespace fuzz
