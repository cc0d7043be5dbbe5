# SPDX-License-Identifier: BSD-3-Clause
"""asv: `correlate2d` on one image, also beside SciPy's functions, which every user has."""

from __future__ import annotations

import scipy.fft
import scipy.signal

import fastcorr

from .cases import BY_NAME
from .timing import best_seconds, warm_up

FILTERS = [f"filter 1024 {k}x{k}" for k in (3, 7, 15, 31, 63)]
FILTERS = [f"{name}{tag}" for tag in ("", " gauss", " f64") for name in FILTERS]
OTHERS = ["wrap 1024 7x7", "symm 1024 7x7", "uint8 1024 7x7", "uint16 1024 7x7"]
OTHERS += ["whole 512 full fill f64", "whole 512 same wrap f64"]
SHORT = [name for name in FILTERS if BY_NAME[name].flops < 5e8]  # SciPy takes less than 0.5 s


class Image:
    param_names = ("case",)
    timeout = 120
    rounds = 1  # one process for each case

    def setup(self, name):
        self.case = BY_NAME[name]
        self.x, self.w = self.case.arrays()
        warm_up(self.call)

    def call(self):
        return fastcorr.correlate2d(self.x, self.w, self.case.mode, self.case.boundary)

    def times_faster(self, other):
        """Their time by ours."""
        return best_seconds(other) / best_seconds(self.call)


class Correlate2d(Image):
    params = ([*FILTERS, *OTHERS],)

    def time_correlate2d(self, name):
        self.call()


class BesideCorrelate2d(Image):
    params = (SHORT,)

    def track_times_faster_than_correlate2d(self, name):
        return self.times_faster(lambda: scipy.signal.correlate2d(self.x, self.w, "same"))

    track_times_faster_than_correlate2d.unit = "x scipy.signal.correlate2d"


class BesideFFT(Image):
    params = (FILTERS,)

    def track_times_faster_than_fftconvolve(self, name):
        flipped = self.w[::-1, ::-1]
        with scipy.fft.set_workers(fastcorr.get_workers()):
            return self.times_faster(lambda: scipy.signal.fftconvolve(self.x, flipped, "same"))

    track_times_faster_than_fftconvolve.unit = "x scipy.signal.fftconvolve"
