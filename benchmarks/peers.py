# SPDX-License-Identifier: BSD-3-Clause
"""fastcorr and its peers behind one face; compare.py gives each its own worker process.

Decides how each library is called: as its users call it, with everything that can be done once
(model, weights, tensors) done in ``prepare``. Libraries are imported in ``__init__``, so only
inside the worker. Knows nothing of timing. ``supports`` says whether a library computes exactly
the same numbers; ``prepare`` returns a call without arguments, ``to_numpy`` its result as corr2d
would return it. A library without SIMD has ``gflops``, about its speed, by which compare.py skips
what would take too long.
"""

from __future__ import annotations

import os
from functools import partial

import numpy as np


class Library:
    """What holds unless a class says otherwise."""

    gflops = None
    has_gradients = False

    @staticmethod
    def supports(case):
        return case.mode is None

    def to_numpy(self, case, y):
        return y


class Fastcorr(Library):
    name = "fastcorr"
    has_gradients = True

    def __init__(self, threads):
        os.environ["FASTCORR_NUM_THREADS"] = str(threads)  # read at import
        import fastcorr

        self.module = fastcorr
        self.version = fastcorr.__version__
        # Asked per call only where the default is bounded lower (cgroup quota, affinity).
        self.steer = {} if fastcorr.get_workers() == threads else {"workers": threads}

    @staticmethod
    def supports(case):
        return True

    def prepare(self, case, x, w):
        keywords = case.keywords | self.steer
        if case.mode is not None:
            return partial(self.module.correlate2d, x, w, case.mode, case.boundary, **self.steer)
        if case.of == "dx":
            return partial(self.module.corr2d_grad_input, case.dy(), w, x.shape, **keywords)
        if case.of == "dw":
            return partial(self.module.corr2d_grad_weight, case.dy(), x, w.shape[-2:], **keywords)
        if case.of == "backward":
            return partial(self.module.corr2d_backward, case.dy(), x, w, needs="xw", **keywords)
        return partial(self.module.corr2d, x, w, **keywords)

    def to_numpy(self, case, y):
        return y[:2] if case.of == "backward" else y

    def plan(self, case):
        """What corr2d does with this case: algorithm, kernel, scratch memory in bytes."""
        if case.of != "forward":
            return {}
        plan = self.module.explain(*case.arrays(), **case.keywords)
        return {key: getattr(plan, key) for key in ("method", "algorithm", "kernel", "workspace")}

    @staticmethod
    def peak(dtype, seconds, threads):
        """GFLOP/s of a loop of fused multiply-adds on registers."""
        from fastcorr._kernels import dispatch

        return dispatch.fma_peak(dtype, seconds, threads)

    @staticmethod
    def isa():
        from fastcorr._kernels import dispatch

        return dispatch.active_isa()


class Bank(Fastcorr):
    """FilterBank: the kernels are prepared once, as ONNX Runtime's."""

    name = "filterbank"
    has_gradients = False

    def __init__(self, threads):
        super().__init__(threads)
        if not hasattr(self.module, "FilterBank"):
            raise ImportError("this version has no FilterBank")

    supports = Library.supports

    def prepare(self, case, x, w):
        w = w[None, None] if case.is_single else w
        x = x.reshape(case.x4_shape) if case.is_single else x
        return partial(self.module.FilterBank(w, **case.keywords, **self.steer), x)

    def to_numpy(self, case, y):
        return y[0, 0] if case.is_single else y


class Torch(Library):
    name = "torch"
    has_gradients = True

    def __init__(self, threads):
        import torch

        self.module = torch
        self.version = torch.__version__
        torch.set_num_threads(threads)
        torch.set_grad_enabled(False)  # torch.no_grad() for the whole process

    def prepare(self, case, x, w):
        torch = self.module
        if case.channel_axis == -1:  # a permuted view is torch's channels_last format
            x = torch.from_numpy(x).permute(0, 3, 1, 2)
            w = torch.from_numpy(w).contiguous(memory_format=torch.channels_last)
        else:
            x = torch.from_numpy(x.reshape(case.x4_shape))
            w = torch.from_numpy(w[None, None] if case.is_single else w)
        if case.of == "forward":
            options = (case.stride, case.padding, case.dilation, case.groups)
            return partial(torch.conv2d, x, w, None, *options)
        dy = torch.from_numpy(case.dy())
        dy = dy.permute(0, 3, 1, 2) if case.channel_axis == -1 else dy.reshape(case.y4_shape)
        return partial(  # what autograd calls
            torch.ops.aten.convolution_backward, dy, x, w, None, [case.stride] * 2, case.padding,
            [case.dilation] * 2, False, [0, 0], case.groups,
            [case.of != "dw", case.of != "dx", False],
        )  # fmt: skip

    def to_numpy(self, case, y):
        if case.of == "forward":
            return self._image(case, y)
        dx, dw = y[0], y[1]
        dx = None if dx is None else self._image(case, dx)
        dw = None if dw is None else (dw[0, 0] if case.is_single else dw).numpy()
        return (dx, dw) if case.of == "backward" else dw if dx is None else dx

    @staticmethod
    def _image(case, y):
        y = y.permute(0, 2, 3, 1) if case.channel_axis == -1 else y
        return (y[0, 0] if case.is_single else y).numpy()


class OnnxRuntime(Library):
    name = "onnxruntime"

    def __init__(self, threads):
        import onnx
        import onnxruntime

        self.onnx, self.module = onnx, onnxruntime
        self.version = onnxruntime.__version__
        self.threads = threads

    @staticmethod
    def supports(case):
        # its CPU Conv has no float64
        return case.dtype == "float32" and case.mode is None

    def prepare(self, case, x, w):
        """A model whose weights are an initializer: the session packs them once."""
        helper, numpy_helper = self.onnx.helper, self.onnx.numpy_helper
        x = x.reshape(case.x4_shape) if case.is_single else x
        w = w[None, None] if case.is_single else w
        nhwc = case.channel_axis == -1
        conv = helper.make_node(
            "Conv",
            ["x_first" if nhwc else "x", "w"],
            ["y_first" if nhwc else "y"],
            kernel_shape=w.shape[2:],
            strides=[case.stride] * 2,
            dilations=[case.dilation] * 2,
            pads=[*case.padding, *case.padding],
            group=case.groups,
        )
        nodes = [conv]
        if nhwc:  # Conv knows channels first only: what a user has to write
            before = helper.make_node("Transpose", ["x"], ["x_first"], perm=[0, 3, 1, 2])
            after = helper.make_node("Transpose", ["y_first"], ["y"], perm=[0, 2, 3, 1])
            nodes = [before, conv, after]
        value_info = partial(helper.make_tensor_value_info, elem_type=self.onnx.TensorProto.FLOAT)
        graph = helper.make_graph(
            nodes,
            "layer",
            [value_info("x", shape=x.shape)],
            [value_info("y", shape=None)],
            [numpy_helper.from_array(w, "w")],
        )
        opset = [helper.make_opsetid("", 17)]
        model = helper.make_model(graph, opset_imports=opset, ir_version=8)
        options = self.module.SessionOptions()
        options.intra_op_num_threads = self.threads
        options.inter_op_num_threads = 1
        session = self.module.InferenceSession(
            model.SerializeToString(), options, providers=["CPUExecutionProvider"]
        )
        return partial(session.run, None, {"x": x})

    def to_numpy(self, case, y):
        return y[0][0, 0] if case.is_single else y[0]


class OpenCV(Library):
    """filter2D: one image and one odd kernel, same size; a bank is a list of calls."""

    name = "opencv"

    def __init__(self, threads):
        import cv2

        self.module = cv2
        self.version = cv2.__version__
        cv2.setNumThreads(threads)

    @staticmethod
    def supports(case):
        planes = case.is_single or (case.group == "banks" and case.x4_shape[1] == 1)
        return (
            planes
            and _is_same(case)
            and case.stride == case.dilation == 1
            and case.boundary != "wrap"
        )

    def _options(self, case):
        borders = {"fill": self.module.BORDER_CONSTANT, "symm": self.module.BORDER_REFLECT}
        depth = {"float32": self.module.CV_32F, "float64": self.module.CV_64F}[case.dtype]
        return depth, {"borderType": borders[case.boundary]}  # BORDER_CONSTANT is zero

    def prepare(self, case, x, w):
        depth, options = self._options(case)
        if case.is_single:
            return partial(self.module.filter2D, x, depth, w, **options)
        calls = [partial(self.module.filter2D, x[0, 0], depth, k[0], **options) for k in w]
        return lambda: [call() for call in calls]

    def to_numpy(self, case, y):
        return y if case.is_single else np.stack(y)[None]


class OpenCVSeparable(OpenCV):
    """sepFilter2D: the user knows the factors of his kernel."""

    name = "sepfilter2d"

    @staticmethod
    def supports(case):
        return case.data == "gauss"

    def prepare(self, case, x, w):
        column, row = case.factors()
        depth, options = self._options(case)
        return partial(self.module.sepFilter2D, x, depth, row, column, **options)


class SciPy(Library):
    """correlate2d: one image and one kernel, one thread, no SIMD."""

    name = "scipy"
    gflops = 1.2

    def __init__(self, threads):
        import scipy
        import scipy.signal

        self.module = scipy.signal
        self.version = scipy.__version__

    @staticmethod
    def supports(case):
        plain = case.is_single and case.stride == case.dilation == 1
        return plain and (case.mode is not None or _layer_mode(case) is not None)

    def prepare(self, case, x, w):
        mode = _layer_mode(case) if case.mode is None else case.mode
        return partial(self.module.correlate2d, x, w, mode, case.boundary)


class SciPyFFT(SciPy):
    """fftconvolve with the flipped kernel, around a padded image where the boundary is not zero."""

    name = "fftconvolve"
    gflops = None

    def __init__(self, threads):
        super().__init__(threads)
        import scipy.fft

        scipy.fft.set_workers(threads).__enter__()  # for the whole process

    @staticmethod
    def supports(case):
        return case.mode is not None or case.group == "banks"

    def prepare(self, case, x, w):
        convolve, flipped = getattr(self.module, self.name), w[..., ::-1, ::-1]
        if case.mode is None:  # a kernel after the other
            return lambda: [convolve(x, k[None], "same", axes=(-2, -1)).sum(1) for k in flipped]
        if case.boundary == "fill":
            return partial(convolve, x, flipped, case.mode)
        mode = {"wrap": "wrap", "symm": "symmetric"}[case.boundary]
        return lambda: convolve(np.pad(x, case.pads, mode), flipped, "valid")

    def to_numpy(self, case, y):
        y = np.stack(y, axis=1) if isinstance(y, list) else y
        return y.astype(case.dtype, copy=False)  # of integer images it makes float64


class SciPyOverlapAdd(SciPyFFT):
    """The same, block by block."""

    name = "oaconvolve"

    @staticmethod
    def supports(case):
        return SciPyFFT.supports(case) and case.group != "whole"  # there it calls fftconvolve


class SciPyCircular(SciPyFFT):
    """The circular correlation of two images of one size, as the theorem has it."""

    name = "rfft2"

    @staticmethod
    def supports(case):
        return case.boundary == "wrap" and case.x_shape == case.w_shape

    def prepare(self, case, x, w):
        from scipy.fft import irfft2, rfft2

        shift = [before for before, _ in case.pads]
        return lambda: np.roll(irfft2(rfft2(x) * rfft2(w).conj(), x.shape), shift, (0, 1))


class NDImage(Library):
    """ndimage.correlate: one thread, no SIMD."""

    name = "ndimage"
    gflops = 1.8

    def __init__(self, threads):
        import scipy
        import scipy.ndimage

        self.module = scipy.ndimage
        self.version = scipy.__version__

    @staticmethod
    def supports(case):
        return case.mode == "same" and all(k % 2 for k in case.w_shape)

    def prepare(self, case, x, w):
        mode = {"fill": "constant", "wrap": "wrap", "symm": "reflect"}[case.boundary]
        return partial(self.module.correlate, x, w, output=case.dtype, mode=mode)


def _is_same(case):
    """Whether y has the size of x, and the middle of an odd kernel lies above each pixel."""
    pairs = zip(case.w_shape[-2:], case.pads, strict=True)
    return all(k % 2 and p == (k // 2, k // 2) for k, p in pairs)


def _layer_mode(case):
    """SciPy's name of the padding of a layer, None if there is none."""
    return "valid" if case.padding == (0, 0) else "same" if _is_same(case) else None


LIBRARIES = {
    cls.name: cls
    for cls in (
        Fastcorr, Bank, Torch, OnnxRuntime, OpenCV, OpenCVSeparable, SciPy, SciPyFFT,
        SciPyOverlapAdd, SciPyCircular, NDImage,
    )
}  # fmt: skip
