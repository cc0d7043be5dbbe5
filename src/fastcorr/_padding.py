# SPDX-License-Identifier: BSD-3-Clause
"""The padding modes: which input sample stands at a position outside the input.

A mode is a one-dimensional index map, one per axis, and this is the only place that knows the modes
by name. Packers gather x through the map; nothing below this module branches on a mode. It knows
nothing of arrays, strides or validation. Names and meanings are those of `numpy.pad`.

    mode        left of  1 2 3   map function on position i in (-inf, inf), n samples
    constant       0 0 0 0       none: the constant
    edge           1 1 1 1       the nearest sample
    reflect        1 2 3 2       period 2 (n - 1), the edge sample once
    symmetric      3 3 2 1       period 2 n, the edge sample twice
    wrap           3 1 2 3       period n
"""

import numpy as np


def _edge(i, n):
    return np.clip(i, 0, n - 1)


def _reflect(i, n):
    if n == 1:  # the period is 0: there is only one sample to repeat
        return np.zeros_like(i)
    i = i % (2 * (n - 1))
    return np.minimum(i, 2 * (n - 1) - i)


def _symmetric(i, n):
    i = i % (2 * n)
    return np.minimum(i, 2 * n - 1 - i)


def _wrap(i, n):
    return i % n


PADDING_MODES = {
    "constant": None,
    "reflect": _reflect,
    "symmetric": _symmetric,
    "edge": _edge,
    "wrap": _wrap,
}


# On a side of an axis: their indices take a GiB, which a system may grant and not have.
MOST_POSITIONS = 2**27


def margins(mode, n, before, after):
    """Return the source indices of the padded positions before and after an axis of `n` samples.

    Position i inside the axis is its own source, so an image needs no table of its own size.

    Parameters
    ----------
    mode : str
        A key of `PADDING_MODES`.
    n : int
        Number of samples; 0 only where `mode` is ``'constant'`` or nothing is padded.
    before, after : int
        Number of padded positions, also larger than `n`.

    Returns
    -------
    two read-only ndarrays of intp, shapes (before,) and (after,), or two None
        Each entry is in ``[0, n)``; None where all positions are the constant.

    Raises
    ------
    MemoryError
        If there are more than `MOST_POSITIONS` on a side.
    """
    source_of = PADDING_MODES[mode]
    if source_of is None:
        return None, None
    if max(before, after) > MOST_POSITIONS:
        raise MemoryError(
            f"padding = {(before, after)} with padding_mode={mode!r}: "
            f"expected at most {MOST_POSITIONS} positions on a side"
        )
    sources = tuple(
        source_of(np.arange(first, first + count, dtype=np.intp), n)
        for first, count in ((-before, before), (n, after))
    )
    for part in sources:
        part.setflags(write=False)
    return sources


def margins_of(problem):
    """Return the margins of the rows and of the columns of a problem's padded image."""
    return tuple(
        margins(problem.padding_mode, n, *padding)
        for n, padding in zip((problem.H, problem.W), problem.padding, strict=True)
    )
