# SPDX-License-Identifier: BSD-3-Clause
"""One hash over the bits of many results. Argument: one_cpu, to bind the process first."""

import hashlib
import json
import os
import sys

import cases

import fastcorr


def of_all(workers):
    """Return the hash of the parallel cases in float32 and float64."""
    result = hashlib.sha256()
    for dtype in ("float32", "float64"):
        for case in cases.PARALLEL:
            x, w = cases.normal_arrays(case, dtype)
            result.update(fastcorr.corr2d(x, w, workers=workers, **case.options).tobytes())
    return result.hexdigest()


if __name__ == "__main__":
    if "one_cpu" in sys.argv:
        os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    print(json.dumps(of_all(workers=None)))
