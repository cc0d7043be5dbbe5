# SPDX-License-Identifier: BSD-3-Clause
# mypy: ignore-errors
"""Tables of the transforms in _kernels/fourier.inc."""

from functools import lru_cache

import numpy as np


@lru_cache(maxsize=64)
def twiddles_of(n, dtype=np.float64):
    """exp(-2 pi i k / n) as pairs, correctly rounded where long double is longer."""
    pi = np.arctan2(np.longdouble(0), np.longdouble(-1))
    angle = np.arange(n, dtype=np.longdouble) * (-2 * pi / n)
    pairs = np.stack([np.cos(angle), np.sin(angle)], axis=-1).astype(np.float64)
    pairs[np.abs(pairs) < 1e-15] = 0
    return np.ascontiguousarray(pairs, dtype)


@lru_cache(maxsize=64)
def order_of(n):
    """The place of each frequency in a transform of n."""
    if n == 1:
        return np.zeros(1, np.intp)
    radix = next(r for r in (5, 3, 4, 2) if n % r == 0)
    k = np.arange(n)
    return k % radix * (n // radix) + order_of(n // radix)[k // radix]
