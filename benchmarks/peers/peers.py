# Copyright (c) 2026 the lora authors. SPDX-License-Identifier: MIT
"""lora beside its peers: the programs run by turns, medians over the rounds, one table of ratios. Called by run.sh.

    python peers.py BENCHMARKS ROUNDS JSON

BENCHMARKS: the folder of bench_forward, bench_merge and bench_mixed.
"""

import json
import pathlib
import platform
import statistics
import subprocess
import sys
import tempfile

THREADS, OUT, IN, RANK = 2, 4096, 4096, 16
BATCHES = (1, 2, 4, 8, 16, 32, 64, 256)
TYPES = ("float", "bfloat16", "half")
MIXED = ((16, 16), (64, 64), (256, 8))  # columns, adapters: as in bench_mixed.cpp


NAMES = {"eigen_merged": "eigen forward", "openblas_merged": "openblas forward", "eigen_noalias": "eigen merge",
         "openblas": "openblas merge"}


def lora(folder, variant=""):
    """Times of the library and the baselines in its programs by the peers' names; of the programs compiled with
    -march=native ("_native") Eigen's alone, as "native"."""
    shape, kinds = f"{OUT}x{IN}/r:{RANK}", "|".join(TYPES)
    batches = "|".join(str(batch) for batch in BATCHES)
    wanted = ("eigen_merged", "eigen_noalias") if variant else (
        "forward|eigen_merged|openblas_merged", "merge|unmerge|switch_to|merge_plain|eigen_noalias|openblas")
    filters = {"bench_forward": f"^({wanted[0]})/({kinds})/{shape}/batch:({batches})/threads:{THREADS}/",
               "bench_merge": f"^({wanted[1]})/({kinds})/{shape}/threads:{THREADS}/"}
    if not variant:
        filters["bench_mixed"] = f"^mixed_.*/{shape}/batch:[0-9]+/threads:{THREADS}/"
    times = {}
    for program, pattern in filters.items():
        with tempfile.NamedTemporaryFile() as file:
            subprocess.run([folder / (program + variant), "--full", f"--benchmark_filter={pattern}",
                            "--benchmark_min_time=0.15", f"--benchmark_out={file.name}", "--benchmark_out_format=json"],
                           check=True, stdout=subprocess.DEVNULL)
            found = json.load(file)
        context = found["context"]
        for row in found["benchmarks"]:
            what, kind, *_ = row["name"].split("/")
            end = kind
            if "batch:" in row["name"]:
                end += "/" + row["name"].split("batch:")[1].split("/")[0]
            if what.startswith("mixed_"):
                _, adapters, factors = what.split("_")
                what = f"mixed {factors}"
                end += f"/{adapters}"
                times[f"lora one {factors}/{end}"] = row["one_ms"]
            if what == "forward":
                times[f"lora forward/{end}"] = row["merged_ms"]
                what = "unmerged"
            name = NAMES.get(what, f"lora {what}")
            times[f"{name.replace('eigen', 'native') if variant else name}/{end}"] = row["median_ms"]
    return {"versions": {"Eigen": context["eigen"], "OpenBLAS": context.get("openblas", "none")}, "times": times}


def python(script):
    here = pathlib.Path(__file__).parent
    numbers = [str(number) for number in (THREADS, OUT, IN, RANK, *BATCHES)]
    if script == "torch_peer.py":
        numbers += [f"{batch}/{adapters}" for batch, adapters in MIXED]
    run = subprocess.run([sys.executable, "-B", here / script, *numbers], check=True, stdout=subprocess.PIPE)
    found = json.loads(run.stdout)
    peer = {"torch_peer.py": "torch", "mkl_peer.py": "mkl"}[script]
    return {"versions": found["versions"], "times": {f"{peer} {name}": time for name, time in found["times"].items()}}


def processor():
    with open("/proc/cpuinfo", encoding="utf-8") as file:
        names = [line.split(":")[1].strip() for line in file if line.startswith("model name")]
    return names[0] if names else platform.processor()


def print_tables(times):
    def get(name):
        return times.get(name)

    print(f"\nForward passes, {OUT} x {IN}, rank {RANK}, {THREADS} threads: ms; peers merged, and their time over lora's unmerged")
    print(f"{'':9}{'batch':>6}{'lora merged':>13}{'unmerged':>10}{'Eigen':>15}{'Eigen, native':>15}{'OpenBLAS':>15}{'MKL':>15}{'PyTorch':>15}"
          f"{'PEFT unmerged':>16}")
    for kind in TYPES:
        for batch in BATCHES:
            end = f"{kind}/{batch}"
            mine = get(f"lora unmerged/{end}")
            peers = [get(f"{peer} forward/{end}") for peer in ("eigen", "native", "openblas", "mkl", "torch")]
            peers.append(get(f"torch unmerged/{end}"))
            tiles = [f"{time:.3g} ({time / mine:.2f}x)" if time else "" for time in peers]
            print(f"{kind:9}{batch:6}{get(f'lora forward/{end}'):13.3g}{mine:10.3g}"
                  f"{tiles[0]:>15}{tiles[1]:>15}{tiles[2]:>15}{tiles[3]:>15}{tiles[4]:>15}{tiles[5]:>16}")
    print("\nMixed batches (PEFT: adapter_names): ms, in brackets over the same program's batch of one adapter; PEFT's over lora's")
    for kind in TYPES:
        for batch, adapters in MIXED:
            end = f"{kind}/{batch}/{adapters}"
            mine, peer = get(f"lora mixed {kind}/{end}"), get(f"torch mixed/{end}")
            print(f"  {kind:9}{batch:4} columns,{adapters:3} adapters: lora {mine:7.3g} ({mine / get(f'lora one {kind}/{end}'):.2f}), "
                  f"PEFT {peer:7.3g} ({peer / get(f'torch unmerged/{kind}/{batch}'):.2f}){peer / mine:7.2f}x")
    print("\nWeights changed after 1, 10 and 100 switches between two adapters, 1024 x 1024, the last one taken out (PEFT; lora: 0):")
    for kind in TYPES:
        print(f"  {kind:9}" + ", ".join(f"{get(f'torch drift/{kind}/{switches}'):.2f} %" for switches in (1, 10, 100)))
    print(f"\nMerges, {OUT} x {IN}, rank {RANK}, {THREADS} threads: ms; peers' time over lora's")
    for kind in TYPES:
        print(f"{kind}: " + ", ".join(f"{what} {get(f'lora {what}/{kind}'):.2f}" for what in
                                      ("merge_plain", "merge", "unmerge", "switch_to")))
        for what, peers in (("merge", ("eigen", "native", "openblas", "mkl", "torch")), ("unmerge", ("torch",))):
            for peer in peers:
                time = get(f"{peer} {what}/{kind}")
                if time:
                    name = {"eigen": "Eigen", "native": "Eigen, native", "openblas": "OpenBLAS", "mkl": "MKL", "torch": "PEFT"}[peer]
                    print(f"  {name + ' ' + what:20}{time:9.2f}{time / get(f'lora {what}/{kind}'):8.2f}x")


def main():
    folder, rounds, out = pathlib.Path(sys.argv[1]), int(sys.argv[2]), sys.argv[3]
    times, versions = {}, {}
    for _ in range(rounds):
        for result in (lora(folder), lora(folder, "_native"), python("torch_peer.py"), python("mkl_peer.py")):
            versions |= result["versions"]
            for name, time in result["times"].items():
                times.setdefault(name, []).append(time)
    medians = {name: statistics.median(values) for name, values in times.items()}
    print(f"{processor()}, {THREADS} threads; " + ", ".join(f"{name} {version}" for name, version in versions.items())
          + f"; medians of {rounds} rounds by turns; lora and Eigen compiled with plain -O2, \"native\" with -march=native")
    print_tables(medians)
    with open(out, "w", encoding="utf-8") as file:
        json.dump({"processor": processor(), "versions": versions, "medians": medians, "times": times}, file, indent=1)


if __name__ == "__main__":
    main()
