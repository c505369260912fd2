// Copyright (c) 2026 the lora authors. SPDX-License-Identifier: MIT
#pragma once

/// What stands behind a module's path in the single files of kohya's scripts, LyCORIS and diffusers. For bodies (-inl.hpp).

#include "lora/io/peft/names.hpp"

LORA_NAMESPACE_BEGIN
namespace io::detail {

/// The end of a tensor's name, and what it is of the module's update.
struct FilePiece {
  std::string_view ending;
  std::string_view part;  // KindPart::name; "alpha"; "bias": a change of the module's bias
};

inline constexpr std::string_view alpha_part = "alpha", bias_part = "bias";

/// No ending ends in another one; B of a program's names comes behind its A.
inline constexpr std::array file_pieces{FilePiece{".lora_down.weight", "lora_A"},
                                        FilePiece{".lora_up.weight", "lora_B"},
                                        FilePiece{".lora_mid.weight", "lora_mid"},
                                        FilePiece{".lora_A.weight", "lora_A"},
                                        FilePiece{".lora_B.weight", "lora_B"},
                                        FilePiece{".lora.down.weight", "lora_A"},
                                        FilePiece{".lora.up.weight", "lora_B"},
                                        FilePiece{".lora_linear_layer.down.weight", "lora_A"},
                                        FilePiece{".lora_linear_layer.up.weight", "lora_B"},
                                        FilePiece{".dora_scale", magnitude_name},
                                        FilePiece{".lora_magnitude_vector", magnitude_name},
                                        FilePiece{".lora_magnitude_vector.weight", magnitude_name},
                                        FilePiece{".alpha", alpha_part},
                                        FilePiece{".hada_w1_a", "hada_w1_a"},
                                        FilePiece{".hada_w1_b", "hada_w1_b"},
                                        FilePiece{".hada_w2_a", "hada_w2_a"},
                                        FilePiece{".hada_w2_b", "hada_w2_b"},
                                        FilePiece{".hada_t1", "hada_t1"},
                                        FilePiece{".hada_t2", "hada_t2"},
                                        FilePiece{".lokr_w1", "lokr_w1"},
                                        FilePiece{".lokr_w1_a", "lokr_w1_a"},
                                        FilePiece{".lokr_w1_b", "lokr_w1_b"},
                                        FilePiece{".lokr_w2", "lokr_w2"},
                                        FilePiece{".lokr_w2_a", "lokr_w2_a"},
                                        FilePiece{".lokr_w2_b", "lokr_w2_b"},
                                        FilePiece{".lokr_t2", "lokr_t2"},
                                        FilePiece{".diff", "diff"},
                                        FilePiece{".w_norm", "diff"},
                                        FilePiece{".diff_b", bias_part},
                                        FilePiece{".b_norm", bias_part}};

/// The piece that a name ends in, or null.
inline const FilePiece* find_file_piece(std::string_view name) {
  const auto at = std::find_if(file_pieces.begin(), file_pieces.end(),
                               [&](const FilePiece& piece) { return name.ends_with(piece.ending); });
  return at == file_pieces.end() ? nullptr : &*at;
}

/// What a part is called in a file that has a tensor of such a name: of a LoRA's two factors the other one by the same program's
/// names.
inline std::string_view ending_in_file(std::string_view tensor, std::string_view part) {
  const FilePiece* const piece = find_file_piece(tensor);
  if (piece == nullptr || (part != "lora_A" && part != "lora_B") || (piece->part != "lora_A" && piece->part != "lora_B")) return part;
  return (piece + (part == piece->part ? 0 : part == "lora_B" ? 1 : -1))->ending.substr(1);
}

/// A name of a known kind that no merge can do.
inline bool is_orthogonal(std::string_view name) {
  return name.find(".oft_") != name.npos || name.find(".boft_") != name.npos;
}

/// Refuses a tensor whose name ends in nothing known.
[[noreturn]] inline void refuse_piece(const std::filesystem::path& file, const TensorInfo& tensor) {
  refuse_tensor(
      file, tensor,
      is_orthogonal(tensor.name)
          ? "not supported: OFT and BOFT mix the rows of a weight, which no merge that can be undone exactly does here"
          : "not supported: expected a name that ends in .lora_down.weight, .lora_up.weight, .alpha, or that of "
            "another "
            "kind's tensor (docs/FILES.md lists them)");
}

}  // namespace io::detail
LORA_NAMESPACE_END
