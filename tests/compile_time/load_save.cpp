// Copyright (c) 2026 the lora authors. SPDX-License-Identifier: MIT
// load_save ADAPTER MODEL TARGET: merges an adapter into a model of float weights and saves it. With quickstart.cpp, the
// program whose compile time is watched: what a user writes who has files.

#include <lora/io.hpp>
#include <lora/lora.hpp>

#include <iostream>
#include <map>

int main(int argc, char** argv) {
  if (argc != 4) {
    std::cerr << "usage: load_save ADAPTER MODEL TARGET\n";
    return 2;
  }
  try {
    const lora::io::Adapter adapter = lora::io::load_adapter(argv[1]);
    const lora::io::Model model = lora::io::Model::open(argv[2]);
    std::map<const lora::io::ModelTensor*, const lora::io::AdapterModule*> modules;
    for (const auto& module : adapter.modules) modules[&model.tensor(module.path + ".weight")] = &module;

    lora::io::ModelWriter writer(model, argv[3]);
    for (const lora::io::ModelTensor& tensor : model.tensors()) {
      if (const auto found = modules.find(&tensor); found != modules.end()) {
        auto W = model.read_matrix<float>(tensor);
        const lora::LowRank<float> update =
            std::visit([](const auto& u) { return u.template cast<float>(); }, found->second->update);
        const lora::Weighted<float> set[] = {{&update, 1.0}};
        lora::merge_plain(W, set);
        writer.write_at(tensor, 0, std::as_bytes(std::span(W.data(), static_cast<std::size_t>(W.size()))));
      } else {
        std::vector<std::byte> bytes(static_cast<std::size_t>(tensor.info->bytes()));
        model.read(tensor, 0, bytes);
        writer.write_at(tensor, 0, bytes);
      }
    }
    writer.commit();
    std::cout << "merged " << modules.size() << " modules\n";
  } catch (const lora::Error& error) {
    std::cerr << error.what() << '\n';
    return 1;
  }
}
