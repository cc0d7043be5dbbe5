# SPDX-License-Identifier: BSD-3-Clause
"""Does method='auto' take the fastest method? Times all of them beside its choice.

    python benchmarks/regret.py                  every case: about two minutes
    python benchmarks/regret.py --quick          every fifth case
    python benchmarks/regret.py --cases gabor    cases whose name contains the text
    python benchmarks/regret.py --fit            constants for _costs.py and _algorithms/fft.py

The regret of a case is the time of 'auto' by the time of the fastest method that keeps its
accuracy ('direct', and what 'auto' may take). The goal: 1.15 for 95 of 100 cases, 1.5 at worst.

--fit prints, for each row of `_plan.ALGORITHMS`, how many times longer it took than estimated
(the median, and the range over the cases). Multiply the row's constants by the median until all are
near 1; a range that is wide within a row calls for a better formula. It times one thread; the
estimate of 'fft' holds its SHARING_FACTOR, so its ratio should be 1 / SHARING_FACTOR. That factor
is the loss with two threads: raise it until the regret without --fit is even.
"""

import argparse
import statistics
import time

import numpy as np

import fastcorr
from fastcorr import _plan
from fastcorr._problem import problem_key


def cases():
    """Pairs of name and (x shape, w shape, options)."""
    same = {"padding": "same"}
    for n in (64, 128, 256, 512, 1024, 2048, 4096):
        for k in (1, 3, 7, 11, 15, 21, 31, 47, 63):
            if k < n and n * k <= 64 * 1024:
                yield f"n{n}-k{k}", ((n, n), (k, k), same)
    for n in (256, 1024):
        for k in (3, 15, 63, 255):
            yield f"n{n}-row{k}", ((n, n), (1, k), same)
            yield f"n{n}-column{k}", ((n, n), (k, 1), same)
    for n in (32, 64, 128, 256, 512):
        yield f"whole-{n}", ((n, n), (n, n), {"padding": "full"})
        yield f"wrap-{n}", ((n, n), (n, n), {"padding": "same", "padding_mode": "wrap"})
    yield "gabor", ((1, 512, 512), (32, 1, 31, 31), same)
    yield "3to16-11", ((3, 512, 512), (16, 3, 11, 11), same)
    yield "3to16-21", ((3, 1024, 1024), (16, 3, 21, 21), same)
    yield "8to8-31", ((8, 256, 256), (8, 8, 31, 31), same)
    yield "depthwise-31", ((16, 256, 256), (16, 1, 31, 31), {"groups": 16, **same})
    yield "batch-21", ((8, 3, 128, 128), (4, 3, 21, 21), same)
    yield "stride4-31", ((1, 1024, 1024), (4, 1, 31, 31), {"stride": 4, **same})


def seconds_of(function, budget):
    """The fastest of several calls."""
    function()
    best, spent, calls = np.inf, 0.0, 0
    while calls < 2 or (spent < budget and calls < 200):
        started = time.perf_counter()
        function()
        took = time.perf_counter() - started
        best, spent, calls = min(best, took), spent + took, calls + 1
    return best


def measure(x_shape, w_shape, options, dtype, workers, budget):
    """Return {row name: (seconds, estimate)}, auto's row and seconds, for one case."""
    rng = np.random.default_rng(0)
    x, w = (rng.standard_normal(shape).astype(dtype) for shape in (x_shape, w_shape))
    out = fastcorr.corr2d(x, w, **options)
    arguments = {
        "stride": 1, "padding": 0, "dilation": 1, "groups": 1, "padding_mode": "constant",
        "channel_axis": None, "method": "auto", **options,
    }  # fmt: skip
    plan = _plan.plan_for(*problem_key(x, w, None, **arguments))
    ways = [way for way in every_way(plan.problem) if way.seconds < np.inf]
    fill = _plan._compute_bytes(plan.problem, 0)
    times = {}
    for way in ways:
        if way.seconds > 8 * min(other.seconds for other in ways) and way.seconds > 2e-3:
            continue  # hopeless

        def call(way=way):
            runner = way.runner
            if hasattr(runner, "prepare"):
                runner = runner.prepare(w, np.inf)
                if isinstance(runner, str):
                    return
            runner.run(x, w, None, out, fill, workers)

        times[way.row.name] = seconds_of(call, budget), way.seconds
    return times, plan.for_values(w).algorithm


def every_way(problem):
    """Every row that serves the problem under 'auto', not only those that it asks."""
    rows = [row for row in _plan.ALGORITHMS if row.unsupported(problem) is None]
    margins = [
        _plan.margins(problem.padding_mode, n, *pads)
        for n, pads in zip((problem.H, problem.W), problem.padding, strict=True)
    ]
    return [_plan._Way(row, row.seconds(problem), row.make(problem, *margins)) for row in rows]


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--cases", default="")
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--fit", action="store_true")
    parser.add_argument("--dtype", default="fd", help="letters of dtypes (default: fd)")
    parser.add_argument("--workers", type=int, default=fastcorr.get_workers())
    parser.add_argument("--budget", type=float, default=0.05, help="seconds per method and case")
    options = parser.parse_args()
    workers = 1 if options.fit else options.workers
    chosen = [case for case in cases() if options.cases in case[0]]
    chosen = chosen[:: 5 if options.quick else 1]
    names = [row.name for row in _plan.ALGORITHMS]
    print(f"{'case':18}" + "".join(f"{name:>12}" for name in names) + "   auto        regret")
    regrets, ratios = [], {name: [] for name in names}
    for dtype in options.dtype:
        for name, case in chosen:
            times, taken = measure(*case, dtype, workers, options.budget)
            for row, (took, estimate) in times.items():
                ratios[row].append(took / estimate)
            best = min(took for took, _ in times.values())
            regrets.append(times[taken][0] / best if taken in times else np.nan)
            shown = "".join(
                f"{times[row][0] * 1e6:9.0f} us" if row in times else f"{'':12}" for row in names
            )
            extra = "".join(f"  {row} {t / e:.2f}" for row, (t, e) in times.items())
            print(
                f"{name + ' ' + dtype:18}{shown}   {taken:10} {regrets[-1]:6.2f}"
                + (extra if options.fit else ""), flush=True,
            )  # fmt: skip
    if options.fit:
        for row, values in ratios.items():
            if values:
                print(f"{row}: took {statistics.median(values):.2f} x the estimate, from "
                      f"{min(values):.2f} to {max(values):.2f} in {len(values)} cases")  # fmt: skip
    worst = sorted(regrets)
    print(f"regret: {worst[int(0.95 * (len(worst) - 1))]:.2f} at the 95th percentile, "
          f"{worst[-1]:.2f} at worst, {len(worst)} cases")  # fmt: skip


if __name__ == "__main__":
    main()
