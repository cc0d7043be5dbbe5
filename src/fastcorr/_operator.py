# SPDX-License-Identifier: BSD-3-Clause
# mypy: ignore-errors
"""The multi-channel operator and its transpose: signatures and documentation.

No logic here: `_problem` checks, `_plan` chooses and runs, `_adjoint` comes back.
"""

from __future__ import annotations

from functools import lru_cache
from typing import SupportsIndex

from numpy.typing import ArrayLike

from fastcorr._adjoint import Adjoint
from fastcorr._adjoint_problem import normalise_transpose, transpose_key
from fastcorr._plan import Plan, plan_for
from fastcorr._problem import as_arrays, cast_padding_value, check_out, problem_key
from fastcorr._typing import Array, ChannelAxis, Method, Number, Padding, PaddingMode, Pair, Sides
from fastcorr._workers import resolve_workers


def corr2d(
    x: ArrayLike,
    w: ArrayLike,
    bias: ArrayLike | None = None,
    *,
    stride: Pair = 1,
    padding: Padding = 0,
    dilation: Pair = 1,
    groups: SupportsIndex = 1,
    padding_mode: PaddingMode = "constant",
    padding_value: Number = 0,
    channel_axis: ChannelAxis = None,
    method: Method = "auto",
    out: Array | None = None,
    workers: SupportsIndex | None = None,
) -> Array:
    r"""Correlate images of one or many channels with one or many kernels.

    This is the operator of convolution layers: the kernels are not flipped, and complex kernels
    are not conjugated. With G groups, and P the padded input, ::

        y[n, f, i, j] = bias[f] + sum over c < C / G, ky < KH, kx < KW of
            w[f, c, ky, kx] * P[n, g C / G + c, i stride + ky dilation, j stride + kx dilation]

    where g = f // (F / G) is the group of kernel f, and stride and dilation are those of the axis.

    Parameters
    ----------
    x : array_like
        One image (H, W), an image of C channels (C, H, W), or a batch of N of them (N, C, H, W);
        with ``channel_axis=-1`` (H, W, C) or (N, H, W, C). N may be 0, C may not. The elements are
        integers, floats (float16 and longdouble too), complex numbers or bool, which counts as
        uint8. Any memory layout and byte order is taken as it is; x is never written.
    w : array_like
        The kernels. Its shape and that of x make one of four pairs:

        ============== ===================== =============== ==============================
        x              w                     y               meaning
        ============== ===================== =============== ==============================
        (H, W)         (KH, KW)              (OH, OW)        one channel
        (C, H, W)      (C, KH, KW)           (OH, OW)        many input channels, summed
        (C, H, W)      (F, C / G, KH, KW)    (F, OH, OW)     many inputs, many outputs
        (N, C, H, W)   (F, C / G, KH, KW)    (N, F, OH, OW)  a batch
        ============== ===================== =============== ==============================

    bias : array_like, optional
        Added to every output pixel. Shape (F,) for a 4-D `w`, else a scalar or (1,). A Python
        number does not change the dtype of the result, unless its kind (float, complex) does.
    stride : int or (int, int), default: 1
        Step of the kernels over x, (vertical, horizontal), at least 1.
    padding : int, (int, int), ((int, int), (int, int)) or str, default: 0
        Number of rows and columns put around x, of any size:

        - an int, on every side;
        - (vertical, horizontal), each on two sides;
        - ((top, bottom), (left, right));
        - 'valid', none;
        - 'same', such that ``OH = ceil(H / stride)``, the rule of TensorFlow and of ONNX's
          SAME_UPPER: an odd row or column goes after x (see `same_padding`);
        - 'same_lower', likewise, and it goes before x;
        - 'full', ``(K - 1) * dilation`` on every side.
    dilation : int or (int, int), default: 1
        Distance in x between neighbouring elements of a kernel, (vertical, horizontal), at least 1.
    groups : int, default: 1
        The channels of x and the kernels are cut into this number of groups, and each group of
        kernels sees its own group of channels. It divides C and F; ``groups=C`` is the depthwise
        correlation. Other than 1 only for a 4-D `w`.
    padding_mode : {'constant', 'reflect', 'symmetric', 'edge', 'wrap'}, default: 'constant'
        What the padding holds; the names and meanings are those of `numpy.pad`.
    padding_value : number, default: 0
        The constant of ``padding_mode='constant'``, converted by value to the dtype of `x`.
    channel_axis : None or -1, default: None
        None if the channels of x come first, -1 if they come last; then those of y do, too. `w`
        has the same shape in both cases.
    method : {'auto', 'direct', 'winograd', 'separable', 'fft'}, default: 'auto'
        How to compute the sums. 'auto' takes the method that should be fastest and keeps the
        accuracy described below. 'direct' evaluates the definition. 'fft' multiplies transforms of
        overlapping tiles, for large kernels of floats and complex numbers. 'winograd' serves 3x3,
        5x5, 3x1 and 1x3 kernels at stride 1 with 32 channels per group and more, 'separable' few
        channels under kernels that are a product of a column and a row, or the sum of two. A method
        that cannot serve a problem is an error. The dtype of y does not depend on the method.
    out : ndarray, optional
        Where to write y: an array with the shape and dtype of y. It may be a strided view and may
        overlap the inputs. Its content is undefined if the call is interrupted.
    workers : int, optional
        Number of threads at most; a negative number counts back from the CPUs that the process may
        use. The default is `get_workers()`. The result does not depend on it.

    Returns
    -------
    y : ndarray
        The correlation, of the dtype ``np.result_type(x, w[, bias])`` and the shape above, with ::

            OH = floor((H + top + bottom - (KH - 1) * dilation - 1) / stride) + 1

        and OW alike. It is `out` where that was given.

    Raises
    ------
    TypeError
        `x`, `w` or `bias` is a masked, structured or object array or holds no numbers; `stride`,
        `padding`, `dilation`, `groups`, `channel_axis` or `workers` is not an integer (1.0 and
        True are none); `padding_mode` or `method` is not a string; `padding_value` is not a
        number; `out` is not an ndarray.
    ValueError
        - The ranks of `x` and `w` are none of the four pairs.
        - `w` has another number of channels than a group of `x`, or `groups` does not divide C
          and F or is not 1 for a `w` of less than four dimensions.
        - C, F, KH or KW is 0, or the dilated kernel is larger than the padded input.
        - `bias` has another shape than (F,), or () and (1,) for a `w` of less than four dimensions.
        - `stride`, `dilation` or `groups` is less than 1, `padding` is negative, or one of them is
          no int, pair or pair of pairs. Four numbers in a row are refused as `padding`, because
          their order differs between libraries.
        - `padding`, `padding_mode` or `method` is an unknown name, or the method cannot serve this
          problem; `channel_axis` is neither None nor -1, or it is -1 for an x without channels.
        - The dtype of x cannot hold `padding_value`.
        - `padding_mode` is not 'constant' where an axis of length 0 is padded.
        - `out` has another shape or dtype than y, is read-only, or has elements that share memory.
        - `workers` is 0, or negative beyond the number of CPUs.
    MemoryError
        There is no memory for y or the working space.

    See Also
    --------
    explain : The way such a call takes, its operations and its working memory.
    output_shape : The size of y.
    scipy.signal.correlate2d : One channel, named modes, conjugates its second input.
    scipy.ndimage.correlate : One channel in any number of dimensions, result of the input's dtype.

    Notes
    -----
    A call takes ``2 N F OH OW (C / G) KH KW`` floating-point operations, reads x and w and writes
    y. The padding is never made: beyond y and, where `out` overlaps an input, one copy of y, the
    working memory is at most a few MB (`explain` tells). 'fft' works with up to about 64 MB, and
    with a few times the image where the kernel is about as large as it.

    With 'auto', ``|y - exact| <= 16 u (|x| * |w|)`` for ordinary data, and 64 u for data of the
    greatest range, where u is the unit roundoff of the dtype of y and * stands for this operator.
    For 'winograd' that is a test of each tile, which data that are made for it can deceive (a
    search found 210 u); 'direct' keeps it always. In sums of more than 100 000 terms, an output
    that sees only the share s of the kernel, because the rest lies on zero padding, keeps 64 u / s.
    float16 is accumulated in float32. Integers are exact modulo 2**n, so they wrap as NumPy's do.
    The padding takes part as the definition says: 0 times an infinity or NaN in `w` is NaN at the
    border, too. The sums are added in an order that only the shapes determine, so y is bitwise the
    same for any number of workers.

    The error of transforms is relative to the largest numbers of a tile. So 'fft', forced or taken
    by 'auto', checks each output, by error constants that are measured, not proven, and computes
    again from the definition those left in doubt. NaN and infinities stand where the definition
    puts them, with every method.

    Other threads run during the call, and calls from several threads are safe as long as nobody
    writes to the inputs.

    References
    ----------
    .. [1] A. Zhang, Z. C. Lipton, M. Li, A. J. Smola, "Dive into Deep Learning", chapter 7,
       Cambridge University Press, 2023. https://d2l.ai
    .. [2] V. Dumoulin, F. Visin, "A guide to convolution arithmetic for deep learning", 2016.
       :arxiv:`1603.07285`

    Examples
    --------
    One channel, as in chapter 7.2 of [1]_:

    >>> import numpy as np
    >>> from fastcorr import corr2d
    >>> x = np.arange(9.0).reshape(3, 3)
    >>> w = np.arange(4.0).reshape(2, 2)
    >>> corr2d(x, w)
    array([[19., 25.],
           [37., 43.]])

    It is what SciPy computes:

    >>> from scipy.signal import correlate2d
    >>> np.array_equal(corr2d(x, w), correlate2d(x, w, mode="valid"))
    True

    Many input channels are summed, and many kernels give many output channels (chapter 7.4):

    >>> x2, w2 = np.stack([x, x + 1]), np.stack([w, w + 1])
    >>> corr2d(x2, w2)
    array([[ 56.,  72.],
           [104., 120.]])
    >>> corr2d(x2, np.stack([w2, w2 + 1, w2 + 2]))
    array([[[ 56.,  72.],
            [104., 120.]],
    <BLANKLINE>
           [[ 76., 100.],
            [148., 172.]],
    <BLANKLINE>
           [[ 96., 128.],
            [192., 224.]]])

    Padding and stride (chapter 7.3):

    >>> corr2d(np.ones((8, 8)), np.ones((3, 5)), padding=(0, 1), stride=(3, 4)).shape
    (2, 2)

    A photograph, with the channels last, and a vertical-edge kernel for each channel:

    >>> photo = np.zeros((4, 6, 3), np.float32)
    >>> photo[:, 3:] = 1
    >>> edges = corr2d(photo, np.full((3, 1, 1, 2), [-1, 1], np.float32), groups=3, channel_axis=-1)
    >>> edges.shape
    (4, 5, 3)
    >>> edges[0, :, 0]
    array([0., 0., 1., 0., 0.], dtype=float32)
    """
    x, w, bias = as_arrays(x, w, bias)
    key = problem_key(
        x, w, bias, stride, padding, dilation, groups, padding_mode, channel_axis, method
    )
    return plan_for(*key).run(x, w, bias, padding_value, out, workers)


def corr2d_transpose(
    x: ArrayLike,
    w: ArrayLike,
    bias: ArrayLike | None = None,
    *,
    stride: Pair = 1,
    padding: Sides = 0,
    output_padding: Pair = 0,
    dilation: Pair = 1,
    groups: SupportsIndex = 1,
    channel_axis: ChannelAxis = None,
    out: Array | None = None,
    workers: SupportsIndex | None = None,
) -> Array:
    r"""Apply the adjoint of `corr2d`: the "transposed convolution" of decoders and upsampling.

    Where `corr2d` gathers a window of pixels into one, this operator spreads one pixel over a
    window. Each pixel of x adds a kernel, scaled, to the result::

        y[n, f, i stride + ky dilation - top, j stride + kx dilation - left]
            += x[n, c, i, j] * w[c, f - g F / G, ky, kx]      for all i, j, ky, kx and c of group g

    and then the bias. As matrices on images, ``corr2d(y, w, ...)`` and this operator are transposes
    of each other. Kernels are neither flipped nor conjugated.

    Parameters
    ----------
    x : array_like
        An image of C channels (C, H, W) or a batch of N of them (N, C, H, W); with
        ``channel_axis=-1`` (H, W, C) or (N, H, W, C). Dtypes and layouts as in `corr2d`.
    w : array_like
        The kernels (C, F / G, KH, KW): those of the `corr2d` that goes from F channels to C.
    bias : array_like, optional
        Added to every output pixel, shape (F,).
    stride : int or (int, int), default: 1
        Distance in y between the windows of neighbouring pixels of x, (vertical, horizontal).
    padding : int, (int, int) or ((int, int), (int, int)), default: 0
        Number of rows and columns cut off around the result, spelled as in `corr2d` but without
        names.
    output_padding : int or (int, int), default: 0
        Rows below and columns right of the result that are added to its size, less than the stride
        or the dilation of the axis: of the sizes that `corr2d` maps to that of x, which one is
        meant.
    dilation : int or (int, int), default: 1
        Distance in y between neighbouring elements of a kernel, (vertical, horizontal).
    groups : int, default: 1
        The channels of x and of y are cut into this number of groups, each for itself.
    channel_axis : None or -1, default: None
        None if the channels of x come first, -1 if they come last; then those of y do, too.
    out : ndarray, optional
        Where to write y, as in `corr2d`.
    workers : int, optional
        Number of threads at most, as in `corr2d`.

    Returns
    -------
    y : ndarray
        (F, OH, OW) or (N, F, OH, OW), or with the channels last, of the dtype
        ``np.result_type(x, w[, bias])``, with ::

            OH = (H - 1) * stride - top - bottom + dilation * (KH - 1) + output_padding + 1

        and OW alike.

    Raises
    ------
    TypeError
        As in `corr2d`.
    ValueError
        - The ranks are others than the above, C, F, KH or KW is 0, the first axis of `w` is not
          the number of channels of `x`, or `groups` does not divide it.
        - `bias` has another shape than (F,); `padding` leaves no output or is a name;
          `output_padding` is not less than the stride or the dilation.
        - `stride`, `dilation`, `channel_axis`, `out` or `workers` is one that `corr2d` refuses.
    MemoryError
        There is no memory for y or the working space.

    See Also
    --------
    corr2d : The operator itself.
    corr2d_grad_input : The gradient, which has the same sums, conjugates a complex `w`, and knows
        padding modes.

    Notes
    -----
    No zeros are put between the pixels of x and multiplied: each of the ``stride ** 2`` phases of y
    is a dense correlation of x with the taps that reach it. Accuracy, working memory and
    independence of `workers` are those of `corr2d`.

    PyTorch has ``groups`` before ``dilation`` in the signature of ``conv_transpose2d``; here both
    have to be named.

    Examples
    --------
    Each pixel spreads its own copy of the kernel:

    >>> import numpy as np
    >>> from fastcorr import corr2d, corr2d_transpose
    >>> x = np.array([[[1.0, 2.0]]])
    >>> w = np.array([[[[1.0, 10.0, 100.0]]]])
    >>> corr2d_transpose(x, w)
    array([[[  1.,  12., 120., 200.]]])
    >>> corr2d_transpose(x, w, stride=2)
    array([[[  1.,  10., 102.,  20., 200.]]])

    It is the adjoint: both inner products are the same.

    >>> rng = np.random.default_rng(0)
    >>> image, w = rng.random((3, 9, 9)), rng.random((4, 3, 3, 3))
    >>> y = corr2d(image, w, stride=2, padding=1)
    >>> back = corr2d_transpose(y, w, stride=2, padding=1)
    >>> back.shape
    (3, 9, 9)
    >>> np.isclose(np.vdot(y, y), np.vdot(back, image))
    np.True_
    """
    x, w, bias = as_arrays(x, w, bias)
    key = transpose_key(x, w, bias, stride, padding, output_padding, dilation, groups, channel_axis)
    adjoint = _transpose_for(*key)
    if workers is not None:
        resolve_workers(workers)
    return adjoint(x, w, bias, out, workers)


@lru_cache(maxsize=256)
def _transpose_for(*key):
    problem = normalise_transpose(*key)
    return Adjoint(problem, problem.x_dtype, problem.w_dtype, key[5])


def explain(
    x: ArrayLike,
    w: ArrayLike,
    bias: ArrayLike | None = None,
    *,
    stride: Pair = 1,
    padding: Padding = 0,
    dilation: Pair = 1,
    groups: SupportsIndex = 1,
    padding_mode: PaddingMode = "constant",
    padding_value: Number = 0,
    channel_axis: ChannelAxis = None,
    method: Method = "auto",
    out: Array | None = None,
    workers: SupportsIndex | None = None,
) -> Plan:
    """Return the way that `corr2d` takes for these arguments, without computing anything.

    Parameters
    ----------
    x, w, bias : array_like
        As in `corr2d`. Their shapes and dtypes matter, and of the values those that decide: whether
        a large kernel is finite, for instance.
    stride, padding, dilation, groups, padding_mode, padding_value, channel_axis, method
        As in `corr2d`.
    out, workers
        As in `corr2d`. The way does not depend on them; they are checked, so that this function
        refuses what `corr2d` refuses.

    Returns
    -------
    Plan
        With the attributes ``method`` (a name that `corr2d` takes), ``reason`` (why this one),
        ``flops`` (operations of the definition, ``2 N F OH OW (C / G) KH KW``, and four times as
        many for complex numbers) and ``workspace`` (bytes of working memory of `get_workers()`
        threads). It prints as a short table.

    Raises
    ------
    TypeError, ValueError
        As in `corr2d`, from the same checks.

    See Also
    --------
    corr2d : Compute.
    show_config : What this build and this machine offer.

    Examples
    --------
    >>> import numpy as np
    >>> import fastcorr
    >>> x, w = np.zeros((3, 8, 8), np.float32), np.zeros((4, 3, 3, 3), np.float32)
    >>> plan = fastcorr.explain(x, w, padding="same")
    >>> plan.method
    'direct'
    >>> plan.flops
    13824
    """
    x, w, bias = as_arrays(x, w, bias)
    key = problem_key(
        x, w, bias, stride, padding, dilation, groups, padding_mode, channel_axis, method
    )
    plan = plan_for(*key)
    cast_padding_value(padding_value, plan.problem.x_dtype)
    check_out(plan.problem, out)
    resolve_workers(workers)
    return plan.for_values(w)
