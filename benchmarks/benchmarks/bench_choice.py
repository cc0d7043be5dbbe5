# SPDX-License-Identifier: BSD-3-Clause
"""asv: the regret of method='auto', its time by that of the fastest algorithm; 1 is right."""

from __future__ import annotations

import fastcorr

from .bench_images import FILTERS
from .bench_layers import names
from .cases import BY_NAME
from .methods import measure


class Auto:
    params = ([*names("multi", "depthwise", "few", "kernels", "banks"), *FILTERS],)
    param_names = ("case",)
    timeout = 120

    def track_regret(self, name):
        return measure(BY_NAME[name], fastcorr.get_workers(), budget=0.1).regret

    track_regret.unit = "x the fastest"
