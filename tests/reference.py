# SPDX-License-Identifier: BSD-3-Clause
"""The oracle: the definition of corr2d, written to be read, in a wider type.

Integers are summed modulo 2^64, float16 to float32 in float64, everything else in long double,
or as if: float64, a hundred times faster, does for numbers that make no difference (`_in_double`).
Knows nothing of fastcorr. `magnitude` is |x| * |w| (+ |b|), the unit of the accuracy contract.
`gradients` are those of the definition, tap by tap, and `gradient_magnitudes` their units.
"""

import numpy as np
from memory import remember

WIDER = {"e": "d", "f": "d", "d": "g", "g": "g", "F": "D", "D": "G", "G": "G"}


@remember
def correlate(x, w, bias=None, **options):
    """Return y, exact modulo 2^64 for integers and to 2^-53 or better for the others."""
    return _evaluate(x, w, bias, lambda a: a, **options)


@remember
def magnitude(x, w, bias=None, **options):
    """Return the correlation of absolute values, plus that of the bias."""
    return _evaluate(x, w, bias, np.abs, **options)


def result_type(*arrays):
    """Return np.result_type, with bool counted as uint8."""
    return np.result_type(*(_plain(a) for a in arrays if a is not None))


def pads(padding, n, k, stride, dilation, axis):
    """Return (before, after) of one axis for any spelling of `padding`."""
    reach = (k - 1) * dilation
    if padding == "valid":
        return 0, 0
    if padding == "full":
        return reach, reach
    if padding in ("same", "same_lower"):
        total = max((-(-n // stride) - 1) * stride + reach + 1 - n, 0)
        before = (total + (padding == "same_lower")) // 2
        return before, total - before
    widths = padding if np.ndim(padding) else (padding, padding)
    return tuple(widths[axis]) if np.ndim(widths[axis]) else (widths[axis],) * 2


def _evaluate(
    x, w, bias, part, *, stride=1, padding=0, dilation=1, groups=1,
    padding_mode="constant", padding_value=0, channel_axis=None,
):  # fmt: skip
    x, w, dtype = _plain(x), _plain(w), result_type(x, w, bias)
    work = np.dtype(WIDER.get(dtype.char, np.uint64))
    to_work = lambda a: part(_plain(a).astype(dtype)).astype(work)  # noqa: E731
    (sy, sx), (dy, dx) = np.broadcast_to(stride, 2), np.broadcast_to(dilation, 2)

    rank = x.ndim
    x = np.moveaxis(x, -1, -3) if channel_axis == -1 else x
    x = x.reshape((1,) * (4 - rank) + x.shape)
    kernels = w.reshape((1,) * (4 - w.ndim) + w.shape)
    (n, c, *size), (f, _, kh, kw) = x.shape, kernels.shape
    top, bottom = pads(padding, size[0], kh, sy, dy, 0)
    left, right = pads(padding, size[1], kw, sx, dx, 1)
    if top or bottom or left or right:
        constant = {"constant_values": padding_value} if padding_mode == "constant" else {}
        x = np.pad(x, ((0, 0), (0, 0), (top, bottom), (left, right)), padding_mode, **constant)
    x, rows = _seen(x, 2, kh, sy, dy)
    x, columns = _seen(x, 3, kw, sx, dx)
    oh, ow = rows.shape[1], columns.shape[1]

    y_shape = n, oh, ow, groups, f // groups
    terms = groups, c // groups * kw
    with np.errstate(all="ignore"):
        x, kernels = to_work(x), to_work(kernels)
        is_double = _in_double(part, c // groups * kh * kw, x, kernels)
        if is_double:
            x, kernels = (a.astype(_double(work)) for a in (x, kernels))
        kernels = kernels.reshape(groups, f // groups, c // groups, kh, kw)
        y, taps = np.zeros(y_shape, x.dtype), np.empty((n, oh, ow, c, kw), x.dtype)
        for ky in range(kh):
            taps[...] = x[:, :, rows[ky]][..., columns].transpose(0, 2, 4, 1, 3)
            row = kernels[..., ky, :].reshape(groups, f // groups, terms[1])
            y += _sums(taps.reshape(-1, *terms), row, is_double, dtype == work).reshape(y_shape)
        y = np.moveaxis(y.astype(work).reshape(n, oh, ow, f), -1, 1)
        if bias is not None:
            y = y + to_work(bias).reshape(-1, 1, 1)
    y = y[0] if rank < 4 else y
    if w.ndim < 4:
        return y[0]
    return np.moveaxis(y, -3, -1) if channel_axis == -1 else y


def _seen(x, axis, k, stride, dilation):
    """Return what the kernel sees along an axis, and where tap i of output j is there, [i, j]."""
    n = (x.shape[axis] - (k - 1) * dilation - 1) // stride + 1
    places = dilation * np.arange(k)[:, None] + stride * np.arange(n)
    some, places = np.unique(places.ravel(), return_inverse=True)
    seen = x[:, :, some] if axis == 2 else x[..., some]  # of a giant little; `take` copies it first
    return seen, places.reshape(k, n)


def _sums(taps, row, is_double, is_widest):
    """Return (pixels, groups, filters) of (pixels, groups, terms) and (groups, filters, terms)."""
    if is_double:
        return np.matmul(taps.swapaxes(0, 1), row.swapaxes(1, 2)).swapaxes(0, 1)
    if is_widest:  # nothing to spare: contiguous products, which NumPy adds in pairs
        return (taps[:, :, None] * row).sum(axis=-1)
    return np.einsum("pgt,gft->pgf", taps, row)


def _double(dtype):
    return np.dtype("D" if dtype.kind == "c" else "d")


def _in_double(part, n_terms, *factors):
    """Whether float64 gives sums of n products of these as well as their own type does.

    Small whole numbers are exact in both, and units need no more than its range.
    """
    char = factors[0].dtype.char
    if factors[0].dtype.kind == "u" or char == "d":
        return char == "d"
    with np.errstate(all="ignore"):
        sizes = [np.abs(a) for a in factors]
        if char == "D":  # BLAS multiplies the sum by 1 + 0i: an infinity by 0
            return all(np.isfinite(a).all() for a in sizes)
        if part is np.abs:
            return all(np.all((a == 0) | ((a > 1e-140) & (a < 1e140))) for a in sizes)
        first, *others = (a.max(initial=1) for a in sizes)
        is_small = 4 * n_terms * first * max(others) < 2**53
        return is_small and all(np.array_equal(np.rint(a), a) for a in factors)


@remember
def gradients(dy, x, w, **options):
    """Return (dx, dw, db) in the wider type, of the shapes of x, w and the bias.

    Those of `needs`, the others are None.
    """
    return _gradients(dy, x, w, lambda a: a, **options)


@remember
def gradient_magnitudes(dy, x, w, **options):
    """Return the sums of absolute values."""
    sums = _gradients(dy, x, w, np.abs, **options)
    return tuple(None if a is None else a.real for a in sums)


def _gradients(
    dy, x, w, part, *, needs="xwb", stride=1, padding=0, dilation=1, groups=1,
    padding_mode="constant", padding_value=0, channel_axis=None,
):  # fmt: skip
    work = np.dtype(WIDER[result_type(dy, x, w).char])
    (sy, sx), (ey, ex) = np.broadcast_to(stride, 2), np.broadcast_to(dilation, 2)
    shapes = x.shape, w.shape
    if channel_axis == -1:
        x = np.moveaxis(x, -1, -3)
        dy = np.moveaxis(dy, -1, -3) if w.ndim == 4 else dy
    first_shape = x.shape
    value = part(np.asarray(padding_value)).astype(work)
    dy, x, w = (part(a).astype(work).reshape((1,) * (4 - a.ndim) + a.shape) for a in (dy, x, w))
    is_double = _in_double(part, dy.size * w.size, dy, x, w, value)
    if is_double:
        dy, x, w, value = (a.astype(_double(work)) for a in (dy, x, w, value))
    (n, c, *size), (f, _, kh, kw), (oh, ow) = x.shape, w.shape, dy.shape[2:]
    widths = [
        pads(padding, *of_axis, axis)
        for axis, of_axis in enumerate(zip(size, (kh, kw), (sy, sx), (ey, ex), strict=True))
    ]
    constant = {"constant_values": value} if padding_mode == "constant" else {}
    padded = x
    if any(map(any, widths)):
        padded = np.pad(x, ((0, 0), (0, 0), *widths), padding_mode, **constant)
    # The source of every padded row and column; -1 for the constant.
    constant = {"constant_values": -1} if padding_mode == "constant" else {}
    rows, columns = (
        np.pad(np.arange(length), width, padding_mode, **constant) if any(width) else range(length)
        for length, width in zip(size, widths, strict=True)
    )
    padded = padded.reshape(n, groups, c // groups, len(rows), len(columns))
    dy, w = dy.reshape(n, groups, f // groups, oh, ow), w.reshape(groups, f // groups, -1, kh, kw)
    of_padded, dw = np.zeros_like(padded), np.zeros_like(w)
    dx = db = None
    with np.errstate(all="ignore"):
        for ky in range(kh):
            for kx in range(kw):
                seen = (
                    ...,
                    slice(ky * ey, ky * ey + max((oh - 1) * sy + 1, 0), sy),
                    slice(kx * ex, kx * ex + max((ow - 1) * sx + 1, 0), sx),
                )
                if "w" in needs:
                    dw[..., ky, kx] = _over_pixels(dy, padded[seen].conj(), is_double)
                if "x" in needs:
                    of_padded[seen] += _over_filters(dy, w[..., ky, kx].conj(), is_double)
        dw = dw.reshape(shapes[1]) if "w" in needs else None
        if "x" in needs:
            of_padded = of_padded.reshape(n, c, len(rows), len(columns))
            of_rows = np.zeros((n, c, size[0], len(columns)), of_padded.dtype)
            for u, row in enumerate(rows):
                if row >= 0:
                    of_rows[:, :, row] += of_padded[:, :, u]
            dx = np.zeros((n, c, *size), of_rows.dtype)
            for v, column in enumerate(columns):
                if column >= 0:
                    dx[..., column] += of_rows[..., v]
            dx = dx.reshape(first_shape)
            dx = np.moveaxis(dx, -3, -1) if channel_axis == -1 else dx
        if "b" in needs:
            db = dy.sum(axis=(0, 3, 4)).reshape((f,) if len(shapes[1]) == 4 else ())
    return tuple(None if a is None else a.astype(work) for a in (dx, dw, db))


def _over_pixels(dy, x, is_double):
    """Return (g, f, c), the products of (n, g, f, i, j) and (n, g, c, i, j) summed over n, i, j."""
    if not is_double:
        return np.einsum("ngfij,ngcij->gfc", dy, x)
    dy, x = (a.reshape(*a.shape[:3], -1) for a in (dy, x))
    return (dy @ x.swapaxes(2, 3)).sum(axis=0)


def _over_filters(dy, w, is_double):
    """Return (n, g, c, i, j), the products of (n, g, f, i, j) and (g, f, c) summed over f."""
    if not is_double:
        return np.einsum("ngfij,gfc->ngcij", dy, w)
    n, g, f, *size = dy.shape
    return (w.swapaxes(1, 2) @ dy.reshape(n, g, f, -1)).reshape(n, g, -1, *size)


def _plain(a):
    a = np.asarray(a)
    return a.astype(np.uint8) if a.dtype == bool else a
