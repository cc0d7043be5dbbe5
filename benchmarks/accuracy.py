# SPDX-License-Identifier: BSD-3-Clause
"""How accurate is each method, and each other library? In units of u (|x| * |w|).

    python benchmarks/accuracy.py                                    three minutes
    python benchmarks/accuracy.py --cases "64-64@32 3x3" --markdown accuracy.md --json accuracy.json

u is the unit roundoff of the dtype, |x| * |w| the correlation of absolute values: the natural size
of the rounding errors under an output, whatever cancels in it. Every cell is the largest error of
an image and, behind it, the mean. The oracle is independent of fastcorr: sums in float64 for
float32, sums in twice the digits (Ogita, Rump and Oishi 2005, Dot2) for float64. fastcorr promises
16 units on random and on positive data and 64 on hostile data for method='auto' and 'direct'.
"""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
from compare import header, markdown
from peers import LIBRARIES

from benchmarks import cases

CASES = (
    "64-64@32 3x3", "256-256@14 3x3", "512-512@7 3x3", "1024-256@14 1x1", "64-64@28 5x5",
    "6-16@14 5x5 n64", "768-768@7 7x7 dw", "256-256@14 3x3 f64",
    "filter 256 3x3", "filter 256 15x15", "filter 256 63x63", "filter 256 63x63 gauss",
    "filter 256 15x15 f64", "filter 256 63x63 f64",
)  # fmt: skip
METHODS = ("auto", "direct", "winograd", "fft", "separable")
PEERS = ("torch", "onnxruntime", "opencv", "scipy", "fftconvolve", "ndimage")


# The data ----------------------------------------------------------------------------------------


def random(case, x, w):
    return x, w


def positive(case, x, w):
    rng = np.random.default_rng(1)
    x = rng.random(x.shape, dtype=x.dtype)
    return x, w if case.data == "gauss" else rng.random(w.shape, dtype=w.dtype)


def constant(case, x, w):
    """Every rounding goes the same way."""
    return np.full_like(x, 0.7), w if case.data == "gauss" else np.full_like(w, 0.3)


def star(case, x, w):
    """One pixel in each plane, 10^12 times brighter than the sky."""
    x = np.abs(x)
    x[..., x.shape[-2] // 3, x.shape[-1] // 3] = 1e12
    return x, w


KINDS = {function.__name__: function for function in (random, positive, constant, star)}


# The oracle --------------------------------------------------------------------------------------


@dataclass
class Taps:
    """The products under every output, one kernel element after the other."""

    case: cases.Case
    x: np.ndarray  # (N, C, H, W), padded, float64
    w: np.ndarray  # (F, C / G, KH, KW), float64

    @classmethod
    def of(cls, case, x, w):
        x, w = x.reshape(case.x4_shape).astype(float), w.astype(float)
        pads = ((0, 0), (0, 0), *case.pads)
        return cls(case, np.pad(x, pads), w[None, None] if case.is_single else w)

    def _windows(self):
        """(N, C, OH, OW) pixels and (F, C / G) weights for each element of the kernels."""
        _, _, height, width = self.case.y4_shape
        step = self.case.stride
        for ky, kx in np.ndindex(*self.w.shape[2:]):
            rows, columns = slice(ky, ky + step * height, step), slice(kx, kx + step * width, step)
            yield self.x[:, :, rows, columns], self.w[:, :, ky, kx]

    def _grouped(self, pixels, weights):
        """(N, G, 1, C / G, OH, OW) and (G, F / G, C / G), of which y sums the products over C."""
        groups, (n, c, *size) = self.case.groups, pixels.shape
        pixels = pixels.reshape(n, groups, 1, c // groups, *size)
        return pixels, weights.reshape(groups, -1, c // groups)

    def summed(self):
        """y in float64."""
        y = np.zeros(self.case.y4_shape)
        for pixels, weights in map(self._grouped, *zip(*self._windows(), strict=True)):
            y += np.einsum("ngichw,gfc->ngfhw", pixels, weights, optimize=True).reshape(y.shape)
        return y

    def magnitude(self):
        return Taps(self.case, np.abs(self.x), np.abs(self.w)).summed()

    def summed_twice_as_exactly(self):
        """y as a pair of float64 arrays, the second one what the first one rounds off."""
        n, f, *size = self.case.y4_shape
        high = np.zeros((n, self.case.groups, f // self.case.groups, *size))
        low = np.zeros_like(high)
        for pixels, weights in map(self._grouped, *zip(*self._windows(), strict=True)):
            for c in range(pixels.shape[3]):
                product, rest = two_product(pixels[:, :, :, c], weights[..., c, None, None])
                high, rounded = two_sum(high, product)
                low += rounded + rest
        return high.reshape(self.case.y4_shape), low.reshape(self.case.y4_shape)


def two_sum(a, b):
    """The rounded sum and what it rounds off (Knuth)."""
    total = a + b
    part = total - a
    return total, (a - (total - part)) + (b - part)


def two_product(a, b):
    """The rounded product and what it rounds off (Dekker)."""
    product = a * b
    (a1, a2), (b1, b2) = halves(a), halves(b)
    return product, a2 * b2 - (((product - a1 * b1) - a2 * b1) - a1 * b2)


def halves(a):
    """Two numbers of 26 digits that add up to a (Veltkamp)."""
    big = a * (2.0**27 + 1)
    high = big - (big - a)
    return high, a - high


# The table ---------------------------------------------------------------------------------------


def errors(case, y, exact, magnitude):
    """Largest and mean error in units of u (|x| * |w|)."""
    y = y.reshape(case.y4_shape).astype(float)
    high, low = exact
    unit = np.finfo(case.dtype).eps / 2 * magnitude
    error = np.abs((y - high) - low)[magnitude > 0] / unit[magnitude > 0]
    return {"max": float(error.max()), "mean": float(error.mean())}


def calls(case, x, w, libraries):
    """Pairs of a name and a function that returns y."""
    for name, library in libraries.items():
        if not library.supports(case):
            continue
        if name != "fastcorr":
            yield name, partial(result, library, case, x, w)
            continue
        for method in METHODS:
            yield method, partial(result, library, case, x, w, method=method)


def result(library, case, x, w, **keywords):
    return library.to_numpy(case, partial(library.prepare(case, x, w), **keywords)())


def measure(case, kind, libraries):
    """All figures of one case and one kind of data."""
    x, w = KINDS[kind](case, *case.arrays())
    taps = Taps.of(case, x, w)
    exact = taps.summed_twice_as_exactly() if case.dtype == "float64" else (taps.summed(), 0.0)
    magnitude = taps.magnitude()
    row = {"case": case.name, "data": kind, "dtype": case.dtype, "errors": {}, "refused": {}}
    for name, call in calls(case, x, w, libraries):
        try:
            row["errors"][name] = errors(case, call(), exact, magnitude)
        except ValueError as error:
            row["refused"][name] = str(error)
    return row


def cell(figures):
    return f"{figures['max']:.3g} ({figures['mean']:.2g})" if figures else ""


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--cases", nargs="+", metavar="NAME", default=CASES)
    parser.add_argument("--data", nargs="+", choices=KINDS, default=list(KINDS))
    parser.add_argument("--peers", nargs="*", choices=PEERS, default=PEERS)
    parser.add_argument("--json", type=Path, metavar="FILE")
    parser.add_argument("--markdown", type=Path, metavar="FILE")
    args = parser.parse_args()
    libraries = {}
    for name in ("fastcorr", *args.peers):
        try:
            libraries[name] = LIBRARIES[name](1)
        except ImportError as error:
            print(f"{name}: not installed ({error})", file=sys.stderr)
    columns = [*METHODS, *(name for name in libraries if name != "fastcorr")]
    table, rows = [["case", "data", *columns]], []
    print(f"{'case':24}{'data':10}" + "".join(f"{name:>20}" for name in columns))
    for case in map(cases.BY_NAME.__getitem__, args.cases):
        for kind in args.data:
            rows.append(measure(case, kind, libraries))
            cells = [cell(rows[-1]["errors"].get(name)) for name in columns]
            table.append([case.name, kind, *cells])
            print(f"{case.name:24}{kind:10}" + "".join(f"{c:>20}" for c in cells), flush=True)
    about = header({}, 1) | {"versions": {n: library.version for n, library in libraries.items()}}
    if args.json:
        args.json.write_text(json.dumps({"about": about, "rows": rows}, indent=1))
    if args.markdown:
        notes = ["the largest error, and the mean, in units of u (|x| * |w|)"]
        args.markdown.write_text(markdown(about, table, notes))


if __name__ == "__main__":
    main()
