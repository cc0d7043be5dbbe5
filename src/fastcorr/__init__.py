# SPDX-License-Identifier: BSD-3-Clause
"""Fast and correct 2-D cross-correlation for NumPy arrays.

`corr2d` is the operator of convolution layers (padding, stride, dilation, groups, batches) on plain
arrays, `FilterBank` the same for kernels that serve many images, `corr2d_backward` its gradients,
`corr2d_transpose` its adjoint, `nn.Conv2D` a layer of it; `correlate2d` and `convolve2d` are those
of `scipy.signal`, with the same arguments and results; `explain` tells how it would serve a call.
`help(fastcorr.corr2d)` is the place to begin.

The way through the code
------------------------
The folders are the layers, and imports run downwards only::

    corr2d(x, w, ...)        _operator.py    signature, documentation, three lines; no logic
      -> Problem             _problem.py     all validation, every error text; hashable, no arrays
        -> Plan              _plan.py        ALGORITHMS: a table of rows; pure and cached
          -> run             _algorithms/    gemm, filterwise, stencil, ...: cut the output into
                                             tiles, allocate scratch, release the GIL, run threads
            -> stage         _kernels/       copy x into a window; padding, strides, dtypes end here
              -> kernel      _kernels/       registers only: no Python, no malloc, no OpenMP
                -> store     _kernels/       bias, dtype and layout of y
      <- y

For kernels that serve many calls::

    FilterBank               _filter_bank.py keeps a Bound for each size of images
      -> Bound               _plan.py        a Plan whose run has its weights prepared inside

Coming back, from y to x::

    corr2d_backward          _gradients.py   the sums over images, and over x times dy
    corr2d_transpose         _operator.py
      -> Problem             _adjoint_problem.py
      -> Adjoint             _adjoint.py     one Plan of the above for each phase of the stride, or
                                             one algorithm for all of them

Beside it: `_scipy_api` (SciPy's names, modes and boundaries for the same way), `nn` (a layer of
weights and their gradients), `_padding` (modes as index maps), `_shapes` and `_receptive_field`
(arithmetic of sizes), `_typing` (what signatures take), `_workers` (how many threads),
`_algorithms/parallel.pyx` (the only parallel loop, and Ctrl-C), `_algorithms/tiled.pyx` (what
algorithms on tiles share), `_algorithms/layout.py` (an axis in a window), `_algorithms/pixels.pxd`
(windows for vectors along the channels), `_kernels/dispatch.pyx` (which instruction set), `_costs`
(how long the definition takes), `_config` and `__main__` (what this machine has, and whether it
works).

What every layer keeps
----------------------
Accuracy
    ``|y - exact| <= 16 u (|x| * |w|)`` on ordinary data, 64 u on hostile data: sums are
    blocked (kernels.h). NaN and infinities appear exactly where the definition puts them;
    integers are exact modulo 2**n.
Determinism
    y is bitwise the same for any number of threads, and, by the same method, alone or
    inside a batch: no sum is split between threads, and its order follows from the shapes
    and dtypes alone.
Threads
    The GIL is released. At most `workers` threads; limits of threadpoolctl, OpenMP, CPU
    affinity and cgroup quota bound the default. Calls from many threads at once are safe.
Forks
    A child forked after a parallel call can compute: idle threads are ended before a fork.
Memory
    The padding and the im2col matrix are never made; scratch is a few MB at most, or
    64 MB or so for transforms, and is freed on Ctrl-C too. No memory is a MemoryError.

How to add
----------
===================  ====================================================================
a padding mode       one function and its entry in `_padding.PADDING_MODES`
an algorithm         `_algorithms/<name>.pyx`, and its row in `_plan.ALGORITHMS`
a dtype of arrays    its line in `_kernels/dtypes.inc` (FC_SOURCES, FC_TARGETS) and in dispatch.pyx
a compute dtype      one block in `_kernels/dtypes.inc`, and its name in kernels.h, meson.build
                     and dispatch.pyx
an instruction set   `_kernels/isa_<name>.c`, its row in `_kernels/meson.build` and in dispatch.c
a version            the project's version in meson.build, the only place that has it
===================  ====================================================================
"""

from importlib.metadata import version as _version

from fastcorr import nn
from fastcorr._config import show_config
from fastcorr._filter_bank import FilterBank
from fastcorr._gradients import (
    Corr2DGrads,
    corr2d_backward,
    corr2d_grad_input,
    corr2d_grad_weight,
)
from fastcorr._operator import corr2d, corr2d_transpose, explain
from fastcorr._receptive_field import ReceptiveField, receptive_field
from fastcorr._scipy_api import convolve2d, correlate2d
from fastcorr._shapes import output_shape, same_padding
from fastcorr._workers import get_workers, set_workers

__version__ = _version("fastcorr")

__all__ = [
    "Corr2DGrads",
    "FilterBank",
    "ReceptiveField",
    "__version__",
    "convolve2d",
    "corr2d",
    "corr2d_backward",
    "corr2d_grad_input",
    "corr2d_grad_weight",
    "corr2d_transpose",
    "correlate2d",
    "explain",
    "get_workers",
    "nn",
    "output_shape",
    "receptive_field",
    "same_padding",
    "set_workers",
    "show_config",
]
