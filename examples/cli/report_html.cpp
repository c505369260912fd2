// Copyright (c) 2026 the lora authors. SPDX-License-Identifier: MIT

// The page of `lora report --html`: tables whose cells are the charts, drawings with a table behind each, no script.

#include "report_data.hpp"
#include "text.hpp"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdio>

namespace cli {
namespace {

constexpr const char* page_style = R"css(
:root{color-scheme:light dark;--page:#f6f7f9;--card:#fff;--ink:#16202b;--soft:#51606f;--line:#d7dde4;--accent:#0b5cad;--bar:#2f6fb5;--mark:#a8450b;
--p1:#fde9d9;--p2:#fbcda4;--p3:#ec8f4b;--p4:#a1420a;--n1:#e1ecf8;--n2:#b3d0ee;--n3:#6ea3da;--n4:#1d4c89;--strong-ink:#fff;--mid-ink:#16202b;--weak-ink:#16202b}
@media(prefers-color-scheme:dark){:root{--page:#11161c;--card:#1a2129;--ink:#e8edf2;--soft:#a5b2bf;--line:#344150;--accent:#7db8f5;--bar:#6ea8e6;--mark:#f7a35c;
--p1:#3a2a1e;--p2:#6d4322;--p3:#cc7430;--p4:#fbb67c;--n1:#1e2c3e;--n2:#28507f;--n3:#669fdb;--n4:#a9d0f8;--strong-ink:#11161c;--mid-ink:#11161c;--weak-ink:#e8edf2}}
*{box-sizing:border-box}
body{margin:0;background:var(--page);color:var(--ink);font:16px/1.5 system-ui,-apple-system,"Segoe UI",Roboto,"Noto Sans",sans-serif;overflow-wrap:anywhere}
main,header,footer{max-width:66rem;margin:0 auto;padding:0 1rem}
header{padding-top:1.5rem}
h1{font-size:1.1rem;font-weight:600;color:var(--soft);margin:0}
h2{font-size:1.25rem;line-height:1.3;margin:0 0 .25rem}
h3{font-size:1rem;margin:0 0 .5rem}
p{margin:.25rem 0 .75rem}
.lead{font-size:clamp(1.3rem,1rem + 1.5vw,1.9rem);line-height:1.3;font-weight:650;margin:.5rem 0}
.soft,figcaption,caption{color:var(--soft);font-size:.9rem}
nav ul{display:flex;flex-wrap:wrap;gap:.25rem 1rem;list-style:none;margin:.5rem 0 0;padding:0}
nav a{display:inline-block;padding:.35rem 0}
a{color:var(--accent)}
:focus-visible{outline:3px solid var(--accent);outline-offset:2px;border-radius:3px}
section{background:var(--card);border:1px solid var(--line);border-radius:10px;padding:1.1rem;margin:1rem 0;scroll-margin-top:1rem}
.tiles{display:grid;grid-template-columns:repeat(auto-fit,minmax(12rem,1fr));gap:.75rem;margin:1rem 0;padding:0}
.tiles div{background:var(--card);border:1px solid var(--line);border-radius:10px;padding:.75rem 1rem}
.tiles dt{color:var(--soft);font-size:.9rem}
.tiles dd{margin:0;font-size:1.5rem;font-weight:650;font-variant-numeric:tabular-nums}
.tiles dd small{display:block;font-size:.85rem;font-weight:400;color:var(--soft)}
.figures{display:flex;flex-wrap:wrap;gap:1.5rem}
figure{margin:0;max-width:100%}figcaption{max-width:28rem}
.scroll{overflow:auto;max-width:100%;max-height:47rem}
svg{display:block}
svg text{font:13px system-ui,sans-serif;fill:var(--ink);font-variant-numeric:tabular-nums;unicode-bidi:isolate}
svg .grid{fill:none;stroke:var(--line)}
svg .self{fill:var(--line);opacity:.5}
.curve{width:100%;max-width:40rem;height:auto}.curve .line{fill:none;stroke:var(--bar);stroke-width:2.5}.curve .limit{fill:none;stroke:var(--mark);stroke-dasharray:6 5}.curve circle{fill:var(--bar)}
.bar{width:100%;height:14px}
.bar rect{fill:var(--bar)}.bar .track{fill:var(--line);opacity:.45}.bar path{fill:var(--mark)}
table{border-collapse:separate;border-spacing:0;font-size:.9rem;overflow-wrap:normal;font-variant-numeric:tabular-nums}
th,td{padding:.3rem .6rem;text-align:right;border-bottom:1px solid var(--line);vertical-align:middle}
th{font-weight:600}caption{text-align:left}
th:first-child,td:first-child{text-align:left}
thead th{position:sticky;top:0;background:var(--card);z-index:1;vertical-align:bottom}
tbody th{position:sticky;left:0;background:var(--card);font-weight:400;min-width:9rem;max-width:22rem;overflow-wrap:anywhere}
thead th:first-child{left:0;z-index:2}
.heat td{min-width:4.5rem;border-left:2px solid var(--card)}
.heat thead th{max-width:9rem;font-weight:500}
.sizes{width:100%}.sizes .drawn,.sizes th:nth-child(2){width:38%;min-width:7rem;text-align:left}
.p1{background:var(--p1);fill:var(--p1);color:var(--weak-ink)}.p2{background:var(--p2);fill:var(--p2);color:var(--weak-ink)}
.p3{background:var(--p3);fill:var(--p3);color:var(--mid-ink)}.p4{background:var(--p4);fill:var(--p4);color:var(--strong-ink)}
.n1{background:var(--n1);fill:var(--n1);color:var(--weak-ink)}.n2{background:var(--n2);fill:var(--n2);color:var(--weak-ink)}
.n3{background:var(--n3);fill:var(--n3);color:var(--mid-ink)}.n4{background:var(--n4);fill:var(--n4);color:var(--strong-ink)}
.z{fill:transparent}.more{fill:var(--p4)}.less{fill:var(--n4)}
svg text.p1,svg text.p2,svg text.n1,svg text.n2{fill:var(--weak-ink);background:none}
svg text.p3,svg text.n3{fill:var(--mid-ink);background:none}svg text.p4,svg text.n4{fill:var(--strong-ink);background:none}svg text.z{fill:var(--ink)}
.key{display:flex;flex-wrap:wrap;gap:.15rem;list-style:none;padding:0;margin:.5rem 0;font-size:.8rem}
.key li{padding:.1rem .5rem;border:1px solid var(--line)}
details{margin-top:.75rem}
summary{cursor:pointer;padding:.35rem 0;color:var(--accent)}
footer{padding-bottom:2rem}
.skip{position:absolute;left:-99rem}.skip:focus{left:1rem;top:.5rem;background:var(--card);padding:.5rem;z-index:9}
@media(max-width:40rem){section{padding:.9rem .75rem}tbody th{min-width:7rem;max-width:9rem}th,td{padding:.3rem .4rem}.tiles{grid-template-columns:1fr}}
@media print{.scroll{max-height:none;overflow:visible}section{break-inside:avoid}}
)css";

/// Text between tags and in attributes.
std::string escaped(std::string_view name) {
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
std::string isolated(std::string_view name) { return "<bdi>" + escaped(name) + "</bdi>"; }

/// The same, which may be broken behind dots.
std::string breakable(std::string_view name) {
  std::string out;
  for (const char c : isolated(name)) {
    out += c;
    if (c == '.') out += "<wbr>";
  }
  return out;
}

/// At most `most` characters of UTF-8, escaped.
std::string shortened(std::string_view name, std::size_t most) {
  const std::string whole = lora::io::printable(name, 4096);
  std::size_t end = 0, characters = 0;
  for (; end < whole.size(); ++end)
    if ((static_cast<unsigned char>(whole[end]) & 0xc0u) != 0x80u && ++characters > most) break;
  return end == whole.size() ? escaped(whole) : escaped(std::string_view(whole).substr(0, end)) + "…";
}

std::string fixed_text(double value, int digits = 2) {
  std::array<char, 64> out{};
  const int length = std::snprintf(out.data(), out.size(), "%.*f", digits, value);
  const std::string made(out.data(), static_cast<std::size_t>(length));
  if (!made.starts_with('-')) return made;
  return made.find_first_not_of("-0.") == made.npos ? made.substr(1) : "−" + made.substr(1);
}
std::string share_text(double share) {
  return fixed_text(100 * share, 100 * share >= 9.95 ? 0 : 100 * share >= 0.095 ? 1 : 2) + " %";
}

/// Steps of strength; the class of a cell.
constexpr std::array<double, 4> steps{0.05, 0.15, 0.3, 0.5};
std::string class_of(double value) {
  const auto step = std::upper_bound(steps.begin(), steps.end(), std::abs(value)) - steps.begin();
  return step == 0 ? "z" : text(value < 0 ? 'n' : 'p', step);
}

std::string key(bool is_signed) {
  std::string out = "<ul class=\"key\" aria-label=\"Key to the colours\">";
  if (is_signed)
    for (std::size_t k = steps.size(); k-- > 0;) out += text("<li class=\"n", k + 1, "\">≤ −", fixed_text(steps[k]), "</li>");
  out += text("<li>near 0</li>");
  for (std::size_t k = 0; k < steps.size(); ++k) out += text("<li class=\"p", k + 1, "\">≥ ", fixed_text(steps[k]), "</li>");
  return out + "</ul>";
}

std::string scrolled(std::string_view label, std::string_view content) {
  return text("<div class=\"scroll\" tabindex=\"0\" role=\"region\" aria-label=\"", escaped(label), "\">", content, "</div>");
}
std::string details(std::string_view label, std::string_view content) {
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

class Page {
 public:
  explicit Page(const Report& report) : report_(report), pairs_(report.pairs()), forecast_(report.forecast()) {
    // What all layers' names begin with says nothing.
    for (const ReportLayer& layer : report.layers) {
      if (&layer == &report.layers.front()) prefix_ = layer.name;
      const auto [end, unused] = std::mismatch(prefix_.begin(), prefix_.end(), layer.name.begin(), layer.name.end());
      prefix_.erase(end, prefix_.end());
    }
    prefix_.erase(prefix_.rfind('.') + 1);  // npos + 1 is 0
    ordered_ = pairs_;
    std::erase_if(ordered_, [](const AdapterPair& pair) { return pair.layers == 0; });
    std::stable_sort(ordered_.begin(), ordered_.end(),
                     [](const AdapterPair& a, const AdapterPair& b) { return std::abs(a.cosine) > std::abs(b.cosine); });
  }

  std::string html() const {
    std::vector<Section> sections;
    if (!ordered_.empty()) {
      sections.push_back(pairs());
      sections.push_back(layers());
    }
    if (!ordered_.empty()) sections.push_back(forecast());
    if (report_.adapter_count() > 1 && report_.output_change(0, 0)) sections.push_back(inputs());
    sections.push_back(sizes());
    sections.push_back(reading());
    std::string links, body;
    for (const Section& section : sections) {
      links += text("<li><a href=\"#", section.id, "\">", section.title, "</a></li>");
      body += text("<section id=\"", section.id, "\" aria-labelledby=\"", section.id, "-title\"><h2 id=\"", section.id, "-title\">",
                   section.title, "</h2>", section.content, "</section>\n");
    }
    return text("<!DOCTYPE html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">"
                "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; img-src data:; style-src 'unsafe-inline'\">"
                "<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">"
                "<title>Adapter report: ", escaped(names()), "</title><link rel=\"icon\" href=\"data:,\"><style>", page_style,
                "</style></head>\n<body><a class=\"skip\" href=\"#main\">To the report</a>\n<header><h1>Adapter report for ",
                isolated(report_.base), "</h1>", lead(), "<nav aria-label=\"Sections\"><ul>", links, "</ul></nav></header>\n<main id=\"main\">",
                tiles(), body, "</main>\n<footer class=\"soft\">Made by <code>lora report</code> from the adapters' factors and the base's weights.</footer></body></html>\n");
  }

 private:
  struct Section {
    std::string id, title, content;
  };

  std::string layer_name(const ReportLayer& layer) const {
    return text("<span title=\"", escaped(layer.name), "\">", breakable(std::string_view(layer.name).substr(prefix_.size())), "</span>");
  }
  std::string prefix_note() const {
    return prefix_.empty() ? "" : text(" Left out of their names: <code>", escaped(prefix_), "</code>");
  }
  std::string adapter_name(std::size_t i) const { return isolated(report_.adapters[i]); }
  std::string pair_name(const AdapterPair& pair) const {
    return text(adapter_name(pair.first), " × ", adapter_name(pair.second));
  }
  std::string short_pair_name(const AdapterPair& pair) const {
    const std::string &one = report_.adapters[pair.first], &other = report_.adapters[pair.second];
    return text("<span title=\"", escaped(one), " × ", escaped(other), "\"><bdi>", shortened(one, 13), "</bdi> × <bdi>", shortened(other, 13), "</bdi></span>");
  }
  std::string names() const {
    if (report_.adapter_count() > 3) return count_text(report_.adapter_count(), "adapter");
    std::string out;
    for (const std::string& name : report_.adapters) out += text(out.empty() ? "" : ", ", name);
    return out;
  }
  std::size_t layers_with_intruders() const {
    return static_cast<std::size_t>(std::count_if(report_.layers.begin(), report_.layers.end(),
                                                  [](const ReportLayer& layer) { return layer.measures.intruders > 0; }));
  }

  /// The sentence that matters.
  std::string lead() const {
    std::string sentence;
    if (report_.adapter_count() == 1)
      sentence = text(adapter_name(0), " changes the weights by ", share_text(report_.relative_norm_of_sum()), " of their norm.");
    else if (ordered_.empty())
      sentence = "These adapters change different layers: none gets in another’s way.";
    else if (std::abs(ordered_.front().cosine) >= steps[1])
      sentence = text(adapter_name(ordered_.front().first), " and ", adapter_name(ordered_.front().second),
                      ordered_.front().cosine > 0 ? " pull the same way: their sum overshoots" : " pull against each other: their sum cancels",
                      std::abs(ordered_.front().cosine) < steps[2] ? "." : ", strongly.");
    else {
      double largest = 0;
      for (std::size_t i = 0; i < report_.adapter_count(); ++i) largest = std::max(largest, report_.relative_norm(i));
      sentence = text("Added up, these ", report_.adapter_count(), " adapters change the weights by ", share_text(report_.relative_norm_of_sum()),
                      " of their norm", largest > 0 ? text(", ", fixed_text(report_.relative_norm_of_sum() / largest, 1), " times as much as the largest of them") : "", ".");
    }
    std::string more;
    if (!ordered_.empty()) {
      more = sentence + " ";
      sentence = escaped(capacity_text(forecast_));
      const AdapterPair& most = ordered_.front();
      const ReportLayer& layer = report_.layers[most.strongest];
      more += text(std::abs(most.cosine) < steps[0] ? "No two of them pull the same way or against each other: the" : "The", " closest pair, ",
                  adapter_name(most.first), " and ", adapter_name(most.second), ", has the cosine ", fixed_text(most.cosine), " over ",
                  count_text(most.layers, "layer"), ", and ", fixed_text(layer.pair_of(most.first, most.second)->cosine), " in ",
                  isolated(layer.name), ", where it is farthest from 0. ");
    }
    const std::size_t layers = layers_with_intruders();
    more += layers == 0 ? "In no layer is a direction of the sum stronger than the weight."
                        : text("In ", layers, " of ", count_text(report_.layers.size(), "layer"), " the sum has directions that are stronger than the weight there.");
    return text("<p class=\"lead\">", sentence, "</p><p>", more, "</p>");
  }

  std::string tiles() const {
    std::string out = "<dl class=\"tiles\">";
    const auto tile = [&](std::string_view title, std::string_view value, std::string_view note) {
      out += text("<div><dt>", title, "</dt><dd>", value, "<small>", note, "</small></dd></div>");
    };
    if (!ordered_.empty()) tile("Largest cosine of two adapters", fixed_text(ordered_.front().cosine), pair_name(ordered_.front()));
    tile(report_.adapter_count() == 1 ? "Size beside the weights" : "The sum beside the weights", share_text(report_.relative_norm_of_sum()),
         "Frobenius norm, all layers");
    tile("Layers with intruders", text(layers_with_intruders(), " of ", report_.layers.size()), "directions stronger than the weight");
    return out + "</dl>";
  }

  /// A square drawing of numbers for every two adapters. value(i, j) may be absent.
  template <class Value>
  std::string matrix(std::string_view id, std::string_view title, std::string_view description, const Value& value) const {
    const std::size_t count = report_.adapter_count();
    const bool has_numbers = count <= 12;
    const std::size_t cell = has_numbers ? 44 : 22, left = 128, top = 26, width = left + cell * count + 1, height = top + cell * count + 1;
    std::string out = text("<svg width=\"", width, "\" height=\"", height, "\" viewBox=\"0 0 ", width, " ", height, "\" role=\"img\" aria-labelledby=\"", id,
                           "-t ", id, "-d\"><title id=\"", id, "-t\">", title, "</title><desc id=\"", id, "-d\">", description, "</desc>");
    for (std::size_t i = 0; i < count; ++i) {
      const std::size_t y = top + i * cell;
      out += text("<text x=\"", left - 8, "\" y=\"", y + cell / 2 + 5, "\" text-anchor=\"end\">", shortened(report_.adapters[i], 13), " ", i + 1, "</text>",
                  "<text x=\"", left + i * cell + cell / 2, "\" y=\"18\" text-anchor=\"middle\">", i + 1, "</text>");
      for (std::size_t j = 0; j < count; ++j) {
        const std::size_t x = left + j * cell;
        out += text("<g><title>", escaped(report_.adapters[i]), " and ", escaped(report_.adapters[j]));
        const std::optional<double> found = i == j ? std::nullopt : value(i, j);
        const double number = found.value_or(0);
        if (found) out += text(": ", fixed_text(number, 3));
        out += "</title>";
        if (i == j)
          out += text("<rect class=\"self\" x=\"", x, "\" y=\"", y, "\" width=\"", cell, "\" height=\"", cell, "\"/>");
        else if (found && has_numbers)
          out += text("<rect class=\"", class_of(number), "\" x=\"", x, "\" y=\"", y, "\" width=\"", cell, "\" height=\"", cell, "\"/><text class=\"",
                      class_of(number), "\" x=\"", x + cell / 2, "\" y=\"", y + cell / 2 + 5, "\" text-anchor=\"middle\">", fixed_text(number), "</text>");
        else if (found && class_of(number) != "z") {  // the stronger, the larger
          const double side = static_cast<double>(cell) * std::sqrt(std::min(1.0, std::abs(number)));
          const double shift = (static_cast<double>(cell) - side) / 2;
          out += text("<rect class=\"", number < 0 ? "less" : "more", "\" x=\"", number_text(static_cast<double>(x) + shift), "\" y=\"",
                      number_text(static_cast<double>(y) + shift), "\" width=\"", number_text(side), "\" height=\"", number_text(side), "\"/>");
        }
        out += text("<rect class=\"grid\" x=\"", x, ".5\" y=\"", y, ".5\" width=\"", cell, "\" height=\"", cell, "\"/></g>");
      }
    }
    return text("<figure style=\"width:", width, "px\"><h3>", title, "</h3>", scrolled(title, out + "</svg>"), "<figcaption>", description, has_numbers ? "" : " The larger a square, the farther from 0; blue is negative.",
                "</figcaption></figure>");
  }

  const AdapterPair& pair_at(std::size_t i, std::size_t j) const {
    return *std::find_if(pairs_.begin(), pairs_.end(), [&](const AdapterPair& pair) {
      return pair.first == std::min(i, j) && pair.second == std::max(i, j);
    });
  }
  template <class Number>
  auto of_pair(const Number& number) const {
    return [this, number](std::size_t i, std::size_t j) -> std::optional<double> {
      const AdapterPair& pair = pair_at(i, j);
      return pair.layers == 0 ? std::nullopt : std::optional(number(pair, i, j));
    };
  }

  Section pairs() const {
    double chance = 0;
    for (const AdapterPair& pair : ordered_) chance = std::max(chance, pair.chance);
    std::string content = text(
        "<p class=\"soft\">All layers together.</p>", key(true), "<div class=\"figures\">",
        matrix("cosines", "Do they pull the same way?", "Cosine of two deltas: 1 the same, 0 independent, −1 opposite.",
               of_pair([](const AdapterPair& pair, std::size_t, std::size_t) { return pair.cosine; })),
        matrix("shared", "Do they use the same directions?",
               text("Below the diagonal what they put out, above it what they read: 1 the same space, by chance ", number_text(chance, 1), " at most."),
               of_pair([](const AdapterPair& pair, std::size_t i, std::size_t j) { return i > j ? pair.output : pair.input; })),
        "</div>");
    HtmlTable table("", "Pairs, the most alike first", {"Pair", "Cosine", "Shared output", "Shared input", "By chance", "Strongest in", "Cosine there"});
    for (const AdapterPair& pair : ordered_) {
      const ReportLayer& layer = report_.layers[pair.strongest];
      table.begin(pair_name(pair));
      table.cell(fixed_text(pair.cosine, 3));
      table.cell(fixed_text(pair.output, 3));
      table.cell(fixed_text(pair.input, 3));
      table.cell(fixed_text(pair.chance, 3));
      table.cell(layer_name(layer));
      table.cell(fixed_text(layer.pair_of(pair.first, pair.second)->cosine, 3));
      table.end();
    }
    return {"pairs", "Which adapters fight", content + details("All pairs in numbers", table.html())};
  }

  Section layers() const {
    constexpr std::size_t most = 12;
    const std::size_t shown = std::min(most, ordered_.size());
    std::vector<std::string> titles{"Layer"};
    for (std::size_t k = 0; k < shown; ++k) titles.push_back(short_pair_name(ordered_[k]));
    HtmlTable table("heat", "Cosine of the deltas in each layer", titles);
    for (const ReportLayer& layer : report_.layers) {
      table.begin(layer_name(layer));
      for (std::size_t k = 0; k < shown; ++k) {
        const auto* const pair = layer.pair_of(ordered_[k].first, ordered_[k].second);
        table.cell(pair == nullptr ? "–" : fixed_text(pair->cosine), pair == nullptr ? "" : class_of(pair->cosine));
      }
      table.end();
    }
    return {"layers", "In which layers",
            text("<p class=\"soft\">", shown < ordered_.size() ? text("The ", shown, " pairs of ", ordered_.size(), " that are most alike.") : "Every pair.",
                 prefix_note(), "</p>", key(true), scrolled("Cosines by layer and pair", table.html()))};
  }

  Section inputs() const {
    HtmlTable table("heat", "Row: the adapter that acts. Column: whose inputs", [&] {
      std::vector<std::string> titles{"Adapter"};
      for (std::size_t j = 0; j < report_.adapter_count(); ++j) titles.push_back(adapter_name(j));
      return titles;
    }());
    for (std::size_t i = 0; i < report_.adapter_count(); ++i) {
      table.begin(adapter_name(i));
      for (std::size_t j = 0; j < report_.adapter_count(); ++j) {
        const std::optional<double> change = report_.output_change(i, j);
        table.cell(change ? fixed_text(*change) : "–", change && i != j ? class_of(*change) : "");
      }
      table.end();
    }
    return {"inputs", "What one does to another’s inputs",
            text("<p class=\"soft\">The change of the outputs by one adapter, beside that by the adapter whose inputs they are (1: as large).</p>",
                 key(false), scrolled("Output changes", table.html()))};
  }

  /// A bar for a share of `most`, with a mark for another one.
  static std::string bar(double share, double mark, double most) {
    const double scale = most > 0 ? 100 / most : 0;
    const double x = std::min(100.0, mark * scale);
    return text("<svg class=\"bar\" viewBox=\"0 0 100 14\" preserveAspectRatio=\"none\" aria-hidden=\"true\" focusable=\"false\"><rect class=\"track\" y=\"3\" "
                "width=\"100\" height=\"8\"/><rect y=\"3\" width=\"", number_text(share * scale), "\" height=\"8\"/><path d=\"M", number_text(std::clamp(x - 0.6, 0.0, 98.8)),
                " 0h1.2v14h-1.2z\"/></svg>");
  }

  /// The expected share against the number of adapters, as a line, with a point where all of them are.
  Section forecast() const {
    const auto count = static_cast<lora::Index>(report_.adapter_count());
    const lora::Index most = forecast_.capacity(kept_share);
    const lora::Index last = std::clamp<lora::Index>(2 * std::max(count, most > 1024 ? 1 : most), 8, 128);
    constexpr double left = 52, top = 12, width = 560, height = 220;
    const auto x = [&](lora::Index k) { return fixed_text(left + width * static_cast<double>(k - 1) / static_cast<double>(last - 1), 1); };
    const auto y = [&](double share) { return fixed_text(top + height * (1 - share), 1); };
    std::string grid, labels, line;
    for (int percent = 0; percent <= 100; percent += 20) {
      grid += text("<path class=\"grid\" d=\"M", x(1), " ", y(percent / 100.0), "H", x(last), "\"/>");
      labels += text("<text x=\"", fixed_text(left - 8, 1), "\" y=\"", y(percent / 100.0 - 0.02), "\" text-anchor=\"end\">", percent, " %</text>");
    }
    const lora::Index step = std::max<lora::Index>(1, last / 8);
    for (lora::Index k = step; k <= last; k += step)
      labels += text("<text x=\"", x(k), "\" y=\"", fixed_text(top + height + 20, 1), "\" text-anchor=\"middle\">", k, "</text>");
    for (lora::Index k = 1; k <= last; ++k) line += text(k == 1 ? "M" : "L", x(k), " ", y(forecast_.retained_by(k)));
    const double here = forecast_.retained_by(count);
    const std::string drawing = text(
        "<svg class=\"curve\" viewBox=\"0 0 ", fixed_text(left + width + 14, 0), " ", fixed_text(top + height + 30, 0),
        "\" role=\"img\" aria-labelledby=\"curve-name\"><title id=\"curve-name\">Expected share of the accuracy above chance against the number of adapters: ",
        share_text(here), " for ", count, "</title>", grid, "<path class=\"limit\" d=\"M", x(1), " ", y(kept_share), "H", x(last), "\"/><path class=\"line\" d=\"", line, "\"/><circle cx=\"", x(count),
        "\" cy=\"", y(here), "\" r=\"5\"/>", labels, "</svg>");
    HtmlTable curve("", "Expected on average", {"Adapters", "Share kept"});
    for (lora::Index k = 1; k <= last; k *= 2) {
      curve.begin(text(k));
      curve.cell(share_text(forecast_.retained_by(k)));
      curve.end();
    }
    HtmlTable each("", "Each adapter in the sum of all", {"Adapter", "Crosstalk", "Share kept"});
    for (std::size_t t = 0; t < report_.adapter_count(); ++t) {
      each.begin(adapter_name(t));
      each.cell(fixed_text(forecast_.crosstalk(t)));
      each.cell(share_text(forecast_.retained(t)));
      each.end();
    }
    return {"forecast", "How many a model takes",
            text("<p>", escaped(capacity_text(forecast_)), "</p><figure>", drawing, "<figcaption>The share of its accuracy above chance that an adapter is expected to "
                 "keep when k such adapters are added up; the point is the ", count, " of this report, the dashed line ", share_text(kept_share),
                 ".</figcaption></figure>", details("The curve in numbers", curve.html()), details("Each adapter in numbers", each.html()),
                 "<p class=\"soft\">From the factors alone, by a curve that was fitted to adapters of one sentence encoder: sets with more crosstalk lose more; "
                 "how much exactly, your own test tells.</p>")};
  }

  Section sizes() const {
    double most = 0;
    const auto ratio = [](double part, double whole) { return whole > 0 ? part / whole : 0; };
    for (const ReportLayer& layer : report_.layers)
      most = std::max({most, ratio(layer.measures.sum.norm, layer.measures.weight_norm),
                       ratio(layer.measures.sum.spectral_norm, layer.measures.weight_spectral_norm)});
    HtmlTable table("sizes", text("‖sum‖ / ‖W0‖: bar Frobenius norm, mark 2-norm; the full width is ", share_text(most)),
                    {"Layer", "Drawn", "Frobenius", "2‑norm", "Stable rank", "Intruders"});
    for (const ReportLayer& layer : report_.layers) {
      const auto& own = layer.measures;
      const double norm = ratio(own.sum.norm, own.weight_norm), spectral = ratio(own.sum.spectral_norm, own.weight_spectral_norm);
      table.begin(layer_name(layer));
      table.cell(bar(norm, spectral, most), "drawn");
      table.cell(share_text(norm));
      table.cell(share_text(spectral));
      table.cell(number_text(own.sum.stable_rank, 3));
      table.cell(own.intruders == 0 ? "0" : text("▲ ", own.intruders));
      table.end();
    }
    HtmlTable each("", "Each adapter, all its layers together", {"Adapter", "Coefficient", "‖delta‖ / ‖W0‖", "Layers"});
    for (std::size_t i = 0; i < report_.adapter_count(); ++i) {
      each.begin(adapter_name(i));
      each.cell(number_text(report_.coefficients[i]));
      each.cell(share_text(report_.relative_norm(i)));
      each.cell(text(std::count_if(report_.layers.begin(), report_.layers.end(), [&](const ReportLayer& layer) { return layer.update_of(i).has_value(); })));
      each.end();
    }
    return {"sizes", "How large beside the weights",
            text("<p class=\"soft\">", report_.adapter_count() == 1 ? "The adapter" : "The sum of all adapters", ", layer by layer.", prefix_note(), "</p>",
                 scrolled("Sizes by layer", table.html()), details("Each adapter in numbers", each.html()))};
  }

  static Section reading() {
    return {"reading", "How to read this",
            "<p><b>Cosine.</b> tr(D<sub>i</sub>ᵀD<sub>j</sub>) / (‖D<sub>i</sub>‖‖D<sub>j</sub>‖). Where it is far from 0, a plain sum is larger, or smaller, "
            "than what either adapter was trained for.</p>"
            "<p><b>Shared output, shared input.</b> The mean squared cosine of the principal angles between the column spaces, and the row spaces, of two deltas. "
            "Adapters that read the same directions act on each other’s inputs; those that write the same ones meet in the outputs.</p>"
            "<p><b>Stable rank.</b> ‖D‖<sub>F</sub>² / ‖D‖<sub>2</sub>²: how many directions carry the sum.</p>"
            "<p><b>Intruders.</b> Singular directions (σ, u, v) of the sum with σ &gt; ‖W0ᵀu‖ and σ &gt; ‖W0 v‖: they lead in the merged weight, and the base "
            "did not have them.</p>"
            "<p>These numbers say how much adapters touch each other; the forecast says what that is expected to cost, and a test on your own data is what counts.</p>"
            "<p><b>Crosstalk.</b> ‖sum of the others‖² / ‖D<sub>i</sub>‖² in Frobenius norm, over all layers.</p>"};
  }

  const Report& report_;
  std::vector<AdapterPair> pairs_, ordered_;  // all; those with layers, the most alike first
  std::string prefix_;
  lora::compose::Forecast forecast_;
};

}  // namespace

std::string report_page(const Report& report) { return Page(report).html(); }

}  // namespace cli
