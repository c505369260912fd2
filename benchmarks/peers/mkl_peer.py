# Copyright (c) 2026 the lora authors. SPDX-License-Identifier: MIT
"""MKL: sgemv and sgemm on the shapes of a forward pass over merged weights, sgemm on those of a merge.

    python mkl_peer.py THREADS OUT IN RANK BATCH...

Prints JSON: milliseconds by "forward/float/BATCH" and "merge/float".
"""

import ctypes
import glob
import json
import re
import sys

import numpy

from torch_peer import milliseconds

ROW_MAJOR, COLUMN_MAJOR, AS_IS, TRANSPOSED = 101, 102, 111, 112


def main():
    threads, out, width, rank, *batches = (int(argument) for argument in sys.argv[1:])
    mkl = ctypes.CDLL(glob.glob(f"{sys.prefix}/lib/libmkl_rt.so*")[0])
    mkl.MKL_Set_Num_Threads(threads)
    buffer = ctypes.create_string_buffer(200)
    mkl.MKL_Get_Version_String(buffer, 200)
    random = numpy.random.default_rng(1)
    W = random.standard_normal((out, width), dtype=numpy.float32)
    B = random.standard_normal((out, rank), dtype=numpy.float32)
    A = random.standard_normal((rank, width), dtype=numpy.float32)
    one, zero, tiny = ctypes.c_float(1), ctypes.c_float(0), ctypes.c_float(1e-4)

    def data(matrix):
        return matrix.ctypes.data_as(ctypes.c_void_p)

    times = {}
    for batch in batches:
        X = random.standard_normal((batch, width), dtype=numpy.float32)
        Y = numpy.zeros((batch, out), dtype=numpy.float32)
        if batch == 1:
            call = lambda: mkl.cblas_sgemv(ROW_MAJOR, AS_IS, out, width, one, data(W), width, data(X), 1, zero, data(Y), 1)
        else:
            call = lambda: mkl.cblas_sgemm(COLUMN_MAJOR, TRANSPOSED, AS_IS, out, batch, width, one, data(W), width, data(X),
                                           width, zero, data(Y), out)
        times[f"forward/float/{batch}"] = milliseconds(call)
    times["merge/float"] = milliseconds(lambda: mkl.cblas_sgemm(
        ROW_MAJOR, AS_IS, AS_IS, out, width, rank, tiny, data(B), rank, data(A), width, one, data(W), width))
    version = re.search(r"[\d.]+", buffer.value.decode().split("Version ")[-1]).group()
    json.dump({"versions": {"MKL": version}, "times": times}, sys.stdout)


if __name__ == "__main__":
    main()
