// Copyright (c) 2026 the lora authors. SPDX-License-Identifier: MIT
#include <lora/io.hpp>

#include <iostream>

/// A file that is not there is refused by its name.
bool files_work() {
  try {
    lora::io::load_adapter("there-is-no-such-folder");
  } catch (const lora::Error& error) {
    std::cout << error.what() << '\n';
    return std::string(error.what()).find("there-is-no-such-folder") != std::string::npos;
  }
  return false;
}
