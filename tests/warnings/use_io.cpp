// Copyright (c) 2026 the lora authors. SPDX-License-Identifier: MIT
// Whatever reads and writes files. Compiled, not run.

#include <lora/io.hpp>

namespace {

namespace io = lora::io;

template <class T>
void saves(const io::Model& model, const io::Adapter& adapter, const std::filesystem::path& to) {
  io::ModelWriter writer(model, to);
  for (const io::ModelTensor& tensor : model.tensors()) {
    const lora::Matrix<T> W = model.read_matrix<T>(tensor);
    writer.write_at(tensor, 0, std::as_bytes(std::span(W.data(), static_cast<std::size_t>(W.size()))));
  }
  writer.commit();
  io::save_adapter(adapter, to);
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 4) return 2;
  const io::Adapter adapter = io::load_adapter(argv[1]);
  const io::Model model = io::Model::open(argv[2]);
  saves<float>(model, adapter, argv[3]);
  saves<Eigen::bfloat16>(model, adapter, argv[3]);
  const io::UndoFile undo = io::UndoFile::open(argv[3]);
  for (const io::UndoTensor& tensor : undo.tensors()) (void)undo.record(tensor);
  return 0;
}
