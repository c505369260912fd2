# Copyright (c) 2026 the lora authors. SPDX-License-Identifier: MIT
# Sourced by the benchmarks. OpenBLAS takes a processor that is newer than itself for a very old one, and uses kernels several
# times as slow as its best: it is told which these are.
if [[ -z ${OPENBLAS_CORETYPE-} ]]; then
  if grep -qm1 avx512vl /proc/cpuinfo; then
    export OPENBLAS_CORETYPE=SkylakeX
  elif grep -qm1 avx2 /proc/cpuinfo; then
    export OPENBLAS_CORETYPE=Haswell
  fi
fi
