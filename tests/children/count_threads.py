# SPDX-License-Identifier: BSD-3-Clause
"""Eight Python threads call corr2d for a second; count the threads that run at once.

Wants OMP_WAIT_POLICY=passive, or idle threads of the OpenMP pools spin and count as running.
"""

import json
import os
import threading
import time

import cases

import fastcorr

CALLERS = 8


def n_running():
    """Return how many threads of this process are in state R."""
    n = 0
    for task in os.listdir("/proc/self/task"):
        try:
            with open(f"/proc/self/task/{task}/stat") as stat:
                n += stat.read().rpartition(")")[2].split()[0] == "R"
        except OSError:  # it has just ended
            pass
    return n


def main():
    case = cases.PARALLEL[1]
    x, w = cases.normal_arrays(case, "float32")
    stop = threading.Event()

    def call():
        while not stop.is_set():
            fastcorr.corr2d(x, w, **case.options)

    threads = [threading.Thread(target=call) for _ in range(CALLERS)]
    for thread in threads:
        thread.start()
    counts = []
    end = time.monotonic() + 1
    while time.monotonic() < end:
        counts.append(n_running() - 1)  # less the one that counts
        time.sleep(0.005)
    stop.set()
    for thread in threads:
        thread.join()
    counts.sort()
    result = {"running": counts[int(0.95 * len(counts))], "callers": CALLERS}
    print(json.dumps({**result, "workers": fastcorr.get_workers()}))


main()
