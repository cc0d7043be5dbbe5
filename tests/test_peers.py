# SPDX-License-Identifier: BSD-3-Clause
"""The same numbers as SciPy, PyTorch and ONNX Runtime, where they are installed.

Whole numbers, which every library must add exactly: so the conventions are compared, not roundings.
"""

import itertools
import warnings

import numpy as np
import pytest
from cases import Case, whole_arrays, whole_numbers
from scipy import ndimage, signal

import fastcorr

LAYERS = [
    Case((2, 3, 17, 19), (8, 3, 3, 3)),
    Case((1, 16, 14, 14), (32, 16, 3, 3), {"padding": 1}),
    Case((2, 4, 13, 12), (6, 4, 5, 2), {"stride": (2, 3), "padding": (2, 1)}),
    Case((2, 4, 15, 16), (6, 4, 3, 3), {"dilation": (2, 3), "padding": 3}),
    Case((1, 6, 9, 9), (12, 2, 3, 3), {"groups": 3, "stride": 2, "padding": 1}),
    Case((2, 5, 9, 9), (5, 1, 3, 3), {"groups": 5, "padding": 1}),
    Case((2, 5, 9, 9), (10, 1, 5, 5), {"groups": 5, "padding": 2, "stride": 2}),
    Case((3, 20, 7, 7), (14, 20, 1, 1), {"stride": 2}),
]
by_layer = pytest.mark.parametrize("layer", LAYERS, ids=str)


@pytest.fixture(scope="module")
def torch():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return pytest.importorskip("torch", reason="PyTorch is not installed")


@pytest.fixture(scope="module")
def onnx_conv():
    """Return conv(x, w, bias, **attributes): one ONNX Conv node, run by ONNX Runtime."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        onnx = pytest.importorskip("onnx", reason="onnx is not installed")
        runtime = pytest.importorskip("onnxruntime", reason="ONNX Runtime is not installed")
    helper, kind = onnx.helper, onnx.TensorProto.FLOAT

    def conv(x, w, bias, **attributes):
        feeds = {"x": x, "w": w, "b": bias}
        graph = helper.make_graph(
            [helper.make_node("Conv", list(feeds), ["y"], **attributes)],
            "conv",
            [helper.make_tensor_value_info(k, kind, a.shape) for k, a in feeds.items()],
            [helper.make_tensor_value_info("y", kind, None)],
        )
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
        session = runtime.InferenceSession(
            model.SerializeToString(), providers=["CPUExecutionProvider"]
        )
        return session.run(None, feeds)[0]

    return conv


def with_bias(layer, dtype):
    x, w = whole_arrays(layer, dtype)
    return x, w, whole_numbers(len(w), dtype, np.random.default_rng(1))


@by_layer
@pytest.mark.parametrize("dtype", [np.float64, np.complex128, np.int64])
def test_layers_of_pytorch(torch, layer, dtype):
    x, w, bias = with_bias(layer, dtype)
    y = fastcorr.corr2d(x, w, bias, **layer.options)
    theirs = torch.nn.functional.conv2d(*map(torch.from_numpy, (x, w, bias)), **layer.options)
    np.testing.assert_array_equal(y, theirs.numpy())


@pytest.mark.parametrize("mode", ["constant", "reflect", "replicate", "circular"])
def test_padding_modes_of_pytorch(torch, mode):
    x, w = whole_arrays(Case((2, 3, 8, 9), (4, 3, 3, 2)), np.float64)
    ours = {"replicate": "edge", "circular": "wrap"}.get(mode, mode)
    for top, bottom, left, right in ((1, 1, 1, 1), (0, 2, 7, 5), (6, 3, 0, 1)):
        y = fastcorr.corr2d(x, w, padding=((top, bottom), (left, right)), padding_mode=ours)
        padded = torch.nn.functional.pad(torch.from_numpy(x), (left, right, top, bottom), mode)
        theirs = torch.nn.functional.conv2d(padded, torch.from_numpy(w))
        np.testing.assert_array_equal(y, theirs.numpy())


def test_same_of_pytorch(torch):
    for kernel in ((3, 3), (4, 2), (1, 6)):
        x, w = whole_arrays(Case((3, 8, 9), (4, 3, *kernel)), np.float64)
        for dilation in (1, 2):
            y = fastcorr.corr2d(x, w, padding="same", dilation=dilation)
            with warnings.catch_warnings():  # an even kernel makes them copy, and say so
                warnings.simplefilter("ignore")
                theirs = torch.nn.functional.conv2d(
                    torch.from_numpy(x), torch.from_numpy(w), padding="same", dilation=dilation
                )
            np.testing.assert_array_equal(y, theirs.numpy())


@by_layer
def test_layers_of_onnx_runtime(onnx_conv, layer):
    x, w, bias = with_bias(layer, np.float32)
    names = {"stride": "strides", "dilation": "dilations", "padding": "pads"}
    attributes = {
        names[k]: [*np.broadcast_to(v, 2)] for k, v in layer.options.items() if k in names
    }
    attributes = {k: [int(i) for i in v] for k, v in attributes.items()}
    if "pads" in attributes:
        attributes["pads"] *= 2
    attributes["group"] = layer.options.get("groups", 1)
    theirs = onnx_conv(x, w, bias, **attributes)
    np.testing.assert_array_equal(fastcorr.corr2d(x, w, bias, **layer.options), theirs)


@pytest.mark.parametrize(("ours", "theirs"), [("same", "SAME_UPPER"), ("same_lower", "SAME_LOWER")])
def test_same_of_onnx_runtime(onnx_conv, ours, theirs):
    for size, kernel, stride in itertools.product((7, 12, 13), (2, 3, 6), (1, 2, 5)):
        layer = Case((1, 2, size, 8), (3, 2, kernel, 3), {"stride": (stride, 2)})
        x, w, bias = with_bias(layer, np.float32)
        y = fastcorr.corr2d(x, w, bias, padding=ours, **layer.options)
        np.testing.assert_array_equal(
            y, onnx_conv(x, w, bias, auto_pad=theirs, strides=[stride, 2])
        )


@pytest.mark.parametrize("mode", ["full", "same", "valid"])
@pytest.mark.parametrize("boundary", ["fill", "symm", "wrap"])
def test_correlate2d_of_scipy(mode, boundary):
    ours = {"fill": "constant", "symm": "symmetric"}.get(boundary, boundary)
    for kernel in ((1, 1), (3, 3), (4, 2), (5, 7)):
        for dtype in (np.float32, np.int16, np.complex128):
            x, w = whole_arrays(Case((9, 8), kernel), dtype)
            theirs = signal.correlate2d(x, w.conj(), mode, boundary)
            y = fastcorr.corr2d(x, w, padding=mode, padding_mode=ours)
            assert y.dtype == theirs.dtype
            np.testing.assert_array_equal(y, theirs)


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [("reflect", "mirror"), ("symmetric", "reflect"), ("edge", "nearest"), ("wrap", "wrap")],
)
def test_modes_of_ndimage(ours, theirs):
    x, w = whole_arrays(Case((6, 7), (5, 3)), np.float64)
    np.testing.assert_array_equal(
        fastcorr.corr2d(x, w, padding="same", padding_mode=ours),
        ndimage.correlate(x, w, mode=theirs),
    )
