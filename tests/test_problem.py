# SPDX-License-Identifier: BSD-3-Clause
"""Bad input, all of it, in one table; and the normal form of good input."""

import dataclasses
import inspect

import numpy as np
import pytest

import fastcorr
from fastcorr._plan import ALGORITHMS
from fastcorr._problem import (
    METHODS,
    Problem,
    as_arrays,
    cast_padding_value,
    check_out,
    normalise,
    problem_key,
)


def zeros(*shape, dtype=np.float32):
    return np.zeros(shape, dtype)


def read_only(*shape):
    array = zeros(*shape)
    array.setflags(write=False)
    return array


STRUCTURED = np.zeros((4, 8, 9), [("red", np.float32), ("blue", np.float32)])
CHANNELS_LAST = {"x": zeros(8, 9, 4), "channel_axis": -1}
FORMS = ("((top, bottom), (left, right))", "'valid'", "'same'", "'same_lower'", "'full'")

# One row: the case, what differs from the good call below, the error, and what its text holds:
# the argument, its actual value, and what is required.
GOOD = {"x": zeros(4, 8, 9), "w": zeros(6, 4, 3, 3)}  # y has the shape (6, 6, 7)
BAD = [
    # ranks
    ("x 0-D", {"x": 1.0}, ValueError, ["x has the shape ()", "(H, W) with (KH, KW)"]),
    ("x 1-D", {"x": zeros(9)}, ValueError, ["x has the shape (9,)", "(N, C, H, W)"]),
    ("x 5-D", {"x": zeros(1, 1, 4, 8, 9)}, ValueError, ["(1, 1, 4, 8, 9)", "(C, H, W)"]),
    ("w 0-D", {"w": 1.0}, ValueError, ["w the shape ()", "(C, KH, KW)"]),
    ("w 1-D", {"w": zeros(3)}, ValueError, ["w the shape (3,)", "(C, KH, KW)"]),
    ("w 5-D", {"w": zeros(1, 6, 4, 3, 3)}, ValueError, ["(1, 6, 4, 3, 3)", "(KH, KW)"]),
    ("2-D and 3-D", {"x": zeros(8, 9), "w": zeros(1, 3, 3)}, ValueError, ["(8, 9)", "(1, 3, 3)"]),
    ("2-D and 4-D", {"x": zeros(8, 9), "w": zeros(1, 1, 3, 3)}, ValueError, ["(8, 9)", "(KH, KW)"]),
    ("3-D and 2-D", {"w": zeros(3, 3)}, ValueError, ["(4, 8, 9)", "(3, 3)", "(C, KH, KW)"]),
    ("4-D and 2-D", {"x": zeros(2, 4, 8, 9), "w": zeros(3, 3)}, ValueError, ["(2, 4, 8, 9)"]),
    ("4-D and 3-D", {"x": zeros(2, 4, 8, 9), "w": zeros(4, 3, 3)}, ValueError, ["(4, 3, 3)"]),
    # channels and groups
    (
        "w has fewer channels",
        {"w": zeros(6, 3, 3, 3)},
        ValueError,
        ["w has 3 input channels", "expected C // groups = 4", "C = 4", "groups = 1"],
    ),
    (
        "w has more channels",
        {"w": zeros(6, 5, 3, 3)},
        ValueError,
        ["w has 5 input channels", "= 4"],
    ),
    ("3-D w, channels", {"w": zeros(3, 3, 3)}, ValueError, ["w has 3 input channels", "C = 4"]),
    ("batch, channels", {"x": zeros(2, 3, 8, 9)}, ValueError, ["w has 4 input", "(2, 3, 8, 9)"]),
    (
        "channels of w not divided",
        {"groups": 2},
        ValueError,
        ["w has 4 input", "= 2", "groups = 2"],
    ),
    ("photo, channels last", {"x": zeros(40, 148, 4)}, ValueError, ["C = 40", "channel_axis=-1"]),
    ("channels last, channels first", {"channel_axis": -1}, ValueError, ["w has 4 input", "C = 9"]),
    ("C not divisible", {"groups": 3}, ValueError, ["groups = 3", "C = 4", "F = 6"]),
    ("F not divisible", {"w": zeros(6, 1, 3, 3), "groups": 4}, ValueError, ["groups = 4", "F = 6"]),
    ("groups 0", {"groups": 0}, ValueError, ["groups = 0", "int >= 1"]),
    ("groups -1", {"groups": -1}, ValueError, ["groups = -1", "int >= 1"]),
    ("groups 1.0", {"groups": 1.0}, TypeError, ["groups = 1.0", "int >= 1"]),
    ("groups True", {"groups": True}, TypeError, ["groups = True", "int >= 1"]),
    ("groups pair", {"groups": (1, 1)}, TypeError, ["groups = (1, 1)", "int >= 1"]),
    ("groups list", {"groups": [2]}, TypeError, ["groups = [2]", "int >= 1"]),
    (
        "groups, 2-D w",
        {"x": zeros(8, 9), "w": zeros(3, 3), "groups": 2},
        ValueError,
        ["groups = 2", "expected 1", "(3, 3)"],
    ),
    ("groups, 3-D w", {"w": zeros(2, 3, 3), "groups": 2}, ValueError, ["groups = 2", "expected 1"]),
    # empty operands
    ("KH = 0", {"w": zeros(6, 4, 0, 3)}, ValueError, ["w has", "(6, 4, 0, 3)", "KH >= 1"]),
    ("KW = 0", {"w": zeros(6, 4, 3, 0)}, ValueError, ["w has", "(6, 4, 3, 0)", "KW >= 1"]),
    ("2-D w empty", {"x": zeros(8, 9), "w": zeros(0, 0)}, ValueError, ["w has", "(0, 0)", ">= 1"]),
    ("C = 0", {"x": zeros(0, 8, 9)}, ValueError, ["x has C = 0", "(0, 8, 9)", "at least 1"]),
    ("C = 0 in both", {"x": zeros(0, 8, 9), "w": zeros(6, 0, 3, 3)}, ValueError, ["x has C = 0"]),
    ("C = 0 in w", {"w": zeros(6, 0, 3, 3)}, ValueError, ["w has 0 input", "= 4"]),
    ("F = 0", {"w": zeros(0, 4, 3, 3)}, ValueError, ["w has F = 0", "at least 1"]),
    # sizes
    ("KH > H", {"w": zeros(6, 4, 9, 3)}, ValueError, ["w is larger", "KH = 9", "8 + 0 = 8"]),
    ("KW > W", {"w": zeros(6, 4, 3, 12), "padding": 1}, ValueError, ["w is", "KW = 12", "9 + 2"]),
    ("dilated w > x", {"dilation": 4}, ValueError, ["w is larger", "dilation 4 spans 9", "= 8"]),
    ("w > empty x", {"x": zeros(4, 0, 9)}, ValueError, ["w is larger", "KH = 3", "0 + 0 = 0"]),
    # stride and dilation
    ("stride 0", {"stride": 0}, ValueError, ["stride = 0", "int >= 1", "(vertical, horizontal)"]),
    ("stride -1", {"stride": -1}, ValueError, ["stride = -1", "int >= 1"]),
    ("stride (1, 0)", {"stride": (1, 0)}, ValueError, ["stride[1] = 0", "int >= 1"]),
    ("stride (-2, 1)", {"stride": (-2, 1)}, ValueError, ["stride[0] = -2", "int >= 1"]),
    ("stride 1.0", {"stride": 1.0}, TypeError, ["stride = 1.0", "int >= 1"]),
    ("stride (1, 1.0)", {"stride": (1, 1.0)}, TypeError, ["stride[1] = 1.0", "int >= 1"]),
    ("stride True", {"stride": True}, TypeError, ["stride = True", "int >= 1"]),
    ("stride (True, 1)", {"stride": (True, 1)}, TypeError, ["stride[0] = True", "int >= 1"]),
    ("stride np.True_", {"stride": np.True_}, TypeError, ["stride = np.True_", "int >= 1"]),
    ("stride '1'", {"stride": "1"}, TypeError, ["stride = '1'", "int >= 1"]),
    ("stride None", {"stride": None}, TypeError, ["stride = None", "int >= 1"]),
    ("stride 3 values", {"stride": (1, 1, 1)}, ValueError, ["stride = (1, 1, 1)", "pair"]),
    ("stride 1 value", {"stride": [1]}, ValueError, ["stride = [1]", "pair"]),
    ("stride nested", {"stride": ((1, 1), (1, 1))}, TypeError, ["stride[0] = (1, 1)", "int >= 1"]),
    ("stride huge", {"stride": 2**64}, ValueError, ["stride = 18446744073709551616", "at most"]),
    ("dilation 0", {"dilation": 0}, ValueError, ["dilation = 0", "int >= 1"]),
    ("dilation (0, 1)", {"dilation": (0, 1)}, ValueError, ["dilation[0] = 0", "int >= 1"]),
    ("dilation 2.0", {"dilation": 2.0}, TypeError, ["dilation = 2.0", "int >= 1"]),
    ("dilation True", {"dilation": True}, TypeError, ["dilation = True", "int >= 1"]),
    # padding
    ("padding -1", {"padding": -1}, ValueError, ["padding = -1", "int >= 0"]),
    ("padding (0, -1)", {"padding": (0, -1)}, ValueError, ["padding[1] = -1", "int >= 0"]),
    (
        "padding side negative",
        {"padding": ((0, 1), (-2, 1))},
        ValueError,
        ["padding[1][0] = -2", "int >= 0"],
    ),
    ("padding 1.0", {"padding": 1.0}, TypeError, ["padding = 1.0", *FORMS]),
    ("padding True", {"padding": True}, TypeError, ["padding = True", *FORMS]),
    ("padding (1, True)", {"padding": (1, True)}, TypeError, ["padding[1] = True", "int >= 0"]),
    ("padding None", {"padding": None}, TypeError, ["padding = None", *FORMS]),
    (
        "padding side float",
        {"padding": ((1, 1.0), (1, 1))},
        TypeError,
        ["padding[0][1] = 1.0", "int >= 0"],
    ),
    ("padding 'SAME'", {"padding": "SAME"}, ValueError, ["padding = 'SAME'", *FORMS]),
    ("padding ''", {"padding": ""}, ValueError, ["padding = ''", *FORMS]),
    (
        "padding flat",
        {"padding": (1, 2, 3, 4)},
        ValueError,
        ["padding = (1, 2, 3, 4)", "ambiguous", FORMS[0], "((1, 2), (3, 4))", "((3, 4), (1, 2))"],
    ),
    ("padding flat list", {"padding": [0, 0, 0, 0]}, ValueError, ["[0, 0, 0, 0]", FORMS[0]]),
    ("padding empty", {"padding": ()}, ValueError, ["padding = ()", *FORMS]),
    ("padding 1 value", {"padding": (1,)}, ValueError, ["padding = (1,)", *FORMS]),
    ("padding 3 values", {"padding": (1, 1, 1)}, ValueError, ["padding = (1, 1, 1)", *FORMS]),
    ("padding mixed", {"padding": (1, (1, 1))}, ValueError, ["padding = (1, (1, 1))", *FORMS]),
    (
        "padding sides of 3",
        {"padding": ((1, 1, 1), (1, 1, 1))},
        ValueError,
        ["padding = ((1, 1, 1), (1, 1, 1))", *FORMS],
    ),
    (
        "padding as of np.pad",
        {"padding": ((0, 0), (1, 1), (1, 1))},
        ValueError,
        ["padding = ((0, 0), (1, 1), (1, 1))", *FORMS],
    ),
    (
        "padding too large",
        {"padding": 2**40},
        ValueError,
        ["padding = (1099511627776,", "H = 8", "at most 1099511627776"],
    ),
    # padding_mode and padding_value
    (
        "mode 'zeros'",
        {"padding_mode": "zeros"},
        ValueError,
        ["padding_mode = 'zeros'", "'constant'"],
    ),
    (
        "mode 'mirror'",
        {"padding_mode": "mirror"},
        ValueError,
        ["padding_mode = 'mirror'", "'reflect'", "'symmetric'", "'edge'", "'wrap'"],
    ),
    ("mode None", {"padding_mode": None}, TypeError, ["padding_mode = None", "'constant'"]),
    ("mode list", {"padding_mode": ["edge"]}, TypeError, ["padding_mode = ['edge']", "'edge'"]),
    (
        "mode, empty x",
        {"x": zeros(4, 0, 9), "padding": 1, "padding_mode": "edge"},
        ValueError,
        ["padding_mode = 'edge'", "H = 0", "'constant'"],
    ),
    ("value str", {"padding_value": "0"}, TypeError, ["padding_value = '0'", "a number"]),
    ("value None", {"padding_value": None}, TypeError, ["padding_value = None", "a number"]),
    ("value list", {"padding_value": [0]}, TypeError, ["padding_value = [0]", "a number"]),
    ("value masked", {"padding_value": np.ma.masked}, TypeError, ["padding_value", "a number"]),
    ("value complex", {"padding_value": 1j}, ValueError, ["padding_value = 1j", "float32"]),
    ("value beyond float32", {"padding_value": 1e300}, ValueError, ["= 1e+300", "float32"]),
    ("value beyond floats", {"padding_value": 10**400}, ValueError, ["padding_value", "float32"]),
    (
        "value -1 in uint8",
        {"x": zeros(4, 8, 9, dtype=np.uint8), "padding_value": -1},
        ValueError,
        ["padding_value = -1", "uint8 can hold"],
    ),
    (
        "value 1.5 in int32",
        {"x": zeros(4, 8, 9, dtype=np.int32), "padding_value": 1.5},
        ValueError,
        ["padding_value = 1.5", "int32 can hold"],
    ),
    (
        "value nan in int64",
        {"x": zeros(4, 8, 9, dtype=np.int64), "padding_value": np.nan},
        ValueError,
        ["padding_value = nan", "int64 can hold"],
    ),
    (
        "value 300 in bool",
        {"x": zeros(4, 8, 9, dtype=bool), "padding_value": 300},
        ValueError,
        ["padding_value = 300", "uint8 can hold"],
    ),
    # channel_axis
    ("channel_axis 0", {"channel_axis": 0}, ValueError, ["channel_axis = 0", "None", "-1"]),
    ("channel_axis 2", {"channel_axis": 2}, ValueError, ["channel_axis = 2", "None", "-1"]),
    ("channel_axis -3", {"channel_axis": -3}, ValueError, ["channel_axis = -3", "None", "-1"]),
    ("channel_axis -1.0", {"channel_axis": -1.0}, TypeError, ["channel_axis = -1.0", "-1"]),
    ("channel_axis 'last'", {"channel_axis": "last"}, TypeError, ["channel_axis = 'last'", "-1"]),
    (
        "channel_axis, 2-D x",
        {"x": zeros(8, 9), "w": zeros(3, 3), "channel_axis": -1},
        ValueError,
        ["channel_axis = -1", "expected None", "(8, 9)"],
    ),
    # method
    ("method 'fastest'", {"method": "fastest"}, ValueError, ["method = 'fastest'", "'auto'"]),
    ("method 'FFT'", {"method": "FFT"}, ValueError, ["method = 'FFT'", "'direct'"]),
    ("method None", {"method": None}, TypeError, ["method = None", "'auto'"]),
    # bias
    ("bias short", {"bias": zeros(5)}, ValueError, ["bias has the shape (5,)", "expected (6,)"]),
    ("bias scalar", {"bias": 1.0}, ValueError, ["bias has the shape ()", "expected (6,)"]),
    ("bias (1,)", {"bias": zeros(1)}, ValueError, ["bias has the shape (1,)", "expected (6,)"]),
    ("bias 2-D", {"bias": zeros(6, 1)}, ValueError, ["bias has the shape (6, 1)", "(6,)"]),
    ("bias, 3-D w", {"w": zeros(4, 3, 3), "bias": zeros(4)}, ValueError, ["bias", "() or (1,)"]),
    (
        "bias, 2-D w",
        {"x": zeros(8, 9), "w": zeros(3, 3), "bias": zeros(2)},
        ValueError,
        ["bias has the shape (2,)", "() or (1,)"],
    ),
    (
        "bias beyond the dtype",
        {"x": zeros(8, 9, dtype="u1"), "w": zeros(3, 3, dtype="u1"), "bias": 300},
        ValueError,
        ["bias = 300", "uint8 can hold"],
    ),
    # arrays that are no plain arrays of numbers
    (
        "x object",
        {"x": zeros(4, 8, 9, dtype=object)},
        TypeError,
        ["x has the dtype dtype('O')", "expected bool, integers", "x.astype(float)"],
    ),
    ("w object", {"w": zeros(6, 4, 3, 3, dtype=object)}, TypeError, ["w has", "w.astype(float)"]),
    (
        "bias object",
        {"bias": zeros(6, dtype=object)},
        TypeError,
        ["bias has", "bias.astype(float)"],
    ),
    ("x masked", {"x": np.ma.zeros((4, 8, 9))}, TypeError, ["x is a masked array", "x.filled("]),
    ("w masked", {"w": np.ma.zeros((6, 4, 3, 3))}, TypeError, ["w is a masked", "w.filled("]),
    ("bias masked", {"bias": np.ma.zeros(6)}, TypeError, ["bias is a masked", "bias.filled("]),
    ("x structured", {"x": STRUCTURED}, TypeError, ["x has the dtype", "x['red']"]),
    ("w structured", {"w": STRUCTURED}, TypeError, ["w has the dtype", "w['red']"]),
    ("x str", {"x": np.array([["a"]])}, TypeError, ["x has the dtype", "expected bool, integers"]),
    (
        "x bytes",
        {"x": np.array([[b"a"]])},
        TypeError,
        ["x has the dtype", "expected bool, integers"],
    ),
    ("x dates", {"x": zeros(8, 9, dtype="M8[s]")}, TypeError, ["x has the dtype", "expected bool"]),
    ("x times", {"x": zeros(8, 9, dtype="m8[s]")}, TypeError, ["x has the dtype", "expected bool"]),
    ("x void", {"x": zeros(8, 9, dtype="V4")}, TypeError, ["x has the dtype", "expected bool"]),
    ("x None", {"x": None}, TypeError, ["x has the dtype dtype('O')", "expected bool, integers"]),
    ("x ragged", {"x": [[1, 2], [3]]}, ValueError, ["x is not a rectangular array"]),
    ("bias str", {"bias": "1"}, TypeError, ["bias has the dtype", "expected bool, integers"]),
    # out
    ("out list", {"out": [0.0]}, TypeError, ["out is of the type list", "ndarray"]),
    ("out masked", {"out": np.ma.zeros((6, 6, 7), "f4")}, TypeError, ["out is", "MaskedArray"]),
    (
        "out shape",
        {"out": zeros(6, 6, 6)},
        ValueError,
        ["out has the shape (6, 6, 6)", "(6, 6, 7)"],
    ),
    ("out rank", {"out": zeros(1, 6, 6, 7)}, ValueError, ["out has the shape (1, 6, 6, 7)"]),
    ("out layout", {**CHANNELS_LAST, "out": zeros(6, 6, 7)}, ValueError, ["out", "(6, 7, 6)"]),
    ("out dtype", {"out": np.zeros((6, 6, 7))}, ValueError, ["out has the dtype <f8", "<f4"]),
    (
        "out dtype, bias",
        {"bias": np.zeros(6), "out": zeros(6, 6, 7)},
        ValueError,
        ["out has the dtype <f4", "<f8"],
    ),
    (
        "out byte order",
        {"out": zeros(6, 6, 7, dtype=np.dtype(np.float32).newbyteorder())},
        ValueError,
        ["out has the dtype", "f4: expected"],
    ),
    ("out read-only", {"out": read_only(6, 6, 7)}, ValueError, ["out is read-only", "writeable"]),
    (
        "out shares elements",
        {"out": np.lib.stride_tricks.as_strided(zeros(7), (6, 6, 7), (0, 0, 4))},
        ValueError,
        ["out has elements that share memory", "strides (0, 0, 4)", "one place per element"],
    ),
    (
        "out sliding",
        {"out": np.lib.stride_tricks.as_strided(zeros(49), (6, 6, 7), (28, 4, 4))},
        ValueError,
        ["out has elements that share memory", "one place per element"],
    ),
    # workers
    ("workers 0", {"workers": 0}, ValueError, ["workers = 0", "positive int", "negative"]),
    ("workers -10**6", {"workers": -(10**6)}, ValueError, ["workers = -1000000", "positive int"]),
    ("workers 1.0", {"workers": 1.0}, TypeError, ["workers = 1.0", "positive int"]),
    ("workers True", {"workers": True}, TypeError, ["workers = True", "positive int"]),
    ("workers '2'", {"workers": "2"}, TypeError, ["workers = '2'", "positive int"]),
]


@pytest.mark.parametrize("function", [fastcorr.corr2d, fastcorr.explain])
@pytest.mark.parametrize(
    ("change", "error", "holds"), [row[1:] for row in BAD], ids=[row[0] for row in BAD]
)
def test_bad_input(function, change, error, holds):
    arguments = {"out": np.full((6, 6, 7), 5, np.float32), **GOOD, **change}
    arrays = {name: v for name, v in arguments.items() if type(v) is np.ndarray}
    before = {name: array.tobytes() for name, array in arrays.items()}
    with pytest.raises(error) as caught:
        function(**arguments)
    assert caught.type is error
    missing = [part for part in holds if part not in str(caught.value)]
    assert not missing, f"{caught.value!s} lacks {missing}"
    assert {name: array.tobytes() for name, array in arrays.items()} == before


# What a bank says differently, having seen no x yet.
OF_A_BANK = {
    "w 0-D": ["w has the shape ()", "(KH, KW), (C, KH, KW), (F, C // groups, KH, KW)"],
    "w 1-D": ["w has the shape (3,)", "(C, KH, KW)"],
    "w 5-D": ["w has the shape (1, 6, 4, 3, 3)", "(KH, KW)"],
    "C = 0 in both": ["w has 0 input channels", "(6, 0, 3, 3)", "at least 1"],
    "C = 0 in w": ["w has 0 input channels", "(6, 0, 3, 3)", "at least 1"],
    "channel_axis, 2-D x": ["channel_axis = -1", "expected None", "(3, 3)"],
}
# What it cannot know before, beside what is wrong with x or out.
ONLY_WITH_X = {
    "3-D and 2-D", "w has fewer channels", "w has more channels", "3-D w, channels",
    "channels of w not divided", "channels last, channels first", "C not divisible", "KH > H",
    "KW > W", "dilated w > x", "padding too large", "value complex", "value beyond float32",
    "value beyond floats",
}  # fmt: skip


@pytest.mark.parametrize(("name", "change", "error", "holds"), BAD, ids=[row[0] for row in BAD])
def test_bad_input_of_a_bank(name, change, error, holds):
    arguments = {**GOOD, **change}
    x, out = arguments.pop("x"), arguments.pop("out", None)

    def call():
        bank = fastcorr.FilterBank(**arguments)
        assert {"x", "out"} & set(change) or name in ONLY_WITH_X
        bank(x, out)

    with pytest.raises(error) as caught:
        call()
    assert caught.type is error
    missing = [part for part in OF_A_BANK.get(name, holds) if part not in str(caught.value)]
    assert not missing, f"{caught.value!s} lacks {missing}"


def test_a_bank_explains_what_it_refuses():
    bank = fastcorr.FilterBank(GOOD["w"])
    for x, error in ((zeros(3, 8, 9), ValueError), (zeros(4, 8, 9, dtype=object), TypeError)):
        with pytest.raises(error, match=r"has 4 input channels|has the dtype"):
            bank.explain(x)


def test_table_has_no_case_twice():
    names = [row[0] for row in BAD]
    assert len(set(names)) == len(names)


def test_good_call_is_good():
    out = np.full((6, 6, 7), 5, np.float32)
    assert fastcorr.corr2d(**GOOD, out=out) is out
    assert not out.any()
    fastcorr.explain(**GOOD, out=out)


def test_an_equal_good_call_before_does_not_hide_an_error():
    x, w = zeros(8, 9), zeros(3, 3)
    for good, bad in [(1, True), (1, 1.0), ((1, 1), (1, True)), ((1, 1), (1.0, 1))]:
        fastcorr.corr2d(x, w, stride=good, padding=good, dilation=good)
        for name in ("stride", "padding", "dilation"):
            with pytest.raises(TypeError, match=name):
                fastcorr.corr2d(x, w, **{name: bad})
    fastcorr.corr2d(**CHANNELS_LAST, w=GOOD["w"])
    with pytest.raises(TypeError, match="channel_axis"):
        fastcorr.corr2d(**{**CHANNELS_LAST, "channel_axis": -1.0}, w=GOOD["w"])


def test_long_values_are_cut_in_texts():
    with pytest.raises(ValueError, match=r"stride = \[0, 1, .*\.\.\.") as caught:
        fastcorr.corr2d(zeros(8, 9), zeros(3, 3), stride=list(range(1000)))
    assert len(str(caught.value)) < 250


@pytest.mark.parametrize("method", METHODS)
def test_every_method_is_served_or_refused_by_name(method):
    few, many = zeros(1, 1, 3, 3), zeros(6, 32, 3, 3)
    served = [w for w in (few, many) if is_served(zeros(w.shape[1], 8, 9), w, method)]
    assert served or method not in {"auto", *(row.method for row in ALGORITHMS)}


def is_served(x, w, method):
    try:
        return fastcorr.explain(x, w, method=method).method in METHODS[1:]
    except ValueError:
        with pytest.raises(ValueError, match=f"method = '{method}'"):
            fastcorr.explain(x, w, method=method)
        return False


def test_explain_takes_the_arguments_of_corr2d():
    of_explain, of_corr2d = map(inspect.signature, (fastcorr.explain, fastcorr.corr2d))
    assert of_explain.parameters == of_corr2d.parameters


# Good input.


def problem(x, w, bias=None, *, stride=1, padding=0, dilation=1, groups=1, **options):
    options = {"padding_mode": "constant", "channel_axis": None, "method": "auto", **options}
    x, w, bias = as_arrays(x, w, bias)
    key = problem_key(x, w, bias, stride, padding, dilation, groups, *options.values())
    hash(key)
    return normalise(*key)


@pytest.mark.parametrize(
    ("x_shape", "w_shape", "options", "nchw", "f", "y_shape"),
    [
        ((8, 9), (3, 2), {}, (1, 1, 8, 9), 1, (6, 8)),
        ((4, 8, 9), (4, 3, 2), {}, (1, 4, 8, 9), 1, (6, 8)),
        ((4, 8, 9), (6, 4, 3, 2), {}, (1, 4, 8, 9), 6, (6, 6, 8)),
        ((4, 8, 9), (6, 2, 3, 2), {"groups": 2}, (1, 4, 8, 9), 6, (6, 6, 8)),
        ((5, 4, 8, 9), (6, 4, 3, 2), {}, (5, 4, 8, 9), 6, (5, 6, 6, 8)),
        ((0, 4, 8, 9), (6, 4, 3, 2), {}, (0, 4, 8, 9), 6, (0, 6, 6, 8)),
        ((8, 9, 4), (4, 3, 2), {"channel_axis": -1}, (1, 4, 8, 9), 1, (6, 8)),
        ((8, 9, 4), (6, 4, 3, 2), {"channel_axis": -1}, (1, 4, 8, 9), 6, (6, 8, 6)),
        ((5, 8, 9, 4), (6, 4, 3, 2), {"channel_axis": -1}, (5, 4, 8, 9), 6, (5, 6, 8, 6)),
        ((0, 9), (1, 1), {}, (1, 1, 0, 9), 1, (0, 9)),
        ((0, 9), (3, 3), {"padding": 1}, (1, 1, 0, 9), 1, (0, 9)),
        ((0, 9), (3, 3), {"padding": "same", "stride": 2}, (1, 1, 0, 9), 1, (0, 5)),
        ((0, 9), (3, 3), {"padding": "full"}, (1, 1, 0, 9), 1, (2, 11)),
    ],
)
def test_shapes_of_a_problem(x_shape, w_shape, options, nchw, f, y_shape):
    p = problem(zeros(*x_shape), zeros(*w_shape), **options)
    assert nchw == (p.N, p.C, p.H, p.W)
    assert (f, *w_shape[-2:]) == (p.F, p.KH, p.KW)
    assert (p.x_shape, p.w_shape, p.y_shape) == (x_shape, w_shape, y_shape)
    assert p.channels_last is (options.get("channel_axis") == -1)
    assert sorted(p.y_shape) == sorted(
        (p.N,) * (len(x_shape) == 4) + (p.F,) * (len(w_shape) == 4) + (p.OH, p.OW)
    )


@pytest.mark.parametrize(
    "spellings",
    [
        [
            {"stride": s}
            for s in (2, (2, 2), [2, 2], np.array([2, 2]), np.int8(2), (2, np.int64(2)))
        ],
        [{"dilation": d} for d in (2, [2, 2], np.array(2), np.uint8([2, 2]))],
        [
            {"padding": p}
            for p in (
                1,
                (1, 1),
                ((1, 1), (1, 1)),
                [[1, 1], [1, 1]],
                ([1, 1], (1, 1)),
                np.ones((2, 2), int),
                np.int16(1),
                "same",
                np.str_("same"),
                "same_lower",
            )
        ],
        [{"padding": p} for p in (2, "full")],
        [{"padding": p} for p in (0, "valid", (0, 0))],
        [{"channel_axis": -1, "method": m} for m in ("direct", np.str_("direct"))],
        [{"channel_axis": a, "groups": g} for a, g in [(-1, 1), (np.int64(-1), np.uint8(1))]],
    ],
    ids=lambda spellings: "-".join(spellings[0]),
)
def test_spellings_of_one_problem(spellings):
    problems = {problem(zeros(9, 9, 9), zeros(2, 9, 3, 3), **options) for options in spellings}
    assert len(problems) == 1
    (p,) = problems
    for values in (p.stride, p.dilation, *p.padding, (p.groups,)):
        assert {type(v) for v in values} == {int}
    assert {type(name) for name in (p.padding_mode, p.method)} == {str}


def test_a_problem_is_frozen_and_holds_no_arrays():
    p = problem(zeros(8, 9), zeros(3, 3), zeros(1))
    assert hash(p) == hash(dataclasses.replace(p))
    with pytest.raises(dataclasses.FrozenInstanceError):
        p.N = 2
    assert not any(isinstance(v, np.ndarray) for v in dataclasses.astuple(p))
    assert isinstance(p, Problem)


@pytest.mark.parametrize("x_type", "?bBhHiIlLqQefdgFDG")
@pytest.mark.parametrize("w_type", "?BqefdgFG")
def test_dtype_is_the_promotion(x_type, w_type):
    x, w = zeros(8, 9, dtype=x_type), zeros(3, 3, dtype=w_type)
    expected = np.result_type(*(np.uint8 if t == "?" else t for t in (x_type, w_type)))
    assert problem(x, w).dtype == expected
    assert problem(x, w, zeros(1, dtype=np.float64)).dtype == np.result_type(expected, np.float64)
    assert problem(x.astype(x.dtype.newbyteorder()), w).dtype == expected


@pytest.mark.parametrize(
    ("x_type", "bias", "expected"),
    [
        ("f4", 0.5, "f4"),
        ("f4", 1, "f4"),
        ("u1", 255, "u1"),
        ("u1", 0.5, "f8"),
        ("f4", 1j, "c8"),
        ("f4", True, "f4"),
        ("f4", np.float64(0.5), "f8"),
        ("f4", [0.5], "f8"),
    ],
)
def test_bias_of_a_python_number_is_weak(x_type, bias, expected):
    x, w = zeros(8, 9, dtype=x_type), zeros(3, 3, dtype=x_type)
    assert problem(x, w, bias).dtype == expected
    assert fastcorr.corr2d(x, w, bias).dtype == expected


def test_dtypes_of_a_problem_are_canonical():
    tagged = np.dtype(np.float32, metadata={"tag": 1})
    p = problem(np.zeros((8, 9), "q"), np.zeros((3, 3), tagged))
    assert p.x_dtype.num == np.dtype(np.int64).num
    assert p.w_dtype.metadata is None
    assert p.dtype is np.dtype(np.float64)


def test_arrays_that_are_ready_are_not_copied():
    x, w = zeros(8, 9)[::-2], read_only(3, 3).T
    assert as_arrays(x, w, None)[0] is x
    assert as_arrays(x, w, None)[1] is w
    mask = zeros(8, 9, dtype=bool)
    view, _, bias = as_arrays(mask, w, w)
    assert view.dtype == np.uint8
    assert np.shares_memory(view, mask)
    assert bias is w


def test_arrays_that_are_not_ready_are_converted():
    values = np.arange(12.0).reshape(3, 4)
    subclass = type("Subclass", (np.ndarray,), {})
    for x in (values.tolist(), values.astype(">f8"), values.astype("<f8"), values.view(subclass)):
        array, _, _ = as_arrays(x, values, None)
        assert type(array) is np.ndarray
        assert array.dtype == np.float64
        assert array.dtype.isnative
        assert np.array_equal(array, values)


@pytest.mark.parametrize(
    ("value", "dtype", "expected"),
    [
        (0, "f4", 0.0),
        (0, "u1", 0),
        (1.0, "i4", 1),
        (-0.0, "i4", 0),
        (True, "u1", 1),
        (255, "u1", 255),
        (-128, "i1", -128),
        (2**63 - 1, "i8", 2**63 - 1),
        (2**64 - 1, "u8", 2**64 - 1),
        (np.uint64(2**64 - 1), "u8", 2**64 - 1),
        (2.0**62, "i8", 2**62),
        (np.float16(2), "i2", 2),
        (np.array(3), "f8", 3.0),
        (np.array(3, ">f4"), "i4", 3),
        (0.1, "f4", np.float32(0.1)),
        (1e-300, "f4", 0.0),
        (2**200, "f8", 2.0**200),
        (np.inf, "f2", np.inf),
        (-np.inf, "f4", -np.inf),
        (1 + 0j, "f4", 1.0),
        (1 + 2j, "c8", 1 + 2j),
        (complex(np.inf, 1), "c8", complex(np.inf, 1)),
        (2, "c16", 2 + 0j),
    ],
)
def test_padding_value_is_cast_by_value(value, dtype, expected):
    dtype = np.dtype(dtype)
    scalar = cast_padding_value(value, dtype)
    assert scalar.dtype == dtype
    assert scalar == expected


def test_padding_value_nan_stays_nan():
    assert np.isnan(cast_padding_value(np.nan, np.dtype("f2")))
    assert np.isnan(cast_padding_value(np.nan, np.dtype("c8")))


@pytest.mark.parametrize(
    ("value", "dtype"),
    [
        (256, "u1"),
        (-1, "u8"),
        (2**63, "i8"),
        (2.0**63, "i8"),
        (2**64, "u8"),
        (1e300, "i8"),
        (0.5, "u1"),
        (np.nan, "i1"),
        (np.inf, "u8"),
        (70000, "f2"),
        (1e39, "f4"),
        (2**1024, "f8"),
        (10**400, "c16"),
        (1e39 + 0j, "c8"),
        (1j, "f8"),
        (1j, "i4"),
    ],
)
def test_padding_value_that_does_not_fit(value, dtype):
    with pytest.raises(ValueError, match=r"padding_value = .* can hold"):
        cast_padding_value(value, np.dtype(dtype))


@pytest.mark.parametrize(
    "out",
    [
        None,
        zeros(6, 7),
        zeros(7, 6).T,
        zeros(6, 7)[::-1, ::-1],
        zeros(12, 21)[::2, ::3],
        zeros(6, 7, 2)[..., 1],
        zeros(6, 7, dtype=np.complex64).imag,
        np.ndarray((6, 7), np.float32, bytearray(6 * 7 * 4 + 1), offset=1),
    ],
    ids=["none", "plain", "transposed", "reversed", "strided", "last", "imag", "unaligned"],
)
def test_out_that_can_take_the_result(out):
    check_out(problem(zeros(8, 9), zeros(3, 3)), out)


def test_out_without_elements_may_have_any_strides():
    p = problem(zeros(0, 4, 8, 9), zeros(6, 4, 3, 3))
    check_out(p, np.lib.stride_tricks.as_strided(zeros(1), p.y_shape, (0, 0, 0, 0)))
