#!/usr/bin/env bash
# Copyright (c) 2026 the lora authors. SPDX-License-Identifier: MIT
# Makes the documentation site with Doxygen: guides from docs/, the reference from the headers' comments, examples. A public name
# without a comment, and any other warning, is an error.
#
#   bash docs/build.sh [OUT]
#
# OUT: where (default: build/site; OUT/index.html is the front page).
set -euo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
out=$(realpath -m "${1:-${LORA_BUILD_DIR:-$root/build}/site}")
bash "$root/cmake/setup.sh" docs

cd "$root"
version=$(sed -n 's/^#define LORA_VERSION_[A-Z]* \([0-9]*\)$/\1/p' include/lora/core/version.hpp | paste -sd .)
if [[ -e $out && -n $(ls -A "$out") ]] && ! grep -qs Doxygen "$out/index.html"; then
  echo "lora: docs/build.sh: expected a new or empty folder, or an earlier site, found $out" >&2
  exit 2
fi
rm -rf "$out"
mkdir -p "$out"

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -B docs/site/prepare.py "$work"

# Doxygen's own layout, but with all that is said of a class in front of the list of its members.
doxygen -l "$work/layout.xml"
python3 - "$work/layout.xml" <<'PYTHON'
import re, sys
path = sys.argv[1]
text = open(path, encoding="utf-8").read()
def move(match):
    body = match.group(0)
    detail = re.search(r"\n\s*<detaileddescription [^>]*/>", body).group(0)
    return re.sub(r"(\n\s*<memberdecl>)", detail + r"\1", body.replace(detail, ""), count=1)
for part in ("class", "namespace"):
    text = re.sub(rf"<{part}>.*?</{part}>", move, text, flags=re.S)
open(path, "w", encoding="utf-8").write(text)
PYTHON

doxygen - <<END
@INCLUDE = docs/site/Doxyfile
INPUT = "$work/include" "$work/docs" "$work/CONTRIBUTING.md" "$work/SECURITY.md" "$work/CHANGELOG.md" docs/site/site.dox
EXCLUDE = "$work/include/lora/instantiate.hpp"
STRIP_FROM_PATH = "$work/include" "$work"
STRIP_FROM_INC_PATH = "$work/include"
LAYOUT_FILE = "$work/layout.xml"
OUTPUT_DIRECTORY = "$out"
PROJECT_NUMBER = $version
END
cat docs/site/search.css >>"$out/search/search.css"
echo "lora: $out/index.html"
