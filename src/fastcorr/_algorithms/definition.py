# SPDX-License-Identifier: BSD-3-Clause
"""A runner of the definition, for methods that compute some of their outputs again."""

from fastcorr._algorithms import gemm, generic, stencil


def definition_of(problem, rows, columns):
    """Return the first algorithm of the definition that serves the problem, made for it."""
    for algorithm, runner in (
        (stencil, stencil.Stencil), (gemm, gemm.Gemm), (generic, generic.Generic),
    ):  # fmt: skip
        if algorithm.unsupported(problem) is None:
            return runner(problem, rows, columns)
    raise AssertionError("the definition serves every problem")
