// Copyright (c) 2026 the lora authors. SPDX-License-Identifier: MIT

// lora compose: several adapters made into one.

#include "commands.hpp"
#include "members.hpp"
#include "merging.hpp"
#include "signals.hpp"
#include "table.hpp"
#include "text.hpp"

#include <lora/compose.hpp>
#include <lora/exact/checksum.hpp>
#include <lora/io/adapters/components.hpp>
#include <lora/io/adapters/expect_dotted.hpp>
#include <lora/io/model/expert_layouts.hpp>

#include <iostream>
#include <map>

#include <nlohmann/json.hpp>

namespace cli {
namespace {

namespace io = lora::io;
namespace composing = lora::compose;

struct Compose {
  AdapterOptions adapters;
  fs::path base, out;
  std::string component, method_name = "svd", majority_sign = "total", rules = "peft";
  lora::Index rank = 0;
  double energy = 0, density = 0, common_fraction = 0.8;
  std::uint64_t seed = 0;
  CommonOptions common;
  const CLI::App* command = nullptr;

  int run() {
    const composing::Method method = composing::method_named(method_name);
    const composing::Options options = options_for(method);
    note_signals();
    Eigen::setNbThreads(1);  // Eigen's products have the same bits then, whatever --threads says
    adapters.of_zero = composing::elects_sign(method) && options.rules == composing::Rules::peft
                           ? "adds nothing, but the adapter still votes on signs"
                           : "adds nothing";
    if (!base.empty() && is_gguf_model(base))
      fail(base, "expected a model with Hugging Face's names, found a GGUF model");
    std::vector<ChosenAdapter> chosen = adapters.load(common, base);
    active(chosen);  // some coefficient is not 0
    std::vector<fs::path> read = files_of(chosen);
    if (!base.empty()) read.push_back(base);
    expect_apart(read, {out});
    for (const ChosenAdapter& one : chosen) expect_combinable(one.adapter);
    keep_one_component(chosen);
    expect_names(chosen);
    std::optional<io::Model> model;
    if (!base.empty()) model.emplace(io::Model::open(base));
    if (model) {
      const io::Model* const bases[]{&*model};
      for (ChosenAdapter& one : chosen) one.adapter = io::with_base_names(one.adapter, bases, adapters.renames());
    }
    std::vector<std::string> warnings;
    for (ChosenAdapter& one : chosen) leave_out_copies(one.adapter, model ? &*model : nullptr, adapters.renames(), warnings);
    std::vector<Module> modules = collect(chosen, model ? &*model : nullptr, adapters.renames(), warnings);
    print_warnings(warnings);
    std::vector<io::Task> tasks;
    for (Module& module : modules)
      tasks.push_back({module.bytes(), [&, &module = module](io::Buffer&, const lora::Context& context) -> io::Finish {
                         if (module.computes_in_double())
                           module.compose<double>(method, options, context);
                         else
                           module.compose<float>(method, options, context);
                         return {};
                       }});
    Progress progress("compose", common.quiet);
    const io::TaskOptions task_options = common.task_options(progress);
    io::run_tasks(tasks, task_options);
    progress.clear();
    io::expect_not_cancelled(task_options);
    io::save_adapter(made_of(modules, chosen), out);
    print(common.json ? json(modules, chosen, all_warnings(chosen, warnings)) : report(modules, chosen));
    return 0;
  }

 private:
  /// What a module changes, as a PEFT folder of its component says it.
  static std::string tensor_in_folder(const io::AdapterModule& module) {
    return text(io::detail::path_in_component(module), ".", module.parameter);
  }

  /// One tensor of the base, and what the adapters do to it.
  struct Module {
    std::vector<io::MergePart> parts;
    std::optional<io::AdapterUpdate> made = std::nullopt;
    lora::Index made_rank = 0;
    double norm = 0, error = 0;

    const io::AdapterModule& first() const { return *parts.front().module; }
    lora::Index rows() const { return parts.front().update.rows(); }
    lora::Index cols() const { return parts.front().update.cols(); }
    std::string name() const {
      const std::string tensor = tensor_in_folder(first());
      return first().expert < 0 ? tensor : text(tensor, "[", first().expert, "]");
    }
    bool computes_in_double() const {
      return std::any_of(parts.begin(), parts.end(), [](const auto& part) { return part.update.index() == 1; });
    }

    /// The memory that a composition takes, about.
    std::uint64_t bytes() const {
      lora::Index depth = 0;
      for (const auto& part : parts) depth += part.module->rank();
      return static_cast<std::uint64_t>(8 * (4 * depth * (rows() + cols()) + 6 * depth * depth));
    }

    template <class Compute>
    void compose(composing::Method method, composing::Options options, const lora::Context& context) {
      const std::string own = name();
      options.seed ^= lora::detail::checksum(reinterpret_cast<const unsigned char*>(own.data()), own.size());
      const auto combine = [&](const lora::ActiveSet<Compute>& set) {
        if (first().parameter == "bias") {  // a bias's A is the number 1
          const lora::Matrix<Compute> sum = lora::delta<Compute>(set, rows(), 1, context);
          keep(lora::LowRank<Compute>(sum, lora::Matrix<Compute>::Ones(1, 1), lora::scaling::alpha(1)));
          norm = sum.template cast<double>().norm();
          return;
        }
        const composing::Composition<Compute> found = composing::combine<Compute>(set, method, options, context);
        keep(found.update);
        norm = found.norm;
        error = found.error;
      };
      try {
        with_members<Compute>(parts, combine, combine);
      } catch (const io::FileError&) {
        throw;
      } catch (const lora::Error& problem) {  // about all adapters together
        throw lora::Error(text("lora: module ", in_quotes(first().path), ": ", bare(problem)));
      }
    }
    template <class Compute>
    void keep(const lora::LowRank<Compute>& update) {
      made.emplace(update);
      made_rank = update.rank();
    }
  };

  composing::Options options_for(composing::Method method) const {
    const bool has_rank = command->count("--rank") != 0, has_energy = command->count("--energy") != 0,
               has_density = command->count("--density") != 0;
    const auto refuse = [&](bool is_wrong, const char* option, const char* why) {
      if (is_wrong) throw UsageError(text(option, ": ", method_name, " ", why));
    };
    const auto expect_share = [&](const char* option, double share, bool may_be_zero) {
      if (command->count(option) != 0 && !((may_be_zero ? share >= 0 : share > 0) && share <= 1))
        throw UsageError(
            text(option, ": expected a share in ", may_be_zero ? "[0, 1]" : "(0, 1]", ", found ", number_text(share)));
    };
    refuse(has_rank && has_energy, "--rank", "takes a rank or an energy, not both");
    refuse(has_rank && !composing::truncates(method), "--rank", "cuts nothing: its rank follows from the adapters'");
    refuse(has_energy && !composing::truncates(method), "--energy",
           "cuts nothing: its rank follows from the adapters'");
    refuse(!has_density && composing::prunes(method), "--density",
           "prunes: expected the share that it keeps, found none");
    refuse(has_density && !composing::prunes(method), "--density", "prunes nothing");
    refuse(command->count("--seed") != 0 && !composing::prunes_at_random(method), "--seed", "has nothing random");
    refuse(command->count("--majority-sign") != 0 && !composing::elects_sign(method), "--majority-sign",
           "elects no signs");
    refuse(command->count("--rules") != 0 && !composing::elects_sign(method) && !composing::prunes_at_random(method),
           "--rules", "is the same by either's rules");
    refuse(command->count("--common-fraction") != 0 && method != composing::Method::iso_cts, "--common-fraction",
           "has no common directions");
    expect_share("--energy", energy, false);
    expect_share("--density", density, false);
    expect_share("--common-fraction", common_fraction, true);
    if (!adapters.rename.empty() && base.empty()) throw UsageError("--rename: expected --base beside it, found none");
    composing::Options options;
    if (has_rank) options.truncation = composing::Truncation::rank(rank);
    if (has_energy) options.truncation = composing::Truncation::energy(energy);
    if (has_density) options.density = density;
    if (majority_sign == "frequency") options.majority_sign = composing::MajoritySign::frequency;
    if (rules == "mergekit") options.rules = composing::Rules::mergekit;
    options.seed = seed;
    options.common_fraction = common_fraction;
    return options;
  }

  static void expect_combinable(const io::Adapter& adapter) {
    for (const fs::path& file : io::files_of(adapter))
      if (io::is_gguf_file(file))
        fail(file,
             "expected an adapter with Hugging Face's names, found a GGUF file: `lora convert --to peft` makes one");
    for (const io::BaseCopy& copy : adapter.base_copies)
      if (copy.is_trained)
        fail(adapter.folder, "expected factors alone, found ", in_quotes(copy.name),
             ", a tensor that was trained in the base's place: such tensors cannot be combined");
  }

  /// Copies of the base's tensors are compared with these where there is one. Throws FileError for others: the rows of a vocabulary that
  /// grew are none.
  static void leave_out_copies(io::Adapter& adapter, const io::Model* model, std::span<const io::Rename> renames,
                               std::vector<std::string>& warnings) {
    if (adapter.base_copies.empty()) return;
    if (model != nullptr) {
      adapter = io::without_base_copies(adapter, *model, &warnings, renames);
      return;
    }
    warnings.push_back(text(path_text(adapter.folder), ": left out ", count_text(adapter.base_copies.size(), "whole tensor"),
                            ", which are taken for copies of the base's: --base would compare them"));
    adapter.base_copies.clear();
  }

  /// Leaves out the modules of other components than --component. Without it there has to be one alone, as a PEFT
  /// folder is for one model. Adapters that do not tell are for the same.
  void keep_one_component(std::vector<ChosenAdapter>& chosen) const {
    const auto tells = [](const ChosenAdapter& one) {
      return std::any_of(one.adapter.modules.begin(), one.adapter.modules.end(),
                         [](const io::AdapterModule& module) { return !module.component.empty(); });
    };
    if (!component.empty() && base.empty() && std::none_of(chosen.begin(), chosen.end(), tells))
      throw UsageError(
          "--component: expected an adapter that tells the components of its modules, or --base, found none");
    const std::string kept = component.empty() ? only_component(chosen) : component;
    if (kept.empty()) return;
    for (ChosenAdapter& one : chosen) {
      if (component.empty() && tells(one)) continue;
      const std::size_t before = one.adapter.modules.size();
      one.adapter = io::of_component(one.adapter, kept);
      if (one.adapter.modules.size() != before)
        std::cerr << "lora: note: " << path_text(one.adapter.folder) << ": left out "
                  << count_text(before - one.adapter.modules.size(), "module") << " of other components than "
                  << io::printable(kept) << '\n';
    }
  }

  /// The component that the adapters tell of, or "".
  static std::string only_component(const std::vector<ChosenAdapter>& chosen) {
    std::string first;
    const ChosenAdapter* of_first = nullptr;
    for (const ChosenAdapter& one : chosen)
      for (const io::AdapterModule& module : one.adapter.modules) {
        if (module.component.empty()) continue;
        if (first.empty()) {
          first = module.component;
          of_first = &one;
        } else if (!io::detail::is_same_component(module.component, first)) {
          fail(one.adapter.folder, "module ", in_quotes(module.path),
               ": expected modules of one component, since a PEFT folder is for one model, found ", module.component,
               ", and ", first, of_first == &one ? std::string() : " in " + path_text(of_first->adapter.folder),
               ": --component NAME takes one");
        }
      }
    return first;
  }

  /// What a file without a base leaves open.
  void expect_names(const std::vector<ChosenAdapter>& chosen) const {
    if (!base.empty()) return;
    std::map<std::string, bool> in_layers;  // of lists of experts: whether each expert has layers of its own
    for (const ChosenAdapter& one : chosen)
      for (const io::AdapterModule& module : one.adapter.modules) {
        const auto expert = io::detail::expert_path(module.path);
        if (expert || module.expert >= 0) {
          const std::string list = expert ? std::string(expert->list) : module.path;
          if (in_layers.try_emplace(list, expert.has_value()).first->second != expert.has_value())
            throw UsageError(text("--base: expected the model, since the adapters have the experts of ", in_quotes(list),
                                  " in one parameter and in layers of their own, found none"));
        }
        const char* const what = module.is_flat ? "names tell what '_' means" : "weights tell the shape";
        if (module.is_flat || (module.update.cols() < 0 && !io::has_gains(module.update)))
          throw UsageError(text("--base: expected the model that ", path_text(one.adapter.folder), " is for, whose ",
                                what, " in ", in_quotes(module.path), ", found none"));
      }
  }

  /// The adapters' modules, in the order in which they come first: those of one name, or of one tensor of the base
  /// where there is one.
  static std::vector<Module> collect(const std::vector<ChosenAdapter>& chosen, const io::Model* model,
                                     std::span<const io::Rename> renames, std::vector<std::string>& warnings) {
    std::vector<Module> out;
    std::map<std::string, std::size_t> places;
    const auto add = [&](const ChosenAdapter& one, const io::AdapterModule& module, const io::AdapterUpdate& update,
                         const std::string& tensor, std::shared_ptr<const io::Adapter> owner = {}) {
      Module found;
      found.parts.push_back({&one.adapter, &module, update, one.coefficient, std::move(owner)});
      const auto [place, is_new] = places.try_emplace(text(tensor, "/", module.expert), out.size());
      if (is_new) {
        out.push_back(std::move(found));
        return;
      }
      Module& known = out[place->second];
      const io::AdapterModule& first = known.first();
      if (known.rows() != found.rows() || known.cols() != found.cols() || first.kernel != module.kernel ||
          first.is_embedding != module.is_embedding)
        fail(one.adapter.folder, "module ", in_quotes(module.path), ": expected an update of ",
             shape_text(known.rows(), known.cols()), ", as in ",
             in_quotes(io::utf8_text(known.parts.front().adapter->folder)), ", found ",
             shape_text(found.rows(), found.cols()), first.kernel != module.kernel ? " with another kernel" : "");
      known.parts.push_back(found.parts.front());
    };
    for (const ChosenAdapter& one : chosen) {
      for (const io::AdapterModule& module : one.adapter.modules)
        if (io::has_gains(module.update))
          fail(one.adapter.folder, "module ", in_quotes(module.path),
               ": expected an update that can be added to others, found ", module.update.kind(),
               ", which multiplies W0");
      if (model == nullptr) {
        for (const io::AdapterModule& module : one.adapter.modules)
          add(one, module, module.update, tensor_in_folder(module));
        continue;
      }
      const std::vector<io::BoundModule> bound = io::bind(*model, one.adapter, &warnings, renames);
      for (const io::BoundModule& module : bound)
        add(one, module.module(), module.update(), module.tensor().info->name, module.owner());
    }
    return out;
  }

  io::Adapter made_of(const std::vector<Module>& modules, const std::vector<ChosenAdapter>& chosen) const {
    io::Adapter adapter{io::utf8_text(out.filename()), out, {}};
    const io::Adapter& first = chosen.front().adapter;
    const auto all_have = [&](std::string io::Adapter::*word) {
      return std::all_of(chosen.begin(), chosen.end(),
                         [&](const auto& one) { return one.adapter.*word == first.*word; });
    };
    if (all_have(&io::Adapter::base_model)) adapter.base_model = first.base_model;
    if (all_have(&io::Adapter::task_type)) adapter.task_type = first.task_type;
    for (const Module& module : modules) {
      io::AdapterModule made = module.first();
      made.update = *module.made;
      made.path = io::detail::path_in_component(made);
      made.component.clear();
      made.a_dtype = made.b_dtype = made.magnitude_dtype = std::nullopt;
      adapter.modules.push_back(std::move(made));
    }
    order_parameters(adapter.modules, chosen);
    return adapter;
  }

  /// The parameters of one module lie within each other in a PEFT folder, in the order in which the model's class
  /// declares them. An adapter that has several tells it; else gate_up_proj comes first, as in transformers' models.
  static void order_parameters(std::vector<io::AdapterModule>& modules, const std::vector<ChosenAdapter>& chosen) {
    using Parameters = std::vector<std::string>;
    const auto place = [](const Parameters& in, const io::AdapterModule& module) {
      return std::find(in.begin(), in.end(), module.parameter) - in.begin();
    };
    std::map<std::string, Parameters> told;  // of each path with experts
    for (const ChosenAdapter& one : chosen) {
      std::map<std::string, Parameters> own;
      for (const io::AdapterModule& module : one.adapter.modules) {
        if (module.expert < 0) continue;
        Parameters& of_path = own[io::detail::path_in_component(module)];
        if (place(of_path, module) == std::ssize(of_path)) of_path.push_back(module.parameter);
      }
      for (auto& [path, of_path] : own)
        if (of_path.size() > std::max<std::size_t>(told[path].size(), 1)) told[path] = std::move(of_path);
    }
    for (auto& [path, of_path] : told)
      if (of_path.empty()) of_path = {"gate_up_proj"};
    std::stable_sort(modules.begin(), modules.end(), [&](const io::AdapterModule& a, const io::AdapterModule& b) {
      if (a.expert < 0 || b.expert < 0) return a.expert < 0 && b.expert >= 0;
      if (a.path != b.path) return a.path < b.path;
      return place(told[a.path], a) < place(told[b.path], b);
    });
  }

  static double relative_error(const Module& module) { return module.norm > 0 ? module.error / module.norm : 0; }

  std::string report(const std::vector<Module>& modules, const std::vector<ChosenAdapter>& chosen) const {
    Table table({"module", "adapters", "rank", "norm", "left out"});
    double worst = 0, squares = 0, left_out = 0;
    for (const Module& module : modules) {
      table.add({module.name(), text(module.parts.size()), text(module.made_rank), number_text(module.norm),
                 percent_text(module.error, module.norm)});
      worst = std::max(worst, relative_error(module));
      squares += module.norm * module.norm;
      left_out += module.error * module.error;
    }
    return text(table, "composed ", count_text(chosen.size(), "adapter"), " by ", method_name, ", ",
                count_text(modules.size(), "module"), "; truncation left out ",
                percent_text(std::sqrt(left_out), std::sqrt(squares)), " of the norm, at most ", percent_text(worst, 1),
                " of a module: ", path_text(out), '\n');
  }

  std::string json(const std::vector<Module>& modules, const std::vector<ChosenAdapter>& chosen,
                   const std::vector<std::string>& warnings) const {
    nlohmann::ordered_json names = nlohmann::ordered_json::array(), rows = nlohmann::ordered_json::array();
    for (const ChosenAdapter& one : chosen)
      names.push_back({{"name", json_text(one.adapter.name)}, {"coefficient", one.coefficient}});
    for (const Module& module : modules)
      rows.push_back({{"module", json_text(module.name())},
                      {"adapters", module.parts.size()},
                      {"rank", module.made_rank},
                      {"norm", module.norm},
                      {"error", module.error},
                      {"relative_error", relative_error(module)}});
    return nlohmann::ordered_json{{"command", "compose"},
                                  {"out", json_text(io::utf8_text(out))},
                                  {"method", method_name},
                                  {"adapters", std::move(names)},
                                  {"modules", std::move(rows)},
                                  {"warnings", warnings}}
               .dump(2, ' ', true) +
           '\n';
  }
};

}  // namespace

void add_compose(CLI::App& program, Run& run) {
  CLI::App* command = program.add_subcommand("compose", "Make several adapters into one PEFT folder");
  const auto compose = std::make_shared<Compose>();
  compose->command = command;
  compose->adapters.add_to(*command);
  command->get_option("--adapter")
      ->description(
          "An adapter, times COEFFICIENT (default 1): a PEFT folder, or a file of kohya's, LyCORIS' or diffusers' "
          "names; may be given "
          "several times");
  command
      ->add_option(
          "--base", compose->base,
          "The model that the adapters are for, which names of kohya's and VeRA need; modules go by its tensors then")
      ->type_name("PATH")
      ->check(not_empty);
  command
      ->add_option("--component", compose->component,
                   "Of adapters for several components of a pipeline this one alone (unet, text_encoder ...)")
      ->type_name("NAME")
      ->check(not_empty);
  std::vector<std::string> names;
  for (const composing::Method method : composing::methods()) names.emplace_back(composing::name(method));
  command->add_option("--method", compose->method_name, "How (default svd), see below")
      ->type_name("METHOD")
      ->check(CLI::IsMember(names));
  command
      ->add_option("--rank", compose->rank,
                   "The rank of every module (default, of PEFT's methods: the largest of the adapters')")
      ->type_name("R")
      ->check(CLI::Range(1, 1 << 20));
  command
      ->add_option("--energy", compose->energy,
                   "Instead: the least rank with this share of the sum of squares, in (0, 1]")
      ->type_name("E");
  command
      ->add_option("--density", compose->density,
                   "Of methods that prune: the share of the elements that is kept, in (0, 1]")
      ->type_name("D");
  command
      ->add_option(
          "--majority-sign", compose->majority_sign,
          "Of methods that elect signs (TIES, KnOTS): the sign of the sum (total, the default) or of most (frequency)")
      ->type_name("HOW")
      ->check(CLI::IsMember({"total", "frequency"}));
  command
      ->add_option("--rules", compose->rules,
                   "Of methods that elect signs or prune at random: those of peft (the default) or mergekit")
      ->type_name("WHOSE")
      ->check(CLI::IsMember({"peft", "mergekit"}));
  command->add_option("--seed", compose->seed, "Of dare methods: which elements are kept (default 0)")->type_name("S");
  command
      ->add_option("--common-fraction", compose->common_fraction,
                   "Of iso_cts: the share of common directions (default 0.8)")
      ->type_name("F");
  command->add_option("--out", compose->out, "A PEFT folder; its two files are replaced when they exist")
      ->type_name("DIR")
      ->required()
      ->check(not_empty);
  compose->common.add_to(*command, false);
  command->footer(text(
      "Examples:\n"
      "  lora compose --adapter adapters/games=0.6 --adapter adapters/science=0.4 --rank 16 --out both\n"
      "  lora compose --adapter adapters/games --adapter adapters/science --method ties_svd --density 0.5 --out both\n"
      "  lora compose --adapter adapters/games --energy 0.99 --out smaller\n"
      "  lora compose --adapter style.safetensors --adapter faces.safetensors=0.5 --component unet "
      "--base pipeline/unet --out unet\n\n"
      "Methods: cat (the exact sum), svd (the sum, cut in the best way), linear, ties, dare_linear, dare_ties, "
      "magnitude_prune\n"
      "(PEFT's, on factors of one rank), these four with _svd (on the deltas), core_ties, knots, tsv_m, "
      "weighted_tsv_m, "
      "iso_c, iso_cts, orthogonal.\n"
      "docs/COMPOSE.md has the formulas. A negative coefficient takes an adapter away. A module that some adapters "
      "lack is made of those\n"
      "that have it. The seed and a module's name decide what is random. Factors are written as F32, those of F64 "
      "adapters as F64.\n",
      coefficient_rules));
  command->callback([compose, &run] { run = [compose] { return compose->run(); }; });
}

}  // namespace cli
