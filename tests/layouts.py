# SPDX-License-Identifier: BSD-3-Clause
"""The same values in every kind of memory that NumPy can show.

Each entry of LAYOUTS maps an array to an equal one that lies differently. What lies around and
between the elements is poison (NaN, or the largest integer), so a wrong stride cannot stay unseen.
"""

import numpy as np


def poison(shape, dtype):
    """Return an array full of a value that spoils every sum it enters."""
    dtype = np.dtype(dtype)
    worst = 1 if dtype.kind == "b" else np.nan if dtype.kind in "fc" else np.iinfo(dtype).max
    return np.full(shape, worst, dtype)


def reverse(a):
    everywhere = (slice(None, None, -1),) * a.ndim
    return a[everywhere].copy()[everywhere]


def every_second(a):
    spread = poison([2 * n for n in a.shape], a.dtype)
    view = spread[(slice(None, None, 2),) * a.ndim]
    view[...] = a
    return view


def every_third_backwards(a):
    spread = poison([3 * n for n in a.shape], a.dtype)
    view = spread[(slice(None, None, -3),) * a.ndim]
    view[...] = a
    return view


def window(a):
    frame = poison([n + 5 for n in a.shape], a.dtype)
    view = frame[tuple(slice(2, 2 + n) for n in a.shape)]
    view[...] = a
    return view


def last_axis_first(a):
    return np.moveaxis(np.ascontiguousarray(np.moveaxis(a, -1, 0)), 0, -1)


def channels_side_by_side(a):
    axis = max(a.ndim - 3, 0)  # of x and of w
    return np.moveaxis(np.ascontiguousarray(np.moveaxis(a, axis, -1)), -1, axis)


def read_only(a):
    a = a.copy()
    a.flags.writeable = False
    return a


def unaligned(a):
    buffer = np.empty(a.nbytes + 1, np.uint8)
    view = buffer[1:].view(a.dtype).reshape(a.shape)
    view[...] = a
    return view


LAYOUTS = {
    "contiguous": np.ascontiguousarray,
    "fortran": np.asfortranarray,
    "reverse": reverse,
    "every_second": every_second,
    "every_third_backwards": every_third_backwards,
    "window": window,
    "last_axis_first": last_axis_first,
    "channels_side_by_side": channels_side_by_side,
    "read_only": read_only,
    "unaligned": unaligned,
    "byte_swapped": lambda a: a.astype(a.dtype.newbyteorder()),
}

# `out` must have the dtype of y exactly and be writeable; the rest is free.
OUT_LAYOUTS = [k for k in LAYOUTS if k not in ("read_only", "byte_swapped")]
