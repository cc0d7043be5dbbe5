# SPDX-License-Identifier: BSD-3-Clause
"""Measure how fast this machine copies memory, for the roofline of the performance page.

    python benchmarks/bandwidth.py --json docs/performance/data/machine.json

Every thread copies an array of its own that no cache holds. Bytes read and written are counted.
"""

import argparse
import datetime
import json
import shlex
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from compare import cpu_count

BYTES = 256 * 2**20
ROUNDS = 20


def bandwidth(threads):
    """Return the best of several rounds, in bytes per second."""
    arrays = [np.ones((2, BYTES // 8)) for _ in range(threads)]
    best = np.inf
    with ThreadPoolExecutor(threads) as pool:
        for _ in range(ROUNDS):
            start = time.perf_counter()
            list(pool.map(lambda pair: np.copyto(pair[1], pair[0]), arrays))
            best = min(best, time.perf_counter() - start)
    return 2 * BYTES * threads / best


def main():
    parser = argparse.ArgumentParser(description="Measure the bandwidth of the memory.")
    parser.add_argument("--threads", type=int, default=cpu_count())
    parser.add_argument("--json", type=Path, metavar="FILE")
    args = parser.parse_args()
    result = {
        "bandwidth": bandwidth(args.threads),
        "threads": args.threads,
        "date": datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%d %H:%M UTC"),
        "command": shlex.join(["python", *sys.argv]),
    }
    print(f"{result['bandwidth'] / 1e9:.1f} GB/s on {args.threads} threads")
    if args.json:
        args.json.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
