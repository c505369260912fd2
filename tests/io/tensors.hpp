// Copyright (c) 2026 the lora authors. SPDX-License-Identifier: MIT
#pragma once

/// Small safetensors files out of names and shapes.

#include "io/files.hpp"

#include <lora/io/safetensors/writer.hpp>

#include <cmath>

namespace test {

/// Tensors of F32 with the numbers 1/8, 2/8 ... from `first` on, or those given.
struct Tensor {
  std::string name;
  std::vector<std::uint64_t> shape;
  std::vector<float> values = {};
};
inline void write(const fs::path& path, const std::vector<Tensor>& tensors, const lora::io::Metadata& metadata = {}) {
  namespace io = lora::io;
  std::vector<io::TensorInfo> infos;
  for (const Tensor& tensor : tensors) infos.push_back({tensor.name, io::DType::F32, tensor.shape});
  io::SafetensorsWriter writer(path, infos, metadata);
  float next = 0;
  for (std::size_t i = 0; i < tensors.size(); ++i) {
    std::vector<float> values = tensors[i].values;
    while (values.size() * 4 < writer.header().tensors()[i].bytes()) values.push_back(std::fmod(next += 1, 7.0f) / 8);
    writer.write(std::as_bytes(std::span(values)));
  }
  writer.commit();
}

}  // namespace test
