# SPDX-License-Identifier: BSD-3-Clause
"""How long the definition takes: estimates by which `_plan` compares it with other methods.

Seconds of one thread, from the problem alone. Only the proportions between methods matter, so one
machine's constants serve others of its kind.
"""


def stencil(problem):
    """Seconds of the stencil algorithm."""
    return _terms(problem) / 40e9


def gemm(problem):
    """Seconds of the implicit matrix product."""
    return _terms(problem) / (45e9 if problem.F // problem.groups > 2 else 10e9)


def generic(problem):
    """Seconds of the definition in long double."""
    return _terms(problem) * 2e-9


def _terms(problem):
    """Multiplications of the definition."""
    return (
        problem.N * problem.F * (problem.C // problem.groups)
        * problem.KH * problem.KW * problem.OH * problem.OW
    )  # fmt: skip
