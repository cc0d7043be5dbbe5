# SPDX-License-Identifier: BSD-3-Clause
"""Tables of what each method serves, made by asking `fastcorr.explain` with that method forced.

    .. capabilities:: dtypes        dtype of x and w, by method
    .. capabilities:: options       option of corr2d, by method

Each method is asked about a problem that it is made for, and then about the same problem with one
thing changed. What it refuses is marked, and its reasons stand below.
"""

import re

import numpy as np
from docutils import nodes
from docutils.parsers.rst import Directive
from tables import table

import fastcorr
from fastcorr._plan import ALGORITHMS

METHODS = tuple(dict.fromkeys(row.method for row in ALGORITHMS))
DTYPES = (
    "bool", "int8", "uint8", "int16", "uint16", "int32", "uint32", "int64", "uint64", "float16",
    "float32", "float64", "longdouble", "complex64", "complex128", "clongdouble",
)  # fmt: skip
YES, NO = "yes", "–"
SIZE = 40


def problem(method, dtype="float32"):
    """Return x and w that a method is made for: many channels for one, low rank for another."""
    channels, size = {"winograd": (64, 3), "separable": (2, 9), "fft": (2, 25)}.get(method, (2, 3))
    x = np.ones((channels, SIZE, SIZE), dtype)
    w = np.ones((channels, channels, size, size), dtype)
    return x, w


def batch(x, w):
    return x[None], w


def grouped(x, w):
    return x, w[:, : len(x) // 2]


def depthwise(x, w):
    return x, w[:, :1]


def channels_last(x, w):
    return np.moveaxis(x, 0, -1), w


def tall_kernel(x, w):
    return x, w[..., :1]


def even_kernel(x, w):
    return x, np.ones((*w.shape[:2], 4, 4), w.dtype)


def one_channel(x, w):
    return x[0], w[0, 0]


OPTIONS = {
    "a batch of images": (batch, {}),
    "one channel, one kernel": (one_channel, {}),
    "bias": (None, {"bias": 1}),
    "stride=2": (None, {"stride": 2}),
    "dilation=2": (None, {"dilation": 2}),
    "groups=2": (grouped, {"groups": 2}),
    "depthwise, groups=C": (depthwise, {"groups": "C"}),
    "channel_axis=-1": (channels_last, {"channel_axis": -1}),
    "padding='same'": (None, {"padding": "same"}),
    "padding='full'": (None, {"padding": "full"}),
    "padding wider than x": (None, {"padding": SIZE + 1}),
    "padding_value=1": (None, {"padding": 1, "padding_value": 1}),
    **{
        f"padding_mode={mode!r}": (None, {"padding": 1, "padding_mode": mode})
        for mode in fastcorr.show_config("dicts")["padding_modes"]
        if mode != "constant"
    },
    "a kernel of one column": (tall_kernel, {}),
    "a kernel of 4 x 4": (even_kernel, {}),
}  # fmt: skip


def refusal(method, x, w, options):
    """Return None, or why the method does not serve this."""
    options = dict(options)
    if options.get("groups") == "C":
        options["groups"] = len(x)
    if "bias" in options:
        options["bias"] = np.ones(len(w), w.dtype)
    try:
        fastcorr.explain(x, w, method=method, **options)
    except ValueError as error:
        text = str(error).partition("(")[2].rpartition(")")[0]
        return text or str(error).partition(": ")[0]
    return None


def by_dtype():
    for dtype in DTYPES:
        yield dtype, [refusal(method, *problem(method, dtype), {}) for method in METHODS]


def by_option():
    for title, (change, options) in OPTIONS.items():
        refusals = []
        for method in METHODS:
            x, w = problem(method)
            if change is not None:
                x, w = change(x, w)
            refusals.append(refusal(method, x, w, options))
        yield title, refusals


class Capabilities(Directive):
    required_arguments = 1

    def run(self):
        kind = self.arguments[0]
        rows = list({"dtypes": by_dtype, "options": by_option}[kind]())
        cells = [
            [nodes.literal(text=title), *(NO if why else YES for why in whys)]
            for title, whys in rows
        ]
        heading = ["dtype" if kind == "dtypes" else "option"]
        heading += [nodes.literal(text=repr(method)) for method in METHODS]
        reasons = {
            (method, re.sub(r", not \w+$", "", why)): None
            for _, whys in rows
            for method, why in zip(METHODS, whys, strict=True)
            if why
        }
        items = nodes.bullet_list()
        for method, why in reasons:
            paragraph = nodes.paragraph()
            paragraph += [nodes.literal(text=repr(method)), nodes.Text(f": {why}")]
            items += nodes.list_item("", paragraph)
        return [
            table(heading, cells),
            nodes.paragraph(text="What stands behind the dashes, in the words of the errors:"),
            items,
        ]


def setup(app):
    app.add_directive("capabilities", Capabilities)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
