// Copyright (c) 2026 the lora authors. SPDX-License-Identifier: MIT
#pragma once

/// Pieces of HTML for the page of `lora report --html`: names, numbers, colours, tables.

#include "text.hpp"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdio>

namespace cli {

/// Text between tags and in attributes.
inline std::string escaped(std::string_view name) {
  std::string out;
  for (const char c : lora::io::printable(name, 4096)) {
    switch (c) {
      case '&': out += "&amp;"; break;
      case '<': out += "&lt;"; break;
      case '>': out += "&gt;"; break;
      case '"': out += "&quot;"; break;
      case '\'': out += "&#39;"; break;
      default: out += c;
    }
  }
  return out;
}
/// A name whose direction of writing touches nothing around it.
inline std::string isolated(std::string_view name) { return "<bdi>" + escaped(name) + "</bdi>"; }

/// The same, which may be broken behind dots.
inline std::string breakable(std::string_view name) {
  std::string out;
  for (const char c : isolated(name)) {
    out += c;
    if (c == '.') out += "<wbr>";
  }
  return out;
}

/// At most `most` characters of UTF-8, escaped.
inline std::string shortened(std::string_view name, std::size_t most) {
  const std::string whole = lora::io::printable(name, 4096);
  std::size_t end = 0, characters = 0;
  for (; end < whole.size(); ++end)
    if ((static_cast<unsigned char>(whole[end]) & 0xc0u) != 0x80u && ++characters > most) break;
  return end == whole.size() ? escaped(whole) : escaped(std::string_view(whole).substr(0, end)) + "…";
}

inline std::string fixed_text(double value, int digits = 2) {
  std::array<char, 64> out{};
  const int length = std::snprintf(out.data(), out.size(), "%.*f", digits, value);
  const std::string made(out.data(), static_cast<std::size_t>(length));
  if (!made.starts_with('-')) return made;
  return made.find_first_not_of("-0.") == made.npos ? made.substr(1) : "−" + made.substr(1);
}
inline std::string share_text(double share) {
  return fixed_text(100 * share, 100 * share >= 9.95 ? 0 : 100 * share >= 0.095 ? 1 : 2) + " %";
}
/// A share of nothing is a dash.
inline std::string share_text(const std::optional<double>& share) { return share ? share_text(*share) : "–"; }

/// Steps of strength; the class of a cell.
inline constexpr std::array<double, 4> steps{0.05, 0.15, 0.3, 0.5};
inline std::string class_of(double value) {
  const auto step = std::upper_bound(steps.begin(), steps.end(), std::abs(value)) - steps.begin();
  return step == 0 ? "z" : text(value < 0 ? 'n' : 'p', step);
}

inline std::string key(bool is_signed) {
  std::string out = "<ul class=\"key\" aria-label=\"Key to the colours\">";
  if (is_signed)
    for (std::size_t k = steps.size(); k-- > 0;)
      out += text("<li class=\"n", k + 1, "\">≤ −", fixed_text(steps[k]), "</li>");
  out += text("<li>near 0</li>");
  for (std::size_t k = 0; k < steps.size(); ++k)
    out += text("<li class=\"p", k + 1, "\">≥ ", fixed_text(steps[k]), "</li>");
  return out + "</ul>";
}

inline std::string scrolled(std::string_view label, std::string_view content) {
  return text("<div class=\"scroll\" tabindex=\"0\" role=\"region\" aria-label=\"", escaped(label), "\">", content,
              "</div>");
}
inline std::string details(std::string_view label, std::string_view content) {
  return text("<details><summary>", escaped(label), "</summary>", scrolled(label, content), "</details>");
}

/// A table with a caption and titles, whose rows begin with their names; everything is HTML.
class HtmlTable {
 public:
  HtmlTable(std::string_view classes, std::string_view caption, const std::vector<std::string>& titles) {
    out_ = text("<table class=\"", classes, "\"><caption>", caption, "</caption><thead><tr>");
    for (const std::string& title : titles) out_ += text("<th scope=\"col\">", title, "</th>");
    out_ += "</tr></thead><tbody>";
  }
  void begin(std::string_view name) { out_ += text("<tr><th scope=\"row\">", name, "</th>"); }
  void cell(std::string_view content, std::string_view classes = "") {
    out_ += classes.empty() ? text("<td>", content, "</td>") : text("<td class=\"", classes, "\">", content, "</td>");
  }
  void end() { out_ += "</tr>\n"; }
  std::string html() const { return out_ + "</tbody></table>"; }

 private:
  std::string out_;
};

}  // namespace cli
