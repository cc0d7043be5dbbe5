# SPDX-License-Identifier: BSD-3-Clause
"""`.. accuracy-table::`: errors of each method in units of u (|x| * |w|), measured at the build."""

import numpy as np
from docutils import nodes
from docutils.parsers.rst import Directive
from tables import table

import fastcorr

LAYER, IMAGE = ((64, 28, 28), (64, 64, 3, 3)), ((256, 256), (25, 25))
METHODS = {LAYER: ("direct", "winograd", "auto"), IMAGE: ("direct", "fft", "auto")}
TITLES = {LAYER: "64 to 64 channels, 3 x 3, 28²", IMAGE: "one image 256², 25 x 25"}


def normal(rng, shape):
    return rng.standard_normal(shape)


def positive(rng, shape):
    return rng.random(shape)


def constant(rng, shape):
    return np.full(shape, 1 / 3)


def star(rng, shape):
    data = rng.random(shape)
    data[..., shape[-2] // 2, shape[-1] // 2] = 1e6
    return data


KINDS = {"normal": normal, "positive": positive, "constant": constant, "a star in x": star}


def errors(x, w, method):
    """Return the largest and the root-mean-square error, in units of u (|x| * |w|)."""
    y = fastcorr.corr2d(x, w, method=method).astype(np.float64)
    x, w = x.astype(np.float64), w.astype(np.float64)
    exact = fastcorr.corr2d(x, w, method="direct")
    units = np.abs(y - exact) / (2.0**-24 * fastcorr.corr2d(np.abs(x), np.abs(w), method="direct"))
    return units.max(), np.sqrt((units**2).mean())


def lines():
    for problem, methods in METHODS.items():
        for name, data in KINDS.items():
            rng = np.random.default_rng(0)
            x = data(rng, problem[0]).astype(np.float32)
            w = (normal if data is star else data)(rng, problem[1]).astype(np.float32)
            for method in methods:
                largest, mean = errors(x, w, method)
                yield TITLES[problem], name, method, f"{largest:.2g}", f"{mean:.2g}"


class AccuracyTable(Directive):
    def run(self):
        rows = [[a, b, nodes.literal(text=repr(m)), c, d] for a, b, m, c, d in lines()]
        return [table(["problem, float32", "data", "method", "largest", "rms"], rows)]


def setup(app):
    app.add_directive("accuracy-table", AccuracyTable)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
