# SPDX-License-Identifier: BSD-3-Clause
"""Interrupt calls of many seconds. Arguments: path, workers, how often, after how long, [error].

The arrays are broadcast, so that the work is large and the memory small.
"""

import json
import os
import signal
import sys
import threading
import time

import numpy as np

import fastcorr


def arrays(path):
    """Return x, w, options of a call of seconds.

    By the definition these are 10^12 operations or more, 10^10 in long double.
    """
    full = np.broadcast_to
    rng = np.random.default_rng(0)
    direct = {"method": "direct"}
    if path == "one_channel":
        return rng.random((3000, 3000), np.float32), rng.random((511, 511), np.float32), direct
    if path == "transforms":
        x = full(rng.random((2000, 2000), np.float32), (500, 1, 2000, 2000))
        return x, rng.random((1, 1, 1601, 1601), np.float32), {"method": "fft"}
    if path == "depthwise":
        x = full(rng.random((1000, 1000), np.float32), (64, 1000, 1000))
        w = full(rng.random((127, 127), np.float32), (64, 1, 127, 127))
        return x, w, {"groups": 64, **direct}
    if path == "longdouble":
        x = full(rng.random((200, 200)).astype("g"), (64, 200, 200))
        return x, full(rng.random((31, 31)).astype("g"), (16, 64, 31, 31)), direct
    if path == "int8":
        x = full(rng.integers(-9, 9, (256, 256), np.int8), (512, 256, 256))
        return x, full(rng.integers(-9, 9, (31, 31), np.int8), (64, 512, 31, 31)), direct
    x = full(rng.random((256, 256), np.float32), (512, 256, 256))
    return x, full(rng.random((31, 31), np.float32), (64, 512, 31, 31)), direct


def resident():
    """Return the resident memory of this process in bytes, 0 where it is not told."""
    try:
        with open("/proc/self/statm") as statm:
            return int(statm.read().split()[1]) * os.sysconf("SC_PAGESIZE")
    except OSError:
        return 0


def main(path, workers, times, after, error=None):
    if error == "ValueError":

        def handler(signum, frame):
            raise ValueError("from the handler")

        signal.signal(signal.SIGINT, handler)
    x, w, options = arrays(path)
    caught, delays, memory = [], [], []
    for _ in range(int(times)):
        sent = []

        def interrupt(sent=sent):
            sent.append(time.monotonic())
            os.kill(os.getpid(), signal.SIGINT)

        timer = threading.Timer(float(after), interrupt)
        timer.start()
        try:
            fastcorr.corr2d(x, w, workers=int(workers), **options)
            caught.append("nothing: the call ended first")
        except (KeyboardInterrupt, ValueError) as e:
            delays.append(time.monotonic() - sent[0])
            caught.append(type(e).__name__)
        timer.join()
        memory.append(resident())
    ones = np.ones((40, 40, 40), np.float32)
    y = fastcorr.corr2d(ones, ones[None, :, :3, :3], workers=int(workers))
    right = bool(np.all(y == 40 * 9))
    result = {"caught": caught, "delays": delays, "resident": memory, "right_afterwards": right}
    print(json.dumps(result))


main(*sys.argv[1:])
