# SPDX-License-Identifier: BSD-3-Clause
"""The plan: which algorithm serves a problem, and the steps around its run.

`ALGORITHMS` is the one list of algorithms. 'auto' takes the row whose estimated time is shortest. A
plan depends on the problem alone, never on the number of threads or on a clock, and is cached; it
holds tables of the size of the image's axes, no images.

What depends on the values of w (the rank of a kernel, NaN in it) is no part of the plan. A row
whose runner has a method `prepare` is asked at every call::

    prepare(w, budget) -> a runner for these kernels, with a `reason` of its own if it has more to
                          say, or a str: why their values are not for this algorithm

`budget` is the estimated time of what would serve otherwise, in seconds as those of the table;
infinite for a forced method. After a refusal the next row is asked, and at the end of every list
stands one that serves any values; where the method is forced, the refusal is a ValueError.

Kernels that serve many calls are bound to a plan (`Bound`), and its runner may prepare them once::

    bind(w, kept=()) -> a runner of the same `run` for these kernels alone, w being the caller's to
                        keep; what can be prepared of them is its attribute `weights`, which has a
                        size in bytes, `nbytes`, never changes, and is shared by threads

`kept` holds the `weights` of runners that were bound to the same w for other images: those that fit
are taken again instead of made anew. A bound runner gives what the unbound one gives, bit for bit.
"""

import copy
from collections.abc import Callable
from dataclasses import replace
from functools import lru_cache
from typing import NamedTuple

import numpy as np

from fastcorr import _costs
from fastcorr._algorithms import (
    depthwise,
    fft,
    fft_blocks,
    fft_blocks_cuts,
    fft_large,
    fft_large_cuts,
    fft_tiles,
    fft_tiles_cuts,
    filterwise,
    gemm,
    generic,
    separable,
    stencil,
    winograd,
    winograd_cuts,
)
from fastcorr._algorithms.arrays import place, placed
from fastcorr._algorithms.results import empty_of
from fastcorr._kernels.dispatch import compute_dtype, is_kernel_dtype
from fastcorr._padding import margins_of
from fastcorr._problem import Problem, cast_padding_value, check_out, normalise
from fastcorr._workers import get_workers, resolve_workers

# Never worth a second thread, nor a look at how many there are.
SERIAL_FLOPS = 100_000
# Of two direct algorithms, the faster one for that many images is taken if w has no more numbers
# than FEW_WEIGHTS, or else the one for a single image, which pays alone for turning w. By the time
# of one image, small layers in batches of 16 took 16 % longer than by the better choice, and single
# images 7 %; so both take 3 % longer (2194 layers of 2 to 64 channels on an EPYC, AVX-512,
# 2026-11-28).
FEW_IMAGES = 8
FEW_WEIGHTS = 1 << 16
# A call of less than this takes the definition: no other algorithm begins so fast.
DIRECT_SECONDS = 30e-6


class Algorithm(NamedTuple):
    """One row of the table.

    `unsupported(problem)` is None or says why the algorithm cannot serve the problem.
    `seconds(problem, is_bound)` estimates the time of one thread, without that of preparing w where
    the runner is bound to it; for any values that the algorithm may refuse later the shortest; it
    is asked for supported problems only. `make` builds the runner from (problem, rows, columns),
    the margins of the padded axes.
    """

    name: str
    method: str
    reason: str
    unsupported: Callable[[Problem], str | None]
    seconds: Callable[[Problem, bool], float]
    make: Callable


# The definition first: it serves what is too short for the others. Of several rows of one method
# the fastest for FEW_IMAGES or one is taken, whatever their number: a method gives an image alone
# what it gives in a batch.
ALGORITHMS = (
    Algorithm(
        "depthwise", "direct", "a kernel for each channel: vectors along the channels",
        depthwise.unsupported, _costs.depthwise, depthwise.Depthwise,
    ),
    Algorithm(
        "stencil", "direct", "few output channels per group: rows of x in registers",
        stencil.unsupported, _costs.stencil, stencil.Stencil,
    ),
    Algorithm(
        "gemm", "direct", "many output channels per group: implicit matrix product",
        gemm.unsupported, _costs.gemm, gemm.Gemm,
    ),
    Algorithm(
        "filterwise", "direct", "short rows, strides, many taps: vectors along the output channels",
        filterwise.unsupported, _costs.filterwise, filterwise.Filterwise,
    ),
    Algorithm(
        "generic", "direct", "a dtype without kernels: the definition in long double",
        generic.unsupported, _costs.generic, generic.Generic,
    ),
    Algorithm(
        "separable", "separable", "kernels of low rank: passes along rows, then along columns",
        separable.unsupported, separable.seconds, separable.Separable,
    ),
    Algorithm(
        "winograd", "winograd", "stride 1, many channels: fewer products of transformed tiles",
        winograd_cuts.unsupported, winograd_cuts.seconds, winograd.Winograd,
    ),
    Algorithm(
        "fft_tiles", "fft", "large kernels: transforms of small overlapping tiles",
        fft_tiles_cuts.unsupported, fft_tiles_cuts.seconds, fft_tiles.FftTiles,
    ),
    Algorithm(
        "fft_blocks", "fft", "large kernels of double: transforms of blocks of the kernel",
        fft_blocks_cuts.unsupported, fft_blocks_cuts.seconds, fft_blocks.FftBlocks,
    ),
    Algorithm(
        "fft_large", "fft", "the largest kernels: transforms of large tiles",
        fft_large_cuts.unsupported, fft_large_cuts.seconds, fft_large.FftLarge,
    ),
    Algorithm(
        "fft", "fft", "other numbers and sizes: transforms of overlapping tiles",
        fft.unsupported, fft.seconds, fft.Fft,
    ),
)  # fmt: skip


class _Way(NamedTuple):
    """A row that serves a problem, its estimated time and the runner made for the problem."""

    row: Algorithm
    seconds: float
    runner: object

    @property
    def reason(self):
        return getattr(self.runner, "reason", self.row.reason)


class Plan:
    """The way in which `corr2d` serves a problem; `print(plan)` shows it as a table.

    Attributes
    ----------
    method : str
        The method taken, a name that `corr2d` takes.
    algorithm : str
        Which of the method's algorithms, a name in `show_config`.
    kernel : str
        The micro-kernel, as `fc_<dtype>_<operation>_<rows>x<pixels>_<instruction set>`.
    reason : str
        Why this way was taken.
    flops : int
        Multiplications and additions of the definition.
    problem : Problem
        The arguments, normalised.
    """

    __slots__ = (
        "_cast", "_empty", "_is_mixed", "_run", "_runner", "_ways", "_zero", "algorithm", "flops",
        "method", "problem", "reason", "seconds",
    )  # fmt: skip

    method: str
    algorithm: str
    reason: str
    flops: int
    problem: Problem

    def __init__(self, problem, is_bound=False):
        self.problem = problem
        served, self._cast = _as_served(problem)
        self._is_mixed = (problem.x_dtype.kind == "c") != (problem.w_dtype.kind == "c")
        operations = 8 if problem.dtype.kind == "c" else 2
        self.flops = operations * problem.N * problem.n_weights * problem.OH * problem.OW
        ways = _ways(problem, served, is_bound)
        self._take(ways[0])
        self._ways = ways if hasattr(self._runner, "prepare") else None
        self._zero = compute_bytes(problem, 0)
        self._empty = empty_of(problem.y_shape, problem.dtype)

    def _take(self, way):
        self.method, self.algorithm, self.reason = way.row.method, way.row.name, way.reason
        self.seconds = way.seconds  # an estimate
        self._runner = way.runner
        self._run = way.runner.run

    def _way_for(self, w):
        """The way that the values of w, of the dtype served, allow."""
        is_forced = self.problem.method != "auto"
        for i, way in enumerate(self._ways):
            if not hasattr(way.runner, "prepare"):
                return way
            later = [other.seconds for other in self._ways[i + 1 :]]
            prepared = way.runner.prepare(w, np.inf if is_forced else min(later))
            if not isinstance(prepared, str):
                return way._replace(runner=prepared)
        raise ValueError(
            f"method = {self.problem.method!r} does not serve these values: {prepared}; expected "
            "'auto'"
        )

    def for_values(self, w):
        """Return the plan of the way that a call with these kernels takes; nothing is computed."""
        if self._ways is None:
            return self
        plan = copy.copy(self)
        plan._take(self._way_for(w if self._cast is None else w.astype(self._cast[1], copy=False)))
        plan._ways = None
        return plan

    @property
    def workspace(self) -> int:
        """Scratch memory of a call with `get_workers()` threads, in bytes."""
        cut = self._runner.cut(get_workers())
        return cut.workers * cut.scratch_bytes

    @property
    def kernel(self) -> str:
        """Name of the micro-kernel in the instruction set in use."""
        return self._runner.cut(get_workers()).kernel_name

    def __str__(self):
        problem = self.problem
        rows = {
            "problem": f"{problem.x_shape} with {problem.w_shape} -> {problem.y_shape}",
            "dtype": problem.dtype.name,
            "method": f"{self.method} ({self.algorithm}): {self.reason}",
            "kernel": self.kernel,
            "work": f"{self.flops / 1e6:.4g} Mflop",
            "workspace": f"{self.workspace / 1024:.0f} KiB",
        }
        return "\n".join(f"{name:<10} {text}" for name, text in rows.items())

    def __repr__(self):
        return f"<Plan {self.problem.x_shape} with {self.problem.w_shape}: {self.method}>"

    def run(self, x, w, bias, padding_value, out, workers):
        """Compute; the arrays are those of the problem, `bias` and `out` may be None."""
        fill = self._fill(padding_value)
        workers = self._workers(workers)
        if out is not None:
            check_out(self.problem, out)
        if self._is_mixed and self._is_promoted(x, w, padding_value):
            return self._run_promoted(x, w, bias, padding_value, out, workers)
        if bias is not None:
            bias = _compute_bias(self.problem, bias)
        if self._cast is not None:
            w = w.astype(self._cast[1], copy=False)
        run = self._run if self._ways is None else self._way_for(w).runner.run
        return self._compute(run, x, w, bias, fill, out, workers)

    def _fill(self, padding_value):
        if type(padding_value) is int and padding_value == 0:
            return self._zero
        return compute_bytes(self.problem, cast_padding_value(padding_value, self.problem.x_dtype))

    def _workers(self, workers):
        if workers is None and self.flops < SERIAL_FLOPS:
            return 1
        return resolve_workers(workers)

    def _compute(self, run, x, w, bias, fill, out, workers):
        problem = self.problem
        if self._cast is not None:
            x = x.astype(self._cast[0], copy=False)
        if out is None:  # the shortest way, for small calls
            y = self._empty(problem.y_shape, problem.dtype)
        else:
            y = place(out, problem.y_shape, problem.dtype, x, w)
        if y.size:
            run(x, w, bias, y, fill, workers)
        return y if out is None else placed(y, out)

    def _is_promoted(self, x, w, padding_value):
        """Whether the parts of the one complex operand must not be multiplied apart.

        Promoted to complex, a real operand has imaginary parts 0, and 0 times Inf is NaN; without
        Inf and NaN they add nothing.
        """
        with np.errstate(all="ignore"):
            total = (x if self.problem.x_dtype.kind == "c" else w).sum()
            return not (np.isfinite(total) and np.isfinite(padding_value))

    def _run_promoted(self, x, w, bias, padding_value, out, workers):
        problem = self.problem
        if problem.N > 1:  # each image by itself: the others in a batch must not notice
            shape = 1, *problem.x_shape[1:]
            single = replace(
                problem, N=1, x_shape=shape, y_shape=(1, *problem.y_shape[1:]), method=self.method
            )
            plan = Plan(single)
            y = place(out, problem.y_shape, problem.dtype, x, w)
            for n in range(problem.N):
                here = slice(n, n + 1)
                plan.run(x[here], w, bias, padding_value, y[here], workers)
            return placed(y, out)
        promoted = replace(problem, x_dtype=problem.dtype, w_dtype=problem.dtype)
        try:
            plan = Plan(promoted)
        except ValueError:  # the forced method does not serve two complex operands
            plan = Plan(replace(promoted, method="auto"))
        x, w = x.astype(problem.dtype), w.astype(problem.dtype)
        return plan.run(x, w, bias, padding_value, out, workers)


class Bound:
    """A plan for one w, bias and padding value, with what can be prepared of them inside.

    Attributes
    ----------
    plan : Plan
        The way taken.
    weights : object or None
        What the runner keeps of w; see the contract of `bind`.
    """

    __slots__ = ("_bias", "_fill", "_given", "_w", "plan", "weights")

    def __init__(self, plan, w, bias, padding_value, kept=()):
        self._given = w, bias, padding_value
        self._fill = plan._fill(padding_value)
        self._bias = None if bias is None else _compute_bias(plan.problem, bias)
        self._w = w if plan._cast is None else w.astype(plan._cast[1], copy=False)
        self.plan = copy.copy(plan.for_values(w))
        if hasattr(self.plan._runner, "bind"):
            self.plan._runner = self.plan._runner.bind(self._w, kept)
            self.plan._run = self.plan._runner.run
        self.weights = getattr(self.plan._runner, "weights", None)

    def run(self, x, out, workers):
        """Compute; see Plan.run."""
        plan = self.plan
        workers = plan._workers(workers)
        if out is not None:
            check_out(plan.problem, out)
        w, bias, padding_value = self._given
        if plan._is_mixed and plan._is_promoted(x, w, padding_value):
            return plan._run_promoted(x, w, bias, padding_value, out, workers)
        return plan._compute(plan._run, x, self._w, self._bias, self._fill, out, workers)


def _ways(problem, served, is_bound=False):
    """The ways to try, fastest first; the last one serves any values unless the method is forced.

    ValueError where the forced method cannot serve the problem.
    """
    rows = _rows(problem, served)
    timed = []
    for method in dict.fromkeys(row.method for row in rows):  # 'direct' first
        fastest = min((seconds for _, seconds in timed), default=np.inf)
        if method == "direct" or problem.method != "auto" or fastest >= DIRECT_SECONDS:
            of_method = [row for row in rows if row.method == method]
            row = of_method[0]
            if len(of_method) > 1:
                few = replace(served, N=_decisive_images(served, method))
                row = min(of_method, key=lambda row: row.seconds(few, False))
            timed.append((row, row.seconds(served, is_bound)))
    timed.sort(key=lambda pair: pair[1])
    margins = margins_of(problem)
    ways = []
    for row, seconds in timed:
        ways.append(_Way(row, seconds, row.make(served, *margins)))
        if not hasattr(ways[-1].runner, "prepare"):
            break
    return ways


def _decisive_images(problem, method):
    """The number of images by which one of several algorithms is chosen."""
    return FEW_IMAGES if method == "direct" and problem.n_weights <= FEW_WEIGHTS else 1


def check_method(problem):
    """ValueError where the forced method cannot serve the problem."""
    _rows(problem, _as_served(problem)[0])


def _rows(problem, served):
    """The rows that can serve the problem; ValueError where the forced method has none."""
    refusals = [(row, row.unsupported(served)) for row in ALGORITHMS]
    rows = [row for row, why in refusals if why is None and problem.method in ("auto", row.method)]
    if not rows:
        why = [text for row, text in refusals if row.method == problem.method]
        available = sorted({row.method for row, why in refusals if why is None})
        raise ValueError(
            f"method = {problem.method!r} does not serve this problem"
            + (f" ({'; '.join(why)})" if why else "")
            + ": expected 'auto' or "
            + " or ".join(map(repr, available))
        )
    return rows


def _as_served(problem):
    """The problem with x and w of dtypes that some algorithm takes, and those dtypes or None."""
    x_dtype, w_dtype, dtype = problem.x_dtype, problem.w_dtype, problem.dtype
    if not is_kernel_dtype(dtype):  # complex only where the operand is
        real = np.dtype(dtype.char.lower())
        x_dtype, w_dtype = (dtype if old.kind == "c" else real for old in (x_dtype, w_dtype))
    if dtype.kind == "c" and x_dtype.kind != "c" and w_dtype.kind != "c":  # by its bias alone
        x_dtype = dtype
    if (x_dtype, w_dtype) == (problem.x_dtype, problem.w_dtype):
        return problem, None
    return replace(problem, x_dtype=x_dtype, w_dtype=w_dtype), (x_dtype, w_dtype)


def compute_bytes(problem, value):
    """The padding constant as the kernels' numbers: real part, imaginary part."""
    value = np.asarray(value)
    return np.array([value.real, value.imag]).astype(compute_dtype(problem.dtype)).tobytes()


def _compute_bias(problem, bias):
    """The bias as the kernels' numbers.

    One for each real output channel: pairs of parts for a complex w; all real parts, then all
    imaginary ones for a complex x under a real w.
    """
    bias = bias.reshape(-1).astype(problem.dtype)
    if problem.dtype.kind != "c":
        return bias.astype(compute_dtype(problem.dtype))
    pairs = np.stack([bias.real, bias.imag], axis=-1)
    return pairs if problem.w_dtype.kind == "c" else np.ascontiguousarray(pairs.T)


@lru_cache(maxsize=512)
def plan_for(*key):
    """Return the plan of the arguments of `_problem.normalise`."""
    return Plan(normalise(*key))
