// Copyright (c) 2026 the lora authors. SPDX-License-Identifier: MIT

// The page of `lora report --html`: tables whose cells are the charts, drawings with a table behind each, no script.

#include "report_data.hpp"
#include "report_parts.hpp"
#include "report_style.hpp"
#include "text.hpp"

#include <algorithm>
#include <cmath>

namespace cli {
namespace {

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
    std::stable_sort(ordered_.begin(), ordered_.end(), [](const AdapterPair& a, const AdapterPair& b) {
      return std::abs(a.cosine) > std::abs(b.cosine);
    });
  }

  std::string html() const {
    std::vector<Section> sections;
    if (!ordered_.empty()) {
      sections.push_back(pairs());
      sections.push_back(layers());
    }
    if (has_forecast()) sections.push_back(forecast());
    if (report_.adapter_count() > 1 && report_.output_change(0, 0)) sections.push_back(inputs());
    sections.push_back(sizes());
    sections.push_back(reading());
    std::string links, body;
    for (const Section& section : sections) {
      links += text("<li><a href=\"#", section.id, "\">", section.title, "</a></li>");
      body += text("<section id=\"", section.id, "\" aria-labelledby=\"", section.id, "-title\"><h2 id=\"", section.id,
                   "-title\">", section.title, "</h2>", section.content, "</section>\n");
    }
    return text(
        "<!DOCTYPE html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">"
        "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; img-src data:; style-src "
        "'unsafe-inline'\">"
        "<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">"
        "<title>Adapter report: ",
        escaped(names()), "</title><link rel=\"icon\" href=\"data:,\"><style>", page_style,
        "</style></head>\n<body><a class=\"skip\" href=\"#main\">To the report</a>\n<header><h1>Adapter report for ",
        isolated(report_.base), "</h1>", lead(), "<nav aria-label=\"Sections\"><ul>", links,
        "</ul></nav></header>\n<main id=\"main\">", tiles(), body,
        "</main>\n<footer class=\"soft\">Made by <code>lora report</code> from the adapters' factors and the base's "
        "weights.</footer></body></html>\n");
  }

 private:
  struct Section {
    std::string id, title, content;
  };

  std::string layer_name(const ReportLayer& layer) const {
    return text("<span title=\"", escaped(layer.name), "\">",
                breakable(std::string_view(layer.name).substr(prefix_.size())), "</span>");
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
    return text("<span title=\"", escaped(one), " × ", escaped(other), "\"><bdi>", shortened(one, 13), "</bdi> × <bdi>",
                shortened(other, 13), "</bdi></span>");
  }
  std::string names() const {
    if (report_.adapter_count() > 3) return count_text(report_.adapter_count(), "adapter");
    std::string out;
    for (const std::string& name : report_.adapters) out += text(out.empty() ? "" : ", ", name);
    return out;
  }
  std::size_t layers_with_intruders() const {
    return static_cast<std::size_t>(
        std::count_if(report_.layers.begin(), report_.layers.end(),
                      [](const ReportLayer& layer) { return layer.measures.intruders > 0; }));
  }

  bool has_forecast() const { return report_.has_pairs() && forecast_.changing() > 1; }

  /// By how much the sum changes the weights; nothing where these are 0.
  std::string change_text() const {
    const std::optional<double> change = report_.relative_norm_of_sum();
    return change ? text("the weights by ", share_text(*change), " of their norm") : "weights that are 0";
  }

  /// The sentence that matters.
  std::string lead() const {
    std::string sentence;
    if (report_.adapter_count() == 1)
      sentence = text(adapter_name(0), " changes ", change_text(), ".");
    else if (ordered_.empty())
      sentence = "These adapters change different layers: none gets in another’s way.";
    else if (std::abs(ordered_.front().cosine) >= steps[1])
      sentence = text(adapter_name(ordered_.front().first), " and ", adapter_name(ordered_.front().second),
                      ordered_.front().cosine > 0 ? " pull the same way: their sum overshoots"
                                                  : " pull against each other: their sum cancels",
                      std::abs(ordered_.front().cosine) < steps[2] ? "." : ", strongly.");
    else {
      double largest = 0;
      for (std::size_t i = 0; i < report_.adapter_count(); ++i)
        largest = std::max(largest, report_.relative_norm(i).value_or(0));
      const std::optional<double> times = ratio(report_.relative_norm_of_sum().value_or(0), largest);
      sentence = text("Added up, these ", report_.adapter_count(), " adapters change ", change_text(),
                      times ? text(", ", fixed_text(*times, 1), " times as much as the largest of them") : "", ".");
    }
    std::string more;
    if (!ordered_.empty()) {
      more = sentence + " ";
      sentence = escaped(capacity_text(report_, forecast_));
      const AdapterPair& most = ordered_.front();
      const ReportLayer& layer = report_.layers[most.strongest];
      more +=
          text(std::abs(most.cosine) < steps[0] ? "No two of them pull the same way or against each other: the" : "The",
               " closest pair, ", adapter_name(most.first), " and ", adapter_name(most.second), ", has the cosine ",
               fixed_text(most.cosine), " over ", count_text(most.layers, "layer"), ", and ",
               fixed_text(layer.pair_of(most.first, most.second)->cosine), " in ", isolated(layer.name),
               ", where it is farthest from 0. ");
    }
    const std::size_t layers = layers_with_intruders();
    more += layers == 0 ? "In no layer is a direction of the sum stronger than the weight."
                        : text("In ", layers, " of ", count_text(report_.layers.size(), "layer"),
                               " the sum has directions that are stronger than the weight there.");
    return text("<p class=\"lead\">", sentence, "</p><p>", more, "</p>");
  }

  std::string tiles() const {
    std::string out = "<dl class=\"tiles\">";
    const auto tile = [&](std::string_view title, std::string_view value, std::string_view note) {
      out += text("<div><dt>", title, "</dt><dd>", value, "<small>", note, "</small></dd></div>");
    };
    if (!ordered_.empty())
      tile("Largest cosine of two adapters", fixed_text(ordered_.front().cosine), pair_name(ordered_.front()));
    tile(report_.adapter_count() == 1 ? "Size beside the weights" : "The sum beside the weights",
         share_text(report_.relative_norm_of_sum()), "Frobenius norm, all layers");
    tile("Layers with intruders", text(layers_with_intruders(), " of ", report_.layers.size()),
         "directions stronger than the weight");
    return out + "</dl>";
  }

  /// A square drawing of numbers for every two adapters. value(i, j) may be absent.
  template <class Value>
  std::string matrix(std::string_view id, std::string_view title, std::string_view description,
                     const Value& value) const {
    const std::size_t count = report_.adapter_count();
    const bool has_numbers = count <= 12;
    const std::size_t cell = has_numbers ? 44 : 22, left = 128, top = 26, width = left + cell * count + 1,
                      height = top + cell * count + 1;
    std::string out = text("<svg width=\"", width, "\" height=\"", height, "\" viewBox=\"0 0 ", width, " ", height,
                           "\" role=\"img\" aria-labelledby=\"", id, "-t ", id, "-d\"><title id=\"", id, "-t\">", title,
                           "</title><desc id=\"", id, "-d\">", description, "</desc>");
    for (std::size_t i = 0; i < count; ++i) {
      const std::size_t y = top + i * cell;
      out += text("<text x=\"", left - 8, "\" y=\"", y + cell / 2 + 5, "\" text-anchor=\"end\">",
                  shortened(report_.adapters[i], 13), " ", i + 1, "</text>", "<text x=\"", left + i * cell + cell / 2,
                  "\" y=\"18\" text-anchor=\"middle\">", i + 1, "</text>");
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
          out += text("<rect class=\"", class_of(number), "\" x=\"", x, "\" y=\"", y, "\" width=\"", cell,
                      "\" height=\"", cell, "\"/><text class=\"", class_of(number), "\" x=\"", x + cell / 2, "\" y=\"",
                      y + cell / 2 + 5, "\" text-anchor=\"middle\">", fixed_text(number), "</text>");
        else if (found && class_of(number) != "z") {  // the stronger, the larger
          const double side = static_cast<double>(cell) * std::sqrt(std::min(1.0, std::abs(number)));
          const double shift = (static_cast<double>(cell) - side) / 2;
          out +=
              text("<rect class=\"", number < 0 ? "less" : "more", "\" x=\"",
                   number_text(static_cast<double>(x) + shift), "\" y=\"", number_text(static_cast<double>(y) + shift),
                   "\" width=\"", number_text(side), "\" height=\"", number_text(side), "\"/>");
        }
        out += text("<rect class=\"grid\" x=\"", x, ".5\" y=\"", y, ".5\" width=\"", cell, "\" height=\"", cell,
                    "\"/></g>");
      }
    }
    return text("<figure style=\"width:", width, "px\"><h3>", title, "</h3>", scrolled(title, out + "</svg>"),
                "<figcaption>", description,
                has_numbers ? "" : " The larger a square, the farther from 0; blue is negative.",
                "</figcaption></figure>");
  }

  /// Report::pairs() has those of adapter 0, then those of 1 ...
  const AdapterPair& pair_at(std::size_t i, std::size_t j) const {
    const std::size_t first = std::min(i, j), second = std::max(i, j), count = report_.adapter_count();
    return pairs_[first * (2 * count - first - 1) / 2 + second - first - 1];
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
               text("Below the diagonal what they put out, above it what they read: 1 the same space, by chance ",
                    number_text(chance, 1), " at most."),
               of_pair([](const AdapterPair& pair, std::size_t i, std::size_t j) {
                 return i > j ? pair.output : pair.input;
               })),
        "</div>");
    HtmlTable table("", "Pairs, the most alike first",
                    {"Pair", "Cosine", "Shared output", "Shared input", "By chance", "Strongest in", "Cosine there"});
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
            text("<p class=\"soft\">",
                 shown < ordered_.size() ? text("The ", shown, " pairs of ", ordered_.size(), " that are most alike.")
                                         : "Every pair.",
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
            text("<p class=\"soft\">The change of the outputs by one adapter, beside that by the adapter whose inputs "
                 "they are (1: as large).</p>",
                 key(false), scrolled("Output changes", table.html()))};
  }

  /// A bar for a share of `most`, with a mark for another one.
  static std::string bar(double share, double mark, double most) {
    const double scale = most > 0 ? 100 / most : 0;
    const double x = std::min(100.0, mark * scale);
    return text(
        "<svg class=\"bar\" viewBox=\"0 0 100 14\" preserveAspectRatio=\"none\" aria-hidden=\"true\" "
        "focusable=\"false\"><rect class=\"track\" y=\"3\" "
        "width=\"100\" height=\"8\"/><rect y=\"3\" width=\"",
        number_text(share * scale), "\" height=\"8\"/><path d=\"M", number_text(std::clamp(x - 0.6, 0.0, 98.8)),
        " 0h1.2v14h-1.2z\"/></svg>");
  }

  /// The expected share against the number of adapters, as a line, with a point where all of them are.
  Section forecast() const {
    const auto count = static_cast<lora::Index>(forecast_.changing());
    const lora::Index most = forecast_.capacity(kept_share), drawn = 128;
    const lora::Index last =
        std::clamp<lora::Index>(2 * std::max(count, most > 1024 ? 1 : most), 8, std::max(count, drawn));
    constexpr double left = 52, top = 12, width = 560, height = 220;
    const auto x = [&](lora::Index k) {
      return fixed_text(left + width * static_cast<double>(k - 1) / static_cast<double>(last - 1), 1);
    };
    const auto y = [&](double share) { return fixed_text(top + height * (1 - share), 1); };
    std::string grid, labels, line;
    for (int percent = 0; percent <= 100; percent += 20) {
      grid += text("<path class=\"grid\" d=\"M", x(1), " ", y(percent / 100.0), "H", x(last), "\"/>");
      labels += text("<text x=\"", fixed_text(left - 8, 1), "\" y=\"", y(percent / 100.0 - 0.02),
                     "\" text-anchor=\"end\">", percent, " %</text>");
    }
    const lora::Index step = std::max<lora::Index>(1, last / 8);
    for (lora::Index k = step; k <= last; k += step)
      labels += text("<text x=\"", x(k), "\" y=\"", fixed_text(top + height + 20, 1), "\" text-anchor=\"middle\">", k,
                     "</text>");
    const lora::Index gap = (last + drawn - 1) / drawn;
    for (lora::Index k = 1; k <= last; k = k < last ? std::min(k + gap, last) : last + 1)
      line += text(k == 1 ? "M" : "L", x(k), " ", y(forecast_.retained_by(k)));
    const double here = forecast_.retained_by(count);
    const std::string drawing = text(
        "<svg class=\"curve\" viewBox=\"0 0 ", fixed_text(left + width + 14, 0), " ", fixed_text(top + height + 30, 0),
        "\" role=\"img\" aria-labelledby=\"curve-name\"><title id=\"curve-name\">Expected share of the accuracy above "
        "chance against the number of adapters: ",
        share_text(here), " for ", count, "</title>", grid, "<path class=\"limit\" d=\"M", x(1), " ", y(kept_share),
        "H", x(last), "\"/><path class=\"line\" d=\"", line, "\"/><circle cx=\"", x(count), "\" cy=\"", y(here),
        "\" r=\"5\"/>", labels, "</svg>");
    HtmlTable curve("", "Expected on average", {"Adapters", "Share kept"});
    for (lora::Index k = 1; k <= last; k *= 2) {
      curve.begin(text(k));
      curve.cell(share_text(forecast_.retained_by(k)));
      curve.end();
    }
    HtmlTable each("", "Each adapter in the sum of all", {"Adapter", "Crosstalk", "Signal left", "Share kept"});
    for (std::size_t t = 0; t < report_.adapter_count(); ++t) {
      each.begin(adapter_name(t));
      each.cell(fixed_text(forecast_.crosstalk(t)));
      each.cell(share_text(forecast_.signal(t)));
      each.cell(share_text(forecast_.retained(t)));
      each.end();
    }
    return {"forecast", "How many a model takes",
            text("<p>", escaped(capacity_text(report_, forecast_)), "</p><figure>", drawing,
                 "<figcaption>The share of its accuracy above chance that adapters are expected to "
                 "keep on average when k such adapters are added up; the point is the ",
                 count, " of this report, the dashed line ", share_text(kept_share), ".</figcaption></figure>",
                 details("The curve in numbers", curve.html()), details("Each adapter in numbers", each.html()),
                 "<p class=\"soft\">From the factors alone, by a curve that was fitted to adapters of one sentence "
                 "encoder: sets with more crosstalk lose more; "
                 "how much exactly, your own test tells.</p>")};
  }

  Section sizes() const {
    double most = 0;
    for (const ReportLayer& layer : report_.layers)
      most = std::max({most, ratio(layer.measures.sum.norm, layer.measures.weight_norm).value_or(0),
                       ratio(layer.measures.sum.spectral_norm, layer.measures.weight_spectral_norm).value_or(0)});
    HtmlTable table("sizes",
                    text("‖sum‖ / ‖W0‖: bar Frobenius norm, mark 2-norm",
                         most > 0 ? text("; the full width is ", share_text(most)) : ""),
                    {"Layer", "Drawn", "Frobenius", "2‑norm", "Stable rank", "Intruders"});
    for (const ReportLayer& layer : report_.layers) {
      const auto& own = layer.measures;
      const std::optional<double> norm = ratio(own.sum.norm, own.weight_norm),
                                  spectral = ratio(own.sum.spectral_norm, own.weight_spectral_norm);
      table.begin(layer_name(layer));
      table.cell(norm ? bar(*norm, spectral.value_or(0), most) : "–", "drawn");
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
      each.cell(text(std::count_if(report_.layers.begin(), report_.layers.end(),
                                   [&](const ReportLayer& layer) { return layer.update_of(i).has_value(); })));
      each.end();
    }
    return {"sizes", "How large beside the weights",
            text("<p class=\"soft\">", report_.adapter_count() == 1 ? "The adapter" : "The sum of all adapters",
                 ", layer by layer.", prefix_note(), "</p>", scrolled("Sizes by layer", table.html()),
                 details("Each adapter in numbers", each.html()))};
  }

  static Section reading() {
    return {"reading", "How to read this",
            "<p><b>Cosine.</b> tr(D<sub>i</sub>ᵀD<sub>j</sub>) / (‖D<sub>i</sub>‖‖D<sub>j</sub>‖). Where it is far "
            "from 0, a plain sum is larger, or smaller, "
            "than what either adapter was trained for.</p>"
            "<p><b>Shared output, shared input.</b> The mean squared cosine of the principal angles between the column "
            "spaces, and the row spaces, of two deltas. "
            "Adapters that read the same directions act on each other’s inputs; those that write the same ones meet in "
            "the outputs.</p>"
            "<p><b>Stable rank.</b> ‖D‖<sub>F</sub>² / ‖D‖<sub>2</sub>²: how many directions carry the sum.</p>"
            "<p><b>Intruders.</b> Singular directions (σ, u, v) of the sum with σ &gt; ‖W0ᵀu‖ and σ &gt; ‖W0 v‖: they "
            "lead in the merged weight, and the base "
            "did not have them.</p>"
            "<p>These numbers say how much adapters touch each other; the forecast says what that is expected to cost, "
            "and a test on your own data is what counts.</p>"
            "<p><b>Crosstalk.</b> ‖sum of the others‖² / ‖D<sub>i</sub>‖² in Frobenius norm, over all layers. "
            "<b>Signal left.</b> 1 + tr(D<sub>i</sub>ᵀ(sum of the others)) / ‖D<sub>i</sub>‖², from 0 to 1: less "
            "where the others point against it.</p>"};
  }

  const Report& report_;
  std::vector<AdapterPair> pairs_, ordered_;  // all; those with layers, the most alike first
  std::string prefix_;
  lora::compose::Forecast forecast_;
};

}  // namespace

std::string report_page(const Report& report) { return Page(report).html(); }

}  // namespace cli
