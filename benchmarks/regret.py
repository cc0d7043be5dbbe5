# SPDX-License-Identifier: BSD-3-Clause
"""Does method='auto' take the fastest method? Times all of them beside its choice.

    python benchmarks/regret.py                     all cases and 60 random ones: a few minutes
    python benchmarks/regret.py --cases filters     groups, names or text as compare.py takes them
    python benchmarks/regret.py --cases --random 200 --seed 7
    python benchmarks/regret.py --fit               constants for _costs.py and _algorithms/fft.py

The regret of a case is the time of 'auto' by the time of the fastest algorithm that keeps its
accuracy. The goal: 1.15 for 95 of 100 cases, 1.5 at worst.

--fit prints, for each row of `_plan.ALGORITHMS`, how many times longer it took than estimated
(the median, and the range over the cases). Multiply the row's constants by the median until all are
near 1; a range that is wide within a row calls for a better formula. It times one thread; the
estimate of 'fft' holds its SHARING_FACTOR, so its ratio should be 1 / SHARING_FACTOR. That factor
is the loss with two threads: raise it until the regret without --fit is even.
"""

import argparse
import json
import statistics
from pathlib import Path

from benchmarks.methods import measure

import fastcorr
from benchmarks import cases

GOALS = {"95th percentile": 1.15, "worst": 1.5}
PATIENCE_FLOPS = 4e10  # the definition of a larger case takes seconds


def chosen_cases(options):
    """The rows asked for, without those that differ in boundary or in their network only."""
    names = cases.GROUPS if options.cases is None else options.cases
    rows = [case for case in cases.select(names) if case.flops < PATIENCE_FLOPS]
    rows = [case for case in rows if case.group != "boundary"]
    once = {(c.x_shape, c.w_shape, c.stride, c.dtype, c.data, str(c.channel_axis)): c for c in rows}
    rows = [*once.values(), *cases.random_layers(options.random, options.seed)]
    return [case for case in rows if case.dtype in options.dtypes][:: options.every]


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--cases", nargs="*", metavar="GROUP|NAME|TEXT", help="default: all")
    parser.add_argument("--random", type=int, default=60, metavar="N", help="as many random shapes")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--every", type=int, default=1, metavar="N", help="every N-th case only")
    parser.add_argument("--fit", action="store_true", help="one thread, and the estimates")
    parser.add_argument("--dtypes", nargs="+", default=["float32", "float64"])
    parser.add_argument("--workers", type=int, default=fastcorr.get_workers())
    parser.add_argument("--budget", type=float, default=0.05, help="seconds per algorithm and case")
    parser.add_argument("--json", type=Path, metavar="FILE")
    options = parser.parse_args()
    workers = 1 if options.fit else options.workers
    rows = []
    print(f"{'case':40}   regret  auto        microseconds")
    for case in chosen_cases(options):
        found = measure(case, workers, options.budget)
        rows.append({"case": case.name, "dtype": case.dtype, "regret": found.regret})
        rows[-1] |= {"taken": found.taken, "seconds": found.seconds, "estimates": found.estimates}
        shown = [f"{name} {seconds * 1e6:.0f}" for name, seconds in found.seconds.items()]
        if options.fit:
            shown = [f"{s} ({found.seconds[n] / e:.2f})" for s, (n, e) in
                     zip(shown, found.estimates.items(), strict=True)]  # fmt: skip
        print(
            f"{case.name:42} {found.regret:6.2f}  {found.taken:10}  {', '.join(shown)}", flush=True
        )
    if options.fit:
        print_fit(rows)
    found = summary(rows)
    print(", ".join(
        f"{name} {value:.2f} (goal {GOALS[name]})" for name, value in found.items()
    ), f"in {len(rows)} cases")  # fmt: skip
    if options.json:
        options.json.write_text(json.dumps({"workers": workers, **found, "rows": rows}, indent=1))


def summary(rows):
    """The regrets that have goals."""
    regrets = sorted(row["regret"] for row in rows)
    return {"95th percentile": regrets[int(0.95 * (len(regrets) - 1))], "worst": regrets[-1]}


def print_fit(rows):
    ratios = {}
    for row in rows:
        for name, seconds in row["seconds"].items():
            ratios.setdefault(name, []).append(seconds / row["estimates"][name])
    for name, values in ratios.items():
        print(f"{name}: took {statistics.median(values):.2f} x the estimate, from "
              f"{min(values):.2f} to {max(values):.2f} in {len(values)} cases")  # fmt: skip


if __name__ == "__main__":
    main()
