// Copyright (c) 2026 the lora authors. SPDX-License-Identifier: MIT Any bytes as a GGUF file. What is accepted must
// have its tensors apart from each other, survive being written, and give its matrices; as an adapter it must survive a
// change of names there and back, and being saved. What is refused must say so in printable characters.

#include "fuzz/fuzz.hpp"

#include <lora/io/gguf/adapter.hpp>
#include <lora/io/gguf/names.hpp>

#include <optional>

namespace {

namespace io = lora::io;
using fuzz::require;

/// The header that a file with these tensors and values gets.
std::optional<io::GgufHeader> header_of(const io::detail::GgufHeaderBytes& header) {
  const auto read = [&](std::uint64_t offset, std::span<std::byte> into) {
    for (std::size_t i = 0; i < into.size(); ++i)
      into[i] = static_cast<std::byte>(offset + i < header.bytes.size() ? header.bytes[offset + i] : 0);
  };
  return io::GgufHeader::parse("again", header.bytes.size() + header.data_bytes, read);
}

void check_header(const io::Gguf& file) {
  std::uint64_t end = 0;
  for (const io::GgufTensor& tensor : file.tensors()) {
    require(tensor.begin >= end && tensor.begin % file.header().alignment() == 0, "tensors that share bytes");
    require(io::detail::tensor_bytes(tensor.type, tensor.shape) == tensor.bytes(), "a shape that is not the bytes");
    require(file.find(tensor.name) == &tensor, "a tensor that is not found by its name");
    end = tensor.end;
  }
  require(file.tensors().empty() || file.header().data_begin() + end <= file.file().size(),
          "data behind the file's end");

  const io::detail::GgufHeaderBytes bytes = io::detail::gguf_header_bytes("again", file.tensors(), file.metadata());
  const std::optional<io::GgufHeader> again = header_of(bytes);
  // NaN is not itself: what is written again must be the same bytes.
  require(io::detail::gguf_header_bytes("again", again->tensors(), again->metadata()).bytes == bytes.bytes,
          "a header that changes when it is written");
  require(again->tensors().size() == file.tensors().size(), "tensors that get lost when they are written");
  for (std::size_t i = 0; i < again->tensors().size(); ++i) {
    const io::GgufTensor &a = again->tensors()[i], &b = file.tensors()[i];
    require(a.name == b.name && a.type == b.type && a.shape == b.shape && a.begin == b.begin && a.end == b.end,
            "a tensor that changes when it is written");
  }
}

template <class T>
void check_matrix(const io::Gguf& file, const io::GgufTensor& tensor, std::span<const std::uint8_t> bytes) {
  const lora::Matrix<T> matrix = file.read_matrix<T>(tensor);
  require(static_cast<std::uint64_t>(matrix.size()) / io::block_elements(tensor.type) * io::block_bytes(tensor.type) ==
              tensor.bytes(),
          "a matrix of another size than its tensor");
  if (io::scalar_type(tensor.type) == lora::detail::ScalarTraits<T>::type && matrix.size() != 0)
    require(std::memcmp(matrix.data(), bytes.data() + file.file_offset(tensor), tensor.bytes()) == 0,
            "a matrix that differs from its tensor's bytes");
}

/// What throws an Error with a printable message is fine.
template <class Run>
void run_or_refuse(const Run& run) {
  try {
    run();
  } catch (const lora::Error& error) {
    fuzz::require_printable(error.what());
  }
}

void check_adapter(const io::Adapter& adapter) {
  const io::GgufArchitecture architecture{"llama", 4, 2};
  run_or_refuse([&] {
    const io::Adapter renamed = io::from_gguf(adapter, architecture), back = io::to_gguf(renamed, architecture);
    for (std::size_t i = 0; i < adapter.modules.size(); ++i) {
      const io::AdapterModule &a = adapter.modules[i], &b = back.modules[i];
      require(a.path == b.path && a.rows() == b.rows() && a.cols() == b.cols() && a.rank() == b.rank(),
              "names that do not come back");
    }
  });
  run_or_refuse([&] {
    // Everything is checked; then nothing can be created there.
    io::save_gguf_adapter(adapter, "/proc/self/fd/none/f", "llama", io::GgufScaling::fold_if_needed);
  });
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  static fuzz::MemoryFile memory;
  memory.fill({data, size});
  std::optional<io::Gguf> file;
  try {
    file = io::Gguf::open(memory.path());
  } catch (const io::FileError& error) {
    fuzz::require_printable(error.what());
    return 0;
  }
  check_header(*file);
  for (const io::GgufTensor& tensor : file->tensors()) {
    if (tensor.shape.size() != 2 || !io::is_readable(tensor.type)) continue;
    check_matrix<float>(*file, tensor, {data, size});
    check_matrix<double>(*file, tensor, {data, size});
    check_matrix<Eigen::half>(*file, tensor, {data, size});
    check_matrix<Eigen::bfloat16>(*file, tensor, {data, size});
  }
  std::optional<io::Adapter> adapter;
  run_or_refuse([&] { adapter = io::load_gguf_adapter(*file); });
  if (adapter) check_adapter(*adapter);
  return 0;
}
