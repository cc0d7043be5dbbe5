# SPDX-License-Identifier: BSD-3-Clause
"""asv: `corr2d`, `FilterBank` and the gradients on layers of networks.

For one version against another; beside other libraries see compare.py.
"""

from __future__ import annotations

import numpy as np

import fastcorr
from fastcorr._kernels import dispatch

from .cases import BY_NAME, LAYERS
from .timing import best_seconds, warm_up


def names(*groups):
    return [name for name, case in BY_NAME.items() if case.group in groups]


class Layer:
    """One case made ready; a subclass says what is called."""

    params = (names(*LAYERS),)
    param_names = ("case",)
    timeout = 120
    rounds = 1  # one process for each case

    def setup(self, name):
        self.case = BY_NAME[name]
        self.x, self.w = self.case.arrays()
        self.make_ready()
        warm_up(self.call)

    def make_ready(self):
        pass

    def call(self):
        return fastcorr.corr2d(self.x, self.w, **self.case.keywords)


class Forward(Layer):
    def time_corr2d(self, name):
        self.call()


class Bank(Layer):
    params = (names("multi", "depthwise", "few"),)

    def make_ready(self):
        self.bank = fastcorr.FilterBank(self.w, **self.case.keywords)

    def call(self):
        return self.bank(self.x)

    def time_bank(self, name):
        self.call()


class Backward(Layer):
    """Both gradients in one call."""

    params = (names("multi", "depthwise", "few"),)

    def make_ready(self):
        self.dy = self.case.dy()

    def call(self):
        return fastcorr.corr2d_backward(
            self.dy, self.x, self.w, needs=("x", "w"), **self.case.keywords
        )

    def time_backward(self, name):
        self.call()


class Peak(Layer):
    params = (names("multi"),)

    def track_share_of_peak(self, name):
        threads, shares = fastcorr.get_workers(), []
        for _ in range(3):
            peak = dispatch.fma_peak(self.case.dtype, 0.05, threads)
            shares.append(100 * self.case.flops / best_seconds(self.call) / 1e9 / peak)
        return sorted(shares)[1]

    track_share_of_peak.unit = "% of the FMA peak"


class Memory(Layer):
    """Peak of the whole process; the baseline holds the input and an output as well."""

    params = (names("multi", "banks"),)

    def setup(self, name):  # no call before the one that is looked at
        self.case = BY_NAME[name]
        self.x, self.w = self.case.arrays()

    def peakmem_corr2d(self, name):
        self.call()

    def peakmem_baseline(self, name):
        np.ones(self.case.y4_shape, self.case.dtype)
