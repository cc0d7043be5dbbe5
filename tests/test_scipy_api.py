# SPDX-License-Identifier: BSD-3-Clause
"""correlate2d and convolve2d beside scipy.signal: results, dtypes, refusals, and the differences.

Small whole numbers, whose every partial sum is exact, must give SciPy's numbers bit for bit in
every dtype; random numbers must keep the contract. Each deliberate difference of
docs/start/scipy.rst has its test here.
"""

import doctest
import functools
import itertools
import warnings
from pathlib import Path

import hypothesis.strategies as st
import numpy as np
import pytest
from cases import normal, whole_numbers
from contract import check_bits, compare, definition
from hypothesis import given
from layouts import LAYOUTS, OUT_LAYOUTS
from scipy import signal

import fastcorr

MODES = ["full", "same", "valid"]
BOUNDARIES = ["fill", "wrap", "symm"]
PADDING_MODES = {"fill": "constant", "wrap": "wrap", "symm": "symmetric"}
SIZES = [(1, 1), (1, 4), (3, 3), (5, 8), (4, 37)]
KERNELS = [
    *((1, 1), (1, 2), (2, 1), (2, 2), (3, 3), (4, 3), (5, 8)),
    *((1, 21), (21, 2), (9, 7), (23, 31)),
]
NUMBERS = "?" + "bBhHiIlL" + "efdg" + "FDG"
by_name = pytest.mark.parametrize("name", ["correlate2d", "convolve2d"])
by_mode = pytest.mark.parametrize("mode", MODES)
by_boundary = pytest.mark.parametrize("boundary", BOUNDARIES)


def both(name):
    """Return fastcorr's function and SciPy's."""
    return getattr(fastcorr, name), getattr(signal, name)


def check(name, in1, in2, *args, **options):
    """Run both functions, and assert that the results are the same."""
    ours, theirs = both(name)
    y, expected = ours(in1, in2, *args, **options), theirs(in1, in2, *args, **options)
    if name == "correlate2d" and is_conjugated_wrongly(in1, in2, *args):
        expected = expected.conj()
    assert type(y) is np.ndarray
    assert y.flags.c_contiguous
    assert y.dtype == expected.dtype
    np.testing.assert_array_equal(y, expected, err_msg=f"{args} {options}")
    return y


def is_conjugated_wrongly(in1, in2, mode="full", *_):
    """Whether SciPy conjugates the wrong operand: `test_valid_with_a_larger_complex_kernel`."""
    (h1, w1), (h2, w2) = np.shape(in1), np.shape(in2)
    return mode == "valid" and (h1 < h2 or w1 < w2)


def outcome(function, *args, **options):
    """Return the result of a call, or the type of what it raises."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # SciPy's casts on the way to a refusal
        try:
            return function(*args, **options)
        except Exception as error:
            return type(error)


def nested(in1, in2):
    """Whether one has at least the height and the width of the other."""
    return len({a >= b for a, b in zip(in1, in2, strict=True) if a != b}) < 2


@by_name
@by_mode
@by_boundary
def test_sizes(name, mode, boundary):
    rng = np.random.default_rng(0)
    for size, kernel in itertools.product(SIZES, KERNELS):
        if mode == "valid" and not nested(size, kernel):
            continue
        for dtype, fillvalue in ((np.float64, 0), (np.int16, 3), (np.complex64, -2j)):
            x, w = whole_numbers(size, dtype, rng), whole_numbers(kernel, dtype, rng)
            check(name, x, w, mode, boundary, fillvalue)


@by_name
def test_dtypes(name):
    rng = np.random.default_rng(0)
    ours, theirs = both(name)
    refused = set()
    for of_1, of_2 in itertools.product(NUMBERS, NUMBERS):
        x, w = whole_numbers((4, 5), of_1, rng), whole_numbers((2, 3), of_2, rng)
        if outcome(theirs, x, w) is ValueError:
            refused.add(of_1 + of_2)
            with pytest.raises(ValueError, match=f"{name} not available for this type"):
                ours(x, w)
            continue
        for mode, (a, b) in itertools.product(MODES, ((x, w), (w, x))):
            check(name, a, b, mode, "fill", 1)
    assert refused == {"??", "ee", "e?", "?e", "eb", "be", "eB", "Be"}


@by_name
@pytest.mark.parametrize("dtype", "bBhHiIlL")
def test_integers_wrap(name, dtype):
    limits = np.iinfo(dtype)
    rng = np.random.default_rng(0)
    x, w, big = (
        rng.integers(limits.min, limits.max, shape, dtype, endpoint=True)
        for shape in ((19, 40), (4, 7), (60, 43))
    )
    for mode, boundary in itertools.product(MODES, BOUNDARIES):
        check(name, x, w, mode, boundary, int(limits.max) - 1)
        check(name, x, big, mode, boundary, int(limits.max) - 1)
    x, w = np.array([[200]], np.uint8), np.array([[2, 4]], np.uint8)
    assert fastcorr.correlate2d(x, w, "valid").tolist() == [[32, 144]]  # 800 and 400 modulo 256


@by_name
@by_mode
@by_boundary
@pytest.mark.parametrize(("of_1", "of_2"), ["ff", "dd", "FF", "DD", "fF", "DF", "Bf", "gg", "GG"])
def test_accuracy(name, mode, boundary, of_1, of_2):
    rng = np.random.default_rng(0)
    for size, kernel in (((12, 31), (5, 4)), ((6, 9), (13, 20)), ((3, 5), (3, 4))):
        x = rng.integers(0, 255, size, np.uint8) if of_1 == "B" else normal(size, of_1, rng)
        w = normal(kernel, of_2, rng)
        y = both(name)[0](x, w, mode, boundary, 0.25)
        x, w, y = as_correlation(name, mode, x, w, y)
        compare(y, *definition(
            x.astype(y.dtype), w, padding=pads(name, mode, kernel),
            padding_mode=PADDING_MODES[boundary] if mode != "valid" else "constant",
            padding_value=0.25,
        ))  # fmt: skip


def as_correlation(name, mode, in1, in2, y):
    """Return x, w and y such that y is the correlation of x with w, without flip or conjugate."""
    is_swapped = mode == "valid" and in1.size < in2.size
    if name == "convolve2d":
        x, w = (in2, in1) if is_swapped else (in1, in2)
        return x, w[::-1, ::-1], y
    if is_swapped:
        return in2.conj(), in1, y[::-1, ::-1]
    return in1, in2.conj(), y


def pads(name, mode, kernel):
    """Return the padding of a mode, from the text of SciPy's definition."""
    if mode == "valid":
        return 0
    if mode == "full":
        return tuple((k - 1, k - 1) for k in kernel)
    before = [(k - 1) >> 1 for k in kernel]
    if name == "convolve2d":
        before = [k - 1 - b for k, b in zip(kernel, before, strict=True)]
    return tuple((b, k - 1 - b) for k, b in zip(kernel, before, strict=True))


@by_name
@by_boundary
def test_nan_and_infinities_are_where_scipy_has_them(name, boundary):
    ours, theirs = both(name)
    rng = np.random.default_rng(0)
    for mode, worst in itertools.product(MODES, (np.nan, np.inf, -np.inf)):
        kernel = (3, 4) if mode == "valid" else (9, 30)
        x, w = whole_numbers((7, 20), float, rng), whole_numbers(kernel, float, rng)
        spoiled_x, spoiled_w = x.copy(), w.copy()
        spoiled_x[3, 10], spoiled_w[1, 2] = worst, worst
        for a, b in ((spoiled_x, w), (x, spoiled_w), (spoiled_x, np.zeros(kernel))):
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                np.testing.assert_array_equal(
                    ours(a, b, mode, boundary), theirs(a, b, mode, boundary)
                )


# ---- fillvalue ---------------------------------------------------------------------------------


NAN, INF = float("nan"), float("inf")
FILLVALUES = [
    *(0, 3, -1, 300, 2**40, 2**53 + 1, 2**63, 2**70, 10**400, True),
    *(0.0, -0.0, 1.75, -0.5, 300.5, NAN, INF, 1j, 1 + 0j, 2.5 - 1j),
    *(None, [3], [1.75], [[3]], (2,), [], [1, 2], [[1], [2]], [None], "x", object(), {}),
    *(np.int64(3), np.float64(1.75), np.float32(1.5), np.array(3, np.int8), np.array([3], np.int8)),
]


@by_name
@pytest.mark.parametrize("dtype", "BhlLfdgFDG")
def test_fillvalues(name, dtype):
    ours, theirs = both(name)
    x, w = np.ones((2, 3), dtype), np.array([[1, 2, 1]], dtype)
    for fillvalue, mode in itertools.product(FILLVALUES, MODES):
        args = x, w, mode, "fill", fillvalue
        y, expected = outcome(ours, *args), outcome(theirs, *args)
        if expected is OverflowError:  # 10**400: no clear error, but a refusal
            expected = ValueError
        if isinstance(fillvalue, np.ndarray) and expected is ValueError:
            continue  # a listed difference: test_fillvalue_of_numpy_types
        if isinstance(expected, type):
            assert y is expected, (fillvalue, y)
        else:
            assert not isinstance(y, type), (fillvalue, y)
            np.testing.assert_array_equal(y, expected, err_msg=str(fillvalue))


@by_name
@pytest.mark.parametrize(
    ("of_1", "of_2", "fillvalue"),
    [
        *(("B", "f", 0.5), ("B", "f", -1), ("B", "f", 300), ("B", "h", -5), ("b", "d", NAN)),
        *(
            ("f", "D", 2j),
            ("f", "F", INF),
            ("d", "g", 2**53 + 1),
            ("f", "d", 2.0**-40),
            ("l", "d", 1e300),
        ),
        *(
            ("e", "f", 2.0**-20),
            ("?", "i", -7),
            ("h", "F", 1.5 - 2j),
            ("F", "d", 1e300),
            ("B", "f", 7),
        ),
        *(("L", "d", 2.0**64), ("l", "d", 2.0**63), ("e", "d", 1e6), ("D", "B", 0.5j)),
    ],
)
def test_fillvalue_is_of_the_dtype_of_the_result(name, of_1, of_2, fillvalue):
    rng = np.random.default_rng(0)
    x, w = whole_numbers((5, 7), of_1, rng), np.ones((2, 3), of_2)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        for mode, boundary in itertools.product(MODES, BOUNDARIES):
            check(name, x, w, mode, boundary, fillvalue)


@by_name
def test_fillvalue_keeps_its_digits(name):
    function = both(name)[0]
    third, large = np.longdouble(1) / 3, 2**53 + 1
    for value, dtype in ((third, "g"), (third, "G"), (large, "g"), (large, "l"), (2**64 - 1, "L")):
        y = function(np.zeros((1, 1), dtype), np.ones((1, 2), dtype), "full", "fill", value)
        assert y.tolist() == [[np.array(value, dtype)[()]] * 2]


@by_name
def test_fillvalue_is_looked_at_where_scipy_does(name):
    ones = np.ones((2, 2))
    for fillvalue, mode in itertools.product(([1, 2], 1j, "x", object()), MODES):
        for args in ((ones, ones, mode, "wrap", fillvalue), (ones, ones, mode, "symm", fillvalue)):
            check(name, *args)
        for args in ((ones, ones, mode, "fill", fillvalue), (ones, [[1]], mode, "fill", fillvalue)):
            ours, theirs = (outcome(function, *args) for function in both(name))
            assert ours is theirs


# ---- refusals ----------------------------------------------------------------------------------

ONES = np.ones((3, 4))
REFUSED = {
    "scalars": ((3, 4), "must both be 2-D arrays"),
    "1-D": (([3], [4]), "must both be 2-D arrays"),
    "3-D": ((np.ones((1, 1, 1)), ONES), "must both be 2-D arrays"),
    "in2 1-D": ((ONES, [1, 2]), r"in1 has the shape \(3, 4\), in2 \(2,\)"),
    "None": ((None, None), "must both be 2-D arrays"),
    "ragged": (([[1, 2], [3]], ONES), "inhomogeneous"),
    "valid": ((np.ones((2, 3)), np.ones((3, 2)), "valid"), "one must be at least as large"),
    "valid, 1-D": ((ONES, [1], "valid"), "must both be 2-D arrays"),
    "mode": ((ONES, ONES, "FULL"), "Acceptable mode flags are 'valid', 'same', or 'full'"),
    "mode int": ((ONES, ONES, 1), "mode = 1"),
    "mode None": ((ONES, ONES, None), "mode = None"),
    "mode bytes": ((ONES, ONES, b"full"), "Acceptable mode flags"),
    "mode list": ((ONES, ONES, ["full"]), "unhashable"),
    "boundary": ((ONES, ONES, "full", "mirror"), "Acceptable boundary flags are 'fill'"),
    "boundary int": ((ONES, ONES, "full", 0), "boundary = 0"),
    "boundary list": ((ONES, ONES, "full", ["fill"]), "unhashable"),
    "boundary of numpy": ((ONES, ONES, "full", "constant"), "boundary = 'constant'"),
    "boundary of ndimage": ((ONES, ONES, "full", "reflect"), "boundary = 'reflect'"),
    "both bad": ((ONES, ONES, "x", "y", []), "mode = 'x'"),
    "object": ((ONES.astype(object), ONES), "not available for this type: in1 is object, in2 flo"),
    "object in2": ((ONES, ONES.astype(object)), "not available for this type"),
    "bool": ((ONES > 0, ONES > 0), "not available for this type: in1 is bool, in2 bool"),
    "object, bool": ((ONES.astype(object), ONES > 0), "in1 is object, in2 bool"),
    "float16": ((ONES.astype("e"), ONES.astype("e")), "not available for this type"),
    "date": ((ONES.astype("M8[s]"), ONES), "not available for this type"),
    "structured": ((np.zeros((3, 4), [("a", "f4")]), ONES), "not available for this type"),
    "string": ((ONES.astype(str), ONES), "not available for this type"),
    "fillvalue": ((ONES, ONES, "full", "fill", 1j), "could not cast `fillvalue` directly to the"),
    "fillvalue []": ((ONES, ONES, "full", "fill", []), "`fillvalue` must be scalar or an array"),
    "fillvalue two": ((ONES, ONES, "full", "fill", [1, 2]), "`fillvalue` must be scalar or an arr"),
    "fillvalue text": ((ONES, ONES, "same", "fill", "x"), "fillvalue = 'x': expected a number"),
}  # fmt: skip


@by_name
@pytest.mark.parametrize(("args", "text"), REFUSED.values(), ids=REFUSED)
def test_refusals(name, args, text):
    ours, theirs = both(name)
    expected = outcome(theirs, *args)
    assert isinstance(expected, type), "SciPy accepts it"
    with pytest.raises(expected, match=text) as caught:
        ours(*args)
    assert caught.type is expected


@by_name
def test_own_keywords_are_refused_like_those_of_corr2d(name):
    function = both(name)[0]
    x, w = np.ones((5, 6), np.float32), np.ones((3, 3), np.float32)
    for method in ("winograd", "FFT", ""):
        with pytest.raises(ValueError, match=r"method = .* 'auto', 'direct', 'fft', 'separable'"):
            function(x, w, method=method)
    for method in (None, 1, ["fft"]):
        with pytest.raises(TypeError, match=r"method = (None|1|\['fft'\]): expected one of"):
            function(x, w, method=method)
    with pytest.raises(ValueError, match="workers"):
        function(x, w, workers=0)
    with pytest.raises(TypeError, match="workers"):
        function(x, w, workers=1.5)
    with pytest.raises(TypeError, match="out is of the type list"):
        function(x, w, out=[[0]])
    with pytest.raises(ValueError, match=r"out has the shape \(5, 6\): expected \(7, 8\)"):
        function(x, w, out=np.empty_like(x))
    with pytest.raises(ValueError, match="out has the dtype"):
        function(x, w, out=np.empty((7, 8)))
    with pytest.raises(TypeError, match="positional"):
        function(x, w, "full", "fill", 0, "direct")


# ---- what is accepted --------------------------------------------------------------------------


@by_name
def test_synonyms(name):
    x, w = np.arange(12.0).reshape(3, 4), np.arange(6.0).reshape(2, 3)
    function = both(name)[0]
    for a, b in (("fill", "pad"), ("wrap", "circular"), ("symm", "symmetric")):
        check_bits(function(x, w, "full", a), check(name, x, w, "full", b))
    check(name, x, w, np.str_("same"), np.str_("symm"))
    check_bits(function(in2=w, in1=x, boundary="wrap", mode="same"), function(x, w, "same", "wrap"))


@by_name
def test_array_likes(name):
    class Pixels:
        def __array__(self, dtype=None, copy=None):
            return np.arange(6, dtype=dtype).reshape(2, 3)

    check(name, [[1, 2, 3], [3, 4, 5]], [[2.5, 3]])
    check(name, np.ones((3, 4), np.float32), [[1, 2]])  # a list of ints is int64, y float64
    check(name, ((1j, 2),), [[True]])
    check(name, Pixels(), ([1, 2], (3, 4)), "same")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", PendingDeprecationWarning)
        matrix = np.matrix([[1, 2], [3, 4]])
    check(name, matrix, matrix, "same")


@by_name
@pytest.mark.parametrize("of_2", LAYOUTS)
def test_layouts(name, of_2):
    rng = np.random.default_rng(0)
    for dtype, mode in (("d", "same"), ("h", "full"), ("D", "valid"), ("f", "valid")):
        x, w = whole_numbers((9, 21), dtype, rng), whole_numbers((4, 3), dtype, rng)
        for of_1 in LAYOUTS:
            check(name, LAYOUTS[of_1](x), LAYOUTS[of_2](w), mode, "symm")
            check(name, LAYOUTS[of_2](w), LAYOUTS[of_1](x), mode, "wrap")
    repeated = np.broadcast_to(np.arange(7.0), (5, 7))
    check(name, repeated, repeated[:2, :3])


@by_name
@by_mode
@pytest.mark.parametrize("layout", OUT_LAYOUTS)
def test_out(name, mode, layout):
    rng = np.random.default_rng(0)
    function = both(name)[0]
    for dtype in ("d", "D", "B"):
        x, w = whole_numbers((6, 19), dtype, rng), whole_numbers((3, 2), dtype, rng)
        for a, b in ((x, w), (w, x)):
            expected = function(a, b, mode, "symm")
            out = LAYOUTS[layout](np.zeros_like(expected))
            assert function(a, b, mode, "symm", out=out) is out
            np.testing.assert_array_equal(out, expected)


@by_name
@pytest.mark.parametrize("dtype", ["d", "D"])
def test_out_may_overlap_the_inputs(name, dtype):
    rng = np.random.default_rng(0)
    function = both(name)[0]
    x, w = whole_numbers((12, 30), dtype, rng), whole_numbers((3, 4), dtype, rng)
    expected = function(x, w, "same")
    inside = x.copy()
    assert function(inside, w, "same", out=inside) is inside
    np.testing.assert_array_equal(inside, expected)
    memory = np.concatenate([x, x])
    shifted = memory[1:13]
    np.testing.assert_array_equal(function(memory[:12], w, "same", out=shifted), expected)
    kernel = x.copy()  # 'valid', swapped: out lies in the larger in2
    expected = function(w, x, "valid")
    out = kernel[:10, :27]
    np.testing.assert_array_equal(function(w, kernel, "valid", out=out), expected)


@by_name
@by_boundary
def test_results_do_not_depend_on_workers(name, boundary):
    rng = np.random.default_rng(0)
    function = both(name)[0]
    for dtype in ("f", "D"):
        x, w = normal((300, 301), dtype, rng), normal((9, 8), dtype, rng)
        for a, b, mode in ((x, w, "same"), (w, x, "valid")):
            one = function(a, b, mode, boundary, workers=1)
            for workers in (2, 3, None, -1):
                check_bits(function(a, b, mode, boundary, workers=workers), one)


@by_name
def test_forced_direct_is_auto(name):
    function = both(name)[0]
    rng = np.random.default_rng(0)
    x, w = normal((40, 50), "f", rng), normal((5, 4), "f", rng)
    check_bits(function(x, w, method="direct"), function(x, w))


def test_convolution_is_correlation_with_the_flipped_conjugate():
    rng = np.random.default_rng(0)
    x = normal((9, 14), "D", rng)
    for kernel, modes in (((4, 3), ("full", "valid")), ((3, 5), MODES)):
        w = normal(kernel, "D", rng)
        for mode in modes:
            y = fastcorr.convolve2d(x, w, mode, "wrap")
            check_bits(y, fastcorr.correlate2d(x, w[::-1, ::-1].conj(), mode, "wrap"))


@pytest.mark.edges
@given(
    name=st.sampled_from(["correlate2d", "convolve2d"]),
    size=st.tuples(st.integers(1, 20), st.integers(1, 50)),
    kernel=st.tuples(st.integers(1, 22), st.integers(1, 16)),
    mode=st.sampled_from(MODES),
    boundary=st.sampled_from(["fill", "pad", "wrap", "circular", "symm", "symmetric"]),
    fillvalue=st.integers(0, 3) | st.sampled_from([0.5, -2.0, [1]]),
    of_1=st.sampled_from(NUMBERS),
    of_2=st.sampled_from(NUMBERS),
    layouts=st.tuples(*[st.sampled_from(list(LAYOUTS))] * 2),
    seed=st.integers(0, 2**16),
)
def test_random_calls(name, size, kernel, mode, boundary, fillvalue, of_1, of_2, layouts, seed):
    rng = np.random.default_rng(seed)
    in1 = LAYOUTS[layouts[0]](whole_numbers(size, of_1, rng))
    in2 = LAYOUTS[layouts[1]](whole_numbers(kernel, of_2, rng))
    ours, theirs = both(name)
    expected = outcome(theirs, in1, in2, mode, boundary, fillvalue)
    if isinstance(expected, type):
        with pytest.raises(expected):
            ours(in1, in2, mode, boundary, fillvalue)
    else:
        check(name, in1, in2, mode, boundary, fillvalue)


def test_scipys_own_tests(child):
    results = child("scipy_tests")
    if "missing" in results:
        pytest.skip(f"this SciPy ships no tests: {results['missing']}")
    assert len(results) >= 20
    assert {name: error for name, error in results.items() if error} == {}


# ---- the deliberate differences, as docs/start/scipy.rst lists them -----------------------------

DIFFERENCES = Path(__file__).parents[1] / "docs" / "start" / "scipy.rst"


def test_examples_of_the_page():
    results = doctest.testfile(str(DIFFERENCES), module_relative=False)
    assert results.attempted > 20
    assert results.failed == 0


def test_valid_with_a_larger_complex_kernel():
    rng = np.random.default_rng(0)
    for of_1, of_2 in ("DD", "dD", "Dd", "FF"):
        in1, in2 = whole_numbers((2, 3), of_1, rng), whole_numbers((5, 4), of_2, rng)
        y = fastcorr.correlate2d(in1, in2, "valid")
        np.testing.assert_array_equal(y, fastcorr.correlate2d(in1, in2)[1:5, 2:4])
        np.testing.assert_allclose(y, signal.correlate(in1, in2, "valid", "direct"))
        np.testing.assert_array_equal(y.conj(), signal.correlate2d(in1, in2, "valid"))


@by_name
def test_products_of_infinite_complex_numbers_are_those_of_numpy(name):
    parts = (np.nan, np.inf, -np.inf, 0.0, 1.0)
    values = np.array([complex(*pair) for pair in itertools.product(parts, parts)])
    for dtype, w in itertools.product("FDG", values):
        x, w = values.astype(dtype)[None], np.array([[w]], dtype)
        with np.errstate(all="ignore"):
            expected = x * (w.conj() if name == "correlate2d" else w)
        y = both(name)[0](x, w)
        np.testing.assert_array_equal(y.real, expected.real)
        np.testing.assert_array_equal(y.imag, expected.imag)


@by_name
def test_swapped_result_is_contiguous(name):
    function = both(name)[0]
    assert function(np.ones((2, 2)), np.ones((5, 6)), "valid").flags.c_contiguous


@by_name
def test_empty_kernels_are_refused(name):
    function = both(name)[0]
    for kernel, mode in itertools.product(((0, 2), (2, 0), (0, 0)), MODES):
        if not (mode == "valid" and kernel == (2, 0)):
            with pytest.raises(ValueError, match="in2 is the kernel and has the shape"):
                function(np.ones((3, 2)), np.ones(kernel), mode)
    for image, kernel in (((0, 3), (2, 3)), ((0, 0), (0, 0)), ((0, 3), (0, 3)), ((0, 0), (1, 1))):
        with pytest.raises(ValueError, match="is the kernel and has the shape"):
            function(np.ones(image), np.ones(kernel), "valid")
    with pytest.raises(ValueError, match="in1 is the kernel"):
        function(np.ones((0, 3)), np.ones((2, 3)), "valid")


@by_name
def test_empty_images(name):
    function = both(name)[0]
    for image, kernel in itertools.product(((0, 3), (3, 0), (0, 0)), ((1, 1), (2, 2), (3, 1))):
        x, w = np.ones(image), np.ones(kernel)
        full = tuple(n + k - 1 for n, k in zip(image, kernel, strict=True))
        for boundary in BOUNDARIES:
            assert function(x, w, "same", boundary).shape == image
            if boundary != "fill" and any(
                n == 0 < k - 1 for n, k in zip(image, kernel, strict=True)
            ):
                with pytest.raises(
                    ValueError, match=f"boundary = '{boundary}' has nothing to repeat"
                ):
                    function(x, w, "full", boundary)  # SciPy divides by zero, and the process ends
            else:
                y = function(x, w, "full", boundary, fillvalue=2)
                assert y.shape == full
                assert (y == 2 * w.sum()).all()


@by_name
def test_masked_arrays_are_refused(name):
    function = both(name)[0]
    masked = np.ma.array(np.ones((2, 2)), mask=[[0, 1], [0, 0]])
    with pytest.raises(TypeError, match=r"in1 is a masked array.*in1\.filled"):
        function(masked, [[1]])
    with pytest.raises(TypeError, match="in2 is a masked array"):
        function([[1]], masked)


@by_name
def test_fillvalue_of_numpy_types(name):
    x, w = np.ones((1, 1), np.uint8), np.ones((1, 2), np.uint8)
    function = functools.partial(both(name)[0], x, w, "full", "fill")
    for value in (np.int64(300), np.float64(-1), np.float64("nan"), np.complex128(1j)):
        with pytest.raises(ValueError, match="could not cast `fillvalue`"):
            function(value)
    for value, y in ((np.array([3]), [[4, 4]]), (np.array(1.75), [[2, 2]])):
        assert function(value).tolist() == y


def test_what_holds_no_numbers_is_one_error():
    for dtype in ("U1", "S1", "M8[s]", "m8[s]", "V2"):
        for args in (
            (np.ones((2, 2)), np.zeros((1, 1), dtype)),
            (np.zeros((2, 2), dtype), [[1.0]]),
        ):
            for name in ("correlate2d", "convolve2d"):
                with pytest.raises(ValueError, match="not available for this type"):
                    both(name)[0](*args)
