// Copyright (c) 2026 the lora authors. SPDX-License-Identifier: MIT

/// The tables of README and docs/FILES.md say what the tables that readers and writers go through say.

#include "io/files.hpp"

#include <lora/io/adapters/components.hpp>
#include <lora/io/adapters/formats.hpp>
#include <lora/io/peft/kinds.hpp>
#include <lora/io/peft/peft_types.hpp>

#include <map>
#include <sstream>

namespace io = lora::io;

namespace tables {
namespace {

using Cells = std::vector<std::string>;

/// A cell as it is read: without marks of code, spaces around it and newlines.
std::string plain(std::string cell) {
  std::erase(cell, '`');
  const std::size_t from = cell.find_first_not_of(' ');
  return from == cell.npos ? "" : cell.substr(from, cell.find_last_not_of(' ') - from + 1);
}

/// The rows of a Markdown table, below the line of dashes, that begins with a header.
std::vector<Cells> table(const char* file, const std::string& header) {
  std::istringstream text(test::read(test::data() / "../.." / file));
  std::vector<Cells> out;
  bool is_inside = false;
  for (std::string line; std::getline(text, line);) {
    if (!line.empty() && line.back() == '\r') line.pop_back();
    if (line.starts_with(header)) {
      EXPECT_FALSE(is_inside);
      is_inside = true;
    } else if (is_inside && !line.starts_with('|')) {
      break;
    } else if (is_inside && !line.starts_with("| ---")) {
      Cells cells;
      std::istringstream row(line.substr(1));
      for (std::string cell; std::getline(row, cell, '|');) cells.push_back(plain(cell));
      out.push_back(std::move(cells));
    }
  }
  EXPECT_FALSE(out.empty()) << header << " in " << file;
  return out;
}

std::vector<std::string> items(const std::string& list) {
  std::vector<std::string> out;
  std::istringstream text(list);
  for (std::string item; std::getline(text, item, ',');) out.push_back(plain(item));
  return out;
}

TEST(Tables, FormatsOfAdapters) {
  std::map<std::string, Cells> rows;
  for (const Cells& cells : table("docs/FILES.md", "| format | told by |")) rows[cells.at(0)] = cells;
  EXPECT_EQ(rows.size(), io::adapter_formats().size());
  for (const io::AdapterFormatInfo& format : io::adapter_formats()) {
    const Cells& cells = rows[std::string(format.name)];
    ASSERT_EQ(cells.size(), 5u) << format.name;
    EXPECT_EQ(cells[2], "x");
    EXPECT_EQ(!cells[3].empty(), format.is_written) << format.name;
    EXPECT_EQ(cells[4], format.cannot_say) << format.name;
  }
  for (const io::detail::FlatPrefix& row : io::detail::flat_prefixes)
    EXPECT_NE(rows["kohya"].at(1).find(std::string(row.prefix)), std::string::npos) << row.prefix;
}

TEST(Tables, FormatsInTheReadme) {
  const std::map<std::string, std::string> programs{{"PEFT", "peft"}, {"kohya's scripts", "kohya"}, {"diffusers", "diffusers"},
                                                    {"mlx-lm", "mlx"}, {"llama.cpp", "gguf"}};
  const std::vector<Cells> rows = table("README.md", "| adapters of |");
  EXPECT_EQ(rows.size(), io::adapter_formats().size());
  for (const Cells& cells : rows) {
    ASSERT_EQ(cells.size(), 4u);
    ASSERT_TRUE(programs.contains(items(cells[0]).front())) << cells[0];
    const std::string name = programs.at(items(cells[0]).front());
    for (const io::AdapterFormatInfo& format : io::adapter_formats()) {
      if (format.name != name) continue;
      EXPECT_EQ(cells[2], "x");
      EXPECT_EQ(cells[3], format.is_written ? "x" : "") << name;
    }
  }
}

TEST(Tables, KindsOfUpdates) {
  std::map<std::string, std::string> in_peft;  // of each kind: README's column
  for (const Cells& cells : table("README.md", "| kind | delta |"))
    for (const std::string& kind : items(cells.at(0))) in_peft.emplace(kind.substr(0, kind.find(' ')), cells.at(4));
  std::string types;
  for (const Cells& cells : table("docs/FILES.md", "| peft_type |")) types += items(cells.at(0)).front() + " ";
  const auto is_of_peft = [](const io::detail::KindRow* kind) {
    return std::any_of(io::detail::peft_types.begin(), io::detail::peft_types.end(), [&](const io::detail::PeftType& type) {
      return std::find(type.kinds.begin(), type.kinds.end(), kind) != type.kinds.end() ||
             std::find(type.with_dora.begin(), type.with_dora.end(), kind) != type.with_dora.end();
    });
  };
  for (const io::detail::KindRow* const kind : io::detail::kind_rows) {
    const auto row = in_peft.find(std::string(kind->name));
    ASSERT_NE(row, in_peft.end()) << kind->name;
    EXPECT_EQ(row->second == "read, written", is_of_peft(kind)) << kind->name;
  }
  for (const io::detail::PeftType& type : io::detail::peft_types)
    EXPECT_NE(types.find(std::string(type.name)), types.npos) << type.name;
}

}  // namespace
}  // namespace tables
