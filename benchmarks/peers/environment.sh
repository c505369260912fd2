#!/usr/bin/env bash
# Copyright (c) 2026 the lora authors. SPDX-License-Identifier: MIT
# Makes a Python environment with the peers (PyTorch, PEFT, MKL) and matplotlib in a folder, once: some GB by pip.
#
#   bash benchmarks/peers/environment.sh FOLDER
set -euo pipefail

folder=${1:?usage: environment.sh FOLDER}
wanted=$(dirname "${BASH_SOURCE[0]}")/requirements.txt
if cmp -s "$wanted" "$folder/requirements.txt"; then exit 0; fi
python3 -c 'import ensurepip, venv' 2>/dev/null ||
  { echo "error: python3 with venv and pip is needed for the peers (Debian: python3-venv)" >&2; exit 1; }
echo "installing PyTorch, PEFT, MKL and matplotlib into $folder"
rm -f "$folder/requirements.txt"
python3 -m venv "$folder"
"$folder/bin/python" -m pip install --quiet --requirement "$wanted"
cp "$wanted" "$folder/requirements.txt"
