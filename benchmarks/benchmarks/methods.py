# SPDX-License-Identifier: BSD-3-Clause
"""The time of every algorithm that serves a case, beside what 'auto' takes.

The only benchmark that looks inside fastcorr: each row of `_plan.ALGORITHMS` runs as 'auto' would
run it, with its accuracy, its doubts about the values of w and the same overhead of a call.
"""

from __future__ import annotations

import copy
import time
from typing import NamedTuple

import numpy as np

from fastcorr import _plan
from fastcorr._padding import margins_of
from fastcorr._problem import problem_key

DEFAULTS = {
    "stride": 1, "padding": 0, "dilation": 1, "groups": 1, "padding_mode": "constant",
    "channel_axis": None, "method": "auto",
}  # fmt: skip
HOPELESS = 8  # an estimate so many times the shortest one is believed, and not timed


class Timed(NamedTuple):
    """What `measure` found out about one case."""

    seconds: dict[str, float]  # of each algorithm that was timed
    estimates: dict[str, float]  # what the plan thought, of one thread
    taken: str  # the choice of 'auto'

    @property
    def regret(self):
        """Time of the choice by that of the fastest."""
        return self.seconds[self.taken] / min(self.seconds.values())


def measure(case, workers, budget):
    """Time every algorithm for at least `budget` seconds, in alternation."""
    x, w = case.arrays()
    plan = _plan.plan_for(*problem_key(x, w, None, **(DEFAULTS | case.keywords)))
    taken = plan.for_values(w).algorithm
    plans = {}
    for way in _every_way(plan.problem):
        forced = _forced(plan, way, w)
        if forced is not None:
            plans[way.row.name] = forced, way.seconds
    shortest = min(estimate for _, estimate in plans.values())
    plans = {
        name: (forced, estimate)
        for name, (forced, estimate) in plans.items()
        if name == taken or estimate < max(HOPELESS * shortest, 2e-3)
    }
    out = plan.run(x, w, None, 0, None, workers)
    best = dict.fromkeys(plans, np.inf)
    for _ in range(3):
        for name, (forced, _) in plans.items():
            best[name] = min(best[name], _seconds_of(forced, (x, w, None, 0, out, workers), budget))
    return Timed(best, {name: estimate for name, (_, estimate) in plans.items()}, taken)


def _every_way(problem):
    """Every row that serves the problem under 'auto', also those that it does not ask."""
    served = _plan._as_served(problem)[0]
    margins = margins_of(problem)
    for row in _plan.ALGORITHMS:
        if row.unsupported(served) is None:
            estimate = row.seconds(served, False)
            if estimate < np.inf:
                yield _plan._Way(row, estimate, row.make(served, *margins))


def _forced(plan, way, w):
    """A copy of the plan that takes this way, or None if these kernels are not for it."""
    forced = copy.copy(plan)
    forced._ways = None
    if hasattr(way.runner, "prepare"):
        if isinstance(way.runner.prepare(w, np.inf), str):
            return None
        definition = way._replace(seconds=np.inf)  # the budget that the way is given
        forced._ways = [way, definition]
    forced._take(way)
    return forced


def _seconds_of(plan, arguments, budget):
    """The fastest of several calls."""
    best, spent, calls = np.inf, 0.0, 0
    while calls < 2 or (spent < budget / 3 and calls < 200):
        start = time.perf_counter()
        plan.run(*arguments)
        took = time.perf_counter() - start
        best, spent, calls = min(best, took), spent + took, calls + 1
        if took > budget:
            break
    return best
