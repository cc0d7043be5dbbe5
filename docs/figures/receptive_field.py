# SPDX-License-Identifier: BSD-3-Clause
"""The receptive field of one output through two layers of 3x3 kernels."""

import matplotlib.pyplot as plt
from drawing import BLUE, GREEN, ORANGE, PALE_BLUE, PALE_GREEN, PALE_ORANGE, finish, frame, grid

import fastcorr

LAYERS = [{"kernel_size": 3}, {"kernel_size": 3}]
OUTPUT, SIZES = (1, 2), (9, 7, 5)
COLOURS = ((BLUE, PALE_BLUE), (GREEN, PALE_GREEN), (ORANGE, PALE_ORANGE))
TITLES = ("input", "first feature map", "second feature map")


def region(depth):
    """Slices of the map behind `depth` layers that the output sees."""
    layers = LAYERS[depth:]
    if not layers:
        return tuple(slice(k, k + 1) for k in OUTPUT)
    size = SIZES[depth]
    return fastcorr.receptive_field(layers, (size, size)).region(*OUTPUT)


figure, axes = plt.subplots(figsize=(8, 3.4), layout="constrained")
column = 0
for depth, (size, (strong, pale), title) in enumerate(zip(SIZES, COLOURS, TITLES, strict=True)):
    rows, columns = region(depth)
    top = (9 - size) / 2
    grid(
        axes,
        [[""] * size for _ in range(size)],
        at=(top, column),
        face=lambda r, c, rows=rows, columns=columns, pale=pale: (
            pale if rows.start <= r < rows.stop and columns.start <= c < columns.stop else "white"
        ),
        title=title,
    )
    height, width = rows.stop - rows.start, columns.stop - columns.start
    frame(axes, top + rows.start, column + columns.start, height, width, strong)
    column += size + 2.5
finish(axes)
