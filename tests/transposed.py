# SPDX-License-Identifier: BSD-3-Clause
"""dx in whole numbers, for the tests of the algorithms that compute it."""

import numpy as np
import reference
from cases import whole_numbers
from layouts import LAYOUTS, OUT_LAYOUTS

from fastcorr import corr2d_grad_input, explain


def arrays(x_shape, w_shape, dtype=np.float32, **options):
    """(dy, w) of whole numbers."""
    rng = np.random.default_rng(0)
    plan = explain(np.zeros(x_shape, dtype), np.zeros(w_shape, dtype), **options)
    return whole_numbers(plan.problem.y_shape, dtype, rng), whole_numbers(w_shape, dtype, rng)


def definition(dy, w, x_shape, **options):
    dx, _, _ = reference.gradients(dy, np.zeros(x_shape, dy.dtype), w, needs="x", **options)
    return dx.astype(dy.dtype)


def last(a):
    return np.ascontiguousarray(np.moveaxis(a, 1, -1))


def check_layout(layout, case):
    """dy and w in that layout and, if it can be that of a result, dx."""
    x_shape, w_shape, options = case
    change = LAYOUTS[layout]
    dy, w = arrays(x_shape, w_shape, **options)
    expected = definition(dy, w, x_shape, **options)
    dx = corr2d_grad_input(change(dy), change(w), x_shape, **options)
    np.testing.assert_array_equal(dx, expected)
    if layout in OUT_LAYOUTS:
        out = change(np.ones(x_shape, np.float32))
        assert corr2d_grad_input(dy, w, x_shape, out=out, **options) is out
        np.testing.assert_array_equal(out, expected)


def spied(monkeypatch, module, name):
    """Return a list of the problems for which that class of the module is made from now on."""
    problems = []
    make = getattr(module, name)

    def spy(problem, *arguments):
        problems.append(problem)
        return make(problem, *arguments)

    monkeypatch.setattr(module, name, spy)
    return problems
