# SPDX-License-Identifier: BSD-3-Clause
"""The one list of benchmark cases: the asv suite, compare.py and regret.py walk it.

Decides which problems are timed and what is asked of them. Knows nothing of fastcorr, of its
peers or of how time is taken. A new layer is one row in CASES.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np

from . import networks

# Layers, served by corr2d; then images under one kernel, served by correlate2d; then networks.
LAYERS = ("multi", "depthwise", "few", "odd", "kernels", "banks", "single")
IMAGES = ("filters", "boundary", "whole", "camera")
NETWORKS = tuple(f"{name}{batch}" for name in networks.NETWORKS for batch in ("", "-n8"))
GROUPS = (*LAYERS, *IMAGES, *NETWORKS)
DEFAULT_GROUPS = LAYERS  # the others take long, and run when they are asked for


class Target(NamedTuple):
    """What a row must show. 100 % of the peak is the limit of the definition's operations."""

    ratio: float = 1.0  # time of the best peer / fastcorr's
    peak_share: float = 0.0
    neighbour_share: float = 0.0  # of the GFLOP/s of the neighbour row
    seconds: float = math.inf

    def __str__(self):
        parts = [f"{self.ratio:g} x the best peer"]
        parts += [f"{self.peak_share:.0%} of the peak"] if self.peak_share else []
        parts += [f"{self.neighbour_share:.0%} of its neighbour"] if self.neighbour_share else []
        parts += [f"{self.seconds * 1e6:g} us"] if self.seconds < math.inf else []
        return ", ".join(parts)


TARGETS = {
    "peer": Target(),
    "2x": Target(ratio=2.0),
    "1.5x": Target(ratio=1.5),
    "peak70": Target(peak_share=0.70),
    "peak85": Target(peak_share=0.85),
    "peak150": Target(ratio=2.0, peak_share=1.50),  # 3x3 at stride 1, by Winograd
    "peak190": Target(ratio=2.0, peak_share=1.90),
    "neighbour": Target(neighbour_share=0.85),
    "call": Target(seconds=2.5e-6),
}
MEMORY_PER_THREAD = 2 * 2**20  # bytes above input and output, of the direct method
MEMORY_OF_TRANSFORMS = 64 * 2**20  # in all, of the others

# What is computed of a case, as compare.py --of takes it; "backward" is dx and dw in one call.
OPERATIONS = ("forward", "dx", "dw", "backward")
# What a gradient must show instead, where a target has a share of the peak.
GRADIENT_TARGETS = {
    "peak70": Target(),
    "peak85": Target(peak_share=0.75),
    "peak150": Target(ratio=2.0, peak_share=0.75),
    "peak190": Target(ratio=2.0, peak_share=0.75),
}
GRADIENT_MEMORY_PER_THREAD = 8 * 2**20
GRADIENT_MEAN_RATIO = 1.5

# The geometric mean of "best peer / fastcorr" that a group must reach.
MEAN_RATIO = {
    ("multi", "float32"): 1.5,
    ("multi", "float64"): 1.5,
    ("depthwise", "float32"): 1.5,
    ("few", "float32"): 1.0,
    ("filters", "float32"): 2.0,
    ("filters", "float64"): 2.0,
}
BANK_RATIO = {("multi", "float32"): 1.8}  # the same of FilterBank, beside ONNX Runtime
SCIPY_RATIO = 20  # of every filter, to scipy.signal.correlate2d


@dataclass(frozen=True, slots=True)
class Case:
    """One problem: the arguments of ``corr2d`` or ``correlate2d`` and what is asked of it."""

    name: str
    group: str
    x_shape: tuple[int, ...]
    w_shape: tuple[int, ...]
    stride: int = 1
    padding: tuple[int, int] = (0, 0)  # vertical, horizontal; the same before and after
    dilation: int = 1
    groups: int = 1
    dtype: str = "float32"  # of w and of the result
    channel_axis: int | None = None  # None: channels first; -1: channels last
    target: str = "peer"  # a key of TARGETS
    neighbour: str | None = None  # the row that this one is held against
    data: str = "random"  # w: "random", "gauss" (a column times a row) or "gabor"
    mode: str | None = None  # "same" or "full": an image for correlate2d; None: a layer for corr2d
    boundary: str = "fill"  # of an image: "fill", "wrap" or "symm"
    x_dtype: str | None = None  # where it is not that of w
    times: int = 1  # how often its network has this layer
    of: str = "forward"  # one of OPERATIONS

    @property
    def is_single(self) -> bool:
        """One image, one kernel: both are two-dimensional."""
        return len(self.x_shape) == 2

    @property
    def pads(self) -> tuple[tuple[int, int], tuple[int, int]]:
        """((top, bottom), (left, right)), whatever asks for them."""
        if self.mode == "full":
            return tuple((k - 1, k - 1) for k in self.w_shape)
        if self.mode == "same":
            return tuple(((k - 1) // 2, k // 2) for k in self.w_shape)
        return tuple((p, p) for p in self.padding)

    @property
    def x4_shape(self) -> tuple[int, ...]:
        """(N, C, H, W), whatever the rank and the layout of x."""
        if self.is_single:
            return (1, 1, *self.x_shape)
        if self.channel_axis == -1:
            n, h, w, c = self.x_shape
            return (n, c, h, w)
        return self.x_shape

    @property
    def y4_shape(self) -> tuple[int, ...]:
        """(N, F, OH, OW)."""
        n, _, *size = self.x4_shape
        kernel = self.w_shape[-2:]
        out = (
            (i + sum(p) - self.dilation * (k - 1) - 1) // self.stride + 1
            for i, k, p in zip(size, kernel, self.pads, strict=True)
        )
        return (n, 1 if self.is_single else self.w_shape[0], *out)

    @property
    def y_shape(self) -> tuple[int, ...]:
        """The shape of y in the rank and the layout of x."""
        n, f, *size = self.y4_shape
        if self.is_single:
            return tuple(size)
        return (n, f, *size) if self.channel_axis is None else (n, *size, f)

    @property
    def flops(self) -> int:
        """Multiplications and additions of the direct sum: 2·N·F·(C/G)·KH·KW·OH·OW."""
        products_per_pixel = int(np.prod(self.w_shape[-3:]))  # (C/G)·KH·KW
        sums = 2 if self.of == "backward" else 1
        return sums * 2 * products_per_pixel * int(np.prod(self.y4_shape))

    @property
    def wanted(self) -> Target:
        """What the row must show."""
        if self.of == "forward":
            return TARGETS[self.target]
        return GRADIENT_TARGETS.get(self.target, Target())

    @property
    def memory_per_thread(self) -> int:
        """Bytes above inputs and outputs that a thread of the direct method may use."""
        return MEMORY_PER_THREAD if self.of == "forward" else GRADIENT_MEMORY_PER_THREAD

    @property
    def keywords(self) -> dict:
        """The keyword arguments of ``corr2d``, those at their default left out."""
        mode = {"fill": "constant", "wrap": "wrap", "symm": "symmetric"}[self.boundary]
        given = {
            "stride": (self.stride, 1),
            "padding": (self.padding if self.mode is None else self.pads, (0, 0)),
            "padding_mode": (mode, "constant"),
            "dilation": (self.dilation, 1),
            "groups": (self.groups, 1),
            "channel_axis": (self.channel_axis, None),
        }
        return {key: value for key, (value, default) in given.items() if value != default}

    def arrays(self) -> tuple[np.ndarray, np.ndarray]:
        """x and w, the same in every process."""
        rng = np.random.default_rng(20240229)
        if self.x_dtype is None:
            x = rng.standard_normal(self.x_shape, dtype=self.dtype)
        else:  # the counts of a camera
            x = rng.integers(0, np.iinfo(self.x_dtype).max, self.x_shape, dtype=self.x_dtype)
        if self.data == "gauss":
            return x, np.outer(*self.factors())
        if self.data == "gabor":
            return x, gabor_bank(self.w_shape).astype(self.dtype)
        return x, rng.standard_normal(self.w_shape, dtype=self.dtype)

    def dy(self) -> np.ndarray:
        """The gradient by y, the same in every process."""
        rng = np.random.default_rng(20240301)
        return rng.standard_normal(self.y_shape, dtype=self.dtype)

    def factors(self) -> tuple[np.ndarray, np.ndarray]:
        """The column and the row of a Gaussian kernel that spans three standard deviations."""
        column, row = (
            np.exp(-0.5 * np.linspace(-3, 3, k, dtype=np.float64) ** 2) for k in self.w_shape
        )
        return (column / column.sum()).astype(self.dtype), (row / row.sum()).astype(self.dtype)


def gabor_bank(shape) -> np.ndarray:
    """F waves under elliptic windows, in eight directions; their wavelengths fit the kernel."""
    f, _, kh, kw = shape
    y, x = np.mgrid[:kh, :kw].astype(float)
    y, x = y - (kh - 1) / 2, x - (kw - 1) / 2
    bank = np.empty(shape)
    for i in range(f):
        angle, wavelength = np.pi * (i % 8) / 8, kw / (2 + i // 8)
        along = x * np.cos(angle) + y * np.sin(angle)
        across = y * np.cos(angle) - x * np.sin(angle)
        window = np.exp(-(along**2 + 0.25 * across**2) / (0.6 * wavelength) ** 2)
        bank[i] = window * np.cos(2 * np.pi * along / wavelength)
    return bank


def _layer(
    group, c, f, size, kernel, target="peer", *, stride=1, n=1, groups=1, padding=None,
    dtype="float32", channel_axis=None, neighbour=None, data="random", times=1,
):  # fmt: skip
    """A row named after its sizes; padding is k // 2 on every side, as in usual networks."""
    kh, kw = (kernel, kernel) if isinstance(kernel, int) else kernel
    if padding is None:
        padding = (kh // 2, kw // 2)
    name = f"{group} " if group in NETWORKS else ""
    name += f"{c}-{f}@{size} {kh}x{kw}"
    for tag, shown in (
        (f"s{stride}", stride != 1),
        (f"n{n}", n != 1),
        ("dw", groups == c and groups > 1),
        ("f64", dtype == "float64"),
        ("nhwc", channel_axis == -1),
        (data, data != "random"),
    ):
        name += f" {tag}" if shown else ""
    return Case(
        name, group,
        x_shape=(n, c, size, size) if channel_axis is None else (n, size, size, c),
        w_shape=(f, c // groups, kh, kw), stride=stride, padding=padding, groups=groups,
        dtype=dtype, channel_axis=channel_axis, target=target, neighbour=neighbour, data=data,
        times=times,
    )  # fmt: skip


def _depthwise(c, size, kernel, **options):
    return _layer("depthwise", c, c, size, kernel, groups=c, **options)


def _small(name, padding):
    """The cost of a call."""
    return Case(name, "single", (8, 8), (3, 3), padding=(padding, padding), target="call")


def _filter(size, kernel, dtype="float32", data="random"):
    """A row of one image and one odd kernel, mode 'same' with fill."""
    name = f"filter {size} {kernel}x{kernel}"
    name += " gauss" if data == "gauss" else ""
    name += " f64" if dtype == "float64" else ""
    return Case(
        name, "filters", (size, size), (kernel, kernel), dtype=dtype, data=data, mode="same"
    )


def _like_filter(group, tag, size, kernel, dtype="float32", **options):
    """A row that must be about as fast as the filter of the same sizes."""
    beside = _filter(size, kernel, dtype)
    return replace(
        beside, name=beside.name.replace("filter", tag), group=group, target="neighbour",
        neighbour=beside.name, **options,
    )  # fmt: skip


def _whole(size, mode, boundary, dtype):
    """A kernel as large as the image."""
    name = f"whole {size} {mode} {boundary}" + (" f64" if dtype == "float64" else "")
    return Case(
        name, "whole", (size, size), (size, size), dtype=dtype, target="1.5x", mode=mode,
        boundary=boundary,
    )  # fmt: skip


def _network(name, n):
    group = f"{name}-n{n}" if n > 1 else name
    for times, *sizes, stride in networks.NETWORKS[name]:
        yield _layer(group, *sizes, stride=stride, n=n, times=times)


CASES = (
    # ResNet, VGG and U-Net layers
    _layer("multi", 64, 64, 56, 3, "peak150"),
    _layer("multi", 128, 128, 28, 3, "peak150"),
    _layer("multi", 256, 256, 14, 3, "peak70"),
    _layer("multi", 512, 512, 7, 3, "peak70"),
    _layer("multi", 256, 128, 56, 1, "peak85"),
    _layer("multi", 1024, 256, 14, 1, "peak70"),
    _layer("multi", 128, 128, 56, 3, "peak85", stride=2),
    _layer("multi", 64, 64, 224, 3, "peak150"),
    _layer("multi", 128, 128, 112, 3, "peak190"),
    _layer("multi", 128, 128, 28, 3, "peak190", n=16),
    _layer("multi", 64, 64, 56, 3, "peak150", dtype="float64"),
    _layer("multi", 128, 128, 28, 3, "peak150", dtype="float64"),
    _layer("multi", 256, 256, 14, 3, "peak70", dtype="float64"),
    _layer("multi", 256, 128, 56, 1, "peak85", dtype="float64"),
    _layer("multi", 128, 128, 28, 3, "peak150", n=16, dtype="float64"),
    # MobileNet, EfficientNet, ConvNeXt
    _depthwise(32, 112, 3),
    _depthwise(64, 56, 7),
    _depthwise(64, 56, 5),
    _depthwise(64, 112, 3, stride=2),
    *(
        _depthwise(*sizes, channel_axis=axis)
        for sizes in ((144, 28, 5), (512, 14, 3), (768, 7, 7))
        for axis in (None, -1)
    ),
    _depthwise(32, 112, 3, channel_axis=-1),
    _depthwise(96, 56, 7, channel_axis=-1),
    # First layers, LeNet
    _layer("few", 3, 64, 224, 7, stride=2),
    _layer("few", 3, 16, 512, 11),
    _layer("few", 1, 6, 28, 5, n=64),
    _layer("few", 6, 16, 14, 5, n=64, padding=(0, 0)),
    # Odd sizes, each after the round neighbour that it is held against
    _layer("odd", 64, 64, 32, 3),
    _layer("odd", 48, 80, 35, 3, "neighbour", neighbour="64-64@32 3x3"),
    _layer("odd", 128, 192, 16, 3),
    _layer("odd", 96, 208, 17, 3, "neighbour", neighbour="128-192@16 3x3"),
    _layer("odd", 128, 128, 28, (7, 1)),
    _layer("odd", 128, 128, 28, (1, 7), "neighbour", neighbour="128-128@28 7x1"),
    _layer("odd", 64, 64, 56, 3, "neighbour", channel_axis=-1, neighbour="64-64@56 3x3"),
    _layer("odd", 128, 128, 28, 3, "neighbour", channel_axis=-1, neighbour="128-128@28 3x3"),
    _layer("odd", 256, 128, 56, 1, "neighbour", channel_axis=-1, neighbour="256-128@56 1x1"),
    # Many channels under other kernels: Inception, AlexNet, SqueezeNet's and GAN's even ones
    _layer("kernels", 64, 64, 28, 5),
    _layer("kernels", 48, 128, 27, 5),
    _layer("kernels", 160, 192, 17, (1, 7)),
    _layer("kernels", 160, 192, 17, (7, 1)),
    _layer("kernels", 64, 64, 56, (3, 1)),
    _layer("kernels", 64, 64, 56, 7),
    _layer("kernels", 64, 128, 56, 4, stride=2, padding=(1, 1)),
    # Filter banks
    _layer("banks", 1, 32, 512, 31, "2x", data="gabor"),
    _layer("banks", 1, 32, 512, 31, "2x"),
    _layer("banks", 3, 16, 1024, 21, "2x"),
    # The cost of a call
    _small("image 8x8 3x3", 0),
    _small("image 8x8 3x3 same", 1),
    # Images under filters of every size, separable or not
    *(
        _filter(size, kernel, dtype, data)
        for dtype in ("float32", "float64")
        for data in ("random", "gauss")
        for size in (256, 1024, 4096)
        for kernel in (3, 5, 7, 9, 11, 15, 21, 31, 63)
    ),
    # Other boundaries, held against zeros outside
    *(
        _like_filter("boundary", boundary, size, kernel, dtype, boundary=boundary)
        for dtype, sizes in (("float32", (256, 1024, 4096)), ("float64", (1024,)))
        for size in sizes
        for kernel in (3, 7, 15, 31)
        for boundary in ("wrap", "symm")
    ),
    # Kernels as large as the image: autocorrelation, registration
    *(
        _whole(size, mode, boundary, dtype)
        for dtype, sizes in (("float32", (512, 1024)), ("float64", (512, 1024, 4096)))
        for size in sizes
        for mode, boundary in (("full", "fill"), ("same", "wrap"))
    ),
    # Images as cameras and microscopes give them, under kernels of floating point
    *(
        _like_filter("camera", x_dtype, size, kernel, x_dtype=x_dtype)
        for x_dtype in ("uint8", "uint16")
        for size in (1024, 4096)
        for kernel in (3, 7, 15, 31)
    ),
    *(case for name in networks.NETWORKS for n in (1, 8) for case in _network(name, n)),
)

BY_NAME = {case.name: case for case in CASES}
assert len(BY_NAME) == len(CASES)

# The layers that compare.py --scaling times on 1, 2, 4, ... threads.
SCALING = (
    "64-64@56 3x3",
    "128-128@28 3x3",
    "256-256@14 3x3",
    "512-512@7 3x3",
    "256-128@56 1x1",
    "128-128@112 3x3",
    "128-128@28 3x3 n16",
    "128-128@28 3x3 f64",
    "64-64@56 7x7 dw",
)


def random_layers(count, seed=0) -> list[Case]:
    """Problems of any size and kind, drawn evenly in the logarithm of their sizes."""
    rng = np.random.default_rng(seed)

    def draw(low, high):
        return round(math.exp(rng.uniform(math.log(low), math.log(high))))

    rows = []
    while len(rows) < count:
        kind = ("image", "layer", "depthwise", "few")[len(rows) % 4]
        kernel = (draw(1, 64), draw(1, 64)) if kind in ("image", "few") else (draw(1, 8),) * 2
        size = (draw(16, 2048), draw(16, 2048)) if kind == "image" else (draw(7, 256),) * 2
        c, f = {"image": (1, 1), "few": (draw(1, 8), draw(1, 32))}.get(
            kind, (draw(8, 512), draw(8, 512))
        )
        groups = c if kind == "depthwise" else 1
        f = c if kind == "depthwise" else f
        case = Case(
            f"random {seed}.{len(rows)} {c}-{f}@{size[0]}x{size[1]} {kernel[0]}x{kernel[1]}"
            + (" dw" if groups > 1 else ""),
            "random", (1, c, *size), (f, c // groups, *kernel), groups=groups,
            padding=(kernel[0] // 2, kernel[1] // 2), dtype=("float32", "float64")[rng.integers(2)],
        )  # fmt: skip
        if case.flops <= 5e9:
            rows.append(case)
    return rows


def select(patterns) -> list[Case]:
    """The rows of a group, of that name or with that text in their name, and their neighbours."""
    chosen = set()
    for pattern in patterns:
        exact = {c.name for c in CASES if pattern in (c.group, c.name)}
        found = exact or {c.name for c in CASES if pattern in c.name}
        if not found:
            raise ValueError(f"no case or group is called {pattern!r}; groups: {', '.join(GROUPS)}")
        chosen |= found
    chosen |= {BY_NAME[name].neighbour for name in chosen}
    order = {case.name: i for i, case in enumerate(CASES)}  # a neighbour just before its first row
    rows = [case for case in CASES if case.name in chosen]
    return sorted(rows, key=lambda case: order[case.neighbour or case.name])
