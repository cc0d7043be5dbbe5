# SPDX-License-Identifier: BSD-3-Clause
"""Edges and directions in two real photographs, and the time they take beside SciPy.

    python examples/edge_detection.py [--output edges.png]

1. A photograph of one channel: the vertical- and horizontal-edge kernels [1, -1] of "Dive into Deep
   Learning", chapter 7.2.
2. A photograph of three colour channels: these two and a bank of 24 oriented filters (Gabor: a wave
   under a bell, in 12 directions, each with a crest and with an edge in its middle), in one call.
3. The same numbers by scipy.signal.correlate2d.

It needs the extra `demo`: scikit-image, whose wheel holds the photographs, and Matplotlib.
"""

import argparse
import time

import matplotlib
import numpy as np
from scipy.signal import correlate2d
from skimage import data

import fastcorr

matplotlib.use("Agg")
import matplotlib.pyplot as plt
from matplotlib.colors import hsv_to_rgb

DIRECTIONS = 12
ANGLES = np.pi * np.arange(DIRECTIONS) / DIRECTIONS
BRIGHTNESS = np.array([0.299, 0.587, 0.114])  # of red, green and blue
TITLE = {"loc": "left", "fontsize": 10.5, "color": "0.15"}
OPTIONS = {"padding": "same", "padding_mode": "reflect"}


def edge_kernels():
    """Return the book's kernels (2, 2, 2): vertical edges, horizontal edges."""
    vertical = np.array([[1, -1], [0, 0]])  # the row of zeros makes both of one size
    return np.stack([vertical, vertical.T])


def oriented_kernels(size=13, wavelength=6.5, sigma=2.6):
    """Return the bank (2, DIRECTIONS, size, size): filters for lines, filters for edges.

    Filter t sees lines and edges whose normal points to the angle ANGLES[t].
    """
    reach = np.arange(size) - size // 2
    y, x = np.meshgrid(reach, reach, indexing="ij")
    across = x * np.cos(ANGLES)[:, None, None] - y * np.sin(ANGLES)[:, None, None]
    bell = np.exp(-(x**2 + y**2) / (2 * sigma**2))
    lines = bell * np.cos(2 * np.pi * across / wavelength)
    lines -= bell * lines.sum(axis=(1, 2), keepdims=True) / bell.sum()  # blind to plain areas
    edges = bell * np.sin(2 * np.pi * across / wavelength)
    bank = np.stack([lines, edges])
    return bank / np.abs(bank).sum(axis=(2, 3), keepdims=True)


def over_colours(kernels):
    """Return kernels (F, 3, KH, KW) that see the brightness of a colour image."""
    return (kernels[:, None] * BRIGHTNESS[:, None, None]).astype(np.float32)


def scipy_correlate(x, w):
    """Return the same by SciPy: one channel and one kernel at a time, then the sum over channels.

    It knows no reflected border, so that is made beforehand.
    """
    border = fastcorr.same_padding(x.shape[1:], w.shape[2:])
    x = np.pad(x, ((0, 0), *border), "reflect")
    return np.stack([
        sum(correlate2d(image, part, mode="valid") for image, part in zip(x, kernel, strict=True))
        for kernel in w
    ])  # fmt: skip


def timed(call, seconds):
    """Return the result of a call, and the time of the fastest of those that fit in `seconds`."""
    best, end = np.inf, time.perf_counter() + seconds
    while True:
        start = time.perf_counter()
        result = call()
        now = time.perf_counter()
        best = min(best, now - start)
        if now > end:
            return result, best


def correlate(title, x, w):
    """Correlate by fastcorr and by SciPy, tell what happened, and return y and the two times."""
    plan = fastcorr.explain(x, w, **OPTIONS)
    y, ours = timed(lambda: fastcorr.corr2d(x, w, **OPTIONS), 0.5)
    expected, theirs = timed(lambda: scipy_correlate(x, w), 0.1)
    largest = np.abs(expected).max()
    np.testing.assert_allclose(y, expected, rtol=0, atol=2e-6 * largest)
    print(
        f"{title}\n"
        f"  x {x.shape} with w {w.shape} -> y {y.shape}, {y.dtype}\n"
        f"  method {plan.method!r} ({plan.algorithm}), kernel {plan.kernel}\n"
        f"  fastcorr {1e3 * ours:9.2f} ms on {fastcorr.get_workers()} threads, "
        f"{plan.flops / ours / 1e9:.0f} GFLOP/s\n"
        f"  SciPy    {1e3 * theirs:9.2f} ms, the same numbers "
        f"to {np.abs(y - expected).max() / largest:.0e} of the largest\n"
        f"  ratio    {theirs / ours:9.0f}"
    )
    return y, ours, theirs


def directions_as_colours(lines, edges):
    """Return an RGB image: the hue is the direction, the brightness the strength of an edge."""
    energy = lines**2 + edges**2
    total = energy.sum(axis=0)
    mean = np.tensordot(np.exp(2j * ANGLES), energy, axes=1)  # doubled: t and t + pi are the same
    hue = np.angle(mean) / (2 * np.pi) % 1
    purity = np.abs(mean) / np.maximum(total, 1e-12)
    strength = np.sqrt(total)
    strength = np.clip(strength / np.percentile(strength, 99.3), 0, 1) ** 0.6
    return hsv_to_rgb(np.stack([hue, 0.85 * purity**0.5, strength], axis=-1))


def draw_image(figure, box, image, title, **options):
    axes = figure.add_axes(box)
    axes.imshow(image, **options)
    axes.set_axis_off()
    axes.set_title(title, **TITLE)
    return axes


def draw_edges(figure, box, y, title):
    """Draw signed numbers: blue below zero, red above, white at zero."""
    limit = np.percentile(np.abs(y), 98.5)
    draw_image(figure, box, y, title, cmap="RdBu_r", vmin=-limit, vmax=limit)


def draw_ring(figure, box, bank, n_filters, ours, theirs):
    """Draw the bank as a ring, each filter at its direction and in the colour of that direction.

    Right: the filters for lines, left: those for edges.
    """
    left, bottom, width, height = box
    axes = figure.add_axes(box)
    axes.set_axis_off()
    axes.set_title("the bank, and what the colours mean", **TITLE)
    kernel = "x".join(map(str, bank.shape[2:]))
    for y, size, text in (
        (0.62, 10.5, f"{n_filters} filters, {kernel} pixels, 3 colours"),
        (0.50, 30, f"{theirs / ours:.0f}×"),
        (0.36, 10.5, f"SciPy {1e3 * theirs:.0f} ms\nfastcorr {1e3 * ours:.1f} ms"),
    ):
        axes.text(0.5, y, text, size=size, ha="center", va="center", color="0.15", linespacing=1.5)
    side = 0.13
    for i in range(2 * DIRECTIONS):
        kind, t = divmod(i, DIRECTIONS)
        is_on_the_right = t < DIRECTIONS / 2
        angle = ANGLES[t] + np.pi * (kind == is_on_the_right)
        level = bank[kind, t] / np.abs(bank[kind, t]).max()
        colour = hsv_to_rgb((t / DIRECTIONS, 0.85, 0.9))
        image = np.empty((*level.shape, 4))
        image[..., :3] = np.where(level[..., None] > 0, colour, 0.15)
        image[..., 3] = np.abs(level)
        x, y = 0.5 + 0.42 * np.cos(angle), 0.5 + 0.42 * np.sin(angle)
        small = figure.add_axes((
            left + (x - side / 2) * width, bottom + (y - side / 2) * height,
            side * width, side * height,
        ))  # fmt: skip
        small.imshow(image, interpolation="nearest")
        small.set_axis_off()


def save_picture(path, camera, camera_edges, astronaut, responses, bank, ours, theirs):
    """Save the six panels as one PNG."""
    figure = plt.figure(figsize=(12.6, 8.9), dpi=130, facecolor="white")
    width, height = 0.305, 0.305 * 12.6 / 8.9
    lefts, top, bottom = (0.02, 0.3475, 0.675), 0.525, 0.035
    boxes = [[(left, y, width, height) for left in lefts] for y in (top, bottom)]
    draw_image(figure, boxes[0][0], camera, "a photograph, 512 x 512", cmap="gray")
    draw_edges(figure, boxes[0][1], camera_edges[0], "vertical edges: [1, -1]")
    draw_edges(figure, boxes[0][2], camera_edges[1], "horizontal edges: the same, transposed")
    draw_image(figure, boxes[1][0], astronaut, "a photograph, 512 x 512 x 3 colours")
    lines, edges = responses[2:].reshape(2, DIRECTIONS, *astronaut.shape[:2])
    colours = directions_as_colours(lines, edges)
    draw_image(figure, boxes[1][1], colours, "direction and strength of its edges")
    draw_ring(figure, boxes[1][2], bank, len(responses), ours, theirs)
    figure.savefig(path)
    plt.close(figure)


def main(arguments=None):
    parser = argparse.ArgumentParser(description="Edges and directions in two photographs.")
    parser.add_argument("--output", default="edges.png", help="the picture (default: %(default)s)")
    output = parser.parse_args(arguments).output

    camera, astronaut = data.camera(), data.astronaut()
    book, bank = edge_kernels(), oriented_kernels()
    x = camera[None].astype(np.float32) / 255
    camera_edges, *_ = correlate(
        "camera: vertical and horizontal edges", x, np.float32(book)[:, None]
    )

    # One call: the book's kernels stand in the middle of the larger ones.
    centre = (bank.shape[-1] - 1) // 2
    kernels = np.zeros((2 + 2 * DIRECTIONS, *bank.shape[2:]))
    kernels[:2, centre : centre + 2, centre : centre + 2] = book
    kernels[2:] = bank.reshape(-1, *bank.shape[2:])
    x = np.ascontiguousarray(np.moveaxis(astronaut, -1, 0), dtype=np.float32) / 255
    responses, ours, theirs = correlate(
        f"astronaut: {len(kernels)} filters over the colour channels", x, over_colours(kernels)
    )
    save_picture(output, camera, camera_edges, astronaut, responses, bank, ours, theirs)
    print(f"picture in {output}")


if __name__ == "__main__":
    main()
