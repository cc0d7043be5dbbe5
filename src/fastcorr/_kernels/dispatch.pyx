# SPDX-License-Identifier: BSD-3-Clause
"""The instruction set in use: the best that this processor has, or FASTCORR_ISA.

Chosen once, at import. Algorithms ask `kernels` once per call, so a call never mixes two sets.
Also what the build knows of itself, and the rate of multiply-adds that it can reach.
"""

import os
import time
from concurrent.futures import ThreadPoolExecutor

import cython
import numpy as np

from fastcorr._kernels.kernels cimport (
    FC_COMPUTE_F32, FC_COMPUTE_F64, FC_COMPUTE_U32, FC_COMPUTE_U64, FC_F16, FC_F32, FC_F64, FC_I8,
    FC_I16, FC_I32, FC_I64, FC_N_COMPUTE, FC_U8, FC_U16, FC_U32, FC_U64, fc_isa,
    fc_isa_built, fc_isa_count, fc_isa_t,
    fc_kernels_t,
)

cdef extern from "openmp.h" nogil:
    int FC_OPENMP
    const char *FC_COMPILER
    const char *FC_COMPILER_VERSION
    int omp_get_max_threads()
    int omp_in_parallel()
    void fc_end_idle_threads()

cdef const fc_isa_t *active = NULL


cdef const fc_kernels_t *kernels(int compute) noexcept nogil:
    return active.kernels[compute]


ELEMENT_CODES = {
    "i1": FC_I8, "u1": FC_U8, "i2": FC_I16, "u2": FC_U16, "i4": FC_I32, "u4": FC_U32, "i8": FC_I64,
    "u8": FC_U64, "f2": FC_F16, "f4": FC_F32, "f8": FC_F64, "c8": FC_F32, "c16": FC_F64,
}
COMPUTE_CODES = {
    "i1": FC_COMPUTE_U32, "u1": FC_COMPUTE_U32, "i2": FC_COMPUTE_U32, "u2": FC_COMPUTE_U32,
    "i4": FC_COMPUTE_U32, "u4": FC_COMPUTE_U32, "i8": FC_COMPUTE_U64, "u8": FC_COMPUTE_U64,
    "f2": FC_COMPUTE_F32, "f4": FC_COMPUTE_F32, "f8": FC_COMPUTE_F64, "c8": FC_COMPUTE_F32,
    "c16": FC_COMPUTE_F64,
}


def element_code(dtype):
    """fc_type_t of an array's numbers; of their real and imaginary parts where they are complex."""
    return ELEMENT_CODES[f"{dtype.kind}{dtype.itemsize}"]


def compute_code(dtype):
    """fc_compute_t in which results of that dtype are computed."""
    return COMPUTE_CODES[f"{dtype.kind}{dtype.itemsize}"]


def is_kernel_dtype(dtype):
    """Whether kernels compute results of that dtype (they do not for longdouble)."""
    return f"{dtype.kind}{dtype.itemsize}" in COMPUTE_CODES


def compute_dtype(dtype):
    """The dtype of the real numbers in which results of that dtype are computed."""
    if not is_kernel_dtype(dtype):
        return np.dtype(np.longdouble)
    return np.dtype(("uint32", "uint64", "float32", "float64")[compute_code(dtype)])


def available_isas():
    """Names of the instruction sets built and usable on this processor, lowest first."""
    return [fc_isa(i).name.decode() for i in range(fc_isa_count())]


def active_isa():
    """Name of the instruction set in use."""
    return active.name.decode()


def set_isa(name):
    """Use the instruction set `name` from now on. For tests; not while a call runs."""
    global active
    available = available_isas()
    if name not in available:
        raise ValueError(
            f"FASTCORR_ISA is {name!r}; available on this machine: {', '.join(available)}"
        )
    active = fc_isa(available.index(name))


def kernel_dtypes():
    """Names of the types that kernels compute in."""
    return [active.kernels[i].name.decode() for i in range(FC_N_COMPUTE)]


def openmp():
    """Whether OpenMP was built in."""
    return bool(FC_OPENMP)


def omp_max_threads():
    """OpenMP's limit for this thread (OMP_NUM_THREADS, threadpoolctl); 1 in a parallel region."""
    return 1 if omp_in_parallel() else omp_get_max_threads()


def build_info():
    """What this extension was built with."""
    built, i = [], 0
    while fc_isa_built(i) != NULL:
        built.append(fc_isa_built(i).decode())
        i += 1
    return {
        "compiler": FC_COMPILER.decode(),
        "compiler_version": FC_COMPILER_VERSION.decode(),
        "cython": cython.__version__,
        "openmp": bool(FC_OPENMP),
        "isas_built": built,
    }


def fma_peak(dtype="float32", seconds=0.2, n_threads=1):
    """Multiply-add rate of the instruction set in use, in GFLOP/s, measured in registers.

    Runs on `n_threads` Python threads of its own for about `seconds`.
    """
    cdef int compute = {"float32": FC_COMPUTE_F32, "float64": FC_COMPUTE_F64}[dtype]

    def one_thread(until):
        cdef double buffer[8]
        cdef double done = 0
        for i in range(8):
            buffer[i] = 0
        start = time.perf_counter()
        while time.perf_counter() < until:
            with nogil:
                done += active.kernels[compute].peak(20000, buffer)
        return done / (time.perf_counter() - start)

    with ThreadPoolExecutor(n_threads) as pool:
        until = time.perf_counter() + seconds
        return sum(pool.map(one_thread, [until] * n_threads)) / 1e9


set_isa(os.environ.get("FASTCORR_ISA") or available_isas()[-1])
if hasattr(os, "register_at_fork"):
    def _end_idle_threads():
        fc_end_idle_threads()

    os.register_at_fork(before=_end_idle_threads)
