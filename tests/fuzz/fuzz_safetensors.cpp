// Copyright (c) 2026 the lora authors. SPDX-License-Identifier: MIT
// Any bytes as a safetensors file. What is accepted must cover its data exactly, be found by name, survive being
// written by SafetensorsHeader::make, and give its matrices; what is refused must say so in printable characters.

#include "fuzz/fuzz.hpp"

#include <lora/io/safetensors/safetensors.hpp>

namespace {

namespace io = lora::io;
using fuzz::require;

void check_header(const io::Safetensors& file) {
  const io::SafetensorsHeader& header = file.header();
  std::uint64_t end = 0;
  for (const io::TensorInfo& tensor : header.tensors()) {
    require(tensor.begin == end && tensor.end >= tensor.begin, "tensors that do not follow each other");
    require(io::detail::tensor_bytes(tensor.dtype, tensor.shape) == tensor.bytes(), "a shape that is not the bytes");
    require(header.find(tensor.name) == &tensor, "a tensor that is not found by its name");
    end = tensor.end;
  }
  require(header.raw().size() + end == file.file().size(), "bytes that belong to no tensor");

  const io::SafetensorsHeader again = io::SafetensorsHeader::make("again", header.tensors(), header.metadata());
  require(again.metadata() == header.metadata(), "metadata that changes when it is written");
  require(again.tensors().size() == header.tensors().size(), "tensors that get lost when they are written");
  for (std::size_t i = 0; i < again.tensors().size(); ++i) {
    const io::TensorInfo &a = again.tensors()[i], &b = header.tensors()[i];
    require(a.name == b.name && a.dtype == b.dtype && a.shape == b.shape && a.begin == b.begin && a.end == b.end,
            "a tensor that changes when it is written");
  }
}

template <class T>
void check_matrix(const io::Safetensors& file, const io::TensorInfo& tensor, std::span<const std::uint8_t> bytes) {
  const lora::Matrix<T> matrix = file.read_matrix<T>(tensor);
  require(static_cast<std::uint64_t>(matrix.size()) * io::bits(tensor.dtype) / 8 == tensor.bytes(),
          "a matrix of another size than its tensor");
  if (io::scalar_type(tensor.dtype) == lora::detail::ScalarTraits<T>::type && matrix.size() != 0)
    require(std::memcmp(matrix.data(), bytes.data() + file.file_offset(tensor), tensor.bytes()) == 0,
            "a matrix that differs from its tensor's bytes");
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  static fuzz::MemoryFile memory;
  memory.fill({data, size});
  std::optional<io::Safetensors> file;
  try {
    file = io::Safetensors::open(memory.path());
  } catch (const io::FileError& error) {
    fuzz::require_printable(error.what());
    return 0;
  }
  check_header(*file);
  for (const io::TensorInfo& tensor : file->tensors()) {
    if (tensor.shape.size() != 2 || !io::scalar_type(tensor.dtype)) continue;
    check_matrix<float>(*file, tensor, {data, size});
    check_matrix<double>(*file, tensor, {data, size});
    check_matrix<Eigen::half>(*file, tensor, {data, size});
    check_matrix<Eigen::bfloat16>(*file, tensor, {data, size});
  }
  return 0;
}

extern "C" std::size_t LLVMFuzzerCustomMutator(std::uint8_t* data, std::size_t size, std::size_t capacity,
                                               unsigned seed) {
  return fuzz::mutate_safetensors(data, size, capacity, seed);
}
