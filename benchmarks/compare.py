# SPDX-License-Identifier: BSD-3-Clause
"""fastcorr beside the other libraries on this machine: ``python benchmarks/compare.py --help``.

Decides the order of measurements, how figures are judged and how they are shown. The problems are
in benchmarks/cases.py, the libraries in peers.py, the clock and the memory meter in worker.py.
Rounds alternate (A B C, A B C, ...), so that a drift of the machine meets everyone; ratios are
taken within a round, then their median.
"""

from __future__ import annotations

import argparse
import datetime
import json
import math
import os
import platform
import re
import shlex
import statistics
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
from peers import LIBRARIES
from worker import Contestant

from benchmarks import cases

# Seconds between measurements. ONNX Runtime's pool spins for 45 ms after a call, libgomp's for less
# than 10 (CPU time in /proc, EPYC, 2 cores, 2026-11, onnxruntime 1.32, torch 2.13).
PAUSE = 0.07
BUSY = 0.1  # CPUs in use elsewhere: a spinning pool that shares its cores can be 20 x slower
TOLERANCE = {"float32": 1e-4, "float64": 1e-11}  # of the largest |y|; peers may use Winograd
OURS = ("fastcorr", "filterbank")  # corr2d or correlate2d, and FilterBank


def start(names, threads):
    """{name: Contestant} of the libraries that are installed."""
    present = {}
    for name in names:
        try:
            present[name] = Contestant(name, threads)
        except RuntimeError as error:
            print(f"{name}: {error}", file=sys.stderr)
    return present


def enters(name, case):
    """Whether that library computes the case."""
    library = LIBRARIES[name]
    return library.supports(case) and (case.of == "forward" or library.has_gradients)


def is_hopeless(name, case, patience):
    """Whether a library without SIMD would take much longer than we wait."""
    gflops = LIBRARIES[name].gflops
    return gflops is not None and case.flops > patience * gflops * 1e9


def relative_difference(y, reference):
    if isinstance(y, tuple):
        return max(map(relative_difference, y, reference))
    if y.shape != reference.shape or y.dtype != reference.dtype:
        return math.inf
    return float(np.abs(y - reference).max() / np.abs(reference).max())


def run_case(case, contestants, args, with_memory=True):
    """All figures of one case as a dictionary that json can write."""
    row = {"case": case.name, "of": case.of, "group": case.group, "dtype": case.dtype}
    row |= {"target": case.target, "times": case.times, "flops": case.flops}
    row |= {"threads": next(iter(contestants.values())).threads}
    row |= {"libraries": {}, "skipped": [], "failures": []}
    entered = enter(row, case, contestants, args.patience)
    loads, peaks = [], []
    for _ in range(args.rounds):
        for name in entered:
            figures = row["libraries"][name]
            if not figures["once"]:
                time.sleep(PAUSE)
                best, median, load = contestants[name].ask("time", args.min_time)
                loads.append(load)
                figures["best"].append(best)
                figures["median"].append(median)
            if name == "fastcorr":
                peaks.append(contestants[name].ask("peak", case.dtype))
    row["load_elsewhere"] = statistics.fmean(loads) if loads else 0.0
    for figures in row["libraries"].values():
        figures["seconds"] = statistics.median(figures["best"])
        figures["gflops"] = case.flops / figures["seconds"] / 1e9
    if "fastcorr" in entered:
        row["plan"] = contestants["fastcorr"].ask("plan", case)
        row["peak_gflops"] = statistics.median(peaks)
        shares = [case.flops / s / 1e9 for s in row["libraries"]["fastcorr"]["best"]]
        row["peak_share"] = ratio(shares, peaks)
        if with_memory:
            fresh = Contestant("fastcorr", contestants["fastcorr"].threads)
            row["extra_bytes"] = fresh.ask("memory", case)
            fresh.stop()
    return row


def enter(row, case, contestants, patience):
    """Let each library compute the case once; return the names of those that are to be timed."""
    entered, reference = [], None
    for name, contestant in contestants.items():
        if not enters(name, case):
            continue
        if is_hopeless(name, case, patience):
            row["skipped"].append(name)
            continue
        try:
            y, first = contestant.ask("open", case)
        except RuntimeError as error:
            row["failures"].append(f"{name} failed: {error}")
            continue
        reference = y if reference is None else reference
        difference = relative_difference(y, reference)
        if not difference <= TOLERANCE[case.dtype]:
            against = entered[0] if entered else "itself"
            row["failures"].append(f"{name} DISAGREES with {against} ({difference:.1e}), not timed")
            continue
        entered.append(name)
        once = [first] if first > patience else []
        row["libraries"][name] = {"best": once, "median": list(once), "difference": difference}
        row["libraries"][name]["once"] = bool(once)
    return entered


def ratio(above, below):
    """The median over the rounds; of the medians where one side was timed once."""
    if len(above) != len(below):
        return statistics.median(above) / statistics.median(below)
    return statistics.median(a / b for a, b in zip(above, below, strict=True))


def judge(row, case, earlier):
    """Add the ratio to the best peer and what the row misses; earlier holds the rows before it."""
    libraries, wanted, row["missed"] = row["libraries"], case.wanted, []
    ours = libraries.get("fastcorr")
    peers = {name: figures for name, figures in libraries.items() if name not in OURS}
    if peers:
        row["best_peer"] = min(peers, key=lambda name: peers[name]["seconds"])
    if "onnxruntime" in peers and "filterbank" in libraries:
        row["bank_ratio"] = ratio(peers["onnxruntime"]["best"], libraries["filterbank"]["best"])
    if ours is None:
        return
    if peers:
        row["ratio"] = ratio(peers[row["best_peer"]]["best"], ours["best"])
        if row["ratio"] < 1:
            row["missed"].append(f"slower than {row['best_peer']}")
        elif row["ratio"] < wanted.ratio:
            row["missed"].append(f"below {wanted.ratio:g} x")
    if "scipy" in peers:
        row["scipy_ratio"] = ratio(peers["scipy"]["best"], ours["best"])
        if case.group == "filters" and row["scipy_ratio"] < cases.SCIPY_RATIO:
            row["missed"].append(f"{row['scipy_ratio']:.0f} x scipy")
    if row["peak_share"] < wanted.peak_share:
        row["missed"].append(f"below {wanted.peak_share:.0%} of the peak")
    if ours["seconds"] > wanted.seconds:
        row["missed"].append(f"above {wanted.seconds * 1e6:g} us")
    used = max(row.get("extra_bytes") or 0, row["plan"].get("workspace", 0))
    if row["plan"].get("method", "direct") in ("winograd", "fft"):
        if used > cases.MEMORY_OF_TRANSFORMS:
            row["missed"].append("above 64 MB")
    elif used > row["threads"] * case.memory_per_thread:
        row["missed"].append(f"above {case.memory_per_thread >> 20} MB per thread")
    beside = earlier.get(case.neighbour, {}).get("libraries", {}).get("fastcorr")
    if beside is not None:
        row["neighbour_share"] = ours["gflops"] / beside["gflops"]
        if row["neighbour_share"] < wanted.neighbour_share:
            row["missed"].append("below its neighbour")


# What is printed ---------------------------------------------------------------------------------


def header(contestants, threads):
    cpu = re.search(r"model name\s*: (.*)", _read("/proc/cpuinfo"))
    versions = {name: contestant.version for name, contestant in contestants.items()}
    about = {
        "machine": f"{platform.node()} {platform.system()} {platform.machine()}",
        "cpu": f"{cpu.group(1) if cpu else platform.processor()}, {cpu_count()} CPUs",
        "date": datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%d %H:%M UTC"),
        "threads": threads,
        "versions": {"python": platform.python_version(), "numpy": np.__version__} | versions,
        "command": shlex.join(["python", *sys.argv]),
    }
    if "fastcorr" in contestants:
        about["isa"] = contestants["fastcorr"].ask("isa")
    return about


def _read(path):
    return Path(path).read_text() if Path(path).exists() else ""


def cpu_count():
    has_affinity = hasattr(os, "sched_getaffinity")
    return len(os.sched_getaffinity(0)) if has_affinity else os.cpu_count()


def header_lines(about):
    versions = ", ".join(f"{name} {version}" for name, version in about["versions"].items())
    return [f"{key}: {versions if key == 'versions' else value}" for key, value in about.items()]


def titles(names):
    return ["case", *names, "to best peer", "of peak", "extra kB", "scratch kB", "remarks"]


def cells(row, names):
    """One line of the table."""
    line = [row["case"]]
    for name in names:
        figures = row["libraries"].get(name)
        line.append(f"{figures['seconds'] * 1e3:.4g} ({speed(figures)})" if figures else "")
    line.append(f"{row['ratio']:.2f} {row['best_peer']}" if "ratio" in row else "")
    line.append(f"{row['peak_share']:.0%}" if "peak_share" in row else "")
    extra, scratch = row.get("extra_bytes"), row.get("plan", {}).get("workspace")
    line += ["" if n is None else f"{n / 1024:.0f}" for n in (extra, scratch)]
    remarks = row["missed"] + row["failures"]
    if "bank_ratio" in row:
        remarks = [f"bank {row['bank_ratio']:.2f} x onnxruntime", *remarks]
    once = [name for name, figures in row["libraries"].items() if figures["once"]]
    remarks += [f"timed once: {', '.join(once)}"] if once else []
    remarks += [f"skipped, too slow: {', '.join(row['skipped'])}"] if row["skipped"] else []
    if "neighbour_share" in row:
        remarks = [f"{row['neighbour_share']:.0%} of its neighbour", *remarks]
    if row["load_elsewhere"] > BUSY:
        remarks.append(f"MACHINE BUSY ({row['load_elsewhere']:.1f} CPUs elsewhere)")
    return [*line, "; ".join(remarks)]


def speed(figures):
    gflops = figures["gflops"]
    return f"{gflops:.0f}" if gflops >= 10 else f"{gflops:.2g}"


def text_line(line, widths):
    """Case on the left, remarks unpadded on the right."""
    first, *others = line[:-1]
    padded = (f"{cell:>{width}}" for cell, width in zip(others, widths, strict=True))
    return f"{first:<32}{'  '.join(padded)}  {line[-1]}".rstrip()


def means(rows):
    """Geometric means of the ratios, for each group and dtype."""
    found = []
    for key in dict.fromkeys((row["group"], row["dtype"]) for row in rows):
        mine = [row for row in rows if (row["group"], row["dtype"]) == key]
        ratios = [row["ratio"] for row in mine if "ratio" in row]
        if not ratios:
            continue
        entry = {"group": key[0], "dtype": key[1], "of": rows[0]["of"], "rows": len(ratios)}
        entry |= {"mean": geometric_mean(ratios), "lost": sum(r < 1 for r in ratios)}
        entry["wanted"] = cases.MEAN_RATIO.get(key)
        if rows[0]["of"] != "forward":
            entry["wanted"] = cases.GRADIENT_MEAN_RATIO
        banks = [row["bank_ratio"] for row in mine if "bank_ratio" in row]
        if banks:
            entry["bank_mean"] = geometric_mean(banks)
            entry["bank_wanted"] = cases.BANK_RATIO.get(key)
        found.append(entry)
    return found


def geometric_mean(ratios):
    return math.exp(statistics.fmean(map(math.log, ratios)))


def network_sums(rows):
    """Seconds of all layers of a network, for the libraries that computed all of them."""
    sums = {}
    for group in dict.fromkeys(row["group"] for row in rows if row["group"] in cases.NETWORKS):
        layers = [row for row in rows if row["group"] == group]
        if len(layers) < sum(case.group == group for case in cases.CASES):
            continue
        entered = [set(row["libraries"]) for row in layers]
        sums[group] = {
            name: sum(row["times"] * row["libraries"][name]["seconds"] for row in layers)
            for name in layers[0]["libraries"]
            if all(name in names for names in entered)
        }
    return sums


def summary(rows):
    """Geometric means of groups, sums of networks, rows lost and targets missed."""
    lines = []
    for entry in means(rows):
        line = f"{entry['group']} {entry['dtype']}: geometric mean {entry['mean']:.2f} x the best "
        line += f"peer{wish(entry['mean'], entry['wanted'])}, "
        line += f"{entry['lost']} of {entry['rows']} rows lost"
        if "bank_mean" in entry:
            line += f"; FilterBank {entry['bank_mean']:.2f} x ONNX Runtime"
            line += wish(entry["bank_mean"], entry["bank_wanted"])
        lines.append(line)
    for group, sums in network_sums(rows).items():
        lines.append(
            f"{group}, all layers: "
            + ", ".join(f"{name} {seconds * 1e3:.1f} ms" for name, seconds in sums.items())
        )
    missed = sum(bool(row["missed"]) for row in rows)
    failed = sum(bool(row["failures"]) for row in rows)
    lines.append(f"{missed} of {len(rows)} rows miss a target, {failed} failed or disagree")
    busy = sum(row["load_elsewhere"] > BUSY for row in rows)
    return [*lines, *([f"{busy} rows were measured on a BUSY MACHINE"] if busy else [])]


def wish(mean, wanted):
    return f" (wanted {wanted}{' MISSED' if mean < wanted else ''})" if wanted else ""


def markdown(about, table, notes):
    rows = [table[0], ["---", *["---:"] * (len(table[0]) - 2), "---"], *table[1:]]
    lines = ["| " + " | ".join(row) + " |" for row in rows]
    notes = ["- " + note for note in (*header_lines(about), *notes)]
    return "\n".join([*lines, "", *notes, ""])


def scaling(args, names):
    """GFLOP/s and parallel efficiency on 1, 2, 4, ... threads."""
    counts = [n for n in (1, 2, 4, 8, 16, 32, 64) if n <= cpu_count()]
    chosen, rows = args.cases or cases.SCALING, []
    for threads in counts:
        contestants = start(names, threads)
        for case in cases.select(chosen):
            row = run_case(case, contestants, args, with_memory=False)
            rows.append(row)
            print(threads, case.name, *row["failures"], file=sys.stderr, flush=True)
        about = header(contestants, counts)
        for contestant in contestants.values():
            contestant.stop()
    table = [["case", "library", *(f"{n} threads" for n in counts)]]
    for case in cases.select(chosen):
        for name in names:
            timed = [r["libraries"].get(name) for r in rows if r["case"] == case.name]
            if None in timed or not timed:
                continue
            alone = timed[0]["gflops"]
            line = [case.name, name]
            for figures, threads in zip(timed, counts, strict=True):
                line.append(f"{speed(figures)} ({figures['gflops'] / alone / threads:.0%})")
            table.append(line)
    return about, rows, table, ["GFLOP/s (parallel efficiency)"]


def comparison(args, names):
    chosen = [replace(c, of=args.of) for c in cases.select(args.cases or cases.DEFAULT_GROUPS)]
    names = [n for n in names if any(enters(n, case) for case in chosen)]
    contestants = start(names, args.threads)
    names = list(contestants)
    about = header(contestants, args.threads)
    print("\n".join(header_lines(about)), end="\n\n")
    table, earlier = [titles(names)], {}
    widths = [*[14] * len(names), 17, 7, 8, 10]
    print("libraries: ms per call (GFLOP/s); to best peer: its time / fastcorr's\n")
    print(text_line(table[0], widths), flush=True)
    for case in chosen:
        row = run_case(case, contestants, args, with_memory=not args.no_memory)
        judge(row, case, earlier)
        earlier[case.name] = row
        table.append(cells(row, names))
        print(text_line(table[-1], widths), flush=True)
    for contestant in contestants.values():
        contestant.stop()
    rows = list(earlier.values())
    notes = summary(rows)
    print("", *notes, sep="\n")
    return about, rows, table, notes


def main():
    parser = argparse.ArgumentParser(description="Time fastcorr beside other libraries.")
    parser.add_argument(
        "--cases", nargs="+", metavar="GROUP|NAME|TEXT", help="default: all groups of layers"
    )
    parser.add_argument(
        "--of", choices=cases.OPERATIONS, default="forward", help="default: forward"
    )
    parser.add_argument("--peers", nargs="*", choices=[n for n in LIBRARIES if n != "fastcorr"])
    parser.add_argument("--threads", type=int, default=cpu_count(), help="default: all CPUs")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--min-time", type=float, default=0.15, help="seconds per measurement")
    parser.add_argument(
        "--patience", type=float, default=2.0, metavar="SECONDS",
        help="a call that takes longer is timed once, or skipped where that is known before",
    )  # fmt: skip
    parser.add_argument("--no-memory", action="store_true", help="do not measure memory")
    parser.add_argument("--scaling", action="store_true", help="on 1, 2, 4, ... threads")
    parser.add_argument("--json", type=Path, metavar="FILE", help="every figure of every round")
    parser.add_argument("--markdown", type=Path, metavar="FILE", help="the table")
    parser.add_argument("--list", action="store_true", help="show the cases and stop")
    args = parser.parse_args()
    try:
        chosen = cases.select(args.cases or cases.DEFAULT_GROUPS)
    except ValueError as error:
        parser.error(str(error))
    if args.of != "forward" and (args.scaling or any(c.mode is not None for c in chosen)):
        parser.error("--of: gradients are not timed with --scaling nor for images")
    if args.list:
        for case in chosen:
            print(f"{case.group:12} {case.name:34} {case.flops / 1e6:10.3f} MFLOP  {case.wanted}")
        return
    for variable in ("OPENBLAS_CORETYPE", "OPENBLAS_L2_SIZE"):  # nobody's tuning but their own
        os.environ.pop(variable, None)
    if args.scaling:
        names = ["fastcorr", *(["torch"] if args.peers is None else args.peers)]
        about, rows, table, notes = scaling(args, names)
        print("\n".join(header_lines(about)), end="\n\n")
        widths = [12] + [14] * (len(table[0]) - 2)
        print("\n".join(text_line([*line, ""], widths) for line in table))
    else:
        names = ["fastcorr", *(list(LIBRARIES)[1:] if args.peers is None else args.peers)]
        about, rows, table, notes = comparison(args, names)
    if args.json:
        found = {"about": about, "rows": rows}
        if not args.scaling:
            found |= {"means": means(rows), "networks": network_sums(rows)}
        args.json.write_text(json.dumps(found, indent=1))
    if args.markdown:
        args.markdown.write_text(markdown(about, table, notes))
    sys.exit(any(row["failures"] for row in rows))


if __name__ == "__main__":
    main()
