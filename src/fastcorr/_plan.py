# SPDX-License-Identifier: BSD-3-Clause
"""The plan: which algorithm serves a problem, and the steps around its run.

`ALGORITHMS` is the one list of algorithms. A plan depends on the problem alone, never on the number
of threads or on a clock, and is cached; it holds tables of the size of the image's axes, no images.
"""

from collections.abc import Callable
from dataclasses import replace
from functools import lru_cache
from typing import NamedTuple

import numpy as np

from fastcorr._algorithms import depthwise, gemm, generic, stencil
from fastcorr._kernels.dispatch import compute_dtype, is_kernel_dtype
from fastcorr._padding import margins
from fastcorr._problem import Problem, cast_padding_value, check_out, normalise
from fastcorr._workers import get_workers, resolve_workers

# Never worth a second thread, nor a look at how many there are.
SERIAL_FLOPS = 100_000


class Algorithm(NamedTuple):
    """One row of the table.

    `unsupported(problem)` is None or says why the algorithm cannot serve the problem; `make` builds
    it from (problem, rows, columns), the margins of the padded axes.
    """

    name: str
    method: str
    reason: str
    unsupported: Callable[[Problem], str | None]
    make: Callable


# In the order of preference.
ALGORITHMS = (
    Algorithm(
        "depthwise", "direct", "a kernel for each channel: vectors along the channels",
        depthwise.unsupported, depthwise.Depthwise,
    ),
    Algorithm(
        "stencil", "direct", "few output channels per group: rows of x in registers",
        stencil.unsupported, stencil.Stencil,
    ),
    Algorithm(
        "gemm", "direct", "many output channels per group: implicit matrix product",
        gemm.unsupported, gemm.Gemm,
    ),
    Algorithm(
        "generic", "direct", "a dtype without kernels: the definition in long double",
        generic.unsupported, generic.Generic,
    ),
)  # fmt: skip


class Plan:
    """The way in which `corr2d` serves a problem; `print(plan)` shows it as a table.

    Attributes
    ----------
    method : str
        The method taken: 'direct'.
    algorithm : str
        Which of the method's algorithms: 'depthwise', 'stencil', 'gemm' or 'generic'.
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
        "_cast", "_is_mixed", "_run", "_runner", "_zero", "algorithm", "flops", "method",
        "problem", "reason",
    )  # fmt: skip

    def __init__(self, problem):
        self.problem = problem
        served, self._cast = _as_served(problem)
        self._is_mixed = (problem.x_dtype.kind == "c") != (problem.w_dtype.kind == "c")
        supported = [row for row in ALGORITHMS if row.unsupported(served) is None]
        if problem.method not in ("auto", *(row.method for row in supported)):
            available = sorted({row.method for row in supported})
            raise ValueError(
                f"method = {problem.method!r} does not serve this problem: expected 'auto' or "
                + " or ".join(map(repr, available))
            )
        chosen = supported[0]
        self.method, self.algorithm, self.reason = chosen.method, chosen.name, chosen.reason
        operations = 8 if problem.dtype.kind == "c" else 2
        self.flops = (
            operations * problem.N * problem.F * (problem.C // problem.groups)
            * problem.KH * problem.KW * problem.OH * problem.OW
        )  # fmt: skip
        rows, columns = (
            margins(problem.padding_mode, n, *padding)
            for n, padding in zip((problem.H, problem.W), problem.padding, strict=True)
        )
        self._runner = chosen.make(served, rows, columns)
        self._run = self._runner.run
        self._zero = _compute_bytes(problem, 0)

    @property
    def workspace(self):
        """Scratch memory of a call with `get_workers()` threads, in bytes."""
        cut = self._runner.cut(get_workers())
        return cut.workers * cut.scratch_bytes

    @property
    def kernel(self):
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
        problem = self.problem
        if type(padding_value) is int and padding_value == 0:
            fill = self._zero
        else:
            fill = _compute_bytes(problem, cast_padding_value(padding_value, problem.x_dtype))
        workers = 1 if workers is None and self.flops < SERIAL_FLOPS else resolve_workers(workers)
        if out is not None:
            check_out(problem, out)
        mixed = (x if problem.x_dtype.kind == "c" else w) if self._is_mixed else None
        if mixed is not None and not _are_finite(mixed, padding_value):
            promoted = replace(problem, x_dtype=problem.dtype, w_dtype=problem.dtype)
            x, w = x.astype(problem.dtype), w.astype(problem.dtype)
            return Plan(promoted).run(x, w, bias, padding_value, out, workers)
        if bias is not None:
            bias = _compute_bias(problem, bias)
        if self._cast is not None:
            x, w = x.astype(self._cast[0], copy=False), w.astype(self._cast[1], copy=False)
        if (
            out is None
            or not out.flags.aligned
            or np.may_share_memory(out, x)
            or (np.may_share_memory(out, w))
        ):
            y = np.empty(problem.y_shape, problem.dtype)
        else:
            y = out
        if y.size:
            self._run(x, w, bias, y, fill, workers)
        if out is None or y is out:
            return y
        out[...] = y
        return out


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


def _are_finite(array, padding_value):
    """Whether the parts of a complex operand may be multiplied apart.

    Promoted to complex, a real operand has imaginary parts 0, and 0 times Inf is NaN; without Inf
    and NaN they add nothing.
    """
    with np.errstate(all="ignore"):
        return np.isfinite(array.sum()) and np.isfinite(padding_value)


def _compute_bytes(problem, value):
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
