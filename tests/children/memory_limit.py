# SPDX-License-Identifier: BSD-3-Clause
"""Call corr2d under ever looser limits of the address space. Argument: the problem.

One thread: libgomp ends the process when it cannot start another.
"""

import json
import resource
import sys

import numpy as np

import fastcorr


def address_space():
    with open("/proc/self/statm") as statm:
        return int(statm.read().split()[0]) * resource.getpagesize()


def main(problem):
    if problem == "one_channel":
        x, w = np.ones((500, 5000), np.float32), np.ones((9, 9), np.float32)
    elif problem == "longdouble":
        x, w = np.ones((4, 30, 2000), "g"), np.ones((4, 4, 3, 3), "g")
    else:
        x, w = np.ones((96, 80, 80), np.float32), np.ones((96, 96, 3, 3), np.float32)
    expected = fastcorr.corr2d(x, w, padding=1 if problem == "overlap" else 0, workers=1)
    out = np.zeros_like(expected)
    options = {"workers": 1}
    unlimited = resource.getrlimit(resource.RLIMIT_AS)

    def outcome(slack, out):
        arguments = (x.copy(), w) if problem == "overlap" else (x, w)
        padding = 0
        if problem == "overlap":  # in place: needs a copy as large as the image
            out, padding = arguments[0], 1
        if slack is not None:
            resource.setrlimit(resource.RLIMIT_AS, (address_space() + slack, unlimited[1]))
        try:
            y = fastcorr.corr2d(*arguments, out=out, padding=padding, **options)
            result = "right" if np.array_equal(y, expected) else "wrong"
        except MemoryError:
            result = "MemoryError"
        finally:
            resource.setrlimit(resource.RLIMIT_AS, unlimited)
        return result

    outcomes = [outcome(slack, out) for slack in (0, 2**16, 2**18, 2**20, 2**22, 2**24, None)]
    ballast = np.broadcast_to(np.float32(1), (20_000, 20_000))  # its result has 1.6 GB
    resource.setrlimit(resource.RLIMIT_AS, (address_space() + 2**28, unlimited[1]))
    try:
        fastcorr.corr2d(ballast, np.ones((1, 1), np.float32), **options)
        new_array = "right"
    except MemoryError:
        new_array = "MemoryError"
    resource.setrlimit(resource.RLIMIT_AS, unlimited)
    result = {"outcomes": outcomes, "new_array": new_array, "afterwards": outcome(None, out)}
    print(json.dumps(result))


main(sys.argv[1])
