# SPDX-License-Identifier: BSD-3-Clause
"""Compute in the parent, fork in one of several ways, compute in the children and again here.

Prints the hashes of all of them. An OpenMP runtime that was not put to rest before the fork
hangs the child, so the caller must set a timeout.
"""

import json
import multiprocessing
import os
import sys
import threading

import digest


def in_child():
    """Fork, return the hash that the child computes on two threads."""
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        status = 1
        try:
            os.write(writer, digest.of_all(workers=2).encode())
            status = 0
        finally:
            os._exit(status)
    os.close(writer)
    with os.fdopen(reader) as pipe:
        result = pipe.read()
    assert os.waitpid(pid, 0)[1] == 0
    return result


def os_fork():
    return [digest.of_all(2), in_child(), in_child(), digest.of_all(2), in_child()]


def nested_fork():
    """A child that forks again: its own pool has to rest as well."""
    results = [digest.of_all(2)]
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        status = 1
        try:
            os.write(writer, "\n".join([digest.of_all(2), in_child(), digest.of_all(2)]).encode())
            status = 0
        finally:
            os._exit(status)
    os.close(writer)
    with os.fdopen(reader) as pipe:
        results += pipe.read().split("\n")
    assert os.waitpid(pid, 0)[1] == 0
    return results


def fork_while_a_thread_computes():
    results = [digest.of_all(2)]
    done = threading.Event()

    def keep_computing():
        while not done.is_set():
            results.append(digest.of_all(2))

    thread = threading.Thread(target=keep_computing)
    thread.start()
    forked = [in_child() for _ in range(3)]
    done.set()
    thread.join()
    return results + forked


def in_pool(method):
    results = [digest.of_all(2)]
    with multiprocessing.get_context(method).Pool(2) as pool:
        results += pool.map(digest.of_all, [2, 2, 2], chunksize=1)
    return [*results, digest.of_all(2)]


if __name__ == "__main__":
    way = sys.argv[1]
    if way in ("fork", "forkserver", "spawn"):
        print(json.dumps(in_pool(way)))
    else:
        print(
            json.dumps(
                {f.__name__: f for f in (os_fork, nested_fork, fork_while_a_thread_computes)}[way]()
            )
        )
