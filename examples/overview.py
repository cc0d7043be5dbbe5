# SPDX-License-Identifier: BSD-3-Clause
"""Draw docs/_static/overview.png, the picture of README.md and of the first page.

    python examples/overview.py [--output docs/_static/overview.png]

A photograph, the direction of its edges under a bank of oriented kernels, and where it looks like a
part of itself: the response of that part. The bank is that of edge_detection.py. It needs the extra
`demo`.
"""

import argparse
from pathlib import Path

import matplotlib
import numpy as np
from edge_detection import OPTIONS, directions_as_colours, oriented_kernels, over_colours
from skimage import data

import fastcorr

matplotlib.use("Agg")
import matplotlib.pyplot as plt
from matplotlib.patches import Circle, Rectangle

DEFAULT = Path(__file__).parent.parent / "docs" / "_static" / "overview.png"
TOP, LEFT, HEIGHT, WIDTH = 70, 180, 90, 80  # the face


def normalised_response(image, pattern):
    """Return the normalised correlation: 1 where the image looks like the pattern."""
    pattern = pattern - pattern.mean()
    ones = np.ones_like(pattern)
    sums = fastcorr.corr2d(image, ones, **OPTIONS)
    variance = fastcorr.corr2d(image**2, ones, **OPTIONS) - sums**2 / pattern.size
    score = fastcorr.corr2d(image, pattern, **OPTIONS)
    return score / (np.sqrt(np.maximum(variance, 1e-3)) * np.linalg.norm(pattern))


def main(arguments=None):
    parser = argparse.ArgumentParser(description="Draw the picture of README.md.")
    parser.add_argument("--output", default=DEFAULT, help="the picture (default: %(default)s)")
    output = parser.parse_args(arguments).output

    photo = data.astronaut()
    x = np.ascontiguousarray(np.moveaxis(photo, -1, 0), dtype=np.float32) / 255
    bank = over_colours(oriented_kernels().reshape(-1, 13, 13))
    lines, edges = fastcorr.corr2d(x, bank, **OPTIONS).reshape(2, -1, *x.shape[1:])
    colours = directions_as_colours(lines, edges)

    grey = x.mean(axis=0).astype(np.float64)
    score = normalised_response(grey, grey[TOP : TOP + HEIGHT, LEFT : LEFT + WIDTH])
    row, column = np.unravel_index(score.argmax(), score.shape)

    figure, axes = plt.subplots(1, 3, figsize=(9, 3.05), dpi=100)
    figure.subplots_adjust(0, 0, 1, 1, wspace=0.02)
    axes[0].imshow(photo)
    axes[0].add_patch(Rectangle((LEFT, TOP), WIDTH, HEIGHT, fill=False, ec="#ff9d2e", lw=2))
    axes[1].imshow(colours)
    axes[2].imshow(score, cmap="magma", vmin=-0.4, vmax=1)
    axes[2].add_patch(Circle((column, row), 22, fill=False, ec="#ff9d2e", lw=2))
    for place in axes:
        place.set_axis_off()
    figure.savefig(output, pil_kwargs={"optimize": True})
    # 128 colours are enough for a picture of this size, and a quarter of the bytes.
    from PIL import Image

    Image.open(output).convert("RGB").quantize(128).save(output, optimize=True)
    plt.close(figure)


if __name__ == "__main__":
    main()
