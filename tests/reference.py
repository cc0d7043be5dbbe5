# SPDX-License-Identifier: BSD-3-Clause
"""The oracle: the definition of corr2d, written to be read, in a wider type.

Integers are summed modulo 2^64, float16 to float32 in float64, everything else in long double.
Knows nothing of fastcorr. `magnitude` is |x| * |w| (+ |b|), the unit of the accuracy contract.
`gradients` are those of the definition, tap by tap, and `gradient_magnitudes` their units.
"""

import numpy as np

WIDER = {"e": "d", "f": "d", "d": "g", "g": "g", "F": "D", "D": "G", "G": "G"}


def correlate(x, w, bias=None, **options):
    """Return y, exact modulo 2^64 for integers and to 2^-53 or better for the others."""
    return _evaluate(x, w, bias, lambda a: a, **options)


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
    oh = (x.shape[2] - (kh - 1) * dy - 1) // sy + 1
    ow = (x.shape[3] - (kw - 1) * dx - 1) // sx + 1

    columns = sx * np.arange(ow) + dx * np.arange(kw)[:, None]
    y = np.zeros((n, oh, ow, groups, f // groups), work)
    taps, products = np.empty((n, oh, ow, c, kw), work), None
    kernels = to_work(kernels).reshape(groups, f // groups, c // groups, kh, kw)
    with np.errstate(all="ignore"):
        for ky in range(kh):
            seen = x[:, :, ky * dy :: sy][:, :, :oh, columns]  # (n, c, oh, kw, ow)
            taps[...] = part(seen.astype(dtype)).transpose(0, 2, 4, 1, 3)
            row = kernels[..., ky, :].reshape(groups, f // groups, c // groups * kw)
            factors = taps.reshape(n, oh, ow, groups, 1, c // groups * kw), row
            products = np.multiply(*factors, out=products)
            y += products.sum(axis=-1)  # contiguous, so NumPy adds in pairs
        y = np.moveaxis(y.reshape(n, oh, ow, f), -1, 1)
        if bias is not None:
            y = y + to_work(bias).reshape(-1, 1, 1)
    y = y[0] if rank < 4 else y
    if w.ndim < 4:
        return y[0]
    return np.moveaxis(y, -3, -1) if channel_axis == -1 else y


def gradients(dy, x, w, **options):
    """Return (dx, dw, db) in the wider type, of the shapes of x, w and the bias.

    Those of `needs`, the others are None.
    """
    return _gradients(dy, x, w, lambda a: a, **options)


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
    dy, x, w = (part(a).astype(work).reshape((1,) * (4 - a.ndim) + a.shape) for a in (dy, x, w))
    (n, c, *size), (f, _, kh, kw), (oh, ow) = x.shape, w.shape, dy.shape[2:]
    widths = [
        pads(padding, *of_axis, axis)
        for axis, of_axis in enumerate(zip(size, (kh, kw), (sy, sx), (ey, ex), strict=True))
    ]
    value = part(np.asarray(padding_value)).astype(work)
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
                    dw[..., ky, kx] = np.einsum("ngfij,ngcij->gfc", dy, padded[seen].conj())
                if "x" in needs:
                    of_padded[seen] += np.einsum("ngfij,gfc->ngcij", dy, w[..., ky, kx].conj())
        dw = dw.reshape(shapes[1]) if "w" in needs else None
        if "x" in needs:
            of_padded = of_padded.reshape(n, c, len(rows), len(columns))
            of_rows = np.zeros((n, c, size[0], len(columns)), work)
            for u, row in enumerate(rows):
                if row >= 0:
                    of_rows[:, :, row] += of_padded[:, :, u]
            dx = np.zeros((n, c, *size), work)
            for v, column in enumerate(columns):
                if column >= 0:
                    dx[..., column] += of_rows[..., v]
            dx = dx.reshape(first_shape)
            dx = np.moveaxis(dx, -3, -1) if channel_axis == -1 else dx
        if "b" in needs:
            db = dy.sum(axis=(0, 3, 4)).reshape((f,) if len(shapes[1]) == 4 else ())
    return dx, dw, db


def _plain(a):
    a = np.asarray(a)
    return a.astype(np.uint8) if a.dtype == bool else a
