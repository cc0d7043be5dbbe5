# SPDX-License-Identifier: BSD-3-Clause
"""What all algorithms on tiles have: a problem, and ways to cut it that are made when asked for.

Decides nothing about tiles: that is `_make_cut` of each algorithm, and its own job.
"""

from fastcorr._kernels.dispatch cimport kernels

from fastcorr._kernels.dispatch import compute_code


cdef class Cut:
    """How the work is cut into tiles for one instruction set and number of threads."""


cdef class Tiled:
    """An algorithm for one problem.

    `rows` and `columns` are the margins of the padded image (_padding.margins).
    """

    def __init__(self, problem, rows, columns):
        self.problem, self.rows, self.columns = problem, rows, columns
        self.cuts = {}
        self.compute = compute_code(problem.dtype)

    def cut(self, int workers):
        """The cut for that many threads in the instruction set in use."""
        key = <Py_ssize_t> kernels(self.compute), workers
        found = self.cuts.get(key)
        if found is None:
            found = self.cuts[key] = self._make_cut(workers)
        return found
