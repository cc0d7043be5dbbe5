# SPDX-License-Identifier: BSD-3-Clause
"""The factors of kernels: which ones there are, how exact they are, and which kernels have none."""

from types import SimpleNamespace

import numpy as np
import pytest

from fastcorr._algorithms.low_rank import MAX_RESIDUAL, Factors, factors_of

FLOATS = [np.float16, np.float32, np.float64]
by_float = pytest.mark.parametrize("dtype", FLOATS, ids=lambda d: d.__name__)


def factor(w, dtype=None, **options):
    return factors_of(w, SimpleNamespace(dtype=np.dtype(dtype or w.dtype)), **options)


def check(w, rank, dtype=None):
    """Factor w and judge the factors without fastcorr's arithmetic."""
    factors = factor(w, dtype)
    assert isinstance(factors, Factors), factors
    assert factors.rank == rank
    dtype = np.dtype(dtype or w.dtype)
    kernels = w.reshape(-1, *w.shape[-2:]).astype(dtype).astype(np.longdouble)
    for k, kernel in enumerate(kernels):
        terms = slice(*factors.first[k : k + 2])
        u, v = (a[terms].astype(np.longdouble) for a in (factors.u, factors.v))
        error = np.abs(kernel - u.T @ v)
        assert not error[kernel == 0].any()
        assert not (u.T @ v)[kernel == 0].any()
        unit = np.finfo(dtype).eps / 2
        assert (error <= 1.001 * factors.residual * unit * np.abs(kernel)).all()
        assert (np.abs(u).T @ np.abs(v) <= 2.001 * np.abs(kernel)).all()
        assert (np.abs(v).sum(axis=1) <= 0.5).all()  # no overflow on the way
    assert factors.residual <= MAX_RESIDUAL
    return factors


def gauss(k, sigma):
    return np.exp(-((np.arange(k) - k // 2) ** 2) / (2 * sigma**2))


def mesh(k):
    y, x = np.mgrid[:k, :k] - k // 2
    return y, x


SOBEL = np.outer([1, 2, 1], [1, 0, -1])
BINOMIAL = np.outer([1, 4, 6, 4, 1], [1, 4, 6, 4, 1])


@by_float
@pytest.mark.parametrize(
    "w", [SOBEL, BINOMIAL, BINOMIAL / 256, np.ones((7, 4)), -3 * SOBEL / 8, np.zeros((3, 3))]
)
def test_small_integers_times_a_power_of_two_are_exact(w, dtype):
    assert check(w.astype(dtype), 1).residual == 0


@by_float
@pytest.mark.parametrize("k", [5, 15, 31, 63])
def test_products_of_vectors_that_were_rounded(k, dtype):
    g = gauss(k, k / 4)
    for normalised in (g.astype(dtype), (g / g.sum()).astype(dtype)):
        w = np.outer(normalised, normalised)
        if dtype is np.float16 and w.min() < np.finfo(dtype).tiny:
            continue  # subnormal numbers have lost their bits
        assert check(w, 1).residual < 3


@pytest.mark.parametrize("dtype", FLOATS[1:], ids=lambda d: d.__name__)
@pytest.mark.parametrize("k", [5, 15, 31, 63])
def test_functions_of_two_variables(k, dtype):
    y, x = mesh(k)
    bell = np.exp(-(x * x + y * y) / (2 * (k / 5) ** 2))
    check(bell.astype(dtype), 1)
    check((bell * np.cos(0.4 * x)).astype(dtype), 1)
    check((bell / bell.sum() * 1e-9).astype(dtype), 1)


@by_float
def test_two_terms_of_the_same_sign(dtype):
    y, x = mesh(9)
    w = 1 + np.exp(-(x * x + 2 * y * y) / 8)
    check(w.astype(dtype), 2)
    assert isinstance(factor(w.astype(dtype), max_rank=1), str)


def test_every_kernel_of_a_bank_has_its_own_terms():
    y, x = mesh(7)
    bell = np.exp(-(x * x + y * y) / 8)
    w = np.stack([bell, 1 + bell, np.zeros((7, 7)), bell * 1e6])[:, None].astype(np.float32)
    assert check(w, 2).first.tolist() == [0, 1, 3, 4, 5]


@pytest.mark.parametrize("dtype", [np.int8, np.uint8, np.int16, np.int32, np.int64, np.uint64])
def test_integers_modulo(dtype):
    rng = np.random.default_rng(0)
    for _ in range(20):
        a, b = rng.integers(0, 4, (2, 5))
        if np.issubdtype(dtype, np.signedinteger):
            a, b = a - 2, b - 1
        w = np.outer(6 * a, b).astype(dtype)
        factors = factor(w)
        product = factors.u.astype(np.uint64).T @ factors.v.astype(np.uint64)
        np.testing.assert_array_equal(product.astype(dtype), w)
    limits = np.iinfo(dtype)
    w = np.full((3, 4), limits.max, dtype)
    factors = factor(w)
    product = factors.u.astype(np.uint64).T @ factors.v.astype(np.uint64)
    np.testing.assert_array_equal(product.astype(dtype), w)


def test_integers_that_are_no_product_of_integers():
    assert "integers" in factor(np.array([[2, 3], [4, 7]]))
    assert "integers" in factor(np.array([[5, 6], [6, 10]]))
    factors = factor(np.array([[4, 6], [6, 9]]))
    np.testing.assert_array_equal(factors.u.T @ factors.v, [[4, 6], [6, 9]])


def test_dtype_of_the_result_is_the_unit():
    g = gauss(7, 2)
    w = np.outer(g, g).astype(np.float32)
    check(w, 1)
    assert isinstance(factor(w, np.float64), str)  # its roundings count there
    check(SOBEL.astype(np.int8), 1, np.float32)
    check(w, 1, np.float32)
    assert factor(w, np.complex64).u.dtype == np.float32


y9, x9 = mesh(9)
bell9 = np.exp(-(x9 * x9 + y9 * y9) / 8)


@by_float
@pytest.mark.parametrize(
    "w",
    [
        bell9 * np.cos(x9 + y9),
        np.array([[0, 1, 0], [1, -4, 1], [0, 1, 0]]),
        np.eye(5),
        bell9 + 0.01 * np.eye(9),
        bell9 - 0.5 * np.exp(-(x9 * x9 + y9 * y9) / 32),
        np.where(np.arange(81).reshape(9, 9) == 7, np.nan, bell9),
        np.where(np.arange(81).reshape(9, 9) == 7, np.inf, bell9),
        np.where(np.arange(81).reshape(9, 9) == 7, 0, bell9),
        np.random.default_rng(0).standard_normal((5, 6)),
    ],
    ids=["gabor", "laplace", "eye", "spoiled", "dog", "nan", "inf", "one_zero", "random"],
)
def test_kernels_without_factors(w, dtype):
    assert isinstance(factor(w.astype(dtype)), str)


@pytest.mark.parametrize("dtype", FLOATS[1:], ids=lambda d: d.__name__)
def test_one_element_off_by_more_than_allowed(dtype):
    w = np.outer(gauss(9, 2), gauss(9, 2)).astype(dtype)
    eps = np.finfo(dtype).eps
    for factor_of_one, accepted in ((1 + 2 * eps, True), (1 + 12 * eps, False)):
        spoiled = w.copy()
        spoiled[0, -1] *= dtype(factor_of_one)
        assert isinstance(factor(spoiled, max_rank=1), Factors) == accepted


def test_extreme_sizes():
    for dtype, exponent in ((np.float32, 80), (np.float64, 620)):
        for sign in (1, -1):
            w = np.ldexp(BINOMIAL.astype(dtype), sign * exponent)
            assert "beyond" in factor(w)
            check(np.ldexp(BINOMIAL.astype(dtype), sign * exponent // 2), 1)
    steep = np.exp2(-np.abs(np.arange(-40.0, 41)) * 3)
    assert isinstance(factor(np.outer(steep, steep).astype(np.float32)), str)  # subnormal tails


def test_factors_are_remembered_and_read_only():
    w = np.outer(gauss(5, 1), gauss(5, 1))
    factors = factor(w)
    assert factor(w.copy()) is factors
    assert factor(np.asfortranarray(w)) is factors
    assert not any(array.flags.writeable for array in factors[:3])
    assert factor(w * 3) is not factors
