# SPDX-License-Identifier: BSD-3-Clause
"""The user's arrays as the steps of a call need them: with four axes, and safe to write.

Views only, but for new arrays of results.
"""

import numpy as np

from fastcorr._algorithms.results import empty_of


def four(a):
    """Return a view with four axes, those that are missing put in front."""
    return a if a.ndim == 4 else a[(None,) * (4 - a.ndim)]


_CHANNELS_FIRST = {3: (2, 0, 1), 4: (0, 3, 1, 2)}  # np.moveaxis takes 4 us


def nchw(a, channels_last):
    """Return a view (N, C, H, W) of x or y; one of two axes has no channels."""
    return four(a.transpose(_CHANNELS_FIRST[a.ndim]) if channels_last and a.ndim > 2 else a)


def place(out, shape, dtype, *inputs):
    """Return `out`, or a new array where it cannot be written while the inputs are read."""
    if out is None or not out.flags.aligned or any(np.may_share_memory(out, a) for a in inputs):
        return empty_of(shape, dtype)(shape, dtype)
    return out


def placed(result, out):
    """Return the result, in `out` if that was given."""
    if out is None or result is out:
        return result
    out[...] = result
    return out
