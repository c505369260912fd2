// Copyright (c) 2026 the lora authors. SPDX-License-Identifier: MIT
// load_save ADAPTER MODEL TARGET: merges an adapter into a model of float weights and saves it. With quickstart.cpp, the
// program whose compile time is watched: what a user writes who has files.

#include <lora/io.hpp>
#include <lora/lora.hpp>

#include <iostream>
#include <map>
#include <memory>

int main(int argc, char** argv) {
  if (argc != 4) {
    std::cerr << "usage: load_save ADAPTER MODEL TARGET\n";
    return 2;
  }
  try {
    const lora::io::Adapter adapter = lora::io::load_adapter(argv[1]);
    const lora::io::Model model = lora::io::Model::open(argv[2]);
    std::map<const lora::io::ModelTensor*, std::shared_ptr<const lora::Update<float>>> updates;
    for (const auto& [tensor, update] : lora::io::bind(model, adapter))
      updates[&tensor] = std::get<std::shared_ptr<const lora::Update<float>>>(update);

    lora::io::ModelWriter writer(model, argv[3]);
    for (const lora::io::ModelTensor& tensor : model.tensors()) {
      if (const auto found = updates.find(&tensor); found != updates.end()) {
        auto W = model.read_matrix<float>(tensor);
        lora::merge_plain(W, found->second);
        writer.write_matrix(tensor, W);
      } else {
        std::vector<std::byte> bytes(static_cast<std::size_t>(tensor.info->bytes()));
        model.read(tensor, 0, bytes);
        writer.write_at(tensor, 0, bytes);
      }
    }
    writer.commit();
    std::cout << "merged " << updates.size() << " modules\n";
  } catch (const lora::Error& error) {
    std::cerr << error.what() << '\n';
    return 1;
  }
}
