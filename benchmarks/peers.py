# SPDX-License-Identifier: BSD-3-Clause
"""fastcorr and its peers behind one face; compare.py gives each its own worker process.

Decides how each library is called: as its users call it, with everything that can be done once
(model, weights, tensors) done in ``prepare``. Libraries are imported in ``__init__``, so only
inside the worker. Knows nothing of timing. ``supports`` says whether a library computes exactly
the same numbers; ``prepare`` returns a call without arguments, ``to_numpy`` its result as corr2d
would return it.
"""

from __future__ import annotations

import os
from functools import partial

# Libraries without SIMD take the cases that they finish in about two seconds (1 to 2 GFLOP/s).
PATIENCE_FLOPS = 2.5e9


class Fastcorr:
    name = "fastcorr"

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
        if case.group == "filters":
            return partial(self.module.correlate2d, x, w, "same", **self.steer)
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


class Torch:
    name = "torch"

    def __init__(self, threads):
        import torch

        self.module = torch
        self.version = torch.__version__
        torch.set_num_threads(threads)
        torch.set_grad_enabled(False)  # torch.no_grad() for the whole process

    @staticmethod
    def supports(case):
        return case.group != "filters"

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


class OnnxRuntime:
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
        return case.dtype == "float32" and case.group != "filters"

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


class OpenCV:
    """filter2D: one image and one odd kernel, same size."""

    name = "opencv"

    def __init__(self, threads):
        import cv2

        self.module = cv2
        self.version = cv2.__version__
        cv2.setNumThreads(threads)

    @staticmethod
    def supports(case):
        kh, kw = case.w_shape[-2:]
        same = (kh % 2, kw % 2) == (1, 1) and case.padding == (kh // 2, kw // 2)
        return case.is_single and same and case.stride == case.dilation == 1

    def prepare(self, case, x, w):
        border = self.module.BORDER_CONSTANT  # its constant is zero
        return partial(self.module.filter2D, x, -1, w, borderType=border)

    def to_numpy(self, case, y):
        return y


class OpenCVSeparable(OpenCV):
    """sepFilter2D: the user knows the factors of his kernel."""

    name = "sepfilter2d"

    @staticmethod
    def supports(case):
        return case.group == "filters" and case.is_gaussian

    def prepare(self, case, x, w):
        column, row = case.factors()
        border = self.module.BORDER_CONSTANT
        return partial(self.module.sepFilter2D, x, -1, row, column, borderType=border)


class SciPy:
    """correlate2d: one image and one kernel, one thread, no SIMD."""

    name = "scipy"

    def __init__(self, threads):
        import scipy
        import scipy.signal

        self.module = scipy.signal
        self.version = scipy.__version__

    @staticmethod
    def supports(case):
        small = case.is_single and case.flops <= (
            PATIENCE_FLOPS if case.group == "filters" else 1e7
        )
        same = all(p == k // 2 and k % 2 for p, k in zip(case.padding, case.w_shape, strict=False))
        return small and (same or case.padding == (0, 0)) and case.stride == case.dilation == 1

    def prepare(self, case, x, w):
        mode = "valid" if case.padding == (0, 0) else "same"
        return partial(self.module.correlate2d, x, w, mode)

    def to_numpy(self, case, y):
        return y


class SciPyFFT(SciPy):
    """fftconvolve with the flipped kernel."""

    name = "fftconvolve"

    def __init__(self, threads):
        super().__init__(threads)
        import scipy.fft

        scipy.fft.set_workers(threads).__enter__()  # for the whole process

    @staticmethod
    def supports(case):
        return case.group == "filters"

    def prepare(self, case, x, w):
        return partial(getattr(self.module, self.name), x, w[::-1, ::-1], "same")


class SciPyOverlapAdd(SciPyFFT):
    """The same, block by block."""

    name = "oaconvolve"


class NDImage:
    """ndimage.correlate: one thread, no SIMD."""

    name = "ndimage"

    def __init__(self, threads):
        import scipy
        import scipy.ndimage

        self.module = scipy.ndimage
        self.version = scipy.__version__

    @staticmethod
    def supports(case):
        return case.group == "filters" and case.flops <= PATIENCE_FLOPS

    def prepare(self, case, x, w):
        return partial(self.module.correlate, x, w, mode="constant")

    def to_numpy(self, case, y):
        return y


LIBRARIES = {
    cls.name: cls
    for cls in (
        Fastcorr, Torch, OnnxRuntime, OpenCV, OpenCVSeparable, SciPy, SciPyFFT, SciPyOverlapAdd,
        NDImage,
    )
}  # fmt: skip
