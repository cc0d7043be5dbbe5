# SPDX-License-Identifier: BSD-3-Clause
"""The layer is corr2d and its gradients, with weights that a seed reproduces."""

import numpy as np
import pytest
from cases import normal

import fastcorr
from fastcorr.nn import Conv2D

OPTIONS = {
    "stride": (1, 2), "padding": ((1, 0), (2, 1)), "dilation": 2, "groups": 2,
    "padding_mode": "reflect",
}  # fmt: skip


@pytest.mark.parametrize("channel_axis", [None, -1])
def test_forward_and_backward_are_the_functions(channel_axis):
    rng = np.random.default_rng(0)
    layer = Conv2D(4, 6, (3, 2), **OPTIONS, channel_axis=channel_axis, rng=rng)
    for shape in ((3, 4, 9, 8), (4, 9, 8)):
        shape = shape if channel_axis is None else (*shape[:-3], *shape[-2:], 4)
        x = normal(shape, np.float32, rng)
        y = layer(x)
        options = {**OPTIONS, "channel_axis": channel_axis}
        expected = fastcorr.corr2d(x, layer.weight, layer.bias, **options)
        np.testing.assert_array_equal(y, expected)
        assert y.dtype == np.float32
        dy = normal(y.shape, np.float32, rng)
        grads = fastcorr.corr2d_backward(dy, x, layer.weight, **options)
        layer.zero_grad()
        np.testing.assert_array_equal(layer.backward(dy), grads.x)
        np.testing.assert_array_equal(layer.weight_grad, grads.w)
        np.testing.assert_array_equal(layer.bias_grad, grads.b)
        layer.backward(dy)
        np.testing.assert_array_equal(layer.weight_grad, 2 * grads.w)
        np.testing.assert_array_equal(layer.bias_grad, 2 * grads.b)


def test_first_weights():
    layer = Conv2D(6, 8, 3, groups=2, rng=1)
    bound = 1 / np.sqrt(3 * 3 * 3)
    assert layer.weight.shape == (8, 3, 3, 3)
    assert layer.bias.shape == (8,)
    for a in (layer.weight, layer.bias):
        assert a.dtype == np.float32
        assert np.abs(a).max() <= bound * (1 + 1e-6)
        assert np.abs(a).max() > 0.8 * bound
    np.testing.assert_array_equal(layer.weight_grad, np.zeros_like(layer.weight))
    np.testing.assert_array_equal(layer.bias_grad, np.zeros(8))
    again = Conv2D(6, 8, 3, groups=2, rng=np.random.default_rng(1))
    np.testing.assert_array_equal(again.weight, layer.weight)
    np.testing.assert_array_equal(again.bias, layer.bias)
    assert (Conv2D(6, 8, 3, groups=2, rng=2).weight != layer.weight).any()
    assert (Conv2D(6, 8, 3, groups=2).weight != layer.weight).any()


@pytest.mark.parametrize("dtype", [np.float64, np.complex64, np.float16])
def test_dtypes(dtype):
    layer = Conv2D(2, 3, 3, dtype=dtype, rng=0)
    x = np.ones((2, 5, 5), dtype)
    y = layer(x)
    dx = layer.backward(np.ones_like(y))
    for a in (y, dx, layer.weight, layer.bias, layer.weight_grad, layer.bias_grad):
        assert a.dtype == dtype
    if np.dtype(dtype).kind == "c":
        assert layer.weight.imag.any()


def test_x_of_another_dtype_is_promoted():
    layer = Conv2D(2, 3, 3, rng=0)
    y = layer(np.ones((2, 5, 5)))
    assert y.dtype == np.float64
    assert layer.backward(y).dtype == np.float64
    assert layer.weight_grad.dtype == np.float32
    layer(np.ones((2, 5, 5), np.complex64))
    layer.zero_grad()
    layer.backward(np.full((3, 3, 3), 1 + 1j, np.complex64))
    np.testing.assert_array_equal(layer.weight_grad, np.full((3, 2, 3, 3), 9))
    layer(np.ones((2, 5, 5), int))
    with pytest.raises(TypeError, match="x has the dtype"):
        layer.backward(np.ones((3, 3, 3)))


def test_without_bias():
    layer = Conv2D(2, 3, 3, bias=False, rng=0)
    assert layer.bias is None
    assert layer.bias_grad is None
    layer.backward(layer(np.ones((2, 5, 5), np.float32)))
    layer.zero_grad()
    assert layer.bias_grad is None
    assert "bias=False" in repr(layer)


def test_backward_before_forward():
    layer = Conv2D(2, 3, 3)
    with pytest.raises(ValueError, match="before a forward"):
        layer.backward(np.ones((3, 3, 3)))
    with pytest.raises(ValueError, match="w has 2 input channels"):
        layer(np.ones((3, 5, 5)))
    with pytest.raises(ValueError, match="before a forward"):  # that was none
        layer.backward(np.ones((3, 3, 3)))
    layer(np.ones((2, 5, 5)))
    with pytest.raises(ValueError, match="dy has the shape"):
        layer.backward(np.ones((3, 4, 3)))
    assert not layer.weight_grad.any()


def test_assigned_weights_are_checked_at_the_next_call():
    layer, x = Conv2D(2, 3, 3, padding=1, rng=0), np.ones((2, 5, 5), np.float32)
    layer.weight = np.ones((3, 4, 3, 3))
    with pytest.raises(ValueError, match="w has 4 input channels per group, expected C // groups"):
        layer(x)
    layer.weight, layer.bias = np.ones((3, 2, 3, 3)), np.zeros(4)
    with pytest.raises(ValueError, match="bias has the shape"):
        layer(x)
    layer.weight, layer.bias = np.ones((4, 2, 1, 1)), np.zeros(4)  # another layer, but a right one
    y = layer(x)
    assert y.shape == (4, 7, 7)
    with pytest.raises(ValueError, match=r"weight_grad has the shape .* call zero_grad\(\)"):
        layer.backward(y)
    layer.zero_grad()
    layer.backward(y)
    layer.weight = [[[[1.0]], [[2.0]]]]
    layer.bias = None
    layer.zero_grad()
    assert layer.backward(layer(x)).shape == x.shape
    assert "Conv2D(2, 1, (1, 1)" in repr(layer)


@pytest.mark.parametrize(
    ("change", "error", "text"),
    [
        ({"in_channels": 0}, ValueError, "in_channels = 0"),
        ({"out_channels": 1.0}, TypeError, "out_channels = 1.0"),
        ({"kernel_size": (3, 0)}, ValueError, r"kernel_size\[1\] = 0"),
        ({"groups": 3}, ValueError, "groups = 3.*in_channels = 4.*out_channels = 6"),
        ({"stride": 0}, ValueError, "stride = 0"),
        ({"padding": "sam"}, ValueError, "padding = 'sam'"),
        ({"dilation": "1"}, TypeError, "dilation = '1'"),
        ({"padding_mode": "zeros"}, ValueError, "padding_mode = 'zeros'"),
        ({"channel_axis": 0}, ValueError, "channel_axis = 0"),
        ({"dtype": np.int32}, TypeError, "dtype = dtype.'int32'.: expected floats or complex"),
    ],
)
def test_bad_arguments(change, error, text):
    good = {"in_channels": 4, "out_channels": 6, "kernel_size": 3}
    Conv2D(**good)
    with pytest.raises(error, match=text):
        Conv2D(**{**good, **change})


def test_gradient_descent_ends_at_the_target():
    rng = np.random.default_rng(0)
    x, target = normal((8, 2, 9, 9), np.float64, rng), Conv2D(2, 3, 3, rng=1, dtype=float)
    y = target(x)
    layer = Conv2D(2, 3, 3, rng=2, dtype=float)
    for _ in range(200):
        layer.zero_grad()
        layer.backward((layer(x) - y) / y[:, 0].size)
        layer.weight -= 0.5 * layer.weight_grad
        layer.bias -= 0.5 * layer.bias_grad
    np.testing.assert_allclose(layer.weight, target.weight, atol=1e-6)
    np.testing.assert_allclose(layer.bias, target.bias, atol=1e-6)
