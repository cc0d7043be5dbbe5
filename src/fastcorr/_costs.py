# SPDX-License-Identifier: BSD-3-Clause
"""How long the definition takes: estimates by which `_plan` compares it with other methods.

Seconds of one thread, from the problem alone; weights that a runner is bound to save nothing worth
counting here. Only the proportions between methods matter, so one machine's constants serve others
of its kind.
"""

import numpy as np

from fastcorr._kernels.dispatch import is_kernel_dtype

# Seconds of one thread: per multiplication in float32 (twice that in double), per output (for those
# of one channel per group: per number of x and of y), per call.
# EPYC 9004, AVX-512, 2026-11, benchmarks/regret.py --fit
STENCIL = 1 / 48e9, 0.09e-9, 2e-6
DEPTHWISE = 1 / 54e9, 0.18e-9, 2e-6
GEMM = 1 / 48e9, 1.0e-9, 3e-6
# gemm fills its registers with rows of kernels: few of them leave it waiting for loads.
GEMM_OF_FEW = {1: 2.2, 2: 1.3}
VECTOR = 16  # outputs or channels that are computed at once, also where there are fewer
PLANE = 0.12e-6  # of a stencil, for each channel that it begins
STRIDED = 3e-9  # for each output whose neighbour in the row is not its neighbour in memory


def stencil(problem, is_bound=False):
    """Seconds of the stencil algorithm."""
    term, number, call = STENCIL
    vectors = -(-problem.OW // VECTOR)
    term *= vectors * VECTOR / max(problem.OW, 1)
    strided = STRIDED * _outputs(problem) if problem.channels_last else 0
    return (
        _widening(problem) * (term * _terms(problem) + number * _numbers(problem) + strided)
        + PLANE * problem.N * problem.F * (problem.C // problem.groups)
        + call
    )


def depthwise(problem, is_bound=False):
    """Seconds of the depthwise algorithm."""
    term, number, call = DEPTHWISE
    full = -(-problem.C // VECTOR) * VECTOR / problem.C
    return _widening(problem) * full * (term * _terms(problem) + number * _numbers(problem)) + call


def gemm(problem, is_bound=False):
    """Seconds of the implicit matrix product."""
    term, output, call = GEMM
    term *= GEMM_OF_FEW.get(problem.F // problem.groups, 1.0)
    return _widening(problem) * (term * _terms(problem) + output * _outputs(problem)) + call


def generic(problem, is_bound=False):
    """Seconds of the definition in long double; where there are kernels, they are faster."""
    return np.inf if is_kernel_dtype(problem.dtype) else _terms(problem) * 2e-9


def _terms(problem):
    """Multiplications of the definition."""
    return (
        problem.N * problem.F * (problem.C // problem.groups)
        * problem.KH * problem.KW * problem.OH * problem.OW
    )  # fmt: skip


def _outputs(problem):
    return problem.N * problem.F * problem.OH * problem.OW


def _numbers(problem):
    """Numbers of x that are staged and of y."""
    inputs = problem.C * problem.OH * problem.OW * problem.stride[0] * problem.stride[1]
    return problem.N * inputs * (problem.F // problem.groups) + _outputs(problem)


def _widening(problem):
    """Time by that of float32: half as many numbers fill a vector, a complex product is four."""
    operands = (problem.x_dtype.kind == "c") + (problem.w_dtype.kind == "c")
    return 2**operands * (2 if problem.dtype.char in "dDlLqQ" else 1)
