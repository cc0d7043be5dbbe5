# SPDX-License-Identifier: BSD-3-Clause
"""FilterBank: bitwise corr2d by the method it names, whatever came before and beside the call."""

import copy
import inspect
import pickle
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from cases import DEPTHWISE_LAST, FEW_CHANNELS, GROUPED, ODD, PARALLEL, Case, normal_arrays
from contract import check_bits
from hypothesis import given, settings
from hypothesis import strategies as st
from layouts import LAYOUTS, OUT_LAYOUTS

import fastcorr
from fastcorr import FilterBank, corr2d
from fastcorr import _filter_bank as module
from fastcorr._kernels import dispatch

METHODS = ("direct", "winograd", "fft", "separable")
DTYPES = ("f4", "f8", "f2", "c8", "i1", "u2", "i4", "i8")

LAYERS = [
    Case((2, 48, 14, 15), (40, 48, 3, 3), {"padding": 1}),
    Case((3, 64, 7, 7), (50, 64, 3, 3), {"padding": 1}),
    Case((2, 34, 7, 40), (20, 17, 3, 3), {"groups": 2, "padding": 1}),
    Case((1, 300, 9, 9), (15, 300, 3, 3), {"stride": 2}),
    Case((2, 1024, 5, 6), (30, 1024, 1, 1)),  # rows of w lie 4096 bytes apart
    Case((3, 60, 61), (3, 20, 21), {"padding": "full"}),
    Case((2, 2, 70, 71), (3, 2, 33, 34), {"padding": "same", "padding_mode": "wrap"}),
    Case((2, 1, 30, 29), (1, 1, 11, 11)),
    Case((80, 81), (9, 9), {"padding": 4, "padding_mode": "reflect"}),
    Case((2, 11, 12, 5), (7, 5, 3, 2), {"channel_axis": -1, "dilation": 2}),
    Case((4, 20, 30, 3), (6, 1, 3, 3), {"groups": 3, "channel_axis": -1}),
]


def seeded(case, dtype):
    """x and w of normal numbers, and a bias."""
    x, w = normal_arrays(case, "f8" if dtype[0] in "iu" else dtype)
    bias = np.random.default_rng(1).standard_normal(w.shape[0]) if w.ndim == 4 else np.array(0.5)
    if dtype[0] in "iu":
        x, w, bias = (np.rint(20 * a).astype(np.int64).astype(dtype) for a in (x, w, bias))
    return x, w, bias.astype(x.dtype)


def check_bank(x, w, bias=None, **options):
    """Assert that a bank gives the bits of corr2d; return y and the method."""
    bank = FilterBank(w, bias, **options)
    method = bank.explain(x).method
    y = bank(x)
    check_bits(y, corr2d(x, w, bias, **{**options, "method": method}))
    check_bits(bank(x), y)
    if x.ndim == 4:
        for i in range(len(x)):
            assert bank.explain(x[i]).method == method
            check_bits(bank(x[i]), y[i])
        check_bits(bank(x[::-1]), y[::-1])
    return y, method


@pytest.mark.parametrize("case", LAYERS, ids=str)
def test_every_instruction_set(isa, case):
    x, w, _ = seeded(case, "f4")
    check_bank(x, w, **case.options)
    check_bank(x, w, method="direct", **case.options)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("case", LAYERS, ids=str)
def test_the_bits_of_corr2d(case, dtype):
    x, w, bias = seeded(case, dtype)
    check_bank(x, w, **case.options)
    check_bank(x, w, bias, padding_value=1, **case.options)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("case", LAYERS, ids=str)
def test_every_method_by_name(case, method):
    if method == "fft" and case.w[1] > 64:
        pytest.skip("takes long")
    x, w, bias = seeded(case, "f4")
    if method == "separable":
        w[...] = w[..., :1, :] * w[..., :, :1]
    expected = result_or_error(lambda: corr2d(x, w, bias, method=method, **case.options))
    if isinstance(expected, str):
        bank = result_or_error(lambda: FilterBank(w, bias, method=method, **case.options)(x))
        assert bank == expected
        return
    y, taken = check_bank(x, w, bias, method=method, **case.options)
    assert taken == method
    check_bits(y, expected)


def result_or_error(call):
    try:
        return call()
    except ValueError as error:
        return str(error)


@pytest.mark.parametrize(
    "case", [*ODD, *FEW_CHANNELS[::7], *DEPTHWISE_LAST[::11], *GROUPED[::5]], ids=str
)
def test_odd_shapes(case):
    for dtype in ("f4", "i2"):
        check_bank(*seeded(case, dtype), **case.options)


def test_every_pair_of_ranks():
    rng = np.random.default_rng(0)
    x, w = rng.random((2, 3, 9, 10)), rng.random((4, 3, 3, 2))
    check_bank(x[0, 0], w[0, 0], 1.5)
    check_bank(x[0], w[0], np.ones(1))
    bank = FilterBank(w, np.ones(4))
    check_bits(bank(x[1]), bank(x)[1])
    assert bank(x[:0]).shape == (0, 4, 7, 9)
    check_bits(bank(x[:0]), corr2d(x[:0], w, np.ones(4)))


def test_long_double_and_mixed_dtypes():
    rng = np.random.default_rng(0)
    x, w = rng.standard_normal((2, 4, 9, 9)), rng.standard_normal((5, 4, 3, 3))
    bank = FilterBank(w[0].astype("f4"), 0.5)
    for dtype in ("f2", "f4", "f8", "g", "F", "D", "i1", "u4", "?"):
        other = x[0].astype(dtype)
        y = bank(other)
        assert y.dtype == corr2d(other, bank.w, 0.5).dtype
        check_bits(y, corr2d(other, bank.w, 0.5, method=bank.explain(other).method))
    check_bank(x, w + 1j * w)
    check_bank(x + 1j * x, (9 * w).astype("i2"))


def test_a_weak_bias_follows_the_dtype_of_x():
    bank = FilterBank(np.ones((3, 3), np.uint8), 300)
    assert bank(np.ones((4, 4), np.int32))[0, 0] == 309
    with pytest.raises(ValueError, match="bias = 300"):
        bank(np.ones((4, 4), np.uint8))


@pytest.mark.parametrize("bad", [np.nan, np.inf, 1e300])
@pytest.mark.parametrize("where", ["x", "w"])
def test_values_that_methods_refuse(where, bad):
    for case in (LAYERS[0], LAYERS[6], LAYERS[8]):
        for dtype in ("f8", "c16"):
            x, w, _ = seeded(case, dtype)
            target = x if where == "x" else w
            target[..., 1, 1] = bad
            with np.errstate(all="ignore"):
                check_bank(x, w, **case.options)
                check_bank(x, w.real.copy(), **case.options)


def test_complex_images_beside_one_with_infinities():
    x, w, _ = seeded(LAYERS[0], "c8")
    x[0, 0, 0, 0] = np.inf
    check_bank(x, w.real.copy(), padding=1)


def test_separable_kernels_are_found():
    column = np.exp(-(np.linspace(-2, 2, 31) ** 2)).astype("f")
    x = np.random.default_rng(0).random((2, 1, 200, 201), np.float32)
    w = np.outer(column, column)[None, None]
    _, method = check_bank(x, w, padding="same")
    assert method == "separable"
    assert check_bank(x, np.random.default_rng(0).random(w.shape, np.float32))[1] != "separable"


def test_a_batch_is_transformed_as_its_images_are():
    rng = np.random.default_rng(0)
    for size, k in ((97, 21), (152, 14), (182, 36)):
        x = rng.standard_normal((5, 2, size, size)).astype("f")
        check_bank(x, rng.standard_normal((3, 2, k, k)).astype("f"), method="fft")


def test_the_method_follows_from_the_size_of_an_image_alone():
    rng = np.random.default_rng(0)
    bank = FilterBank(rng.standard_normal((64, 64, 3, 3)).astype("f"), padding=1)
    x = rng.standard_normal((9, 64, 28, 28)).astype("f")
    methods = {bank.explain(x[:n]).method for n in (0, 1, 2, 9)}
    assert methods == {"winograd"}
    assert bank.explain(x[:, :, :3, :3]).method == "direct"
    # A batch of these is worth transforms, one is not.
    many = np.zeros((64, 64, 10, 10), np.float32)
    assert bank.explain(many).method == bank.explain(many[0]).method
    assert bank.explain(many).method != fastcorr.explain(many, bank.w, padding=1).method
    assert bank.explain(x).flops == fastcorr.explain(x, bank.w, padding=1).flops
    assert "winograd" in str(bank.explain(x))
    assert bank.explain(x).workspace > 0


@pytest.mark.parametrize("layout", LAYOUTS)
def test_layouts_of_x_and_w(layout):
    case = LAYERS[0]
    x, w, _ = seeded(case, "f4")
    expected = FilterBank(w, **case.options)(x)
    check_bits(FilterBank(LAYOUTS[layout](w), **case.options)(LAYOUTS[layout](x)), expected)


@pytest.mark.parametrize("layout", OUT_LAYOUTS)
def test_out(layout):
    case = LAYERS[0]
    x, w, bias = seeded(case, "f4")
    bank = FilterBank(w, bias, **case.options)
    out = LAYOUTS[layout](np.zeros_like(bank(x)))
    assert bank(x, out) is out
    check_bits(np.ascontiguousarray(out), bank(x))
    image = np.random.default_rng(0).random((9, 9))
    blur = FilterBank(np.full((3, 3), 1 / 9), padding="same")
    expected = blur(image)
    check_bits(blur(image, out=image), expected)


def test_lists_and_plain_numbers():
    assert FilterBank([[0, 1], [2, 3]])([[0, 1, 2], [3, 4, 5], [6, 7, 8]]).tolist() == [
        [19, 25],
        [37, 43],
    ]


def test_workers_do_not_matter():
    for case in PARALLEL[::2]:
        x, w, _ = seeded(case, "f4")
        alone = FilterBank(w, workers=1, **case.options)(x)
        for workers in (2, 3, -1, None):
            check_bits(FilterBank(w, workers=workers, **case.options)(x), alone)


def test_later_changes_of_the_arguments_do_not_matter():
    w, bias, padding = np.ones((1, 1, 3, 3)), np.ones(1), [[1, 1], [1, 1]]
    value = np.array(2.0)
    bank = FilterBank(w, bias, padding=padding, padding_value=value)
    x = np.zeros((1, 4, 4))
    expected = corr2d(x, w, bias, padding=1, padding_value=2)
    w[...], bias[...], value[...], padding[0][0] = 7, 7, 7, 0
    check_bits(bank(x), expected)


def test_a_bank_does_not_change():
    w, bias = np.ones((2, 1, 3, 3), np.float32), np.ones(2)
    bank = FilterBank(w, bias, stride=2, padding="same", workers=1)
    assert (bank.stride, bank.dilation, bank.groups) == ((2, 2), (1, 1), 1)
    assert (bank.padding, bank.padding_mode, bank.padding_value) == ("same", "constant", 0)
    assert (bank.channel_axis, bank.method, bank.workers) == (None, "auto", 1)
    for name in ("w", "bias", "stride", "method", "new"):
        with pytest.raises(AttributeError, match="does not change"):
            setattr(bank, name, 1)
    with pytest.raises(AttributeError, match="does not change"):
        del bank.w
    for array in (bank.w, bank.bias):
        with pytest.raises(ValueError, match="read-only"):
            array[...] = 0
        with pytest.raises(ValueError, match="WRITEABLE"):
            array.flags.writeable = True
    assert repr(bank) == (
        "FilterBank((2, 1, 3, 3) float32, bias of float64, stride=(2, 2), padding='same', "
        "workers=1)"
    )


def test_pickle_and_copies():
    rng = np.random.default_rng(0)
    w = rng.standard_normal((32, 32, 3, 3)).astype("f")
    x = rng.standard_normal((2, 32, 12, 12)).astype("f")
    options = {"padding": "same", "padding_mode": "edge", "stride": 1, "workers": 2}
    bank = FilterBank(w, np.ones(32, "f"), **options)
    y = bank(x)
    texts = [pickle.dumps(bank, protocol) for protocol in range(pickle.HIGHEST_PROTOCOL + 1)]
    assert len(texts[-1]) < w.nbytes + 2000
    for other in (*map(pickle.loads, texts), copy.copy(bank), copy.deepcopy(bank)):
        assert other == bank
        assert hash(other) == hash(bank)
        assert repr(other) == repr(bank)
        check_bits(other(x), y)
    others = [FilterBank(w, np.ones(32, "f")), FilterBank(-w, np.ones(32, "f"), **options), w]
    assert all(bank != other for other in others[:2])
    assert bank != "a bank"


def test_the_cache_is_bounded(monkeypatch):
    monkeypatch.setattr(module, "MOST_SHAPES", 4)
    w = np.random.default_rng(0).standard_normal((32, 32, 3, 3)).astype("f")
    bank = FilterBank(w, padding=1)
    images = [np.ones((n, 32, 20, size), "f") for n in (1, 2) for size in range(20, 26)]
    expected = [bank(x) for x in images]
    assert len(bank._cache.bound) == 4
    # Batches and sizes share their transformed kernels.
    bound = list(bank._cache.bound.values())
    assert {b.plan.method for b in bound} == {"winograd"}
    assert len({id(b.weights) for b in bound}) == 1
    assert module._bytes_of(bank._cache.bound) == bound[0].weights.nbytes < 7 * w.nbytes
    for x, y in zip(images, expected, strict=True):
        check_bits(bank(x), y)
    monkeypatch.setattr(module, "MOST_BYTES", 1000)
    for x, y in zip(images, expected, strict=True):
        check_bits(bank(x), y)
        assert len(bank._cache.bound) == 1


def test_known_sizes_prepare_nothing(monkeypatch):
    x, w, _ = seeded(LAYERS[0], "f4")
    bank = FilterBank(w, padding=1)
    y = bank(x)
    monkeypatch.setattr(FilterBank, "_bound_for", None)
    check_bits(bank(x), y)
    check_bits(bank(x[::-1]), y[::-1])


def test_many_threads_at_once():
    rng = np.random.default_rng(0)
    w = rng.standard_normal((40, 48, 3, 3)).astype("f")
    images = [
        rng.standard_normal((n, 48, size, size + 1)).astype("f")
        for n in (1, 3)
        for size in (4, 9, 14, 20, 27)
    ]
    bank, alone = FilterBank(w, padding=1), FilterBank(w, padding=1, workers=1)
    expected = [alone(x) for x in images]

    def work(seed):
        order = np.random.default_rng(seed).permutation(len(images))
        return [(i, bank(images[i])) for i in order]

    with ThreadPoolExecutor(8) as pool:
        for results in pool.map(work, range(16)):
            for i, y in results:
                check_bits(y, expected[i])


def test_the_instruction_set_may_change_between_calls():
    x, w, _ = seeded(LAYERS[0], "f4")
    bank, active = FilterBank(w, padding=1), dispatch.active_isa()
    try:
        for _ in range(2):
            for name in dispatch.available_isas():
                dispatch.set_isa(name)
                method = bank.explain(x).method
                check_bits(bank(x), corr2d(x, w, padding=1, method=method))
    finally:
        dispatch.set_isa(active)


def test_arguments_are_those_of_corr2d():
    ours = dict(inspect.signature(FilterBank).parameters)
    theirs = dict(inspect.signature(corr2d).parameters)
    del theirs["x"], theirs["out"]
    assert ours == theirs


SIZES = st.integers(1, 12)


@pytest.mark.edges
@settings(max_examples=150)
@given(st.data())
def test_any_options(data):
    groups = data.draw(st.sampled_from([1, 1, 2]))
    c, f = groups * data.draw(st.integers(1, 20)), groups * data.draw(st.integers(1, 18))
    kh, kw = data.draw(st.integers(1, 4)), data.draw(st.integers(1, 4))
    stride, dilation = data.draw(st.integers(1, 3)), data.draw(st.integers(1, 2))
    h, w = (k * dilation + data.draw(SIZES) for k in (kh, kw))
    options = {
        "stride": stride,
        "dilation": dilation,
        "groups": groups,
        "padding": data.draw(st.sampled_from([0, 1, (0, 2), "same", "full", ((1, 0), (2, 1))])),
        "padding_mode": data.draw(st.sampled_from(["constant", "edge", "wrap"])),
        "channel_axis": data.draw(st.sampled_from([None, -1])),
    }
    n = data.draw(st.integers(1, 3))
    x_shape = (n, c, h, w) if options["channel_axis"] is None else (n, h, w, c)
    case = Case(x_shape, (f, c // groups, kh, kw))
    x, kernels, bias = seeded(case, data.draw(st.sampled_from(DTYPES)))
    if kernels.dtype.kind != "c":
        kernels = kernels.astype(data.draw(st.sampled_from([kernels.dtype.str, "f4", "i2", "c8"])))
    check_bank(x, kernels, bias if data.draw(st.booleans()) else None, **options)
