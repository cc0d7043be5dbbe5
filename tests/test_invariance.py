# SPDX-License-Identifier: BSD-3-Clause
"""Bitwise the same: for any workers, in or out of a batch, from any thread, in any process.

The problems are big enough to be shared between threads; nothing is compared with a tolerance.
"""

import functools
import os
import sys
import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from cases import PARALLEL, normal_arrays
from children import digest
from contract import check_bits

import fastcorr
from fastcorr._kernels import dispatch

by_case = pytest.mark.parametrize("case", PARALLEL, ids=str)
by_batch = pytest.mark.parametrize("case", [c for c in PARALLEL if len(c.x) == 4], ids=str)
main_dtypes = pytest.mark.parametrize("dtype", ["float32", "float64"])
other_dtypes = pytest.mark.parametrize("dtype", ["complex64", "int16", "float16"])
needs_fork = pytest.mark.skipif(not hasattr(os, "fork"), reason="no os.fork")


@pytest.mark.kernels
@main_dtypes
@by_case
def test_any_number_of_workers(isa, case, dtype):
    check_workers(case, dtype, (2, 3, 7, -1, None))


@pytest.mark.kernels
@other_dtypes
@by_case
def test_any_number_of_workers_in_the_other_dtypes(case, dtype):
    check_workers(case, dtype, (2, 3))


def check_workers(case, dtype, numbers):
    x, w = normal_arrays(case, dtype)
    alone = fastcorr.corr2d(x, w, workers=1, **case.options)
    for workers in numbers:
        check_bits(fastcorr.corr2d(x, w, workers=workers, **case.options), alone)


@pytest.mark.kernels
@main_dtypes
@by_batch
def test_an_image_alone_and_in_a_batch(isa, case, dtype):
    check_batch(case, dtype, workers=1)
    check_batch(case, dtype, workers=2)


@pytest.mark.kernels
@other_dtypes
@by_batch
def test_an_image_alone_and_in_a_batch_in_the_other_dtypes(case, dtype):
    check_batch(case, dtype, workers=2)


def check_batch(case, dtype, workers):
    x, w = normal_arrays(case, dtype)
    options = {"workers": workers, "method": "direct", **case.options}
    y = fastcorr.corr2d(x, w, **options)
    for i in range(len(x)):
        check_bits(fastcorr.corr2d(x[i], w, **options), y[i])
        check_bits(fastcorr.corr2d(x[i : i + 1], w, **options), y[i : i + 1])
    check_bits(fastcorr.corr2d(x[::-1], w, **options), y[::-1])


@pytest.mark.kernels
def test_long_double_on_any_number_of_workers():
    x, w = normal_arrays(PARALLEL[3], "longdouble")
    alone = fastcorr.corr2d(x, w, workers=1, **PARALLEL[3].options)
    for workers in (2, 3, -1):
        check_bits(fastcorr.corr2d(x, w, workers=workers, **PARALLEL[3].options), alone)


@pytest.mark.kernels
@by_case
def test_repeated_calls(case):
    x, w = normal_arrays(case, "float32")
    first = fastcorr.corr2d(x, w, **case.options)
    for _ in range(10):
        check_bits(fastcorr.corr2d(x, w, **case.options), first)


@pytest.mark.kernels
def test_small_images_in_and_out_of_a_batch():
    """Maps of 7x7 and less fill vectors with pixels of several images: none may notice."""
    rng = np.random.default_rng(0)
    for size in (1, 2, 3, 5, 7):
        x = rng.standard_normal((37, 130, size, size)).astype(np.float32)
        w = rng.standard_normal((17, 130, 3, 3)).astype(np.float32)
        y = fastcorr.corr2d(x, w, padding=1, method="direct", workers=2)
        for i in (0, 1, 18, 36):
            check_bits(fastcorr.corr2d(x[i], w, padding=1, method="direct", workers=1), y[i])


@pytest.mark.kernels
@pytest.mark.parametrize("size", [(1, 81), (1, 113), (1, 161), (2, 81), (5, 29)])
@pytest.mark.parametrize("channels", [500, 640, 1280])
def test_the_last_pixels_of_a_small_image(isa, size, channels):
    """They are summed in an order of their own, which the number of tiles must not change."""
    rng = np.random.default_rng(0)
    x = rng.standard_normal((2, channels, *size), np.float32)
    for n_kernels in (14, 64, 200):
        w = rng.standard_normal((n_kernels, channels, 1, 1), np.float32)
        alone = fastcorr.corr2d(x[1], w, method="direct", workers=1)
        for workers in (1, 2, 7, 16):
            y = fastcorr.corr2d(x, w, method="direct", workers=workers)
            check_bits(y[1], alone)


@pytest.mark.parametrize("workers", [None, 1, 2])
def test_many_python_threads_at_once(workers):
    problems = [(case, normal_arrays(case, "float32", i)) for i, case in enumerate(PARALLEL)]
    expected = [fastcorr.corr2d(x, w, workers=1, **c.options) for c, (x, w) in problems]
    start = threading.Barrier(8)

    def work(seed):
        start.wait(timeout=30)
        order = np.random.default_rng(seed).permutation(len(problems))
        return [
            (i, fastcorr.corr2d(*problems[i][1], workers=workers, **problems[i][0].options))
            for i in order
        ]

    with ThreadPoolExecutor(8) as pool:
        for results in pool.map(work, range(8)):
            for i, y in results:
                check_bits(y, expected[i])


def test_python_threads_that_share_their_arrays():
    case = PARALLEL[0]
    x, w = normal_arrays(case, "float32")
    expected = fastcorr.corr2d(x, w, **case.options)
    whole = np.zeros((16, *expected.shape), np.float32)
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda out: fastcorr.corr2d(x, w, out=out, **case.options), whole))
    for y in whole:
        check_bits(y, expected)


def test_threadpoolctl_limits_hold_and_change_nothing():
    threadpoolctl = pytest.importorskip("threadpoolctl", reason="threadpoolctl is not installed")
    x, w = normal_arrays(PARALLEL[0], "float32")
    expected = fastcorr.corr2d(x, w, **PARALLEL[0].options)
    with threadpoolctl.threadpool_limits(limits=1):
        assert fastcorr.get_workers() == 1
        check_bits(fastcorr.corr2d(x, w, **PARALLEL[0].options), expected)
    with fastcorr.set_workers(3):
        check_bits(fastcorr.corr2d(x, w, **PARALLEL[0].options), expected)


ENVIRONMENTS = [
    {"OMP_NUM_THREADS": "1"},
    {"OMP_NUM_THREADS": "2"},
    {"OMP_NUM_THREADS": "5,2"},
    {"OMP_THREAD_LIMIT": "1"},
    {"OMP_DYNAMIC": "true"},
    {"OMP_SCHEDULE": "dynamic,1"},
    {"OMP_MAX_ACTIVE_LEVELS": "0"},
    {"FASTCORR_NUM_THREADS": "1"},
    {"FASTCORR_NUM_THREADS": "64"},
]


def digest_here(workers):
    return digest_on(dispatch.active_isa(), workers)


@functools.cache
def digest_on(isa_name, workers):
    """Compute once what several processes are compared with."""
    return digest.of_all(workers)


@pytest.mark.parametrize("environ", ENVIRONMENTS, ids=str)
def test_any_environment(child, environ):
    environ = {"FASTCORR_ISA": dispatch.active_isa(), **environ}
    assert child("digest", **environ) == digest_here(None)


@pytest.mark.parametrize("isa_name", dispatch.available_isas())
def test_the_environment_lowers_the_instruction_set(child, isa_name):
    active = dispatch.active_isa()
    try:
        dispatch.set_isa(isa_name)
        expected = digest_here(1)
    finally:
        dispatch.set_isa(active)
    assert child("digest", FASTCORR_ISA=isa_name) == expected


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="no CPU affinity")
def test_one_cpu_only(child):
    result = child("digest", "one_cpu", FASTCORR_ISA=dispatch.active_isa())
    assert result == digest_here(1)


@needs_fork
@pytest.mark.parametrize("how", ["os_fork", "nested_fork", "fork_while_a_thread_computes"])
def test_after_fork(child, how):
    result = child("forks", how, FASTCORR_ISA=dispatch.active_isa())
    assert set(result) == {digest_here(2)}


@pytest.mark.parametrize("method", ["fork", "forkserver", "spawn"])
def test_in_processes_of_multiprocessing(child, method):
    if sys.platform == "win32" and method != "spawn":
        pytest.skip("only spawn on Windows")
    result = child("forks", method, FASTCORR_ISA=dispatch.active_isa())
    assert set(result) == {digest_here(2)}


@pytest.mark.alone
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="counts threads in /proc")
def test_concurrent_calls_do_not_multiply_threads(child):
    """Eight callers on n CPUs run 8 + n threads at the very most, not 8 n."""
    result = child("count_threads", OMP_WAIT_POLICY="passive")
    assert result["running"] <= result["callers"] + result["workers"]
