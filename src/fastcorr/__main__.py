# SPDX-License-Identifier: BSD-3-Clause
# mypy: ignore-errors
"""`python -m fastcorr`: the configuration, a check of the results, the speed of this machine.

Takes about five seconds and needs nothing but fastcorr. The check evaluates the definition with
NumPy for a few problems that between them reach every algorithm, dtype family and padding mode, on
every instruction set of this processor; the exit status is 1 if one result is not as accurate as
promised. It replaces no test suite.
"""

import argparse
import sys
import time

import numpy as np

from fastcorr import corr2d, explain, get_workers, show_config
from fastcorr._kernels import dispatch

# x, w, dtypes of x and w, keywords. Sizes are odd, so that tiles have remainders.
CHECKS = (
    ((19, 37), (3, 3), "float32", "float32", {"padding": "same"}),
    ((19, 37), (9, 5), "uint8", "uint8", {"padding": 2, "padding_mode": "wrap"}),
    ((17, 23), (2, 4), "longdouble", "float32", {"padding_mode": "edge", "padding": (1, 3)}),
    ((3, 21, 30), (3, 7, 7), "float64", "float64", {"padding": 3, "padding_mode": "reflect"}),
    ((6, 18, 21), (6, 1, 3, 3), "float32", "float32", {"groups": 6, "stride": 2, "padding": 1}),
    ((37, 15, 17), (29, 37, 3, 3), "float32", "float32", {"padding": "same"}),
    ((2, 24, 9, 11), (18, 12, 3, 3), "float64", "float64", {"groups": 2, "padding": "full"}),
    ((3, 19, 7, 7), (33, 19, 1, 1), "float32", "float32", {"stride": 2}),
    ((15, 16, 20), (18, 20, 3, 3), "float32", "float32", {"channel_axis": -1, "dilation": 2}),
    ((5, 20, 21), (16, 5, 5, 5), "int16", "int8", {"padding": 2, "padding_mode": "symmetric"}),
    ((4, 20, 21), (16, 4, 3, 3), "int64", "uint32", {"stride": (2, 3)}),
    ((8, 12, 13), (16, 8, 3, 3), "float16", "float16", {"padding": "same_lower"}),
    ((4, 18, 15), (12, 4, 3, 3), "complex64", "complex64", {"padding": 1}),
    ((4, 18, 15), (12, 4, 3, 3), "complex128", "float64", {"padding": 1}),
    ((3, 8, 9), (4, 3, 3, 3), "complex64", "longdouble", {"padding": 1}),
)

# Name, x, w, dtype, keywords.
LAYERS = (
    ("one channel, 3x3", (1024, 1024), (3, 3), "float32", {"padding": "same"}),
    ("one channel, 15x15", (512, 512), (15, 15), "float32", {"padding": "same"}),
    ("3->64, 7x7, stride 2", (3, 224, 224), (64, 3, 7, 7), "float32", {"stride": 2, "padding": 3}),
    ("64->64, 3x3", (64, 56, 56), (64, 64, 3, 3), "float32", {"padding": 1}),
    ("256->256, 3x3", (256, 14, 14), (256, 256, 3, 3), "float32", {"padding": 1}),
    ("256->128, 1x1", (256, 56, 56), (128, 256, 1, 1), "float32", {}),
    ("depthwise 32, 3x3", (32, 112, 112), (32, 1, 3, 3), "float32", {"groups": 32, "padding": 1}),
    ("128->128, 3x3", (128, 28, 28), (128, 128, 3, 3), "float64", {"padding": 1}),
)
SECONDS_PER_LAYER = 0.3
SECONDS_PER_PEAK = 0.03


def _definition(x, w, dtype, padding, options):
    """Return y and, for the size of the errors, the same of absolute values; in a wider dtype."""
    stride, dilation = (np.broadcast_to(options.get(key, 1), 2) for key in ("stride", "dilation"))
    groups, mode = options.get("groups", 1), options.get("padding_mode", "constant")
    if options.get("channel_axis") == -1:
        x = np.moveaxis(x, -1, -3)
    w = w.reshape((1,) * (4 - w.ndim) + w.shape)
    x = np.pad(x, [(0, 0)] * (x.ndim - 2) + list(padding), mode)
    x = x.reshape(-1, groups, w.shape[1], *x.shape[-2:])
    w = w.reshape(groups, -1, *w.shape[1:])
    wide = np.dtype({"i": "u8", "u": "u8", "c": "G"}.get(dtype.kind, "g"))
    results = []
    for part in (np.asarray, np.abs):
        xs, ws = (part(a.astype(dtype)).astype(wide) for a in (x, w))
        y = 0
        for ky in range(w.shape[-2]):
            for kx in range(w.shape[-1]):
                (top, left), (bottom, right) = (
                    (ky * dilation[0], kx * dilation[1]),
                    [n - (k - 1 - i) * d for n, k, i, d in zip(
                        x.shape[-2:], w.shape[-2:], (ky, kx), dilation, strict=True
                    )],
                )  # fmt: skip
                seen = xs[..., top : bottom : stride[0], left : right : stride[1]]
                y = y + np.einsum("ngchw,gfc->ngfhw", seen, ws[..., ky, kx])
        y = y.reshape(y.shape[0], -1, *y.shape[-2:])
        results.append(np.moveaxis(y, 1, -1) if options.get("channel_axis") == -1 else y)
    return results


def _sample(rng, shape, dtype):
    dtype = np.dtype(dtype)
    if dtype.kind in "iu":
        return rng.integers(0, 2 ** min(7 * dtype.itemsize, 60), shape).astype(dtype)
    x = rng.standard_normal(shape)
    if dtype.kind == "c":
        x = x + 1j * rng.standard_normal(shape)
    return x.astype(dtype)


def _error(x_shape, w_shape, x_dtype, w_dtype, options):
    """Return the largest error of one problem in units of u (|x| * |w|); 0 or inf for integers."""
    rng = np.random.default_rng(0)
    x, w = _sample(rng, x_shape, x_dtype), _sample(rng, w_shape, w_dtype)
    y = corr2d(x, w, **options)
    problem = explain(x, w, **options).problem
    exact, size = _definition(x, w, problem.dtype, problem.padding, options)
    exact, size = exact.reshape(problem.y_shape), size.reshape(problem.y_shape)
    if y.dtype != problem.dtype or y.shape != problem.y_shape:
        return np.inf
    if y.dtype.kind in "iu":
        return 0.0 if np.array_equal(y, exact.astype(y.dtype)) else np.inf
    return float(np.max(np.abs(y - exact) / size.real)) / (np.finfo(y.dtype).eps / 2)


def check():
    """Print a line per instruction set; return whether all results are as accurate as promised."""
    in_use = dispatch.active_isa()
    right = True
    try:
        for isa in dispatch.available_isas():
            dispatch.set_isa(isa)
            errors = [_error(*problem) for problem in CHECKS]
            wrong = [i for i, error in enumerate(errors) if not error <= 16]
            verdict = "all right" if not wrong else f"{len(wrong)} WRONG"
            print(
                f"  {isa:<8} {len(CHECKS)} problems, {verdict}; "
                f"largest error {max(errors):.2g} u (|x| * |w|), promised 16"
            )
            for i in wrong:
                x_shape, w_shape, x_dtype, w_dtype, options = CHECKS[i]
                print(f"    {x_dtype} {x_shape} with {w_dtype} {w_shape}, {options}: {errors[i]:g}")
            right = right and not wrong
    finally:
        dispatch.set_isa(in_use)
    return right


def _best_seconds(call):
    call()  # plans, threads, pages
    best, until = np.inf, time.perf_counter() + SECONDS_PER_LAYER
    while (start := time.perf_counter()) < until:
        call()
        best = min(best, time.perf_counter() - start)
    return best


def speed():
    """Print the table of speeds; the best of the calls that fit into 0.3 s."""
    workers, rng = get_workers(), np.random.default_rng(0)
    dtypes = sorted({dtype for _, _, _, dtype, _ in LAYERS})
    rows, peaks = [], dict.fromkeys(dtypes, 0.0)
    for name, x_shape, w_shape, dtype, options in LAYERS:
        for peak in dtypes * 2:  # as of the calls, the best of several
            rate = dispatch.fma_peak(peak, SECONDS_PER_PEAK, workers)
            peaks[peak] = max(peaks[peak], rate)
        x, w = _sample(rng, x_shape, dtype), _sample(rng, w_shape, dtype)
        plan = explain(x, w, **options)
        seconds = _best_seconds(lambda x=x, w=w, options=options: corr2d(x, w, **options))
        size = "x".join(map(str, x_shape[-2:]))
        rows.append((name, size, dtype, plan.algorithm, seconds, plan.flops / seconds / 1e9))
    print(f"  {'layer':<22} {'image':<10} {'dtype':<8} {'by':<8} {'ms':>7} {'GFLOP/s':>8}  of peak")
    for name, size, dtype, algorithm, seconds, rate in rows:
        print(
            f"  {name:<22} {size:<10} {dtype:<8} {algorithm:<8} {1e3 * seconds:7.3f} {rate:8.1f} "
            f"{rate / peaks[dtype]:8.0%}"
        )
    texts = ", ".join(f"{peak:.0f} GFLOP/s in {dtype}" for dtype, peak in peaks.items())
    print(f"  peak: multiply-adds in registers on {workers} threads, {texts}")


def main(arguments=None):
    """Run the three parts; return the exit status."""
    argparse.ArgumentParser(prog="python -m fastcorr", description=__doc__).parse_args(arguments)
    show_config()
    print("\nResults beside the definition, evaluated by NumPy")
    right = check()
    print(f"\nSpeed of one call with {get_workers()} threads")
    speed()
    return 0 if right else 1


if __name__ == "__main__":
    sys.exit(main())
