// Copyright (c) 2026 the lora authors. SPDX-License-Identifier: MIT
#pragma once

/// The tasks of examples/data/minilm-fixed-heads: token ids, linear heads, and what PyTorch + PEFT made of some
/// sentences.

#include "encoder.hpp"

#include <algorithm>
#include <filesystem>
#include <string>
#include <vector>

namespace minilm {

/// Does a summary of a Debian package belong to a section? Each section has an adapter, a linear head, and 128
/// sentences of which the first half belong to it. None of them was trained on.
struct Task {
  std::string name;
  std::vector<Sentence> sentences;
  lora::Matrix<float> head;       // 1 x 385: weights and a bias
  lora::Matrix<float> embedding;  // PyTorch + PEFT's vectors of the sentences 0, 1, 64 and 65

  /// Whether the head's answer for a row is right, from the sentence's vector.
  template <class Vector>
  bool is_right(std::size_t row, const Vector& vector) const {
    const float score = (head.leftCols(vector.size()) * vector)(0) + head(0, vector.size());
    return (score > 0) == (row < sentences.size() / 2);
  }
};

/// Throws lora::Error.
inline Task read_task(const lora::io::Safetensors& file, const std::string& name) {
  const lora::io::TensorInfo &ids = file.tensor(name + ".ids"), &mask = file.tensor(name + ".mask");
  if (ids.dtype != lora::io::DType::I32 || mask.dtype != lora::io::DType::U8 || ids.shape != mask.shape ||
      ids.shape.size() != 2)
    throw lora::ShapeError("task '" + lora::io::printable(name) + "': expected ids (I32) and a mask (U8) of one shape");
  const std::size_t length = ids.shape[1];
  std::vector<std::int32_t> tokens(ids.shape[0] * length);
  std::vector<std::uint8_t> real(tokens.size());
  file.read(ids, 0, std::as_writable_bytes(std::span(tokens)));
  file.read(mask, 0, std::as_writable_bytes(std::span(real)));
  Task task{name,
            {},
            file.read_vector<float>(file.tensor(name + ".head")).transpose(),
            file.read_matrix<float>(file.tensor(name + ".embedding"))};
  for (std::size_t row = 0; row < ids.shape[0]; ++row) {
    Sentence& sentence = task.sentences.emplace_back();
    for (std::size_t i = row * length; i < (row + 1) * length && real[i] != 0; ++i) sentence.push_back(tokens[i]);
  }
  return task;
}

/// A folder's tasks: one for each folder in `adapters`, by name, read from tasks.safetensors. Throws lora::Error.
inline std::vector<Task> read_tasks(const std::filesystem::path& folder) {
  const auto file = lora::io::Safetensors::open(folder / "tasks.safetensors");
  std::vector<Task> tasks;
  for (const auto& entry : std::filesystem::directory_iterator(folder / "adapters"))
    tasks.push_back(read_task(file, entry.path().filename().string()));
  std::sort(tasks.begin(), tasks.end(), [](const Task& a, const Task& b) { return a.name < b.name; });
  return tasks;
}

}  // namespace minilm
