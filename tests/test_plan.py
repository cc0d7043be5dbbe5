# SPDX-License-Identifier: BSD-3-Clause
"""The choice of a method: by estimated time, then by the values; forced methods say why not."""

import numpy as np
import pytest

import fastcorr
from fastcorr import _plan
from fastcorr._algorithms import gemm
from fastcorr._kernels.dispatch import active_isa
from fastcorr._padding import margins_of


def zeros(*shape, dtype="f"):
    return np.zeros(shape, dtype)


class Refusing:
    """A runner that refuses negative kernels, and says what it took."""

    def __init__(self, problem, rows, columns):
        self.budgets = []

    def prepare(self, w, budget):
        self.budgets.append(budget)
        if (w < 0).any():
            return "w has negative numbers"
        return Taking()

    def run(self, *arguments):
        raise AssertionError("the prepared runner runs")


class Taking:
    reason = "these values suit it"

    def run(self, x, w, bias, y, fill, workers):
        y[...] = 7


@pytest.fixture
def refusing(monkeypatch):
    """A first row whose runner decides by the values; it serves square kernels."""
    row = _plan.Algorithm(
        "refusing", "separable", "a test", lambda p: None if p.KH == p.KW else "w is not square",
        lambda p, is_bound: 0.0, Refusing,
    )  # fmt: skip
    others = [other for other in _plan.ALGORITHMS if other.method != "separable"]
    monkeypatch.setattr(_plan, "ALGORITHMS", (*others, row))
    _plan.plan_for.cache_clear()
    yield
    _plan.plan_for.cache_clear()


X, W = np.ones((300, 300), np.float32), np.ones((9, 9), np.float32)


def test_values_decide_at_every_call(refusing):
    assert (fastcorr.corr2d(X, W) == 7).all()
    assert (fastcorr.corr2d(X, -W) == -81).all()
    assert (fastcorr.corr2d(X, W) == 7).all()


def test_explain_shows_the_way_of_these_values(refusing):
    plan = fastcorr.explain(X, W)
    assert (plan.method, plan.reason) == ("separable", "these values suit it")
    assert fastcorr.explain(X, -W).method == "direct"
    assert fastcorr.explain(X, -W, method="direct").method == "direct"


def test_the_budget_is_the_time_of_what_comes_next(refusing):
    plan = _plan.plan_for(*fastcorr._problem.problem_key(
        X, W, None, 1, 0, 1, 1, "constant", None, "auto"))  # fmt: skip
    plan.for_values(W)
    runner, following = plan._ways[0].runner, plan._ways[1].seconds
    assert runner.budgets == [following]


def test_a_forced_method_says_why_not(refusing):
    assert (fastcorr.corr2d(X, W, method="separable") == 7).all()
    with pytest.raises(ValueError, match=r"method = 'separable' .*negative numbers; .*'auto'"):
        fastcorr.corr2d(X, -W, method="separable")
    with pytest.raises(ValueError, match=r"method = 'separable' .*not square.*'direct' or 'fft'"):
        fastcorr.corr2d(X, W[:3], method="separable")


def test_small_problems_see_the_definition_alone(refusing):
    assert fastcorr.explain(X[:8, :8], W[:3, :3]).method == "direct"


def test_every_list_of_auto_ends_with_the_definition():
    for x, w in ((zeros(64, 64), zeros(9, 9)), (zeros(900, 900), zeros(99, 99))):
        for dtype in "fdgFb":
            plan = fastcorr.explain(x.astype(dtype), w.astype(dtype))
            ways = _plan._ways(plan.problem, plan.problem)
            assert ways[-1].row.method == "direct"
            assert [way.seconds for way in ways] == sorted(way.seconds for way in ways)


@pytest.mark.parametrize("dtype", ["f", "d", "F"])
def test_kernels_of_one_row_or_one_element_are_never_transformed(dtype):
    for k in ((1, 1), (1, 9), (9, 1), (3, 3), (7, 7)):
        assert (
            fastcorr.explain(zeros(512, 512, dtype=dtype), zeros(*k, dtype=dtype)).method != "fft"
        )


def test_large_kernels_are_transformed():
    x, w = zeros(4096, 4096, dtype="d"), zeros(4096, 4096, dtype="d")
    wrap = fastcorr.explain(x, w, padding="same", padding_mode="wrap")
    assert wrap.method == "fft"
    assert (
        fastcorr.explain(zeros(1024, 1024), np.random.default_rng(0).random((99, 99), "f")).method
        == "fft"
    )
    assert fastcorr.explain(x.astype(int), w.astype(int)).method == "direct"


def test_the_workers_do_not_matter():
    x, w = zeros(600, 600), zeros(51, 51)
    with fastcorr.set_workers(1):
        alone = fastcorr.explain(x, w)
    with fastcorr.set_workers(7):
        assert fastcorr.explain(x, w).method == alone.method


@pytest.mark.parametrize("n_kernels", [6, 64])
def test_a_tail_of_pixels_is_for_products_that_pay_for_packed_panels(n_kernels):
    """196 pixels: twelve vectors of 16 and four pixels more; whether in a batch or alone."""
    if active_isa() != "avx512":
        pytest.skip("vectors of another length")
    w = zeros(n_kernels, 16, 5, 5)
    for n in (1, 64):
        problem = fastcorr.explain(zeros(n, 16, 18, 18), w, method="direct").problem
        cut = gemm.Gemm(problem, *margins_of(problem)).cut(2)
        assert ("tail 4" in repr(cut)) == (n_kernels == 64)


def test_the_direct_algorithm_does_not_depend_on_the_number_of_images():
    for x_shape, w_shape, options in (
        ((64, 6, 14, 14), (16, 6, 5, 5), {}),
        ((64, 512, 7, 7), (512, 512, 3, 3), {"padding": 1}),
        ((64, 56, 56, 256), (128, 256, 1, 1), {"channel_axis": -1}),
    ):
        x, w = np.broadcast_to(np.float32(1), x_shape), zeros(*w_shape)
        taken = {fastcorr.explain(x[:n], w, method="direct", **options).algorithm for n in (1, 64)}
        assert len(taken) == 1


def test_single_taps_are_read_where_channels_lie_side_by_side():
    x, w = zeros(56, 56, 64), zeros(32, 64, 1, 1)
    assert fastcorr.explain(x, w, channel_axis=-1).algorithm == "filterwise"
    assert fastcorr.explain(np.moveaxis(x, -1, 0), w).algorithm == "gemm"
