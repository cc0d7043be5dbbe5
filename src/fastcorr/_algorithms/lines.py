# SPDX-License-Identifier: BSD-3-Clause
# mypy: ignore-errors
"""Where the rows and columns of x and of w lie in the transforms of `fft_large`."""

from typing import NamedTuple

import numpy as np

from fastcorr._algorithms.fft_grid import stretch_of

MOST_RUNS = 16  # of columns with one step, that are staged run by run
NOTHING = 2**30  # the step of a run of columns that are the constant


class Lines(NamedTuple):
    """Lines of x or of w along an axis, by phase of the stride.

    Of rows: `sources`, -1 for the constant, `places` in the transform, and `counts` of them. Of
    columns: `sources` of all places, and `runs`, pairs (end, step) of neighbours with one step.
    """

    sources: np.ndarray
    places: np.ndarray
    counts: np.ndarray
    runs: np.ndarray


def tables_of(problem, margins, grid, phases, fill, tile):
    """The Lines of x and of w in a tile (row, column): a pair for the rows, one for the columns.

    `phases`, of rows and of columns, are triples (phase, indices of its taps, their places).
    """
    tables = []
    for axis, cut in enumerate((grid.rows, grid.columns)):
        sizes = (grid.planes.x, grid.planes.w) if axis == 0 else (cut.n, cut.n)
        stretches = [
            _stretch(problem, axis, margins[axis], cut, tile[axis], phase)
            for phase, _, _ in phases[axis]
        ]
        found = []
        for stretch in stretches:
            lo, hi = stretch.content(fill)
            found.append((stretch.part(lo, hi).samples(), np.arange(lo, hi)))
        taps = [phase[1:] for phase in phases[axis]]
        tables.append((_lines(found, sizes[0], axis), _lines(taps, sizes[1], axis)))
    return tables


def _stretch(problem, axis, margins, cut, tile, phase):
    """What a tile sees in a phase of the stride: a whole period from any place, or its part."""
    first = tile * cut.size
    start = first * problem.stride[axis] + phase if cut.before is None else 0
    n_outputs = min(cut.size, (problem.OH, problem.OW)[axis] - first)
    return stretch_of(problem, axis, margins, cut, start, n_outputs)


def _lines(phases, size, axis):
    """The Lines of (sources, places) by phase: lists of rows, a table of all places of columns."""
    sources, places = np.full((2, len(phases), size), -1, np.intp)
    for i, (those, where) in enumerate(phases):
        if axis == 0:
            sources[i, : len(those)], places[i, : len(where)] = those, where
        else:
            sources[i, where] = those
    runs = [_runs(row) for row in sources]
    most = max(map(len, runs))
    runs = [run + [(size, 0)] * (most - len(run)) for run in runs]
    counts = np.array([len(where) for _, where in phases], np.intp)
    return Lines(sources, places, counts, np.array(runs, np.intp))


def _runs(sources):
    """Pairs (end, step) of runs of sources with one step; NOTHING, or 0 for no pattern."""
    steps, is_nothing = np.diff(sources), sources < 0
    steps[is_nothing[1:] | is_nothing[:-1]] = 0
    steps[is_nothing[1:] & is_nothing[:-1]] = NOTHING
    ends = [*(np.flatnonzero(np.diff(steps)) + 1).tolist(), len(sources) - 1]
    if len(ends) > MOST_RUNS:
        return [(len(sources), 0)]
    runs, first = [], 0
    for end in ends:
        # A run holds the source at its end, too; without a pattern, that is the next run's.
        step = int(steps[first]) if len(steps) else 0
        runs.append((end + 1 if step or end == len(sources) - 1 else end, step))
        first = end
    return runs
