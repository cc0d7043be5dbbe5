# SPDX-License-Identifier: BSD-3-Clause
"""The one list of benchmark cases: the asv suite and compare.py both walk it.

Decides which problems are timed and what is asked of them. Knows nothing of fastcorr, of its
peers or of how time is taken. A new layer is one row in CASES.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

GROUPS = ("multi", "depthwise", "few", "odd", "single", "filters")
DEFAULT_GROUPS = GROUPS[:-1]  # the filters take long, and run when they are asked for

# What a row must show, by its target tag. Every row must also be no slower than its best peer.
TARGETS = {
    "peak85": "at least 85 % of the FMA peak",
    "peak70": "at least 70 % of the FMA peak",
    "neighbour": "at least 85 % of the GFLOP/s of the neighbour row",
    "call": "at most 2.5 us per call",
    "peer": "not slower than the best peer",
}
PEAK_SHARE = {"peak85": 0.85, "peak70": 0.70}
NEIGHBOUR_SHARE = 0.85
CALL_SECONDS = 2.5e-6
MEMORY_PER_THREAD = 2 * 2**20  # bytes above input and output, of the direct method
MEMORY_OF_TRANSFORMS = 64 * 2**20  # in all, of the others

# What is computed of a case, as compare.py --of takes it; "backward" is dx and dw in one call.
OPERATIONS = ("forward", "dx", "dw", "backward")
GRADIENT_PEAK_SHARE = {"peak85": 0.75}
GRADIENT_MEMORY_PER_THREAD = 8 * 2**20
GRADIENT_MEAN_RATIO = 1.5

# The geometric mean of "best peer / fastcorr" that a group must reach.
MEAN_RATIO = {
    ("multi", "float32"): 1.2,
    ("multi", "float64"): 1.5,
    ("depthwise", "float32"): 1.5,
    ("few", "float32"): 1.0,
    ("filters", "float32"): 2.0,
    ("filters", "float64"): 2.0,
}


@dataclass(frozen=True, slots=True)
class Case:
    """One problem: the arguments of ``corr2d`` and what is asked of it."""

    name: str
    group: str
    x_shape: tuple[int, ...]
    w_shape: tuple[int, ...]
    stride: int
    padding: tuple[int, int]  # vertical, horizontal; the same before and after
    dilation: int
    groups: int
    dtype: str
    channel_axis: int | None  # None: channels first; -1: channels last
    target: str
    neighbour: str | None = None  # the round row an odd one is held against
    is_gaussian: bool = False  # w is a product of a column and a row; else it is random
    of: str = "forward"  # one of OPERATIONS

    @property
    def is_single(self) -> bool:
        """One image, one kernel: both are two-dimensional."""
        return len(self.x_shape) == 2

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
            (i + 2 * p - self.dilation * (k - 1) - 1) // self.stride + 1
            for i, k, p in zip(size, kernel, self.padding, strict=True)
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
    def memory_per_thread(self) -> int:
        """Bytes above inputs and outputs that a thread of the direct method may use."""
        return MEMORY_PER_THREAD if self.of == "forward" else GRADIENT_MEMORY_PER_THREAD

    @property
    def least_peak_share(self) -> float:
        return (PEAK_SHARE if self.of == "forward" else GRADIENT_PEAK_SHARE).get(self.target, 0)

    @property
    def keywords(self) -> dict:
        """The keyword arguments of ``corr2d``, those at their default left out."""
        given = {
            "stride": (self.stride, 1),
            "padding": (self.padding, (0, 0)),
            "dilation": (self.dilation, 1),
            "groups": (self.groups, 1),
            "channel_axis": (self.channel_axis, None),
        }
        return {key: value for key, (value, default) in given.items() if value != default}

    def arrays(self) -> tuple[np.ndarray, np.ndarray]:
        """x and w, the same in every process."""
        rng = np.random.default_rng(20240229)
        x = rng.standard_normal(self.x_shape, dtype=self.dtype)
        if self.is_gaussian:
            column, row = self.factors()
            return x, np.outer(column, row)
        w = rng.standard_normal(self.w_shape, dtype=self.dtype)
        return x, w

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


def _layer(
    group, c, f, size, kernel, target="peer", *, stride=1, n=1, groups=1, padding=None,
    dtype="float32", channel_axis=None, neighbour=None,
):  # fmt: skip
    """A row named after its sizes; padding is k // 2 on every side, as in usual networks."""
    kh, kw = (kernel, kernel) if isinstance(kernel, int) else kernel
    if padding is None:
        padding = (kh // 2, kw // 2)
    name = f"{c}-{f}@{size} {kh}x{kw}"
    for tag, shown in (
        (f"s{stride}", stride != 1),
        (f"n{n}", n != 1),
        ("dw", groups == c and groups > 1),
        ("f64", dtype == "float64"),
        ("nhwc", channel_axis == -1),
    ):
        name += f" {tag}" if shown else ""
    x_shape = (n, c, size, size) if channel_axis is None else (n, size, size, c)
    w_shape = (f, c // groups, kh, kw)
    return Case(
        name, group, x_shape, w_shape, stride, padding, 1, groups, dtype, channel_axis,
        target, neighbour,
    )  # fmt: skip


def _depthwise(c, size, kernel, *, stride=1):
    return _layer("depthwise", c, c, size, kernel, stride=stride, groups=c)


def _image(name, size, kernel, target, *, padding):
    return Case(
        name, "single", (size, size), (kernel, kernel), 1, (padding, padding), 1, 1,
        "float32", None, target,
    )  # fmt: skip


def _filter(size, kernel, dtype, is_gaussian):
    """A row of one image and one odd kernel, mode 'same' with fill."""
    name = f"filter {size} {kernel}x{kernel}"
    name += " gauss" if is_gaussian else ""
    name += " f64" if dtype == "float64" else ""
    return Case(
        name, "filters", (size, size), (kernel, kernel), 1, (kernel // 2, kernel // 2), 1, 1,
        dtype, None, "peer", None, is_gaussian,
    )  # fmt: skip


CASES = (
    # ResNet, VGG and U-Net layers
    _layer("multi", 64, 64, 56, 3, "peak85"),
    _layer("multi", 128, 128, 28, 3, "peak85"),
    _layer("multi", 256, 256, 14, 3, "peak70"),
    _layer("multi", 512, 512, 7, 3, "peak70"),
    _layer("multi", 256, 128, 56, 1, "peak85"),
    _layer("multi", 1024, 256, 14, 1, "peak70"),
    _layer("multi", 128, 128, 56, 3, "peak85", stride=2),
    _layer("multi", 64, 64, 224, 3, "peak85"),
    _layer("multi", 128, 128, 112, 3, "peak85"),
    _layer("multi", 128, 128, 28, 3, "peak85", n=16),
    _layer("multi", 64, 64, 56, 3, "peak85", dtype="float64"),
    _layer("multi", 128, 128, 28, 3, "peak85", dtype="float64"),
    _layer("multi", 256, 256, 14, 3, "peak70", dtype="float64"),
    _layer("multi", 256, 128, 56, 1, "peak85", dtype="float64"),
    _layer("multi", 128, 128, 28, 3, "peak85", n=16, dtype="float64"),
    # MobileNet, EfficientNet, ConvNeXt
    _depthwise(32, 112, 3),
    _depthwise(64, 56, 7),
    _depthwise(64, 56, 5),
    _depthwise(64, 112, 3, stride=2),
    # First layers, filter banks, LeNet
    _layer("few", 3, 64, 224, 7, stride=2),
    _layer("few", 3, 16, 512, 11),
    _layer("few", 1, 6, 28, 5, n=64),
    _layer("few", 6, 16, 14, 5, n=64, padding=(0, 0)),
    # Odd sizes, each after the round neighbour that it is held against
    _layer("odd", 64, 64, 32, 3),
    _layer("odd", 48, 80, 35, 3, "neighbour", neighbour="64-64@32 3x3"),
    _layer("odd", 128, 192, 16, 3),
    _layer("odd", 96, 208, 17, 3, "neighbour", neighbour="128-192@16 3x3"),
    _layer("odd", 128, 128, 28, (7, 1), "neighbour", neighbour="128-128@28 3x3"),
    _layer("odd", 128, 128, 28, (1, 7), "neighbour", neighbour="128-128@28 3x3"),
    _layer("odd", 64, 64, 56, 3, "neighbour", channel_axis=-1, neighbour="64-64@56 3x3"),
    _layer("odd", 128, 128, 28, 3, "neighbour", channel_axis=-1, neighbour="128-128@28 3x3"),
    _layer("odd", 256, 128, 56, 1, "neighbour", channel_axis=-1, neighbour="256-128@56 1x1"),
    # The cost of a call
    _image("image 8x8 3x3", 8, 3, "call", padding=0),
    _image("image 8x8 3x3 same", 8, 3, "call", padding=1),
    # Images under filters of every size, separable or not
    *(
        _filter(size, kernel, dtype, is_gaussian)
        for dtype in ("float32", "float64")
        for is_gaussian in (False, True)
        for size in (256, 1024, 4096)
        for kernel in (3, 5, 7, 9, 11, 15, 21, 31, 63)
    ),
)

BY_NAME = {case.name: case for case in CASES}

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
    return [case for case in CASES if case.name in chosen]
