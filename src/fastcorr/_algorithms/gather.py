# SPDX-License-Identifier: BSD-3-Clause
# mypy: ignore-errors
"""Windows of the padded image as NumPy arrays, for algorithms written in Python."""

from typing import NamedTuple

import numpy as np


class Stretch(NamedTuple):
    """Padded positions start, start + step, ... of an axis of `size` samples."""

    start: int
    step: int
    n: int
    before: int
    after: int
    size: int
    margins: tuple

    def edges(self):
        """The counts of positions before the image, before its end, before the padding's end."""
        ends = self.before, self.before + self.size, self.before + self.size + self.after
        return [min(max(-((self.start - end) // self.step), 0), self.n) for end in ends]

    def content(self, fill):
        """The run lo <= i < hi of the positions beyond which there are zeros alone."""
        lo, hi, end = self.edges()
        return (0, end) if fill != 0 or self.margins[0] is not None else (lo, max(lo, hi))

    def part(self, lo, hi):
        return self._replace(start=self.start + lo * self.step, n=hi - lo)

    def sources(self):
        """Pairs of (slice of the positions, slice or indices of the samples there)."""
        lo, hi, end = self.edges()
        first = self.start + lo * self.step - self.before
        pairs = [(slice(lo, hi), slice(first, first + (hi - lo) * self.step, self.step))]
        if self.margins[0] is not None:
            past = self.start + hi * self.step - self.before - self.size
            pairs.append((slice(0, lo), self.margins[0][self.start :: self.step][:lo]))
            pairs.append((slice(hi, end), self.margins[1][past :: self.step][: end - hi]))
        return [pair for pair in pairs if pair[0].stop > pair[0].start]

    def samples(self):
        """The index of the sample at each position, -1 where that is the constant or nothing."""
        found = np.full(self.n, -1, np.intp)
        for positions, source in self.sources():
            found[positions] = np.r_[source] if type(source) is slice else source
        return found


def gather(x, rows, columns, fill, out):
    """Copy the padded positions rows x columns of the image x (H, W) into `out`, zero so far."""
    if fill != 0:
        out[: rows.edges()[2], : columns.edges()[2]] = fill
    for row, row_source in rows.sources():
        for column, column_source in columns.sources():
            if type(row_source) is type(column_source) is np.ndarray:
                out[row, column] = x[row_source[:, None], column_source]
            else:
                out[row, column] = x[row_source, column_source]


def any_within(found, reach, step):
    """Whether any of the elements i * step ... i * step + reach of the first axis holds."""
    width = 1
    while width <= reach:
        more = min(width, reach + 1 - width)
        found[:-more] |= found[more:].copy()
        width += more
    return found[: len(found) - reach : step]
