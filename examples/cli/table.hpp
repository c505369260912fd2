// Copyright (c) 2026 the lora authors. SPDX-License-Identifier: MIT
#pragma once

#include <lora/io/text/utf8.hpp>

#include <algorithm>
#include <ostream>
#include <string>
#include <vector>

namespace cli {

/// Lines of tiles, printed in columns: the first to the left, the others to the right. Tiles are made printable.
class Table {
 public:
  explicit Table(std::vector<std::string> titles) { add(std::move(titles)); }
  void add(std::vector<std::string> tiles) {
    for (std::string& tile : tiles) tile = lora::io::printable(tile);
    lines_.push_back(std::move(tiles));
  }

  friend std::ostream& operator<<(std::ostream& out, const Table& table) {
    std::vector<std::size_t> widths(table.lines_.front().size());
    for (const auto& line : table.lines_)
      for (std::size_t i = 0; i < line.size(); ++i) widths[i] = std::max(widths[i], characters(line[i]));
    for (const auto& line : table.lines_) {
      for (std::size_t i = 0; i < line.size(); ++i) {
        const std::string space(widths[i] - characters(line[i]), ' ');
        if (i == 0)
          out << line[i] << space;
        else
          out << "  " << space << line[i];
      }
      out << '\n';
    }
    return out;
  }

 private:
  static std::size_t characters(const std::string& tile) {
    return static_cast<std::size_t>(std::count_if(
        tile.begin(), tile.end(), [](char c) { return (static_cast<unsigned char>(c) & 0xc0u) != 0x80u; }));
  }
  std::vector<std::vector<std::string>> lines_;
};

}  // namespace cli
