# SPDX-License-Identifier: BSD-3-Clause
"""How the asv suite takes time where asv does not."""

from __future__ import annotations

import time


def warm_up(call, seconds=0.05):
    """The first calls after a pause wake the thread pool."""
    end = time.perf_counter() + seconds
    while time.perf_counter() < end:
        call()


def best_seconds(call, seconds=0.1):
    """The fastest of as many calls as fit, two at least."""
    best, end, calls = float("inf"), time.perf_counter() + seconds, 0
    while (start := time.perf_counter()) < end or calls < 2:
        call()
        best, calls = min(best, time.perf_counter() - start), calls + 1
    return best
