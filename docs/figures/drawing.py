# SPDX-License-Identifier: BSD-3-Clause
"""What the figures of the site share: colours, grids of numbers, pictures without axes."""

from matplotlib.patches import Rectangle

BLUE, ORANGE, GREEN, RED, GREY = "#1f6fb4", "#e07b00", "#2f8f4e", "#c23b3b", "#8a8f98"
PALE_BLUE, PALE_ORANGE, PALE_GREEN, PALE_GREY = "#d6e6f5", "#fde4c8", "#d8eedd", "#eef0f2"


def picture(axes, image, title="", **options):
    axes.imshow(image, **{"cmap": "gray", "interpolation": "nearest", **options})
    axes.set_xticks([])
    axes.set_yticks([])
    for spine in axes.spines.values():
        spine.set_visible(False)
    axes.set_title(title, fontsize=10)


def cell(axes, row, column, text="", face="white", **options):
    """Draw one number of a grid; rows run downwards."""
    axes.add_patch(
        Rectangle((column, -row - 1), 1, 1, facecolor=face, edgecolor="0.45", lw=0.7, **options)
    )
    axes.text(column + 0.5, -row - 0.5, text, ha="center", va="center", fontsize=9)


def grid(axes, values, at=(0, 0), face="white", title=""):
    """Draw a matrix of numbers or texts; `face` is a colour or a function of (row, column)."""
    for row, line in enumerate(values):
        for column, value in enumerate(line):
            colour = face(row, column) if callable(face) else face
            cell(axes, at[0] + row, at[1] + column, value, colour)
    axes.text(
        at[1] + len(values[0]) / 2, -at[0] + 0.35, title, ha="center", va="bottom", fontsize=9.5
    )


def frame(axes, row, column, height, width, colour, **options):
    """Draw a frame around a window of a grid."""
    axes.add_patch(
        Rectangle(
            (column, -row - height), width, height, fill=False, edgecolor=colour, lw=2.2, **options
        )
    )


def finish(axes):
    """Fit the view to what was drawn, with square cells and no axes."""
    axes.set_aspect("equal")
    axes.autoscale_view()
    axes.margins(0.03)
    axes.set_axis_off()
