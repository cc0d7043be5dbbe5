# SPDX-License-Identifier: BSD-3-Clause
# mypy: ignore-errors
"""SciPy's interface to one image and one kernel, with SciPy's rules and refusals.

Decides what SciPy's modes, boundaries, fillvalue, flips and conjugates mean in terms of the
operator; `_plan` chooses how to compute it and runs it. The rules are those of
`scipy.signal.correlate2d` and `convolve2d` of SciPy 1.13 to 1.17; docs/start/scipy.rst lists
what is different on purpose.
"""

from __future__ import annotations

import math
from functools import lru_cache
from typing import NamedTuple, SupportsIndex

import numpy as np
from numpy.typing import ArrayLike

from fastcorr._plan import Plan, plan_for
from fastcorr._problem import one_of
from fastcorr._shapes import shown
from fastcorr._typing import Array, SciPyBoundary, SciPyMethod, SciPyMode

_PADDING_MODES = {
    "fill": "constant",
    "pad": "constant",
    "wrap": "wrap",
    "circular": "wrap",
    "symm": "symmetric",
    "symmetric": "symmetric",
}
_METHODS = ("auto", "direct", "fft", "separable")

# The dtypes that need no conversion: native numbers. bool is viewed as an integer.
_READY = frozenset(map(np.dtype, np.typecodes["AllInteger"] + np.typecodes["AllFloat"]))


def correlate2d(
    in1: ArrayLike,
    in2: ArrayLike,
    mode: SciPyMode = "full",
    boundary: SciPyBoundary = "fill",
    fillvalue: ArrayLike = 0,
    *,
    method: SciPyMethod = "auto",
    out: Array | None = None,
    workers: SupportsIndex | None = None,
) -> Array:
    r"""Cross-correlate two 2-dimensional arrays, as `scipy.signal.correlate2d` does.

    The kernel is not flipped, and it is conjugated::

        y[m, n] = sum over j < h, l < w of P[m + j, n + l] * conj(in2[j, l])

    where h, w is the shape of `in2`, and P is `in1`, extended on its four sides as `mode` and
    `boundary` say.

    Parameters
    ----------
    in1 : array_like
        The image, two-dimensional: integers, floats or complex numbers, longdouble and clongdouble
        too, in any memory layout and byte order. It is never written.
    in2 : array_like
        The kernel, two-dimensional, of at least one element. It may be larger than the image. One
        of the two may be bool, or float16 if that gives a wider result.
    mode : {'full', 'same', 'valid'}, default: 'full'
        How much is computed, of an image H x W and a kernel h x w:

        - 'full', wherever they overlap by one element at least: h - 1 rows and w - 1 columns are
          put on each side of the image, y is (H + h - 1) x (W + w - 1).
        - 'same', one element for each pixel, y is H x W: the element
          ``in2[(h - 1) // 2, (w - 1) // 2]`` lies over the pixel. So (h - 1) // 2 rows are put
          before the image and h // 2 after it: the odd row of an even kernel goes after it.
        - 'valid', wherever one lies within the other: nothing is put around, y is
          (H - h + 1) x (W - w + 1). If `in2` is the larger one, it is the image, `in1` lies within
          it, and y is ``conj(correlate2d(in2, in1, 'valid'))[::-1, ::-1]``.
    boundary : {'fill', 'wrap', 'symm'}, default: 'fill'
        What stands outside the image: 'fill' (also 'pad') is `fillvalue`, 'wrap' ('circular') the
        image again and again, 'symm' ('symmetric') its mirror images, with the edge repeated.
    fillvalue : scalar, default: 0
        The constant of ``boundary='fill'``, converted to the dtype of the *result*: a float is cut
        off to an integer there. An array or sequence of one element is taken, too.
    method : {'auto', 'direct', 'fft', 'separable'}, default: 'auto'
        How to compute the sums. 'auto' takes the fastest method that keeps the accuracy described
        in `corr2d`. The dtype of y does not depend on it.
    out : ndarray, optional
        Where to write y: an array with the shape and dtype of y. It may be a strided view and may
        overlap the inputs. Its content is undefined if the call is interrupted.
    workers : int, optional
        Number of threads at most; a negative number counts back from the CPUs that the process may
        use. The default is `get_workers()`. The result does not depend on it.

    Returns
    -------
    y : ndarray
        The correlation, of the dtype ``np.result_type(in1, in2)``, in C order; it is `out` where
        that was given.

    Raises
    ------
    TypeError
        `in1` or `in2` is a masked array; `fillvalue` is not a number; `method` is not a string,
        `workers` not an integer, `out` not an ndarray.
    ValueError
        - `in1` or `in2` has not two dimensions.
        - `mode`, `boundary` or `method` is an unknown name, or cannot serve these arrays.
        - The mode is 'valid', and neither input is at least as large as the other in both axes.
        - Both are bool, or the result would be float16, or one is an object, structured, string or
          date array.
        - `fillvalue` has not one element, or the dtype of the result cannot hold it: an integer out
          of range, NaN for integers, a complex number for real ones.
        - The kernel has no elements; or the image has none, and 'wrap' or 'symm' would have to
          repeat them.
        - `out` has another shape or dtype than y, is read-only, or has elements that share memory.
        - `workers` is 0, or negative beyond the number of CPUs.
    MemoryError
        There is no memory for y or the working space.

    See Also
    --------
    convolve2d : The kernel is flipped in both axes and not conjugated.
    corr2d : Many channels, stride, dilation, groups, batches; never conjugates.
    scipy.signal.correlate2d : The same results.
    scipy.signal.correlate : N dimensions; its 'same' is one element later for even kernels.

    Notes
    -----
    ``from fastcorr import correlate2d`` in the place of ``from scipy.signal import correlate2d`` is
    all that a program needs; what then differs is listed under "Coming from SciPy".

    With 'auto', ``|y - exact| <= 16 u (|in1| * |in2|)`` for ordinary data, and 64 u for data of the
    greatest range, where u is the unit roundoff of the dtype of y and * stands for this function.
    Integers are exact modulo 2**n, so they wrap as NumPy's do: the result of two uint8 arrays is
    uint8. A Python list of floats is float64, and so is then the result for a float32 image.
    NaN and infinities appear exactly where the formula puts them; what stands outside the image
    takes part, so 0 times a NaN in `in2` is NaN at the border, too.

    What stands outside the image is never stored. Only if the dtype of `in1` cannot hold
    `fillvalue`, as 0.5 in an integer image, `in1` is first converted to the dtype of y. In mode
    'full' with zeros outside, the smaller input is moved over the larger one, whichever it is, so
    a kernel larger than the image costs no more than the exchanged call.

    Examples
    --------
    >>> import numpy as np
    >>> import scipy.signal
    >>> from fastcorr import correlate2d
    >>> image = np.arange(12).reshape(3, 4)
    >>> kernel = np.array([[0, 1], [2, 3]])
    >>> correlate2d(image, kernel, mode="valid")
    array([[24, 30, 36],
           [48, 54, 60]])
    >>> correlate2d(image, kernel, mode="same", boundary="symm")
    array([[24, 30, 36, 38],
           [48, 54, 60, 62],
           [52, 58, 64, 66]])

    The results are SciPy's:

    >>> for mode in ("full", "same", "valid"):
    ...     for boundary in ("fill", "wrap", "symm"):
    ...         y = correlate2d(image, kernel, mode, boundary, fillvalue=7)
    ...         assert np.array_equal(
    ...             y, scipy.signal.correlate2d(image, kernel, mode, boundary, fillvalue=7)
    ...         )

    Where a pattern is in an image:

    >>> rng = np.random.default_rng(0)
    >>> image = rng.standard_normal((100, 120))
    >>> pattern = image[30:41, 50:61]
    >>> score = correlate2d(image, pattern, mode="valid")
    >>> np.unravel_index(score.argmax(), score.shape) == (30, 50)
    True
    """
    in1, in2 = _as_arrays(in1, in2)
    way = _way_for("correlate2d", in1, in2, mode, boundary, fillvalue, method)
    if not way.is_swapped:
        w = in2.conj() if way.is_conjugated else in2
        return _run(way, in1, w, fillvalue, out, workers)
    # Both are reversed, so that the result need not be; the kernel is the smaller one to conjugate.
    w = in1.conj() if way.is_conjugated else in1
    y = _run(way, in2[::-1, ::-1], w[::-1, ::-1], fillvalue, out, workers)
    return np.conjugate(y, out=y) if way.is_conjugated else y


def convolve2d(
    in1: ArrayLike,
    in2: ArrayLike,
    mode: SciPyMode = "full",
    boundary: SciPyBoundary = "fill",
    fillvalue: ArrayLike = 0,
    *,
    method: SciPyMethod = "auto",
    out: Array | None = None,
    workers: SupportsIndex | None = None,
) -> Array:
    r"""Convolve two 2-dimensional arrays, as `scipy.signal.convolve2d` does.

    The kernel is flipped in both axes, and it is not conjugated::

        y[m, n] = sum over j < h, l < w of P[m + j, n + l] * in2[h - 1 - j, w - 1 - l]

    where h, w is the shape of `in2`, and P is `in1`, extended on its four sides as `mode` and
    `boundary` say.

    Parameters
    ----------
    in1 : array_like
        The image, two-dimensional: integers, floats or complex numbers, longdouble and clongdouble
        too, in any memory layout and byte order. It is never written.
    in2 : array_like
        The kernel, two-dimensional, of at least one element. It may be larger than the image. One
        of the two may be bool, or float16 if that gives a wider result.
    mode : {'full', 'same', 'valid'}, default: 'full'
        How much is computed, of an image H x W and a kernel h x w:

        - 'full', wherever they overlap by one element at least: h - 1 rows and w - 1 columns are
          put on each side of the image, y is (H + h - 1) x (W + w - 1).
        - 'same', one element for each pixel, y is H x W: the element
          ``in2[(h - 1) // 2, (w - 1) // 2]`` lies over the pixel. As the kernel is flipped, h // 2
          rows are put before the image and (h - 1) // 2 after it: the odd row of an even kernel
          goes before it.
        - 'valid', wherever one lies within the other: nothing is put around, y is
          (H - h + 1) x (W - w + 1), or (h - H + 1) x (w - W + 1) if `in2` is the larger one.
    boundary : {'fill', 'wrap', 'symm'}, default: 'fill'
        What stands outside the image: 'fill' (also 'pad') is `fillvalue`, 'wrap' ('circular') the
        image again and again, 'symm' ('symmetric') its mirror images, with the edge repeated.
    fillvalue : scalar, default: 0
        The constant of ``boundary='fill'``, as in `correlate2d`.
    method : {'auto', 'direct', 'fft', 'separable'}, default: 'auto'
        How to compute the sums, as in `correlate2d`.
    out : ndarray, optional
        Where to write y, as in `correlate2d`.
    workers : int, optional
        Number of threads at most, as in `correlate2d`.

    Returns
    -------
    y : ndarray
        The convolution, of the dtype ``np.result_type(in1, in2)``, in C order; it is `out` where
        that was given.

    Raises
    ------
    TypeError, ValueError, MemoryError
        As in `correlate2d`.

    See Also
    --------
    correlate2d : The kernel is not flipped, and it is conjugated.
    corr2d : Many channels, stride, dilation, groups, batches; neither flips nor conjugates.
    scipy.signal.convolve2d : The same results.

    Notes
    -----
    Accuracy, dtypes and memory are those of `correlate2d`, and "Coming from SciPy" lists what is
    different there. In the modes 'full' and 'valid', ::

        convolve2d(in1, in2) == correlate2d(in1, in2[::-1, ::-1].conj())

    and in the mode 'same' for kernels of odd height and width; for even ones the two differ by one
    pixel, since the flip moves the element that lies over the pixel.

    Examples
    --------
    The slopes of a hill along x (real part) and y (imaginary part), with one complex Scharr kernel:

    >>> import numpy as np
    >>> import scipy.signal
    >>> from fastcorr import convolve2d
    >>> scharr = np.array([[3 + 3j, 10j, -3 + 3j], [10, 0, -10], [3 - 3j, -10j, -3 - 3j]])
    >>> hill = np.outer([1.0, 2, 1], [1, 2, 1])
    >>> slopes = convolve2d(hill, scharr, mode="same", boundary="symm")
    >>> slopes[1].real
    array([ 26.,   0., -26.])
    >>> np.array_equal(
    ...     slopes, scipy.signal.convolve2d(hill, scharr, mode="same", boundary="symm")
    ... )
    True

    The kernel is flipped, so a single pixel shows the kernel as it is:

    >>> convolve2d([[0, 0, 0], [0, 1, 0], [0, 0, 0]], [[1, 2, 3], [4, 5, 6], [7, 8, 9]], "same")
    array([[1, 2, 3],
           [4, 5, 6],
           [7, 8, 9]])
    """
    in1, in2 = _as_arrays(in1, in2)
    way = _way_for("convolve2d", in1, in2, mode, boundary, fillvalue, method)
    x, w = (in2, in1) if way.is_swapped else (in1, in2)
    return _run(way, x, w[::-1, ::-1], fillvalue, out, workers)


class _Way(NamedTuple):
    """What follows from the shapes, dtypes and options of a call.

    `plan` is that of the operator. `is_swapped`: in2 is the image and in1 the kernel.
    `is_conjugated`: in2 has imaginary parts. `has_fillvalue`: fillvalue is looked at. `is_padded`:
    it may take part.
    """

    plan: Plan
    is_swapped: bool
    is_conjugated: bool
    has_fillvalue: bool
    is_padded: bool


def _as_arrays(in1, in2):
    """Return the operands as plain native arrays; arrays without numbers are left to `_way`."""
    if type(in1) is type(in2) is np.ndarray and in1.dtype in _READY and in2.dtype in _READY:
        return in1, in2
    in1, in2 = _as_array("in1", in1), _as_array("in2", in2)
    return _bool_as_number(in1, in2.dtype), _bool_as_number(in2, in1.dtype)


def _bool_as_number(array, other_dtype):
    """A bool counts as 0 or 1 of the other's type: always uint8, it would make int16 of int8."""
    if array.dtype.kind != "b" or other_dtype.kind not in "iufc":
        return array
    return array.view(np.int8 if other_dtype.kind == "i" else np.uint8)


def _as_array(name, value):
    if isinstance(value, np.ma.MaskedArray):
        raise TypeError(
            f"{name} is a masked array: expected a plain array; pass {name}.filled(value), "
            "with the value that the masked elements shall count as"
        )
    array = np.asarray(value)
    return array if array.dtype.isnative else array.astype(array.dtype.newbyteorder("="))


def _way_for(name, in1, in2, mode, boundary, fillvalue, method):
    """Return the _Way of a call, or raise what SciPy raises."""
    if type(method) is not str:  # maybe not even hashable
        method = one_of("method", method, _METHODS)
    key = name, in1.shape, in1.dtype, in2.shape, in2.dtype, mode, boundary, method
    way = _way(*key)
    # Products with the zeros around the image are left out, unless they are NaN.
    if way.is_swapped and mode == "full" and not (
        _is_zero(fillvalue) and _is_finite(in1) and _is_finite(in2)
    ):  # fmt: skip
        return _way(*key, False)
    return way


def _is_zero(fillvalue):
    return type(fillvalue) in (int, float) and fillvalue == 0


def _is_finite(array):
    """Whether no element is NaN or infinite; False also where their sum overflows."""
    if array.dtype.kind in "iu":
        return True
    with np.errstate(all="ignore"):
        return bool(np.isfinite(array.sum()))


@lru_cache(maxsize=512)
def _way(name, shape1, dtype1, shape2, dtype2, mode, boundary, method, may_swap=True):
    """Return the _Way of these arguments; the checks are in SciPy's order.

    Mode 'full' with zeros around is symmetric in its inputs, but for NaN and infinities: `may_swap`
    says that there are none, and the smaller input may be the kernel.
    """
    # Check arguments: in1 and in2, their ranks and sizes.
    if not len(shape1) == len(shape2) == 2:
        raise ValueError(
            f"{name} inputs must both be 2-D arrays: in1 has the shape {shape1}, in2 {shape2}"
        )
    is_swapped = False
    if mode == "valid":
        is_swapped = shape1[0] < shape2[0] or shape1[1] < shape2[1]
        if is_swapped and (shape1[0] > shape2[0] or shape1[1] > shape2[1]):
            raise ValueError(
                "For 'valid' mode, one must be at least as large as the other in every dimension: "
                f"in1 has the shape {shape1}, in2 {shape2}"
            )

    # Check arguments: mode, boundary.
    if mode not in ("full", "same", "valid"):
        raise ValueError(
            f"Acceptable mode flags are 'valid', 'same', or 'full': mode = {shown(mode)}"
        )
    if boundary not in _PADDING_MODES:
        raise ValueError(
            "Acceptable boundary flags are 'fill', 'circular' (or 'wrap'), and 'symmetric' "
            f"(or 'symm'): boundary = {shown(boundary)}"
        )
    padding_mode = _PADDING_MODES[boundary]
    if may_swap and mode == "full" and padding_mode == "constant":
        is_swapped = 0 < math.prod(shape1) < math.prod(shape2)

    # Check arguments: in1 and in2, their dtypes.
    are_numbers = dtype1.kind in "biufc" and dtype2.kind in "biufc"
    if not are_numbers or np.result_type(dtype1, dtype2).char in "?e":
        raise ValueError(
            f"{name} not available for this type: in1 is {dtype1}, in2 {dtype2}; convert one, such "
            "as in1.astype(float)"
        )

    # Check arguments: no kernel without elements, no repeating of an image without them.
    image, kernel = (shape2, shape1) if is_swapped else (shape1, shape2)
    if 0 in kernel:
        raise ValueError(
            f"{'in1' if is_swapped else 'in2'} is the kernel and has the shape {kernel}: expected "
            "at least one element"
        )
    padding = tuple(_padding(name, mode, k) for k in kernel)
    if padding_mode != "constant" and 0 in image:
        if mode != "same" and any(n == 0 and any(p) for n, p in zip(image, padding, strict=True)):
            raise ValueError(
                f"boundary = {shown(boundary)} has nothing to repeat of an in1 of the shape "
                f"{image}: expected 'fill'"
            )
        padding_mode = "constant"

    # Check arguments: method.
    one_of("method", method, _METHODS)

    dtypes = (dtype2, dtype1) if is_swapped else (dtype1, dtype2)
    return _Way(
        plan=_plan(image, kernel, *dtypes, padding, padding_mode, method),
        is_swapped=is_swapped,
        is_conjugated=dtype2.kind == "c",
        has_fillvalue=_PADDING_MODES[boundary] == "constant",
        is_padded=any(map(any, padding)),
    )


def _padding(name, mode, k):
    """Return the rows before and after the image for a kernel of k rows."""
    if mode == "full":
        return k - 1, k - 1
    if mode == "valid":
        return 0, 0
    return ((k - 1) // 2, k // 2) if name == "correlate2d" else (k // 2, (k - 1) // 2)


def _plan(x_shape, w_shape, x_dtype, w_dtype, padding, padding_mode, method):
    return plan_for(
        x_shape, x_dtype, w_shape, w_dtype, None, None, 1, padding, 1, 1, padding_mode, None, method
    )


def _run(way, x, w, fillvalue, out, workers):
    """Run the plan with SciPy's fillvalue, which is of the dtype of the result."""
    plan = way.plan
    if not way.has_fillvalue or _is_zero(fillvalue):
        return plan.run(x, w, None, 0, out, workers)
    problem = plan.problem
    value = _cast_fillvalue(fillvalue, problem.dtype)
    if not way.is_padded:
        value = 0
    elif x.dtype != problem.dtype:
        narrow = _narrowed(value, x.dtype)
        if narrow is None:
            x = x.astype(problem.dtype)
            plan = _plan(
                x.shape, w.shape, x.dtype, w.dtype,
                problem.padding, problem.padding_mode, problem.method,
            )  # fmt: skip
        else:
            value = narrow
    return plan.run(x, w, None, value, out, workers)


def _cast_fillvalue(fillvalue, dtype):
    """Return the one element of `fillvalue` as a scalar of `dtype`, as Python's numbers convert."""
    values = np.asarray(fillvalue, object)
    if values.size != 1:
        raise ValueError(
            "`fillvalue` must be scalar or an array with one element: it has the shape "
            f"{values.shape}"
        )
    value = values.item()
    if isinstance(value, np.generic):
        value = value.item()  # NumPy's scalars would wrap, and lose their imaginary part
    try:
        return np.array(value, dtype)[()]
    except (TypeError, ValueError, OverflowError):
        pass
    try:
        np.array(value, complex)
    except (TypeError, ValueError) as error:
        raise type(error)(f"fillvalue = {shown(fillvalue)}: expected a number") from None
    except OverflowError:
        pass
    raise ValueError(
        f"could not cast `fillvalue` directly to the output type: {shown(fillvalue)} is no number "
        f"that {dtype} can hold"
    )


def _narrowed(value, dtype):
    """Return the scalar `value` in another dtype, or None where that has not the same value."""
    if value.dtype.kind == "c" and dtype.kind != "c":
        if value.imag != 0:
            return None
        value = value.real
    with np.errstate(all="ignore"):
        narrow = value.astype(dtype)
        is_same = narrow.astype(value.dtype) == value or (value != value and narrow != narrow)
    return narrow if is_same else None
