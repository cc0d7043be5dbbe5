# SPDX-License-Identifier: BSD-3-Clause
# mypy: ignore-errors
"""Kernels that are prepared once and serve many images.

Decides what is kept between calls, and for how long. Checks are `_problem`'s; `_plan` chooses and
runs. The cache is a dict that is never changed, only replaced: so calls need no lock, and neither a
fork nor Ctrl-C can find it half done. Two threads that meet a new size of images at once both
prepare for it, and one result stays.
"""

from __future__ import annotations

from dataclasses import replace
from typing import SupportsIndex

import numpy as np
from numpy.typing import ArrayLike

from fastcorr._plan import Bound, Plan, check_method, plan_for
from fastcorr._problem import (
    as_arrays,
    as_kernels,
    check_kernels,
    normalise,
    problem_key,
)
from fastcorr._typing import (
    Array,
    ChannelAxis,
    Method,
    NamedPadding,
    Number,
    Padding,
    PaddingMode,
    Pair,
)
from fastcorr._workers import resolve_workers

# Of one bank: shapes of x with all that belongs to them, and bytes of prepared kernels.
MOST_SHAPES = 16
MOST_BYTES = 256 * 2**20

_DEFAULTS = {
    "stride": (1, 1),
    "padding": ((0, 0), (0, 0)),
    "dilation": (1, 1),
    "groups": 1,
    "padding_mode": "constant",
    "padding_value": 0,
    "channel_axis": None,
    "method": "auto",
    "workers": None,
}


class _Cache:
    __slots__ = ("bound",)

    def __init__(self):
        self.bound = {}  # {(shape of x, dtype of x): Bound}


class FilterBank:
    """Kernels prepared once for many images: ``bank(x)`` is ``corr2d(x, w, bias, ...)``.

    What `corr2d` does with the kernels at every call (copying them into the order of the
    processor's vectors, transforming them, finding their factors) a bank does once for each size of
    images. It is immutable and can be called from several threads at once.

    Parameters
    ----------
    w : array_like
        The kernels: (KH, KW), (C, KH, KW) or (F, C / G, KH, KW), as in `corr2d`. The bank keeps a
        copy.
    bias : array_like, optional
        Added to every output pixel: (F,) for a 4-D `w`, else a scalar or (1,). The bank keeps a
        copy.
    stride, padding, dilation, groups, padding_mode, padding_value, channel_axis
        As in `corr2d`.
    method : {'auto', 'direct', 'winograd', 'fft', 'separable'}, default: 'auto'
        As in `corr2d`, but 'auto' looks at the size of one image only, never at how many there are,
        and does not count the time for preparing kernels.
    workers : int, optional
        Number of threads at most, for every call; as in `corr2d`.

    Attributes
    ----------
    w, bias : ndarray or None
        The private copies, read-only; a Python scalar as `bias` stays one.
    stride, padding, dilation, groups, padding_mode, padding_value, channel_axis, method, workers
        The options, pairs spelled out; they cannot be assigned.

    Raises
    ------
    TypeError, ValueError
        At construction, what `corr2d` would say of `w`, `bias` and the options for any x. At a
        call, what depends on x: its rank, channels and size, a `padding_value` that its dtype
        cannot hold, and `out`.
    MemoryError
        There is no memory for the copies, y or the working space.

    See Also
    --------
    corr2d : The same for kernels that are used once.
    fastcorr.nn.Conv2D : A layer whose weights change and have gradients.

    Notes
    -----
    ``bank(x)`` is bitwise ``corr2d(x, w, bias, ..., method=bank.explain(x).method)``, and an image
    alone gives bitwise what it gives inside a batch. The first call with a new shape or dtype of x
    takes longer, some milliseconds for a large layer.

    A bank remembers the last 16 shapes of x and at most 256 MiB of prepared kernels (more only if
    one shape needs more), which batches of any size and images of many sizes share; the oldest are
    dropped first. For 'winograd' 3x3 kernels become four times as large (1.8 times for images of
    up to 8x8), 5x5 kernels 1.4 times, 3x1 and 1x3 twice; for 'direct' there are none or one more
    copy of `w`. A pickle holds the kernels and the options alone.

    Examples
    --------
    >>> import numpy as np
    >>> from fastcorr import FilterBank, corr2d
    >>> rng = np.random.default_rng(0)
    >>> w = rng.standard_normal((64, 32, 3, 3), dtype=np.float32)
    >>> bank = FilterBank(w, padding="same")
    >>> bank
    FilterBank((64, 32, 3, 3) float32, padding='same')
    >>> batch = rng.standard_normal((4, 32, 28, 28), dtype=np.float32)
    >>> y = bank(batch)
    >>> y.shape
    (4, 64, 28, 28)

    It takes images of any size, alone or in batches, and the batch changes nothing:

    >>> np.array_equal(bank(batch[2]), y[2])
    True
    >>> bank(batch[0, :, :20, :24]).shape
    (64, 20, 24)
    >>> method = bank.explain(batch).method
    >>> np.array_equal(corr2d(batch, w, padding="same", method=method), y)
    True
    """

    __slots__ = ("_cache", "bias", "w", *_DEFAULTS)

    w: Array
    bias: Array | Number | None
    stride: tuple[int, int]
    padding: tuple[tuple[int, int], tuple[int, int]] | NamedPadding
    dilation: tuple[int, int]
    groups: int
    padding_mode: PaddingMode
    padding_value: Number
    channel_axis: ChannelAxis
    method: Method
    workers: int | None

    def __init__(
        self,
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
        workers: SupportsIndex | None = None,
    ) -> None:
        w, bias = as_kernels(w, bias)
        options = check_kernels(
            w.shape, np.shape(bias) if bias is not None else None, stride, padding, dilation,
            groups, padding_mode, padding_value, channel_axis, method,
        )  # fmt: skip
        resolve_workers(workers)
        fields = dict(zip(_DEFAULTS, (*options, workers), strict=True))
        fields["w"] = _frozen(w)
        fields["bias"] = _frozen(bias) if isinstance(bias, np.ndarray) else bias
        fields["_cache"] = _Cache()
        for name, value in fields.items():
            object.__setattr__(self, name, value)
        check_method(self._smallest())

    def _smallest(self):
        """The problem of an image just as large as a kernel."""
        *channels, KH, KW = self.w.shape[-3:]
        size = [(n - 1) * d + 1 for n, d in zip((KH, KW), self.dilation, strict=True)]
        channels = [n * self.groups for n in channels]
        shape = (*size, *channels) if self.channel_axis == -1 else (*channels, *size)
        return normalise(
            shape, np.dtype(np.float32), self.w.shape, self.w.dtype, None, None, self.stride, 0,
            self.dilation, self.groups, "constant", self.channel_axis, self.method,
        )  # fmt: skip

    def __call__(self, x: ArrayLike, out: Array | None = None) -> Array:
        """Return the correlation of x with the kernels; see `corr2d` for both arguments."""
        bound = self._cache.bound.get((x.shape, x.dtype)) if type(x) is np.ndarray else None
        if bound is None:
            x, bound = self._bound_for(x)
        return bound.run(x, out, self.workers)

    def explain(self, x: ArrayLike) -> Plan:
        """Return the way that a call with x takes, without computing y; as `fastcorr.explain`.

        Parameters
        ----------
        x : array_like
            An image or a batch of them. Only its shape and dtype matter.

        Returns
        -------
        Plan
            Its ``method`` follows from the dtype and the size of one image.

        Raises
        ------
        TypeError, ValueError
            As a call with x.
        """
        return self._bound_for(x)[1].plan

    def _bound_for(self, x):
        """x as an array, and what serves it."""
        x, w, bias = as_arrays(x, self.w, self.bias)
        known = self._cache.bound
        bound = known.get((x.shape, x.dtype))
        if bound is None:
            plan = plan_for(*self._key(x, bias, self._method_for(x, bias)))
            kept = {id(other.weights): other.weights for other in known.values()}
            bound = Bound(plan, w, bias, self.padding_value, kept.values())
            self._keep((x.shape, x.dtype), bound)
        return x, bound

    def _method_for(self, x, bias):
        """The method for images of this size, as if there were but one."""
        if self.method != "auto":
            return self.method
        problem = normalise(*self._key(x, bias, "auto"))
        if x.ndim == 4:
            problem = replace(
                problem, N=1, x_shape=(1, *x.shape[1:]), y_shape=(1, *problem.y_shape[1:])
            )
        return Plan(problem, is_bound=True).for_values(self.w).method

    def _key(self, x, bias, method):
        return problem_key(
            x, self.w, bias, self.stride, self.padding, self.dilation, self.groups,
            self.padding_mode, self.channel_axis, method,
        )  # fmt: skip

    def _keep(self, key, bound):
        known = {**self._cache.bound, key: bound}
        while len(known) > 1 and (len(known) > MOST_SHAPES or _bytes_of(known) > MOST_BYTES):
            del known[next(iter(known))]
        self._cache.bound = known

    def __setattr__(self, name, value):
        raise AttributeError(f"a FilterBank does not change: cannot assign {name}")

    def __delattr__(self, name):
        raise AttributeError(f"a FilterBank does not change: cannot delete {name}")

    def __copy__(self):
        return self

    def __deepcopy__(self, memo):
        return self

    def __reduce__(self):
        return _restored, (self.w, self.bias, {name: getattr(self, name) for name in _DEFAULTS})

    def __eq__(self, other):
        if type(other) is not FilterBank:
            return NotImplemented
        return self._identity() == other._identity()

    def __hash__(self):
        return hash(self._identity())

    def _identity(self):
        arrays = (
            (a.shape, a.dtype, a.tobytes()) if isinstance(a, np.ndarray) else (type(a), a)
            for a in (self.w, self.bias)
        )
        return *arrays, *(repr(getattr(self, name)) for name in _DEFAULTS)

    def __repr__(self):
        text = f"{self.w.shape} {self.w.dtype}"
        if self.bias is not None:
            text += f", bias of {np.result_type(self.bias)}"
        for name, default in _DEFAULTS.items():
            value = getattr(self, name)
            if value != default:
                text += f", {name}={value!r}"
        return f"FilterBank({text})"


def _restored(w, bias, options):
    return FilterBank(w, bias, **options)


def _frozen(array):
    """Return a contiguous copy that cannot be made writeable again."""
    return np.frombuffer(array.tobytes(), array.dtype).reshape(array.shape)


def _bytes_of(known):
    """Bytes of all prepared kernels; those that are shared count once."""
    kept = {id(bound.weights): bound.weights for bound in known.values()}
    return sum(weights.nbytes for weights in kept.values() if weights is not None)
