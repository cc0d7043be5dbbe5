# SPDX-License-Identifier: BSD-3-Clause
# mypy: ignore-errors
"""Python functions on several threads, for those whose long steps are calls of NumPy or SciPy."""

import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np


def each(work, items, workers):
    """Call work(item) for every item, on at most that many threads, this one included."""
    workers = min(workers, len(items))
    pending, lock, failed = iter(items), threading.Lock(), []

    def serve():
        with np.errstate(all="ignore"):
            while not failed:
                with lock:
                    item = next(pending, None)
                if item is None:
                    return
                try:
                    work(item)
                except BaseException:
                    failed.append(True)
                    raise

    if workers <= 1:
        serve()
        return
    with ThreadPoolExecutor(workers - 1) as threads:
        others = [threads.submit(serve) for _ in range(workers - 1)]
        try:
            serve()
        except BaseException:
            failed.append(True)
            raise
    for other in others:
        other.result()
