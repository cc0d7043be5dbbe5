# SPDX-License-Identifier: BSD-3-Clause
"""asv: time, memory and share of the FMA peak of ``corr2d`` over the default cases of cases.py.

For one version against another; beside other libraries see compare.py.
"""

from __future__ import annotations

import time

import numpy as np

import fastcorr
from fastcorr._kernels import dispatch

from .cases import BY_NAME, DEFAULT_GROUPS


class Corr2d:
    params = ([name for name, case in BY_NAME.items() if case.group in DEFAULT_GROUPS],)
    param_names = ("case",)
    timeout = 120

    def setup(self, name):
        self.case = BY_NAME[name]
        self.x, self.w = self.case.arrays()
        self.keywords = self.case.keywords
        self.threads = fastcorr.get_workers()

    def call(self):
        return fastcorr.corr2d(self.x, self.w, **self.keywords)


class Speed(Corr2d):
    def setup(self, name):
        super().setup(name)
        end = time.perf_counter() + 0.05
        while time.perf_counter() < end:  # the first calls after a pause wake the thread pool
            self.call()

    def time_corr2d(self, name):
        self.call()

    def track_share_of_peak(self, name):
        shares = []
        for _ in range(5):
            peak = dispatch.fma_peak(self.case.dtype, 0.05, self.threads)
            shares.append(100 * self.case.flops / self._best_seconds() / 1e9 / peak)
        return sorted(shares)[2]

    track_share_of_peak.unit = "% of the FMA peak"

    def _best_seconds(self):
        best, end = float("inf"), time.perf_counter() + 0.1
        while (start := time.perf_counter()) < end:
            self.call()
            best = min(best, time.perf_counter() - start)
        return best


class Memory(Corr2d):
    """Peak of the whole process; the baseline holds the input and an output as well."""

    def peakmem_corr2d(self, name):
        self.call()

    def peakmem_baseline(self, name):
        np.ones(self.case.y4_shape, self.case.dtype)
